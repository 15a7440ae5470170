"""Endpoints of remotes: what people ask of their own server (REMOTE), and what servers ask each other (SYNC)."""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Iterator
from typing import Any

from dagdvid.errors import BadRequest, UnknownName
from dagdvid.objects import canonical
from dagdvid.objects.ids import from_hex
from dagdvid.objects.store import Object
from dagdvid.remote import bundle
from dagdvid.remote.foreign import foreign
from dagdvid.remote.incoming import take
from dagdvid.remote.objects import decode_ids, encode_objects, read_objects
from dagdvid.remote.peer import check_url, hidden, split_clone_url
from dagdvid.remote.receive import rebuild
from dagdvid.remote.send import Known, missing_owners, offer, write_bundle
from dagdvid.remote.transfer import Step, clone, pull, push
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.model import Repo
from dagdvid.repo.routes import Target
from dagdvid.routes import Reply, Request, Right, Route, RouteTable, json_reply, progress_reply

__all__ = ["REMOTE", "SYNC"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SPOOL = 32 * 2**20
_CHUNK = 2**20
_PUT_BATCH = 16 * 2**20


def list_remotes(catalog: Catalog, target: Target, request: Request) -> Reply:  # noqa: ARG001
    """GET remotes."""
    return json_reply([{"name": n, "url": hidden(url)} for n, url in catalog.remotes(target.repo).items()])


def add_remote(catalog: Catalog, target: Target, request: Request) -> Reply:
    """POST remotes."""
    body = request.json_object()
    name, url = body.get("name"), body.get("url")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadRequest("'name' must be letters, digits, and . _ - between them")
    if not isinstance(url, str):
        raise BadRequest("'url' is missing")
    catalog.set_remote(target.repo, name, check_url(url))
    return Reply()


def push_to(catalog: Catalog, target: Target, request: Request) -> Reply:
    """POST push."""
    body = request.json_object()
    uuid = body.get("uuid", "")
    if uuid:
        repo, version = catalog.find(str(uuid))
        if repo.root != target.repo.root:
            raise BadRequest(f"{uuid!r} is a version of another repo")
        uuid = version.uuid
    return _told(push(catalog, target.repo, _remote(catalog, target.repo, body)[1], uuid), request)


def pull_from(catalog: Catalog, target: Target, request: Request) -> Reply:
    """POST pull."""
    name, url = _remote(catalog, target.repo, request.json_object())
    return _told(pull(catalog, target.repo, url, name), request)


def clone_from(catalog: Catalog, request: Request) -> Reply:
    """POST repos/clone."""
    url = request.json_object().get("url")
    if not isinstance(url, str):
        raise BadRequest("'url' is missing")
    server, uuid = split_clone_url(url)
    return _told(clone(catalog, server, uuid), request)


def _remote(catalog: Catalog, repo: Repo, body: dict[str, Any]) -> tuple[str, str]:
    name = body.get("remote")
    remotes = catalog.remotes(repo)
    if not isinstance(name, str) or name not in remotes:
        known = ", ".join(remotes) or "none; POST it to .../remotes first"
        raise UnknownName(f"no remote {name!r}; there are: {known}")
    return name, remotes[name]


def _told(steps: Iterator[Step], request: Request) -> Reply:
    if request.flag("progress"):
        return progress_reply(steps)
    last: Step = {}
    for step in steps:
        last = step
    return json_reply(last["result"])


def negotiate(catalog: Catalog, request: Request) -> Reply:
    """POST sync/negotiate."""
    body = request.json_object()
    text = str(body.get("repo", ""))
    repo = _repo(catalog, text)
    if repo is None:
        return json_reply({"exists": False, "repo": text, "have": [], "heads": [], "record": None, "data": {}})
    known = Known(catalog, repo)
    asked = _have(body)
    offered = offer(catalog, repo)
    repo = catalog.repos()[repo.root]
    heads = [
        v.commit.hex()
        for v in repo.versions.values()
        if v.commit is not None and all(repo.versions[c].commit is None for c in repo.children[v.uuid])
    ]
    return json_reply(
        {
            "exists": True,
            "repo": repo.root,
            "have": [name.hex() for name in asked if known(name)],
            "heads": heads,
            **offered.json(),
        }
    )


def _have(body: dict[str, Any]) -> list[bytes]:
    names = body.get("have", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadRequest("'have' must be a list of hashes")
    return [from_hex(name) for name in names]


def _repo(catalog: Catalog, text: str) -> Repo | None:
    repos = catalog.repos()
    if not text:
        if len(repos) != 1:
            raise BadRequest(f"there are {len(repos)} repos here: name one by a UUID after the URL")
        return next(iter(repos.values()))
    try:
        return repos.get(text) or catalog.find(text)[0]
    except UnknownName:
        return None


def have(catalog: Catalog, request: Request) -> Reply:
    """POST sync/have."""
    flags = bytes(catalog.store.has_many(decode_ids(request.body)))
    return Reply(flags, "application/octet-stream")


def put_objects(catalog: Catalog, request: Request) -> Reply:
    """POST sync/objects."""
    batch: list[Object] = []
    held = stored = 0
    for item in read_objects(request.body):
        batch.append(item)
        held += len(item.payload)
        if held > _PUT_BATCH:
            catalog.store.put_many(batch)
            stored += len(batch)
            batch, held = [], 0
    catalog.store.put_many(batch)
    return json_reply({"stored": stored + len(batch)})


def get_objects(catalog: Catalog, request: Request) -> Reply:
    """POST sync/fetch-objects."""
    found = catalog.store.get_many(decode_ids(request.body))
    return Reply(encode_objects(item for item in found if item is not None), "application/octet-stream")


def put_bundle(catalog: Catalog, request: Request) -> Reply:
    """POST sync/bundle."""
    head = next(bundle.read_frames(io.BytesIO(request.body)), (0, b"{}"))
    with foreign():
        named = canonical.decode(head[1]) if head[0] == bundle.HEAD else {}
    root = named.get("repo") if isinstance(named, dict) else None
    if not isinstance(root, str):
        raise BadRequest("the body is no bundle")
    repo = catalog.repos().get(root)
    if repo is not None:
        offer(catalog, repo)  # folds what is staged of unversioned instances, so that refs compare
        repo = catalog.repos()[root]
    received = rebuild(catalog, io.BytesIO(request.body), Known(catalog, repo), root)
    taken = take(catalog, received)
    return json_reply({"versions": taken.versions})


def get_bundle(catalog: Catalog, request: Request) -> Reply:
    """POST sync/fetch."""
    body = request.json_object()
    repo = catalog.repos().get(str(body.get("repo")))
    if repo is None:
        raise UnknownName(f"there is no repo {body.get('repo')} here")
    known = Known(catalog, repo)
    common = [name for name in _have(body) if known(name)]
    file = tempfile.SpooledTemporaryFile(max_size=_SPOOL)  # noqa: SIM115  the stream closes it
    offered = offer(catalog, repo)
    write_bundle(catalog, offered, missing_owners(catalog, offered, common), file)
    return Reply(_stream(file), "application/octet-stream")


def _stream(file: Any) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while part := file.read(_CHUNK):
            yield part


_PROGRESS = {"progress": "true streams lines of JSON while it runs, the last with the result"}
_ANSWER = 'Answers {"root", "versions", "objects", "bytes", "round_trips", "seconds"}.'

REMOTE = RouteTable(
    (
        Route(("GET", "HEAD"), "remotes", list_remotes, "The remotes of the repo."),
        Route(
            ("POST",),
            "remotes",
            add_remote,
            'Name another server, or change its URL. Body: JSON {"name", "url"}; the URL may carry ?admintoken=.',
            right=Right.MANAGE,
        ),
        Route(
            ("POST",),
            "push",
            push_to,
            'Send what a remote lacks. Body: JSON {"remote"}, and "uuid" for that version and those before it only. '
            + _ANSWER,
            right=Right.MANAGE,
            query=_PROGRESS,
        ),
        Route(
            ("POST",),
            "pull",
            pull_from,
            'Take what a remote has and this server lacks. Body: JSON {"remote"}. ' + _ANSWER,
            right=Right.MANAGE,
            query=_PROGRESS,
        ),
    )
)

SYNC = RouteTable(
    (
        Route(
            ("POST",),
            "repos/clone",
            clone_from,
            'Take a whole repo from another server. Body: JSON {"url"}: http://HOST:PORT[/UUID]. ' + _ANSWER,
            right=Right.MANAGE,
            query=_PROGRESS,
        ),
        Route(
            ("POST",),
            "sync/negotiate",
            negotiate,
            "Between servers: which commits of a repo are here (SPEC 8).",
        ),
        Route(
            ("POST",),
            "sync/have",
            have,
            "Between servers: which of the blobs are here; a byte an id.",
            right=Right.MANAGE,
        ),
        Route(("POST",), "sync/objects", put_objects, "Between servers: take blobs.", right=Right.MANAGE),
        Route(("POST",), "sync/fetch-objects", get_objects, "Between servers: give blobs."),
        Route(("POST",), "sync/bundle", put_bundle, "Between servers: take a bundle of versions.", right=Right.MANAGE),
        Route(("POST",), "sync/fetch", get_bundle, "Between servers: give a bundle of versions."),
    )
)
