"""Brings what lies in bases here: all of some versions, or some instances or keys of them (SPEC 8.10)."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from dagdvid.errors import UnknownName
from dagdvid.objects.blobs import decode_blob_list, read_value
from dagdvid.objects.store import Object
from dagdvid.objects.tree.node import BLOB_LIST, Node, Ref
from dagdvid.objects.tree.nodes import EMPTY
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.commits import decode_content, read_commit
from dagdvid.repo.model import Repo, Version
from dagdvid.repo.record import read_record

__all__ = ["materialize"]

Step = dict[str, Any]
_NODES, _BLOBS, _BYTES = 256, 1024, 16 * 2**20


def materialize(
    catalog: Catalog, repo: Repo, versions: Sequence[Version] = (), instances: Sequence[str] = ()
) -> Iterator[Step]:
    """Store here all that versions hold (all versions, if none are named) of instances (all, if none are named).

    It may be interrupted and begun again: what is here is not fetched.

    Raises:
        Offline, RemoteError: a base cannot be read; what came until then stays.
    """
    started = time.monotonic()
    work = _Materializing(catalog, {repo.instance(name).uuid for name in instances}, set(repo.deleted))
    whole = not versions and not instances
    reported = started
    steps = [work.contents(root) for root in _roots(catalog, repo, versions, whole=whole)]
    steps += [work.tree(root) for root in _records(catalog, [repo.record])] if whole else []
    for walk in steps:
        for _ in walk:
            if time.monotonic() - reported > 0.5:
                reported = time.monotonic()
                yield {"progress": "objects brought here", "done": work.stored, "total": None}
    seconds = round(time.monotonic() - started, 3)
    result = {"root": repo.root, "checked": len(work.seen), "objects": work.stored, "bytes": work.bytes}
    yield {"result": result | {"seconds": seconds}}


def _roots(catalog: Catalog, repo: Repo, versions: Sequence[Version], *, whole: bool) -> Iterator[bytes]:
    """The version trees, newest first, and those of unversioned instances where everything is wanted."""
    for version in reversed(list(versions or repo.versions.values())):
        if version.commit is not None:
            yield read_commit(catalog.nodes, version.commit).root
        elif version in versions:
            raise UnknownName(f"version {version.uuid} is not committed: only what is committed lies in bases")
    for instance in repo.unversioned if whole else ():
        record = catalog.data_record(repo, instance)
        yield from _records(catalog, [record] if record is not None else [])


def _records(catalog: Catalog, tips: Sequence[bytes]) -> Iterator[bytes]:
    """The trees of records and of all before them."""
    front, seen = [*tips], {*tips}
    while front:
        record = read_record(catalog.nodes, front.pop())
        yield record.root
        front += [parent for parent in record.parents if parent not in seen]
        seen.update(record.parents)


class _Materializing:
    def __init__(self, catalog: Catalog, instances: Collection[str], given_up: Collection[str]) -> None:
        self._catalog = catalog
        self._store = catalog.store
        self._instances = instances
        self._given_up = given_up
        self.seen: set[bytes] = {EMPTY}
        self.stored = self.bytes = 0

    def contents(self, root: bytes) -> Iterator[None]:
        """All of a version tree."""
        for node in self._leaves(root):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(value, Ref):
                    self._fetch([value.id])
                if key.hex() in self._given_up or (self._instances and key.hex() not in self._instances):
                    continue
                for space in decode_content(read_value(self._store, value)).roots.values():
                    yield from self.tree(space)

    def tree(self, root: bytes) -> Iterator[None]:
        """All of a tree."""
        for leaf in self._leaves(root):
            self._values(leaf.refs())
            yield

    def _leaves(self, root: bytes) -> Iterator[Node]:
        """The leaves of a tree that were not seen, level by level in parts."""
        stack = [[root]]
        while stack:
            part = stack.pop()
            nodes = [Node(item.data()) for item in self._fetch(part)]
            for node in nodes:
                if node.level == 0:
                    yield node
            below = [name for node in nodes if node.level for name in node.ids]
            stack += [below[start : start + _NODES] for start in range(0, len(below), _NODES)][::-1]

    def _values(self, refs: Sequence[Ref]) -> None:
        for part in _parts([(ref.id, ref.size if ref.kind != BLOB_LIST else 64) for ref in refs]):
            self._fetch(part)
        lists = [ref.id for ref in refs if ref.kind == BLOB_LIST]
        for item in self._store.get_many(lists) if lists else ():
            for part in _parts(decode_blob_list(item.data()) if item is not None else []):
                self._fetch(part)

    def _fetch(self, names: Sequence[bytes]) -> list[Object]:
        """Objects that were not seen, stored here if they were not."""
        fresh = [name for name in dict.fromkeys(names) if name not in self.seen]
        here = dict(zip(fresh, self._store.get_here(fresh), strict=True))
        absent = [name for name, item in here.items() if item is None]
        if absent:
            fetched = [item for item in self._store.get_many(absent) if item is not None]
            self._store.put_many(fetched)
            self.stored += len(fetched)
            self.bytes += sum(len(item.payload) for item in fetched)
            here |= {item.id: item for item in fetched}
        self.seen.update(fresh)
        return [item for item in here.values() if item is not None]


def _parts(sizes: Sequence[tuple[bytes, int]]) -> Iterator[list[bytes]]:
    part: list[bytes] = []
    held = 0
    for name, size in sizes:
        part.append(name)
        held += size
        if len(part) == _BLOBS or held >= _BYTES:
            yield part
            part, held = [], 0
    if part:
        yield part
