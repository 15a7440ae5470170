"""Endpoints of remotes: what people ask of their own server (REMOTE), and what servers ask each other (SYNC)."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from typing import Any

from dagdvid.errors import BadRequest, UnknownName
from dagdvid.objects import canonical
from dagdvid.objects.ids import from_hex
from dagdvid.objects.store import Object
from dagdvid.remote import bundle
from dagdvid.remote.chain import clone_chained, is_base_site, pull_site
from dagdvid.remote.foreign import foreign
from dagdvid.remote.incoming import take
from dagdvid.remote.objects import decode_ids, encode_objects, read_objects
from dagdvid.remote.peer import check_url, hidden, split_clone_url
from dagdvid.remote.published.publish import publish
from dagdvid.remote.published.site import is_site, open_site
from dagdvid.remote.receive import rebuild
from dagdvid.remote.send import Known, everything, missing_owners, offer, restored, write_bundle
from dagdvid.remote.transfer import Step, clone, pull, push
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.leases import give, short_of
from dagdvid.repo.model import Repo
from dagdvid.repo.routes import Target
from dagdvid.routes import Example, Reply, Request, Right, Route, RouteTable, json_reply, progress_reply

__all__ = ["REMOTE", "SYNC"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SPOOL = 32 * 2**20
_CHUNK = 2**20
_PUT_BATCH = 16 * 2**20
_GET_BATCH = 64
_MAX_QUESTION, _MAX_OBJECTS, _MAX_BUNDLE = 64 * 2**20, 256 * 2**20, 2**40


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
    catalog.check_remote(url)
    if is_site(url):
        open_site(url).close()
    else:
        check_url(url)
    catalog.set_remote(target.repo, name, url)
    return Reply()


def push_to(catalog: Catalog, target: Target, request: Request) -> Reply:
    """POST push."""
    body = request.json_object()
    uuid = body.get("uuid", "")
    without = _without(body)
    if uuid:
        repo, version = catalog.find(str(uuid))
        if repo.root != target.repo.root:
            raise BadRequest(f"{uuid!r} is a version of another repo")
        uuid = version.uuid
    url = _remote(catalog, target.repo, body)[1]
    if is_base_site(catalog, url):
        return _told(publish(catalog, target.repo, url, [uuid] if uuid else ()), request)
    return _told(push(catalog, target.repo, url, uuid, without, dry_run=request.flag("dry-run")), request)


def pull_from(catalog: Catalog, target: Target, request: Request) -> Reply:
    """POST pull."""
    body = request.json_object()
    name, url = _remote(catalog, target.repo, body)
    if is_base_site(catalog, url):
        return _told(pull_site(catalog, target.repo, url, name), request)
    dry_run = request.flag("dry-run")
    steps = pull(catalog, target.repo, url, name, _without(body), dry_run=dry_run, amending=request.unlocked)
    return _told(steps, request)


def clone_from(catalog: Catalog, request: Request) -> Reply:
    """POST repos/clone."""
    url = request.json_object().get("url")
    if not isinstance(url, str):
        raise BadRequest("'url' is missing")
    if request.json_object().get("chain") is True or is_site(url):
        return _told(clone_chained(catalog, url), request)
    server, uuid = split_clone_url(url)
    return _told(clone(catalog, server, uuid), request)


def _without(body: dict[str, Any]) -> list[str]:
    uuids = body.get("without", [])
    if not isinstance(uuids, list) or not all(isinstance(uuid, str) for uuid in uuids):
        raise BadRequest("'without' must be a list of UUIDs")
    return uuids


def _remote(catalog: Catalog, repo: Repo, body: dict[str, Any]) -> tuple[str, str]:
    name = body.get("remote")
    remotes = catalog.remotes(repo)
    if not isinstance(name, str) or name not in remotes:
        known = ", ".join(remotes) or "none; POST it to .../remotes first"
        raise UnknownName(f"no remote {name!r}; there are: {known}")
    catalog.check_remote(remotes[name])
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
        nothing = {"exists": False, "repo": text, "have": [], "heads": [], "record": None, "data": {}}
        return json_reply(nothing | {"server": catalog.server_id, "short": []})
    known = Known(catalog, repo)
    asked = _have(body)
    offered = offer(catalog, repo, without=_without(body))
    repo = catalog.repos()[repo.root]
    heads = [
        commit.hex()
        for uuid, commit in offered.versions.items()
        if not any(child in offered.versions for child in repo.children[uuid])
    ]
    return json_reply(
        {
            "exists": True,
            "repo": repo.root,
            "have": [name.hex() for name in asked if known(name)],
            "heads": heads,
            **offered.json(),
            "server": catalog.server_id,
            "short": short_of(catalog, repo),
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


def lease(catalog: Catalog, request: Request) -> Reply:
    """POST sync/lease."""
    body = request.json_object()
    short = body.get("short")
    repo = catalog.repos().get(str(body.get("repo")))
    if repo is None:
        raise UnknownName(f"there is no repo {body.get('repo')} here")
    if not isinstance(short, list) or not all(isinstance(counter, str) for counter in short):
        raise BadRequest("'short' must be a list of counters")
    given = give(catalog, repo, str(body.get("server")), short)
    return json_reply({"given": [{"counter": g.counter, "first": g.first, "last": g.last, "by": g.by} for g in given]})


def have(catalog: Catalog, request: Request) -> Reply:
    """POST sync/have."""
    ids = decode_ids(request.body)
    catalog.store.keep(ids)
    flags = bytes(catalog.store.has_many(ids))
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
    ids = decode_ids(request.body)

    def stream() -> Iterator[bytes]:
        for start in range(0, len(ids), _GET_BATCH):
            found = catalog.store.get_many(ids[start : start + _GET_BATCH])
            yield encode_objects(item for item in found if item is not None)

    return Reply(stream(), "application/octet-stream")


def put_bundle(catalog: Catalog, request: Request) -> Reply:
    """POST sync/bundle."""
    file = request.stream()
    head = next(bundle.read_frames(file), (0, b"{}"))
    file.seek(0)
    with foreign():
        named = canonical.decode(head[1]) if head[0] == bundle.HEAD else {}
    root = named.get("repo") if isinstance(named, dict) else None
    if not isinstance(root, str):
        raise BadRequest("the body is no bundle")
    repo = catalog.repos().get(root)
    if repo is not None:
        offer(catalog, repo)  # folds what is staged of unversioned instances, so that refs compare
        repo = catalog.repos()[root]
    received = rebuild(catalog, file, Known(catalog, repo), root, repo.deleted if repo else ())
    taken = take(catalog, received, amending=request.unlocked)
    return json_reply({"versions": taken.versions})


def get_bundle(catalog: Catalog, request: Request) -> Reply:
    """POST sync/fetch."""
    body = request.json_object()
    repo = catalog.repos().get(str(body.get("repo")))
    if repo is None:
        raise UnknownName(f"there is no repo {body.get('repo')} here")
    known = Known(catalog, repo)
    common = [name for name in _have(body) if known(name)]
    file = tempfile.SpooledTemporaryFile(max_size=_SPOOL, dir=str(catalog.store.folder))  # noqa: SIM115  the stream closes it
    offered = offer(catalog, repo, without=_without(body))
    whole = restored(catalog, offered, common)
    owners = everything(catalog, offered, common) if whole else missing_owners(catalog, offered, common)
    write_bundle(catalog, offered, owners, file, whole)
    return Reply(_stream(file), "application/octet-stream")


def _stream(file: Any) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while part := file.read(_CHUNK):
            yield part


_PROGRESS = {"progress": "true streams lines of JSON while it runs, the last with the result"}
_DRY = {"dry-run": "true only tells what would travel; a pull gets the list of changes to find out, and no values"}
_WITHOUT = '"without": [UUIDs] of versions to leave out with those after them. '
_ANSWER = 'Answers {"root", "versions", "objects", "bytes", "round_trips", "seconds"}.'

REMOTE = RouteTable(
    (
        Route(
            ("GET", "HEAD"),
            "remotes",
            list_remotes,
            "The remotes of the repo.",
            examples=(Example("remotes", '[{"name":"backup","url":"http://..."}]'),),
        ),
        Route(
            ("POST",),
            "remotes",
            add_remote,
            'Name another server, or change its URL. Body: JSON {"name", "url"}; the URL may carry ?admintoken=.',
            right=Right.MANAGE,
            examples=(Example("remotes", body='{"name":"origin","url":"http://other-host:8000"}'),),
        ),
        Route(
            ("POST",),
            "push",
            push_to,
            'Send what a remote lacks. Body: JSON {"remote"}, "uuid" for that version and those before it only, and '
            + _WITHOUT
            + _ANSWER,
            right=Right.MANAGE,
            query=_PROGRESS | _DRY,
            examples=(Example("push", "{...}", '{"remote":"backup"}'),),
        ),
        Route(
            ("POST",),
            "pull",
            pull_from,
            'Take what a remote has and this server lacks. Body: JSON {"remote"}, and ' + _WITHOUT + _ANSWER,
            right=Right.MANAGE,
            query=_PROGRESS | _DRY,
            examples=(Example("pull", "{...}", '{"remote":"backup"}'),),
        ),
    )
)

SYNC = RouteTable(
    (
        Route(
            ("POST",),
            "repos/clone",
            clone_from,
            'Take a whole repo from another server. Body: JSON {"url"}: http://HOST:PORT[/UUID]. '
            + _ANSWER
            + ' With "chain": true, or the URL of a published store (file, s3, gs, az), what is in its versions stays'
            " there, and is read when it is needed.",
            right=Right.MANAGE,
            query=_PROGRESS,
            examples=(Example("repos/clone", "{...}", '{"url":"http://other-host:8000/{other}"}'),),
        ),
        Route(
            ("POST",),
            "sync/negotiate",
            negotiate,
            "Between servers: which commits of a repo are here (SPEC 8).",
            max_body=_MAX_QUESTION,
        ),
        Route(
            ("POST",),
            "sync/lease",
            lease,
            "Between servers: give ranges of ids to another one (SPEC 6.10).",
            right=Right.MANAGE,
        ),
        Route(
            ("POST",),
            "sync/have",
            have,
            "Between servers: which of the blobs are here; a byte an id.",
            right=Right.MANAGE,
            max_body=_MAX_QUESTION,
        ),
        Route(
            ("POST",),
            "sync/objects",
            put_objects,
            "Between servers: take blobs.",
            right=Right.MANAGE,
            max_body=_MAX_OBJECTS,
        ),
        Route(
            ("POST",),
            "sync/fetch-objects",
            get_objects,
            "Between servers: give blobs.",
            max_body=_MAX_QUESTION,
        ),
        Route(
            ("POST",),
            "sync/bundle",
            put_bundle,
            "Between servers: take a bundle of versions.",
            right=Right.MANAGE,
            max_body=_MAX_BUNDLE,
            spooled=True,
        ),
        Route(
            ("POST",),
            "sync/fetch",
            get_bundle,
            "Between servers: give a bundle of versions.",
            max_body=_MAX_QUESTION,
        ),
    )
)
