"""Push, pull and clone: generators that tell their progress and end with {"result": ...}."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from itertools import islice
from typing import IO, Any

from dagdvid.errors import BadRequest, Corrupt, RemoteError, Unverified
from dagdvid.objects import canonical
from dagdvid.objects.ids import from_hex
from dagdvid.objects.local.store import LocalStore
from dagdvid.objects.store import Object, ObjectStore
from dagdvid.objects.tree.node import BLOB_LIST
from dagdvid.remote.bundle import OWNER, read_frames
from dagdvid.remote.foreign import foreign
from dagdvid.remote.history import sample
from dagdvid.remote.incoming import take
from dagdvid.remote.objects import closure_of, encode_objects, read_objects
from dagdvid.remote.peer import Peer
from dagdvid.remote.receive import blobs_named, rebuild
from dagdvid.remote.send import Known, Offer, everything, missing_owners, offer, parents_of, restored, write_bundle
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.leases import claim_lacking, enter, give, short_of
from dagdvid.repo.model import Repo

__all__ = ["Step", "clone", "pull", "push"]

Step = dict[str, Any]

_HAVE_BATCH = 65_536
_OBJECT_BATCH = 16 * 2**20
_SPOOL = 32 * 2**20


def push(
    catalog: Catalog, repo: Repo, url: str, uuid: str = "", without: Collection[str] = (), *, dry_run: bool = False
) -> Iterator[Step]:
    """Send what the other server lacks of a repo's committed versions (of one and those before it, with a UUID).

    without: versions to leave out, with all after them. dry_run: tell only what would be sent.

    Raises:
        Diverged: the other side has what this one lacks.
        RemoteError: it cannot be reached, or refuses.
    """
    started = time.monotonic()
    offered = offer(catalog, repo, uuid, without)
    if not offered.versions:
        raise BadRequest(f"no version of repo {repo.root} is committed yet: commit one, then push")
    with _peer(catalog, url) as peer, _spool(catalog) as file:
        yield _progress("asking what the other side has")
        asked = _sample(catalog, offered)
        answer = peer.negotiate({"repo": repo.root, "have": asked})
        theirs = _tips(answer)
        if not dry_run and _give(catalog, repo, answer):
            offered = offer(catalog, catalog.repos()[repo.root], uuid, without)
        confirmed = {*asked} & {*answer.get("have", [])}
        known = [*map(from_hex, sorted(confirmed)), *filter(Known(catalog, repo), theirs)]
        owners = missing_owners(catalog, offered, known)
        if not owners:
            notes = {} if dry_run else _supply(catalog, repo.root, peer)
            yield _result(peer, started, repo.root, 0, 0, notes)
            return
        yield _progress("comparing versions")
        whole = restored(catalog, offered, known)
        if whole:
            owners = everything(catalog, offered, known)
        sent = write_bundle(catalog, offered, owners, file, whole)
        ids = list(sent.blobs)
        missing = [
            name
            for start in range(0, len(ids), _HAVE_BATCH)
            for name, there in zip(
                ids[start : start + _HAVE_BATCH], peer.have(ids[start : start + _HAVE_BATCH]), strict=True
            )
            if not there
        ]
        if dry_run:
            size = file.tell() + sum(len(encode_objects(found)) for found in _stored(catalog, missing, sent.blobs))
            yield _planned(repo.root, sent.versions, sent.objects + len(missing), size)
            return
        done = 0
        for batch in _batches(missing, sent.blobs):
            found = [item for item in catalog.store.get_many(batch) if item is not None]
            if len(found) != len(batch):
                raise Corrupt("a blob of the versions to send is missing here: run dagdvid fsck")
            peer.put_objects(encode_objects(found))
            done += len(batch)
            yield _progress("objects sent", done, len(missing))
        file.seek(0)
        peer.put_bundle(file)
        notes = _supply(catalog, repo.root, peer)
        yield _result(peer, started, repo.root, sent.versions, sent.objects + len(missing), notes)


def pull(
    catalog: Catalog,
    repo: Repo,
    url: str,
    remote: str,
    without: Collection[str] = (),
    *,
    dry_run: bool = False,
    amending: bool = False,
) -> Iterator[Step]:
    """Take what the other server has of a repo and this one lacks. A branch that forked lands as BRANCH@REMOTE.

    without: versions to leave out, with all after them. dry_run: tell only what would be taken.
    amending: also versions that were amended there.
    """
    started = time.monotonic()
    offered = offer(catalog, repo)
    repo = catalog.repos()[repo.root]
    with _peer(catalog, url) as peer:
        yield _progress("asking what the other side has")
        asked = {"repo": repo.root, "without": [*without]}
        answer = peer.negotiate(asked | {"have": _sample(catalog, offered)})
        if not answer.get("exists"):
            raise RemoteError(f"{peer.name} has no repo {repo.root}: push to it, or clone from where it is")
        here = Known(catalog, repo)
        theirs = _tips(answer)
        if all(map(here, theirs)):
            notes = {} if dry_run else _supply(catalog, repo.root, peer)
            yield _result(peer, started, repo.root, 0, 0, notes)
            return
        known = {*answer.get("have", []), *(tip.hex() for tip in theirs if here(tip))}
        asked["have"] = sorted(known)
        yield from _fetch(catalog, repo, peer, asked, remote, started, dry_run=dry_run, amending=amending)


def _peer(catalog: Catalog, url: str) -> Peer:
    catalog.check_remote(url)
    return Peer(url)


def clone(catalog: Catalog, url: str, uuid: str, remote: str = "origin") -> Iterator[Step]:
    """Take a whole repo from another server: the one that has a version `uuid`, or its only one."""
    started = time.monotonic()
    with _peer(catalog, url) as peer:
        yield _progress("asking what the other side has")
        answer = peer.negotiate({"repo": uuid, "have": []})
        root = answer.get("repo")
        if not answer.get("exists") or not isinstance(root, str):
            raise RemoteError(f"{peer.name} has no repo {uuid}")
        if not answer.get("heads"):
            raise RemoteError(f"nothing of repo {root} is committed on {peer.name} yet: there is nothing to clone")
        if root in catalog.repos():
            raise BadRequest(f"repo {root} is here already: pull instead")
        peer.lease({"repo": root, "server": catalog.server_id, "short": []})
        yield from _fetch(catalog, None, peer, {"repo": root, "have": []}, remote, started)
    catalog.set_remote(catalog.repos()[root], remote, url)


def _fetch(
    catalog: Catalog,
    repo: Repo | None,
    peer: Peer,
    asked: Mapping[str, Any],
    remote: str,
    started: float,
    *,
    dry_run: bool = False,
    amending: bool = False,
) -> Iterator[Step]:
    root = str(asked["repo"])
    with _spool(catalog) as file:
        peer.get_bundle(asked, file)
        try:
            if dry_run:
                yield _planned(root, *_would_take(catalog.store, file))
                return
            file.seek(0)
            fetched = yield from _fetch_blobs(catalog.store, peer, file)
            yield _progress("rebuilding and verifying")
            file.seek(0)
            received = rebuild(catalog, file, Known(catalog, repo), root, repo.deleted if repo else ())
            taken = take(catalog, received, remote, amending=amending)
        except Unverified as error:
            raise RemoteError(f"what {peer.name} sent does not verify, and none of it was taken: {error}") from None
        objects = len(received.commits) + len(received.records) + fetched
        notes = taken.notes | _supply(catalog, root, peer)
        yield _result(peer, started, root, taken.versions, objects, notes)


def _give(catalog: Catalog, repo: Repo, answer: dict[str, Any]) -> bool:
    """Give ids to who is about to get the repo, if it lacks some and there is where to note it."""
    if catalog.store.readonly or not isinstance(answer.get("server"), str):
        return False
    short = answer.get("short")
    return bool(give(catalog, repo, answer["server"], short if isinstance(short, list) else ()))


def _supply(catalog: Catalog, root: str, peer: Peer) -> dict[str, Any]:
    """See to it that this server has ids of the repo to give out: from the other one, else drawn by lot; what of it
    people should know."""
    if catalog.store.readonly:
        return {}
    repo = catalog.repos()[root]
    short = short_of(catalog, repo)
    if not short:
        return {}
    given = peer.lease({"repo": root, "server": catalog.server_id, "short": short})
    if given:
        enter(catalog, repo, given)
    claims = claim_lacking(catalog, repo)
    return {"claimed_ids": [f"{g.counter}: {g.first} to {g.last}" for g in claims]} if claims else {}


def _fetch_blobs(store: LocalStore, peer: Peer, file: IO[bytes]) -> Generator[Step, None, int]:
    """Fetch the blobs that a bundle names and are not here, some at a time; how many."""
    total = 0
    refs = blobs_named(file)
    while part := list(islice(refs, _HAVE_BATCH)):
        sizes = {ref.id: ref.size for ref in part if ref.kind != BLOB_LIST}
        lists = {ref.id: 2**20 for ref in part if ref.kind == BLOB_LIST}
        total += yield from _fetch_missing(store, peer, lists, total)
        with foreign():
            sizes.update(closure_of(store, list(lists)))
        total += yield from _fetch_missing(store, peer, sizes, total)
    return total


def _would_take(store: ObjectStore, file: IO[bytes]) -> tuple[int, int, int]:
    """Versions, objects and bytes (uncompressed) that a bundle and the blobs that it names and are not here have."""
    size = file.tell()
    file.seek(0)
    owners = [canonical.decode(payload)["kind"] for kind, payload in read_frames(file) if kind == OWNER]
    file.seek(0)
    named = {ref.id: ref.size for ref in blobs_named(file)}
    missing = [name for name, here in zip(named, store.has_many(list(named)), strict=True) if not here]
    return owners.count("commit"), len(owners) + len(missing), size + sum(named[name] for name in missing)


def _stored(catalog: Catalog, ids: Sequence[bytes], sizes: dict[bytes, int]) -> Iterator[list[Object]]:
    for batch in _batches(ids, sizes):
        yield [item for item in catalog.store.get_many(batch) if item is not None]


def _fetch_missing(store: LocalStore, peer: Peer, sizes: dict[bytes, int], before: int) -> Generator[Step, None, int]:
    ids = list(sizes)
    store.keep(ids)
    missing = [name for name, here in zip(ids, store.has_many(ids), strict=True) if not here]
    done = 0
    for batch in _batches(missing, sizes):
        wanted = set(batch)
        objects = list(read_objects(peer.get_objects(batch)))
        if {item.id for item in objects} != wanted:
            raise RemoteError(f"{peer.name} did not send all objects that it named")
        store.put_many(objects)
        done += len(batch)
        yield _progress("objects fetched", before + done)
    return done


def _batches(ids: Sequence[bytes], sizes: dict[bytes, int]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    held = 0
    for name in ids:
        batch.append(name)
        held += max(sizes[name], 64)
        if held >= _OBJECT_BATCH:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _sample(catalog: Catalog, offered: Offer) -> list[str]:
    return [name.hex() for name in sample(reversed(offered.tips), lambda n: parents_of(catalog, n))]


def _tips(answer: dict[str, Any]) -> list[bytes]:
    try:
        return [from_hex(t) for t in (*answer["heads"], *filter(None, [answer["record"]]), *answer["data"].values())]
    except (KeyError, TypeError, AttributeError, BadRequest):
        raise RemoteError("the other server does not answer as dagdvid does") from None


def _progress(text: str, done: int = 0, total: int | None = None) -> Step:
    return {"progress": text, "done": done, "total": total}


def _result(
    peer: Peer, started: float, root: str, versions: int, objects: int, notes: dict[str, Any] | None = None
) -> Step:
    result = {
        "root": root,
        "versions": versions,
        "objects": objects,
        "bytes": peer.bytes,
        "round_trips": peer.round_trips,
        "seconds": round(time.monotonic() - started, 3),
    }
    return {"result": result | (notes or {})}


def _planned(root: str, versions: int, objects: int, size: int) -> Step:
    return {"result": {"root": root, "versions": versions, "objects": objects, "bytes": size, "dry_run": True}}


def _spool(catalog: Catalog) -> Any:
    folder = None if catalog.store.readonly else str(catalog.store.folder)
    return tempfile.SpooledTemporaryFile(max_size=_SPOOL, dir=folder)
