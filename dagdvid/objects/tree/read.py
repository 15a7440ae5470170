"""Reads trees: one key, many keys, ranges, counts. All descend level by level, so that a level costs one batch."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from dagdvid.objects.tree.node import Node, Value
from dagdvid.objects.tree.nodes import Nodes

__all__ = ["Ahead", "Range", "Stats", "count", "get", "get_many", "last_before", "scan", "scan_ranges", "stats"]

_AHEAD = 32
"""Nodes that a scan fetches together."""
_LEAF = 16 * 2**10
"""Bytes of a leaf, about."""
Ahead = Callable[[Sequence[tuple[bytes, int]]], None]
"""Told of objects, and about their sizes, that will be read soon."""
_BATCH = 1024
"""Keys that are looked up together; at worst each in a leaf of its own."""


class Range(NamedTuple):
    """Keys lo <= key < hi; hi None is no end."""

    lo: bytes = b""
    hi: bytes | None = None


class Stats(NamedTuple):
    """What a tree holds."""

    entries: int
    size: int
    """Bytes of keys and values."""
    levels: int


def get(nodes: Nodes, root: bytes, key: bytes) -> Value | None:
    """The value of a key, or None."""
    node = nodes.read(root)
    while True:
        i = node.find(key)
        if i == node.n:
            return None
        if node.level == 0:
            return node.value(i) if node.keys[i] == key else None
        node = nodes.read(node.ids[i], node.level - 1)


def last_before(nodes: Nodes, root: bytes, hi: bytes) -> bytes | None:
    """The greatest key below `hi`, or None."""
    node = nodes.read(root)
    below: bytes | None = None
    while True:
        i = node.find(hi)
        below = node.keys[i - 1] if i else below
        if i == node.n or node.level == 0:
            return below
        node = nodes.read(node.ids[i], node.level - 1)


def get_many(nodes: Nodes, root: bytes, keys: Sequence[bytes], ahead: Ahead | None = None) -> list[Value | None]:
    """The values of ascending keys (duplicates allowed), None where absent.

    ahead: told which leaves will be read, where they are many.
    """
    result: list[Value | None] = [None] * len(keys)
    if ahead is not None and len(keys) > _BATCH:
        _announce(nodes, root, keys, ahead)
    for start in range(0, len(keys), _BATCH):
        _get_batch(nodes, root, keys, start, min(start + _BATCH, len(keys)), result)
    return result


def _announce(nodes: Nodes, root: bytes, keys: Sequence[bytes], ahead: Ahead) -> None:
    """Tell of the leaves that hold keys; reads what stands above them."""
    front = [nodes.read(root)]
    while front[0].level:
        level = front[0].level - 1
        below: dict[bytes, None] = {}
        at = 0
        for node in front:
            while at < len(keys) and (i := node.find(keys[at])) < node.n:
                below[node.ids[i]] = None
                at = bisect_left(keys, node.keys[i] + b"\0", at)
        if level == 0:
            ahead([(name, _LEAF) for name in below if nodes.cache.get(name) is None])
        if level == 0 or not below:
            return
        front = nodes.read_many(list(below), level)


def _get_batch(
    nodes: Nodes, root: bytes, keys: Sequence[bytes], start: int, stop: int, result: list[Value | None]
) -> None:
    """Look up keys[start:stop]: one batch of nodes a level."""
    front: list[tuple[Node, int, int]] = [(nodes.read(root), start, stop)]
    while front:
        level = front[0][0].level - 1
        wanted: list[tuple[bytes, int, int]] = []
        for node, lo, hi in front:
            if node.level == 0:
                _look_up(node, keys, lo, hi, result)
                continue
            start = lo
            while start < hi:
                i = node.find(keys[start])
                if i == node.n:
                    break
                end = bisect_left(keys, node.keys[i] + b"\0", start, hi)
                wanted.append((node.ids[i], start, end))
                start = end
        read = nodes.read_many([name for name, _, _ in wanted], level) if wanted else []
        front = [(node, lo, hi) for node, (_, lo, hi) in zip(read, wanted, strict=True)]


def _look_up(node: Node, keys: Sequence[bytes], lo: int, hi: int, result: list[Value | None]) -> None:
    at = 0
    for j in range(lo, hi):
        at = bisect_left(node.keys, keys[j], at)
        if at == node.n:
            return
        if node.keys[at] == keys[j]:
            result[j] = node.value(at)


def scan(
    nodes: Nodes, root: bytes, lo: bytes = b"", hi: bytes | None = None
) -> Iterator[tuple[list[bytes], list[Value]]]:
    """The entries with lo <= key < hi, a leaf at a time: (keys, values)."""
    return scan_ranges(nodes, root, [Range(lo, hi)])


def scan_ranges(nodes: Nodes, root: bytes, ranges: Sequence[Range]) -> Iterator[tuple[list[bytes], list[Value]]]:
    """The entries of ascending, disjoint ranges, a leaf at a time. Memory: some leaves a level, at any size.

    The lists may be those of the node itself: they are not for changing.
    """
    for leaf, i, j in _spans(nodes, nodes.read(root), list(ranges)):
        if (i, j) == (0, leaf.n):
            yield leaf.keys, leaf.values
        else:
            yield leaf.keys[i:j], [leaf.value(k) for k in range(i, j)]


def _spans(nodes: Nodes, node: Node, ranges: list[Range]) -> Iterator[tuple[Node, int, int]]:
    """The leaves that hold keys of the ranges, with the positions from and to which they do."""
    if node.level == 0:
        for lo, hi in ranges:
            i = node.find(lo)
            j = node.n if hi is None else node.find(hi)
            if i < j:
                yield node, i, j
        return
    wanted: dict[int, list[Range]] = {}
    for each in ranges:
        i = node.find(each.lo)
        j = node.n - 1 if each.hi is None else min(node.find(each.hi), node.n - 1)
        for k in range(i, j + 1):
            wanted.setdefault(k, []).append(each)
    order = list(wanted)
    for start in range(0, len(order), _AHEAD):
        part = order[start : start + _AHEAD]
        for k, child in zip(part, nodes.read_many([node.ids[k] for k in part], node.level - 1), strict=True):
            yield from _spans(nodes, child, wanted[k])


def count(nodes: Nodes, root: bytes, lo: bytes = b"", hi: bytes | None = None) -> int:
    """How many keys lie in lo <= key < hi; reads only the edges of the range."""
    node = nodes.read(root)
    if not lo and hi is None:
        return node.totals()[0]
    return max(0, (node.totals()[0] if hi is None else _rank(nodes, node, hi)) - _rank(nodes, node, lo))


def _rank(nodes: Nodes, node: Node, key: bytes) -> int:
    """How many keys lie below `key`."""
    below = 0
    while True:
        i = node.find(key)
        if node.level == 0:
            return below + i
        below += sum(child.entries for child in node.children[:i])
        if i == node.n:
            return below
        node = nodes.read(node.ids[i], node.level - 1)


def stats(nodes: Nodes, root: bytes) -> Stats:
    """Entries, bytes and levels of a tree, from its root alone."""
    node = nodes.read(root)
    return Stats(*node.totals(), node.level + 1)
