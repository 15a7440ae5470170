"""Takes the deletion of a repo back, as long as the reflog remembers it: its versions come in again as from a clone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dagdvid.errors import BadRequest, UnknownName
from dagdvid.objects.blobs import read_values
from dagdvid.objects.tree.nodes import EMPTY
from dagdvid.objects.tree.read import scan
from dagdvid.remote.incoming import take
from dagdvid.remote.receive import Received, Refs
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.commits import decode_content, read_commit
from dagdvid.repo.model import shared_uuid
from dagdvid.repo.record import load_facts, read_record
from dagdvid.repo.staging import LOG
from dagdvid.routes import Example, Reply, Request, Right, Route, RouteTable, json_reply

__all__ = ["UNDELETE", "undelete_repo"]


def undelete_repo(catalog: Catalog, text: str) -> tuple[str, int]:
    """Bring a deleted repo back, named by its root UUID or the beginning of it; the UUID, and how many versions it has.

    What was not committed is gone, and so are the repo's passcode and remotes.

    Raises:
        UnknownName: no such repo was deleted lately, or it has been collected. BadRequest: several were, or it is here.
    """
    if text in catalog.repos():
        raise BadRequest(f"repo {text} is here")
    root, at, record = _deletion(catalog, text)
    sql = "SELECT before FROM reflog WHERE repo = ? AND id > ? AND action = 'deleted' AND before NOT NULL ORDER BY id"
    names = [row[0] for row in catalog.store.database.rows(sql, (root, at))]
    catalog.store.keep([record, *names])
    if not all(catalog.store.has_many([record, *names])):
        raise UnknownName(f"repo {root} is not to be brought back: its objects have been collected")
    commits = {name: read_commit(catalog.nodes, name) for name in names}
    facts = load_facts(catalog.nodes, read_record(catalog.nodes, record).root)
    data = {}
    sql = "SELECT before FROM reflog WHERE ref = ? AND id > ? AND action = 'deleted' ORDER BY id LIMIT 1"
    for uuid in (shared_uuid(root), *(instance.uuid for instance in facts.instances.values())):
        for (before,) in catalog.store.database.rows(sql, (f"data/{uuid}", at)):
            data[uuid] = before
    branches = {uuid: later.branch for uuid, later in facts.versions.items() if later.branch is not None}
    inner = {parent for commit in commits.values() for parent in commit.parents}
    logs = list(_logs(catalog, (commit.root for name, commit in commits.items() if name not in inner)))
    received = Received(root, commits, refs=Refs(record, data, branches), logs=logs)
    return root, take(catalog, received).versions


def _deletion(catalog: Catalog, text: str) -> tuple[str, int, bytes]:
    """The repo that a text means, and the place in the reflog and the record of its last deletion."""
    sql = (
        "SELECT repo, max(id), before FROM reflog WHERE ref = 'record' AND action = 'deleted'"
        " AND substr(repo, 1, ?) = ? AND repo NOT IN (SELECT root FROM repos) GROUP BY repo"
    )
    found = catalog.store.database.rows(sql, (len(text), text))
    if not found:
        raise UnknownName(f"no repo {text} was deleted here lately; dagdvid reflog shows what was")
    if len(found) > 1:
        raise BadRequest(f"{len(found)} repos were deleted whose UUID begins with {text!r}")
    root, at, record = found[0]
    return root, at, record


def _logs(catalog: Catalog, roots: Iterable[bytes]) -> Iterator[bytes]:
    """The roots of the mutation logs in version trees."""
    for root in roots:
        for _, values in scan(catalog.nodes, root):
            for content in map(decode_content, read_values(catalog.store, values)):
                if content.roots.get(LOG, EMPTY) != EMPTY:
                    yield content.roots[LOG]


def post_undelete(catalog: Catalog, request: Request) -> Reply:
    """POST repos/undelete."""
    root = request.json_object().get("root")
    if not isinstance(root, str) or not root:
        raise BadRequest("'root' must be the UUID of a deleted repo")
    uuid, versions = undelete_repo(catalog, root)
    return json_reply({"root": uuid, "versions": versions})


UNDELETE = RouteTable(
    (
        Route(
            ("POST",),
            "repos/undelete",
            post_undelete,
            "Bring back a repo that was deleted in the last 30 days and not collected since, with what was committed. "
            'Body: JSON {"root"}. Answers {"root", "versions"}.',
            right=Right.MANAGE,
            examples=(Example("repos/undelete", '{"root":"{gone}","versions":...}', '{"root":"{gone}"}'),),
        ),
    )
)
