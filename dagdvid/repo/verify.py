"""fsck: walks everything that the refs reach, hashes each object again, and proves each tree node canonical."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from dagdvid.errors import Corrupt, DagdvidError, DamageError, Lost, MissingObject, RemoteError
from dagdvid.objects.blobs import decode_blob_list
from dagdvid.objects.ids import ObjectType
from dagdvid.objects.store import Object, verified
from dagdvid.objects.tree.check import Place, Shape, check_node, check_place, places, shape
from dagdvid.objects.tree.node import BLOB_LIST, Node, Ref
from dagdvid.objects.tree.nodes import EMPTY
from dagdvid.repo import reflog
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.commits import Commit, decode_content
from dagdvid.repo.record import Record

__all__ = ["Walk", "verify", "walk_all", "walk_remembered"]

_BATCH = 256
_REPORT_EVERY = 0.5
_MOST = 1000


class Walk:
    """One run: what was seen, and what was wrong."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.seen: set[bytes] = set()
        self.shapes: dict[bytes, Shape] = {}
        """Of the tree nodes seen: another tree may hold them in another place."""
        self.versions = 0
        self.bytes = 0
        self.problems: list[dict[str, Any]] = []
        self.wanting: set[bytes] = set()
        """The objects that were missing, or not as they should be."""
        self.promised: list[bytes] = []
        """The objects that are not here and that a base is to have; what they refer to is there, too."""
        self.lost = 0
        """How many of those are known to be lost (`Lost`); they are no problems."""
        self.place: dict[str, Any] = {}
        self.given_up = {uuid for repo in catalog.repos().values() for uuid in repo.deleted}
        """Data UUIDs of deleted instances: what versions hold of them may be gone."""
        self.resting: dict[str, set[bytes]] = {}
        """By those: the roots that versions still name."""
        self.lenient = False
        """What is wrong is no problem any more."""
        self.names = {i.uuid: i.name for repo in catalog.repos().values() for i in repo.instances.values()}

    def problem(self, error: DagdvidError, name: bytes | None = None) -> None:
        """Note what is wrong with an object, and where it was met."""
        if self.lenient:
            return
        if name is not None:
            self.wanting.add(name)
        if isinstance(error, Lost):
            self.lost += 1
            return
        if len(self.problems) < _MOST:
            at = {"object": name.hex()} if name else {}
            self.problems.append({"code": error.code, "error": str(error), **self.place, **at})

    def at(self, data: str = "", space: str = "") -> None:
        """Note which instance and key space is walked now; nothing where it is none."""
        for name in ("data", "instance", "space"):
            self.place.pop(name, None)
        found = {"data": data, "instance": self.names.get(data, ""), "space": space}
        self.place.update({name: text for name, text in found.items() if text})

    def fetch(self, names: list[bytes]) -> list[tuple[bytes, Object]]:
        """Those objects that were not seen yet, proven to match their hashes."""
        fresh = list(dict.fromkeys(n for n in names if n not in self.seen and n != EMPTY))
        self.seen.update(fresh)
        found = []
        store = self.catalog.store
        for name in fresh:
            try:
                item = store.get_here([name])[0]
                if item is None:
                    if store.below is not None and store.below.any:
                        self.promised.append(name)
                        continue
                    raise MissingObject(f"object {name.hex()} is missing")
                found.append((name, verified(item)))
                self.bytes += item.size
            except DamageError as error:
                self.problem(error, name)
        return found

    def tree(self, root: bytes) -> Iterator[list[tuple[bytes, Any]]]:
        """Walk a tree; yields the entries of each leaf that was not seen before."""
        stack = [(root, Place())]
        while stack:
            batch = [stack.pop() for _ in range(min(_BATCH, len(stack)))]
            found = dict(self.fetch([name for name, _ in batch]))
            for name, place in batch:
                item = found.pop(name, None)
                try:
                    if item is not None:
                        node = Node(item.data())
                        if node.type != item.type:
                            raise Corrupt(f"object {name.hex()} is not a tree node of its level")
                        check_node(node, last=place.last)
                        self.shapes[name] = shape(node)
                    if name in self.shapes:
                        check_place(self.shapes[name], place)
                except DamageError as error:
                    self.problem(error, name)
                    continue
                if item is not None and node.level:
                    stack += zip(node.ids, places(node, place), strict=True)
                elif item is not None:
                    yield list(zip(node.keys, node.values, strict=True))

    def values(self, root: bytes) -> Iterator[None]:
        """Walk a tree and the blobs of its values; yields now and then."""
        for entries in self.tree(root):
            refs = [value for _, value in entries if isinstance(value, Ref)]
            for start in range(0, len(refs), _BATCH):
                part = refs[start : start + _BATCH]
                by_id = {ref.id: ref for ref in part}
                for name, item in self.fetch([ref.id for ref in part]):
                    self.value(by_id[name], item)
                yield

    def value(self, ref: Ref, item: Object) -> None:
        """Check that a value is of the kind and size that the tree says, and its chunks if it has any."""
        try:
            if item.type != (ObjectType.BLOB_LIST if ref.kind == BLOB_LIST else ObjectType.BLOB):
                raise Corrupt(f"object {ref.id.hex()} is of another type than the reference to it")
            items = decode_blob_list(item.data()) if ref.kind == BLOB_LIST else [(ref.id, item.size)]
            if sum(size for _, size in items) != ref.size:
                raise Corrupt(f"object {ref.id.hex()} has another size than the reference to it")
            sizes = dict(items)
            for name, blob in self.fetch(list(sizes)):
                if (blob.type, blob.size) != (ObjectType.BLOB, sizes[name]):
                    raise Corrupt(f"blob {name.hex()} is not the chunk that a list says")
        except DamageError as error:
            self.problem(error, ref.id)


