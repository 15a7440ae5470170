"""Proves that a tree is canonical (SPEC 5.5): what fsck and receivers of foreign nodes run.

`check_node` looks at one node alone, `check_place` at a node and what its parent says of it; both together for every
node, from `Place()` at the root down through `places`, prove the tree.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from dagdvid.errors import Corrupt
from dagdvid.objects.tree.node import Child, Node, check_value, encode_inner, encode_leaf
from dagdvid.objects.tree.splitter import is_cut

__all__ = ["Place", "Shape", "check_node", "check_place", "places", "shape"]


class Place(NamedTuple):
    """Where a node stands in its tree, and what its parent says of it. The default is a root."""

    last: bool = True
    """It ends its level, so it may end early."""
    level: int | None = None
    """None at the root, which has no parent."""
    after: bytes = b""
    """Its keys are above this one."""
    key: bytes = b""
    """Its last key."""
    child: Child = Child(b"", 0, 0)


class Shape(NamedTuple):
    """What a node is, as far as its place in a tree is concerned: enough to check a second tree that shares it."""

    level: int
    n: int
    first: bytes
    last: bytes
    entries: int
    size: int
    closed: bool
    """It ends at a boundary, not early."""


def shape(node: Node) -> Shape:
    """The shape of a node."""
    keys = node.keys
    first, last = (keys[0], keys[-1]) if keys else (b"", b"")
    return Shape(node.level, node.n, first, last, *node.totals(), bool(keys) and is_cut(last, node.n, node.level))


def places(node: Node, place: Place) -> list[Place]:
    """The places of the children of an inner node, in order."""
    return [
        Place(place.last and i == node.n - 1, node.level - 1, node.keys[i - 1] if i else place.after, key, child)
        for i, (key, child) in enumerate(zip(node.keys, node.children, strict=True))
    ]


def check_node(node: Node, *, last: bool) -> None:
    """Check the form of one node: order, key and value rules, boundaries, encoding. `last`: it ends its level.

    Raises:
        Corrupt: the first rule it breaks.
    """
    keys = node.keys
    if any(a >= b for a, b in pairwise(keys)):
        raise Corrupt("tree node with keys out of order")
    try:
        if node.level:
            canonical = encode_inner(node.level, keys, node.children)
        else:
            for key, value in zip(keys, node.values, strict=True):
                check_value(key, value)
            canonical = encode_leaf(keys, node.values)
    except ValueError as error:
        raise Corrupt(f"tree node against the rules: {error}") from None
    if canonical != node.data:
        raise Corrupt("tree node is not in canonical form")
    cut_at = [i for i, key in enumerate(keys, 1) if is_cut(key, i, node.level)]
    if cut_at[:1] not in ([], [node.n]):
        raise Corrupt("tree node reaches beyond a boundary")
    if not last and cut_at != [node.n]:
        raise Corrupt("tree node ends before its boundary")


def check_place(found: Shape, place: Place) -> None:
    """Check that a node is what its parent says, or fit to be a root.

    Raises:
        Corrupt: it is not.
    """
    if place.level is None:
        if found.level and found.n == 1:
            raise Corrupt("tree root with a single child")
        return
    if found.level != place.level:
        raise Corrupt(f"tree node has level {found.level}, its parent says {place.level}")
    if not found.n or found.first <= place.after or found.last != place.key:
        raise Corrupt("tree node with other keys than its parent says")
    if (found.entries, found.size) != (place.child.entries, place.child.size):
        raise Corrupt("tree node with other totals than its parent says")
    if not place.last and not found.closed:
        raise Corrupt("tree node ends before its boundary")
