"""What a head holds beside its facts: the objects that every reader needs, and where others lie (SPEC 8.8)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from dagdvid.errors import MissingObject
from dagdvid.objects.blobs import read_value
from dagdvid.objects.store import Object
from dagdvid.objects.tree.node import Node
from dagdvid.objects.tree.nodes import EMPTY
from dagdvid.remote.published.form import Locator, encode_locators, plain_references
from dagdvid.remote.send import Offer
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.commits import decode_content, read_commit
from dagdvid.repo.record import read_record

__all__ = ["head_items"]

_MOST = 2 * 2**20
"""Bytes of objects from which on no more are taken into a head: readers find the rest as they find all else."""


def head_items(
    catalog: Catalog, find: Callable[[Sequence[bytes]], Mapping[bytes, Locator]], commit: bytes | None, offered: Offer
) -> Iterator[tuple[Object, bytes]]:
    """The trees of a version, of the record and of unversioned instances, then the roots of their key spaces.

    find: where objects are published.
    """
    held = 0
    seen: set[bytes] = {EMPTY}
    for name, named, needed in _wanted(catalog, commit, offered):
        if name in seen or (held > _MOST and not needed):
            continue
        seen.add(name)
        item = catalog.store.get_many([name])[0]
        if item is None:
            raise MissingObject(f"object {name.hex()} of what is to be published is missing: run dagdvid fsck")
        refers = [*plain_references(item), *named] if named else plain_references(item)
        there = find(refers)
        held += len(item.payload)
        yield item, encode_locators([(each, there.get(each)) for each in refers], named=bool(named))


def _wanted(catalog: Catalog, commit: bytes | None, offered: Offer) -> Iterator[tuple[bytes, Sequence[bytes], bool]]:
    """Objects by id, what they refer to beside what their bytes say, and whether no reader can do without them."""
    trees = [read_commit(catalog.nodes, commit).root] if commit is not None else []
    trees += [read_record(catalog.nodes, record).root for record in offered.data.values()]
    spaces: list[bytes] = []
    for tree in trees:
        for name, node in _nodes(catalog, tree):
            roots = [] if node.level else _roots(catalog, node, offered)
            spaces += roots
            yield name, roots, False
            for ref in [] if node.level else node.refs():
                yield ref.id, roots, False
    record = read_record(catalog.nodes, offered.record).root
    for name, node in _nodes(catalog, record):
        yield name, (), True
        for ref in [] if node.level else node.refs():
            yield ref.id, (), True
    for root in spaces:
        yield root, (), False


def _nodes(catalog: Catalog, root: bytes) -> Iterator[tuple[bytes, Node]]:
    if root == EMPTY:
        return
    node = catalog.nodes.read(root)
    yield root, node
    if node.level:
        for name in node.ids:
            yield from _nodes(catalog, name)


def _roots(catalog: Catalog, node: Node, offered: Offer) -> list[bytes]:
    roots: list[bytes] = []
    for key, value in zip(node.keys, node.values, strict=True):
        if key.hex() not in offered.given_up:
            roots += decode_content(read_value(catalog.store, value)).roots.values()
    return roots