def verify(catalog: Catalog) -> Iterator[dict[str, Any]]:
    """Check all. Yields {"progress", "done", "total"} now and then, at last {"result": report}; changes nothing."""
    walk = Walk(catalog)
    yield from walk_all(walk)
    unsure = _check_promised(walk)
    yield {
        "result": {
            "ok": not walk.problems,
            "promised": len(walk.promised),
            "unsure": unsure,
            "versions": walk.versions,
            "objects": len(walk.seen),
            "bytes": walk.bytes,
            "lost": walk.lost,
            "problems": walk.problems,
        }
    }


def _check_promised(walk: Walk) -> str:
    """See to it that a base has what is not here; why that could not be found out, empty if it was."""
    below = walk.catalog.store.below
    walk.place = {"ref": "base"}
    try:
        for name in below.lacking(walk.promised) if below is not None else ():
            walk.problem(MissingObject(f"object {name.hex()} is missing here and in every base"), name)
    except RemoteError as error:
        return str(error)
    return ""


def walk_all(walk: Walk) -> Iterator[dict[str, Any]]:
    """Walk from all refs, telling of progress now and then; the outcome is in `walk`."""
    return _progress(walk, _steps(walk))


def walk_remembered(walk: Walk) -> Iterator[dict[str, Any]]:
    """Walk on from what the reflog remembers, after all refs: it is kept as far as it is there, and may be damaged."""
    walk.lenient = True
    return _progress(walk, _remembered(walk))


def _progress(walk: Walk, steps: Iterator[None]) -> Iterator[dict[str, Any]]:
    reported = time.monotonic()
    for _ in steps:
        if time.monotonic() - reported > _REPORT_EVERY:
            reported = time.monotonic()
            yield {"progress": "objects checked", "done": len(walk.seen), "total": None}


def _steps(walk: Walk) -> Iterator[None]:
    walk.catalog.store.packs.check()
    for pack, what in walk.catalog.store.packs.damaged.items():
        walk.place = {"pack": pack}
        walk.problem(Corrupt(what))
    for repo in walk.catalog.repos().values():
        walk.place = {"repo": repo.root, "ref": "record"}
        yield from _records(walk, repo.record)
        for number, record in walk.catalog.store.database.rows("SELECT id, record FROM data WHERE record NOT NULL"):
            if number in repo.numbers.values():
                yield from _records(walk, record)
        for version in repo.versions.values():
            walk.place = {"repo": repo.root, "version": version.uuid}
            if version.commit is not None:
                yield from _commit(walk, version.commit)
            elif version.base is not None:
                yield from _contents(walk, version.base)
            yield from _staged(walk, version.id)
            walk.versions += 1
            yield
    walk.place = {"ref": "unversioned"}
    yield from _staged(walk, 0)


def _commit(walk: Walk, commit: bytes) -> Iterator[None]:
    for name, item in walk.fetch([commit]):
        try:
            yield from _contents(walk, Commit.decode(item.data()).root)
        except DamageError as error:
            walk.problem(error, name)


def _remembered(walk: Walk) -> Iterator[None]:
    for kind, name in reflog.named(walk.catalog):
        yield from _commit(walk, name) if kind == "commit" else _records(walk, name)
    start = reflog.since()
    for repo in walk.catalog.repos().values():
        for uuid, tombstone in repo.deleted.items():
            if str(tombstone.get("time", "")) >= start:
                for root in walk.resting.get(uuid, ()):
                    yield from walk.values(root)


def _contents(walk: Walk, root: bytes) -> Iterator[None]:
    for entries in walk.tree(root):
        for key, value in entries:
            walk.at(key.hex())
            raw = value if isinstance(value, bytes) else None
            if raw is None:
                for _, item in walk.fetch([value.id]):
                    walk.value(value, item)
                    raw = item.data()
            try:
                roots = decode_content(raw).roots if raw is not None else {}
            except DamageError as error:
                walk.problem(error, root)
                continue
            if key.hex() in walk.given_up:
                walk.resting.setdefault(key.hex(), set()).update(roots.values())
                continue
            for space, space_root in roots.items():
                walk.at(key.hex(), space)
                yield from walk.values(space_root)
    walk.at()


def _records(walk: Walk, record: bytes | None) -> Iterator[None]:
    while record is not None:
        parents: tuple[bytes, ...] = ()
        for name, item in walk.fetch([record]):
            try:
                decoded = Record.decode(item.data())
                yield from _contents(walk, decoded.root) if decoded.kind == "data" else walk.values(decoded.root)
                parents = decoded.parents
            except DamageError as error:
                walk.problem(error, name)
        record = parents[0] if parents else None
        for other in parents[1:]:
            yield from _records(walk, other)


def _staged(walk: Walk, version: int) -> Iterator[None]:
    numbers = {n: uuid for repo in walk.catalog.repos().values() for uuid, n in repo.numbers.items()}
    sql = "SELECT data, space, kind, value, size FROM staging WHERE version = ? AND kind IN (1, 2)"
    for data, space, kind, value, size in walk.catalog.store.database.rows(sql, (version,)):
        walk.at(numbers.get(data, ""), space)
        for name, item in walk.fetch([value]):
            walk.value(Ref(kind, name, size), item)
        yield
    sql = "SELECT data, space, held, removed FROM runs WHERE version = ?"
    for data, space, held, removed in walk.catalog.store.database.rows(sql, (version,)):
        walk.at(numbers.get(data, ""), space)
        yield from walk.values(held)
        for entries in walk.tree(removed):
            if any(value != b"" for _, value in entries):
                walk.problem(Corrupt("a run with a removed key that has a value"), removed)
            yield
    walk.at()
