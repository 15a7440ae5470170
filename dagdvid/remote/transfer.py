"""Push, pull and clone: generators that tell their progress and end with {"result": ...}."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from typing import IO, Any

from dagdvid.errors import BadRequest, Corrupt, Diverged, RemoteError, Unverified
from dagdvid.objects.ids import from_hex
from dagdvid.objects.store import ObjectStore
from dagdvid.objects.tree.node import BLOB_LIST
from dagdvid.remote.foreign import foreign
from dagdvid.remote.history import sample
from dagdvid.remote.incoming import take
from dagdvid.remote.objects import closure_of, encode_objects, read_objects
from dagdvid.remote.peer import Peer
from dagdvid.remote.receive import blobs_named, rebuild
from dagdvid.remote.send import Known, Offer, missing_owners, offer, parents_of, write_bundle
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.model import Repo

__all__ = ["Step", "clone", "pull", "push"]

Step = dict[str, Any]

_HAVE_BATCH = 65_536
_OBJECT_BATCH = 32 * 2**20
_SPOOL = 32 * 2**20


def push(catalog: Catalog, repo: Repo, url: str, uuid: str = "") -> Iterator[Step]:
    """Send what the other server lacks of a repo's committed versions (of one and those before it, with a UUID).

    Raises:
        Diverged: the other side has what this one lacks.
        RemoteError: it cannot be reached, or refuses.
    """
    started = time.monotonic()
    offered = offer(catalog, repo, uuid)
    if not offered.versions:
        raise BadRequest(f"no version of repo {repo.root} is committed yet: commit one, then push")
    with Peer(url) as peer, _spool() as file:
        yield _progress("asking what the other side has")
        asked = _sample(catalog, offered)
        answer = peer.negotiate({"repo": repo.root, "have": asked})
        theirs = _tips(answer)
        confirmed = {*asked} & {*answer.get("have", [])}
        known = [*map(from_hex, sorted(confirmed)), *filter(Known(catalog, repo), theirs)]
        owners = missing_owners(catalog, offered, known)
        if not owners:
            yield _result(peer, started, repo.root, 0, 0)
            return
        if answer.get("record") and from_hex(answer["record"]) not in known:
            raise Diverged("the repo record has changes on the other side that are not here: pull first")
        yield _progress("comparing versions")
        sent = write_bundle(catalog, offered, owners, file)
        ids = list(sent.blobs)
        missing = [
            name
            for start in range(0, len(ids), _HAVE_BATCH)
            for name, there in zip(
                ids[start : start + _HAVE_BATCH], peer.have(ids[start : start + _HAVE_BATCH]), strict=True
            )
            if not there
        ]
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
        yield _result(peer, started, repo.root, sent.versions, sent.objects + len(missing))


def pull(catalog: Catalog, repo: Repo, url: str, remote: str) -> Iterator[Step]:
    """Take what the other server has of a repo and this one lacks. A branch that forked lands as REMOTE/BRANCH."""
    started = time.monotonic()
    offered = offer(catalog, repo)
    repo = catalog.repos()[repo.root]
    with Peer(url) as peer:
        yield _progress("asking what the other side has")
        answer = peer.negotiate({"repo": repo.root, "have": _sample(catalog, offered)})
        if not answer.get("exists"):
            raise RemoteError(f"{peer.name} has no repo {repo.root}: push to it, or clone from where it is")
        here = Known(catalog, repo)
        theirs = _tips(answer)
        if all(map(here, theirs)):
            yield _result(peer, started, repo.root, 0, 0)
            return
        known = {*answer.get("have", []), *(tip.hex() for tip in theirs if here(tip))}
        yield from _fetch(catalog, repo, peer, repo.root, sorted(known), remote, started)


def clone(catalog: Catalog, url: str, uuid: str, remote: str = "origin") -> Iterator[Step]:
    """Take a whole repo from another server: the one that has a version `uuid`, or its only one."""
    started = time.monotonic()
    with Peer(url) as peer:
        yield _progress("asking what the other side has")
        answer = peer.negotiate({"repo": uuid, "have": []})
        root = answer.get("repo")
        if not answer.get("exists") or not isinstance(root, str):
            raise RemoteError(f"{peer.name} has no repo {uuid}")
        if not answer.get("heads"):
            raise RemoteError(f"nothing of repo {root} is committed on {peer.name} yet: there is nothing to clone")
        if root in catalog.repos():
            raise BadRequest(f"repo {root} is here already: pull instead")
        yield from _fetch(catalog, None, peer, root, [], remote, started)
    catalog.set_remote(catalog.repos()[root], remote, url)


def _fetch(
    catalog: Catalog, repo: Repo | None, peer: Peer, root: str, known: Sequence[str], remote: str, started: float
) -> Iterator[Step]:
    with _spool() as file:
        peer.get_bundle({"repo": root, "have": list(known)}, file)
        try:
            file.seek(0)
            fetched = yield from _fetch_blobs(catalog.store, peer, file)
            yield _progress("rebuilding and verifying")
            file.seek(0)
            received = rebuild(catalog, file, Known(catalog, repo), root)
            taken = take(catalog, received, remote)
        except Unverified as error:
            raise RemoteError(f"what {peer.name} sent does not verify, and none of it was taken: {error}") from None
        objects = len(received.commits) + len(received.records) + fetched
        yield _result(peer, started, root, taken.versions, objects, taken.notes)


def _fetch_blobs(store: ObjectStore, peer: Peer, file: IO[bytes]) -> Generator[Step, None, int]:
    """Fetch the blobs that a bundle names and are not here; how many."""
    sizes: dict[bytes, int] = {}
    lists: dict[bytes, int] = {}
    for ref in blobs_named(file):
        if ref.kind == BLOB_LIST:
            lists[ref.id] = ref.size
        else:
            sizes[ref.id] = ref.size
    total = 0
    total += yield from _fetch_missing(store, peer, dict.fromkeys(lists, 2**20))
    with foreign():
        sizes.update(closure_of(store, list(lists)))
    total += yield from _fetch_missing(store, peer, sizes)
    return total


def _fetch_missing(store: ObjectStore, peer: Peer, sizes: dict[bytes, int]) -> Generator[Step, None, int]:
    ids = list(sizes)
    missing = [name for name, here in zip(ids, store.has_many(ids), strict=True) if not here]
    done = 0
    for batch in _batches(missing, sizes):
        wanted = set(batch)
        objects = list(read_objects(peer.get_objects(batch)))
        if {item.id for item in objects} != wanted:
            raise RemoteError(f"{peer.name} did not send all objects that it named")
        store.put_many(objects)
        done += len(batch)
        yield _progress("objects fetched", done, len(missing))
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


def _spool() -> Any:
    return tempfile.SpooledTemporaryFile(max_size=_SPOOL)
