"""The reflog: how refs moved lately (SPEC 6.11). The database writes it with each movement; here it is read.

What a movement left behind is kept as long as the movement is remembered, so that it can be looked at and taken back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from dagdvid.errors import DagdvidError
from dagdvid.objects.tree.diff import diff
from dagdvid.objects.tree.nodes import EMPTY
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.commits import read_commit
from dagdvid.repo.model import Repo
from dagdvid.repo.record import read_record
from dagdvid.repo.schema import REFLOG_DAYS

__all__ = ["entries", "named", "since"]

_KEYS_TOLD = 20


def since() -> str:
    """The time, RFC 3339 in UTC, from which on movements are remembered."""
    return (datetime.now(UTC) - timedelta(days=REFLOG_DAYS)).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def entries(catalog: Catalog, repo: Repo | None, limit: int) -> Iterator[dict[str, Any]]:
    """Movements of the refs of a repo, or of all that there are and were, newest first, as JSON.

    {"time", "repo", "ref", "action", "before", "after", "user"}, and for the record "keys": the first keys that
    changed, and "changed": how many. The user is whom the commit or record names.
    """
    sql = "SELECT time, repo, ref, action, before, after FROM reflog"
    args: list[object] = []
    if repo is not None:
        uuids = [*repo.by_data_uuid, *repo.deleted]
        sql += f" WHERE repo = ? OR ref IN ({','.join('?' * len(uuids))})"
        args += [repo.root, *(f"data/{uuid}" for uuid in uuids)]
    for time, root, ref, action, before, after in catalog.store.database.rows(
        f"{sql} ORDER BY id DESC LIMIT ?", (*args, limit)
    ):
        entry = {"time": time, "repo": root, "ref": ref, "action": action}
        entry |= {name: value.hex() for name, value in (("before", before), ("after", after)) if value is not None}
        with suppress(DagdvidError):  # what it names may be damaged, or collected; it moved all the same
            entry |= _told(catalog, ref, before, after)
        yield entry


def _told(catalog: Catalog, ref: str, before: bytes | None, after: bytes | None) -> dict[str, Any]:
    last = after or before
    if last is None:
        return {}
    if ref.startswith("version/"):
        return {"user": read_commit(catalog.nodes, last).user}
    record = read_record(catalog.nodes, last)
    if ref != "record" or after is None:
        return {"user": record.user}
    root = read_record(catalog.nodes, before).root if before is not None else EMPTY
    keys = [key.decode("utf-8", "replace") for key, _, _ in diff(catalog.nodes, root, record.root)]
    return {"user": record.user, "changed": len(keys), "keys": keys[:_KEYS_TOLD]}


def named(catalog: Catalog) -> Iterator[tuple[str, bytes]]:
    """What gc keeps for the reflog's sake: ("commit" or "record", id), the newest first."""
    sql = "SELECT ref, before, after FROM reflog WHERE time >= ? ORDER BY id DESC"
    seen = set()
    for ref, *ids in catalog.store.database.rows(sql, (since(),)):
        for name in ids:
            if name is not None and name not in seen:
                seen.add(name)
                yield "commit" if ref.startswith("version/") else "record", name
