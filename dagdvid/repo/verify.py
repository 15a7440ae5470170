"""fsck: walks what the refs reach, hashes each object again, proves each tree node canonical; at four levels.

`refs`: the catalogue, packs and their indexes, commits, version trees and records. `trees`: all tree nodes, too.
`presence`: whether the values are there, too. `content`: their bytes, all of them or a random part, too.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dagdvid.datatype import key_text
from dagdvid.errors import BadRequest, Corrupt, DagdvidError, DamageError, Lost, MissingObject, RemoteError
from dagdvid.objects.blobs import decode_blob_list
from dagdvid.objects.ids import ObjectType
from dagdvid.objects.store import Object, verified
from dagdvid.objects.tree.check import Place, Shape, check_node, check_place, places, shape
from dagdvid.objects.tree.node import BLOB_LIST, Node, Ref
from dagdvid.objects.tree.nodes import EMPTY
from dagdvid.registry import datatype
from dagdvid.repo import reflog
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.commits import Commit, decode_content
from dagdvid.repo.record import Record

__all__ = ["LEVELS", "Keys", "Walk", "verify", "walk_all", "walk_remembered"]

LEVELS = ("refs", "trees", "presence", "content")
"""Each does what those before it do, and more."""
_BATCH = 256
_TREES, _PRESENCE = 1, 2
_ROWS = 5000
_ADVICE = "stop the server, then run dagdvid repair --data DIR, with --from BACKUP if there is one"
_REPORT_EVERY = 0.5
_MOST = 1000


Keys = tuple[bytes, bytes]
"""A key range: above the first, or at it if both are the same, and up to the last."""


class Walk:
    """One run: what was seen, and what was wrong."""

    def __init__(self, catalog: Catalog, level: str = LEVELS[-1], part: float = 1.0) -> None:
        """`part`: of the values whose content is read, at random; the others are only looked for."""
        self.catalog = catalog
        self.level = LEVELS.index(level)
        self.part = part
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
        self.types = {i.uuid: i.typename for repo in catalog.repos().values() for i in repo.instances.values()}
        """Datatypes by data UUID."""
        self.names = {i.uuid: i.name for repo in catalog.repos().values() for i in repo.instances.values()}

    def problem(self, error: DagdvidError, name: bytes | None = None, keys: Keys | None = None) -> None:
        """Note what is wrong with an object, and where it was met: the first and the last key of what it holds."""
        if self.lenient:
            return
        if name is not None:
            self.wanting.add(name)
        if isinstance(error, Lost):
            self.lost += 1
            return
        if len(self.problems) < _MOST:
            at = {"object": name.hex()} if name else {}
            where = self._where(*keys) if keys and keys[1] else {}
            self.problems.append({"code": error.code, "error": str(error), **self.place, **where, **at})

    def _where(self, first: bytes, last: bytes) -> dict[str, Any]:
        """Keys as people know them."""
        try:
            kind = datatype(self.types.get(self.place.get("data", ""), ""))
        except DagdvidError:
            return {"keys": [key_text(first), key_text(last)]}
        return kind.extent(self.place.get("space", ""), first, last)

    def at(self, data: str = "", space: str = "") -> None:
        """Note which instance and key space is walked now; nothing where it is none."""
        for name in ("data", "instance", "space"):
            self.place.pop(name, None)
        found = {"data": data, "instance": self.names.get(data, ""), "space": space}
        self.place.update({name: text for name, text in found.items() if text})

    def fetch(self, names: list[bytes], keys: Mapping[bytes, Keys] | None = None) -> list[tuple[bytes, Object]]:
        """Those objects that were not seen yet, proven to match their hashes. `keys`: for `problem`."""
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
                self.problem(error, name, (keys or {}).get(name))
        return found

    def look_for(self, keys: Mapping[bytes, Keys]) -> None:
        """Find out whether objects are there that were not seen yet."""
        fresh = [name for name in keys if name not in self.seen]
        self.seen.update(fresh)
        store = self.catalog.store
        there = store.packs.locate(fresh)
        for name in fresh:
            if name in there:
                continue
            try:
                store.get_here([name])
                if store.below is not None and store.below.any:
                    self.promised.append(name)
                    continue
                raise MissingObject(f"object {name.hex()} is missing")
            except DamageError as error:
                self.problem(error, name, keys[name])

    def tree(self, root: bytes) -> Iterator[list[tuple[bytes, Any]]]:
        """Walk a tree; yields the entries of each leaf that was not seen before."""
        stack = [(root, Place())]
        while stack:
            batch = [stack.pop() for _ in range(min(_BATCH, len(stack)))]
            keys = {name: (place.after, place.key) for name, place in batch}
            found = dict(self.fetch([name for name, _ in batch], keys))
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
                    self.problem(error, name, keys[name])
                    continue
                if item is not None and node.level:
                    stack += zip(node.ids, places(node, place), strict=True)
                elif item is not None:
                    yield list(zip(node.keys, node.values, strict=True))

    def values(self, root: bytes, *, always: bool = False) -> Iterator[None]:
        """Walk a tree and the blobs of its values, as far as the level asks for it; yields now and then."""
        if self.level < _TREES and not always:
            return
        for entries in self.tree(root):
            refs = [(key, value) for key, value in entries if isinstance(value, Ref)] if self.level > _TREES else []
            for start in range(0, len(refs), _BATCH):
                self.refs(refs[start : start + _BATCH])
                yield
            yield

    def refs(self, refs: Sequence[tuple[bytes, Ref]]) -> None:
        """Check values by their references: their content, or only that they are there."""
        by_id = {ref.id: ref for _, ref in refs}
        keys = {ref.id: (key, key) for key, ref in refs}
        read = [name for name, ref in by_id.items() if ref.kind == BLOB_LIST or self._chosen()]
        for name, item in self.fetch(read, keys):
            self.value(by_id[name], item, keys[name])
        self.look_for({name: keys[name] for name in by_id.keys() - set(read)})

    def _chosen(self) -> bool:
        return self.level > _PRESENCE and (self.part >= 1 or random.random() < self.part)  # noqa: S311

    def value(self, ref: Ref, item: Object, keys: Keys | None = None) -> None:
        """Check that a value is of the kind and size that the tree says, and its chunks if it has any."""
        try:
            if item.type != (ObjectType.BLOB_LIST if ref.kind == BLOB_LIST else ObjectType.BLOB):
                raise Corrupt(f"object {ref.id.hex()} is of another type than the reference to it")
            items = decode_blob_list(item.data()) if ref.kind == BLOB_LIST else [(ref.id, item.size)]
            if sum(size for _, size in items) != ref.size:
                raise Corrupt(f"object {ref.id.hex()} has another size than the reference to it")
            sizes = dict(items)
            at = dict.fromkeys(sizes, keys or (b"", b""))
            chosen = [name for name in sizes if self._chosen()]
            self.look_for({name: at[name] for name in sizes.keys() - set(chosen)})
            for name, blob in self.fetch(chosen, at):
                if (blob.type, blob.size) != (ObjectType.BLOB, sizes[name]):
                    raise Corrupt(f"blob {name.hex()} is not the chunk that a list says")
        except DamageError as error:
            self.problem(error, ref.id, keys)


def verify(catalog: Catalog, level: str = LEVELS[-1], part: float = 1.0) -> Iterator[dict[str, Any]]:
    """Check all at a level. Yields {"progress", "done", "total"} now and then, at last {"result": report}.

    Raises:
        BadRequest: no such level, or no such part.
    """
    if level not in LEVELS or not 0 < part <= 1:
        raise BadRequest(f"level is one of {', '.join(LEVELS)}, and sample a part above 0 and up to 1")
    walk = Walk(catalog, level, part)
    yield from walk_all(walk)
    unsure = _check_promised(walk)
    yield {
        "result": {
            "ok": not walk.problems,
            "promised": len(walk.promised),
            "unsure": unsure,
            "level": level,
            "sample": part,
            "versions": walk.versions,
            "objects": len(walk.seen),
            "bytes": walk.bytes,
            "lost": walk.lost,
            "problems": walk.problems,
            "advice": _ADVICE if walk.problems else "",
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
    _check_files(walk)
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
                yield from _commit(walk, version.commit, version.uuid)
            elif version.base is not None:
                yield from _contents(walk, version.base)
            yield from _staged(walk, version.id)
            walk.versions += 1
            yield
    walk.place = {"ref": "unversioned"}
    yield from _staged(walk, 0)


def _check_files(walk: Walk) -> None:
    """Note sealed packs whose files have not the size that counts."""
    packs = walk.catalog.store.packs
    sizes = packs.files.sizes(packs.folder)
    for name, length in packs.database.rows("SELECT name, length FROM packs WHERE state = 'sealed'"):
        size = sizes.get(f"{name}.pack")
        if size is not None and size != length:
            packs.note(name, f"pack {name} has {size} bytes, not the {length} that were acknowledged")


def _commit(walk: Walk, commit: bytes, uuid: str = "") -> Iterator[None]:
    for name, item in walk.fetch([commit]):
        try:
            found = Commit.decode(item.data())
            if uuid and found.uuid != uuid:
                raise Corrupt(f"the ref of version {uuid} names the commit of {found.uuid}")
            yield from _contents(walk, found.root)
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
                content = decode_content(raw) if raw is not None else None
                roots = content.roots if content is not None else {}
                walk.types[key.hex()] = content.typename if content is not None else ""
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
                yield from (
                    _contents(walk, decoded.root) if decoded.kind == "data" else walk.values(decoded.root, always=True)
                )
                parents = decoded.parents
            except DamageError as error:
                walk.problem(error, name)
        record = parents[0] if parents else None
        for other in parents[1:]:
            yield from _records(walk, other)


def _staged(walk: Walk, version: int) -> Iterator[None]:
    numbers = {n: uuid for repo in walk.catalog.repos().values() for uuid, n in repo.numbers.items()}
    if walk.level < _TREES:
        return
    at: tuple[Any, ...] = (-1, "", b"")
    sql = (
        "SELECT data, space, key, kind, iif(kind IN (1, 2), value, NULL), size FROM staging"
        " WHERE version = ? AND (data, space, key) > (?, ?, ?) ORDER BY data, space, key LIMIT ?"
    )
    while rows := walk.catalog.store.database.rows(sql, (version, *at, _ROWS)):
        for data, space, key, kind, value, size in rows if walk.level > _TREES else ():
            if value is not None:
                walk.at(numbers.get(data, ""), space)
                walk.refs([(key, Ref(kind, value, size))])
        at = rows[-1][:3]
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
