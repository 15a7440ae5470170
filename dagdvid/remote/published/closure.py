"""Publishes all that commits and records reach: children before parents, in key order, each object once (SPEC 8.6)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from dagdvid.errors import MissingObject
from dagdvid.objects.blobs import decode_blob_list, read_value
from dagdvid.objects.ids import ObjectType
from dagdvid.objects.store import Object
from dagdvid.objects.tree.node import BLOB_LIST, Node, Ref
from dagdvid.objects.tree.nodes import EMPTY
from dagdvid.remote.published.form import encode_locators
from dagdvid.remote.published.packing import Packing
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.commits import Commit, decode_content
from dagdvid.repo.record import Record

__all__ = ["Closure"]

_NODES, _BLOBS, _BYTES = 64, 1024, 16 * 2**20
"""Objects, and bytes of them, that are read together."""


class Closure:
    """Walks what is not published yet. What is published is published with all that it reaches."""

    def __init__(self, catalog: Catalog, packing: Packing, given_up: Collection[str]) -> None:
        """`given_up`: data UUIDs of deleted instances, whose content is not published."""
        self._catalog = catalog
        self._packing = packing
        self._given_up = given_up
        self.objects = 0

    def owner(self, name: bytes) -> Iterator[int]:
        """Publish a commit or record whose parents are published; yields now and then how many objects were sent."""
        if self._packing.find([name]):
            return
        item = self._read([name])[0]
        if item.type == ObjectType.COMMIT:
            root, contents = Commit.decode(item.data()).root, True
        else:
            record = Record.decode(item.data())
            root, contents = record.root, record.kind == "data"
        yield from self._tree(root, contents=contents)
        self._add(item, [root], named=True)

    def _tree(self, root: bytes, *, contents: bool) -> Iterator[int]:
        if root != EMPTY and not self._packing.find([root]):
            yield from self._node(self._read([root])[0], contents=contents)

    def _node(self, item: Object, *, contents: bool) -> Iterator[int]:
        node = Node(item.data())
        if node.level:
            known = self._packing.find(node.ids)
            missing = [name for name in node.ids if name not in known]
            for start in range(0, len(missing), _NODES):
                for child in self._read(missing[start : start + _NODES]):
                    yield from self._node(child, contents=contents)
            self._add(item, node.ids)
        elif contents:
            yield from self._contents(item, node)
        else:
            refs = node.refs()
            yield from self._values(refs)
            self._add(item, [ref.id for ref in refs])
            yield self.objects

    def _contents(self, item: Object, node: Node) -> Iterator[int]:
        named: list[bytes] = []
        for key, value in zip(node.keys, node.values, strict=True):
            roots: list[bytes] = []
            if key.hex() not in self._given_up:
                content = decode_content(read_value(self._catalog.store, value))
                roots = [root for _, root in sorted(content.roots.items())]
                for root in roots:
                    yield from self._tree(root, contents=False)
            if isinstance(value, Ref):
                if not self._packing.find([value.id]):
                    self._add(self._read([value.id])[0], roots, named=True)
                named.append(value.id)
            named += roots
        self._add(item, named, named=True)

    def _values(self, refs: Sequence[Ref]) -> Iterator[int]:
        known = self._packing.find([ref.id for ref in refs])
        missing = {ref.id: ref for ref in refs if ref.id not in known}
        for batch in _batches([(ref.id, ref.size) for ref in missing.values()]):
            for item in self._read(batch):
                if missing[item.id].kind == BLOB_LIST:
                    chunks = decode_blob_list(item.data())
                    there = self._packing.find([name for name, _ in chunks])
                    for part in _batches([chunk for chunk in dict.fromkeys(chunks) if chunk[0] not in there]):
                        for blob in self._read(part):
                            self._add(blob)
                        yield self.objects
                    self._add(item, [name for name, _ in chunks])
                else:
                    self._add(item)
            yield self.objects

    def _read(self, names: Sequence[bytes]) -> list[Object]:
        found = []
        for name, item in zip(names, self._catalog.store.get_many(names), strict=True):
            if item is None:
                raise MissingObject(f"object {name.hex()} of what is to be published is missing: run dagdvid fsck")
            found.append(item)
        return found

    def _add(self, item: Object, names: Sequence[bytes] = (), *, named: bool = False) -> None:
        there = self._packing.find(names)
        self._packing.add(item, encode_locators([(name, there.get(name)) for name in names], named=named))
        self.objects += 1


def _batches(sizes: Sequence[tuple[bytes, int]]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    held = 0
    for name, size in sizes:
        batch.append(name)
        held += min(size, 4 * 2**20)
        if len(batch) == _BLOBS or held >= _BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch
