"""Writes canonical trees from entries and whole subtrees in key order; every other verb that writes goes through it."""

from __future__ import annotations

from typing import Any

from dagdvid.objects.ids import ObjectType
from dagdvid.objects.tree.node import Child, Value, encode_inner, encode_leaf
from dagdvid.objects.tree.nodes import NodeWriter
from dagdvid.objects.tree.splitter import cuts

__all__ = ["Builder"]


class _Level:
    """The open node of one level, and what was closed."""

    __slots__ = ("closed", "items", "keys", "last")

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.items: list[Any] = []
        """Values on level 0, children above."""
        self.closed = 0
        self.last: bytes = b""


class Builder:
    """Takes entries in ascending order, and subtrees of canonical trees where the nodes are aligned.

    A node ends where the entries since its beginning say so. A subtree that follows such an end is therefore what this
    tree would hold, too, and is taken over unread, whatever stands before it.
    """

    def __init__(self, writer: NodeWriter) -> None:
        self.writer = writer
        self._levels = [_Level()]

    def entries(self, keys: list[bytes], values: list[Value]) -> None:
        """Add entries, all above what was added before."""
        self._feed(0, keys, values)

    def aligned(self, level: int) -> bool:
        """Whether a node of this level may be taken over: no node is open at it or below."""
        return not any(lv.keys for lv in self._levels[: level + 1])

    def subtrees(self, level: int, keys: list[bytes], children: list[Child]) -> None:
        """Take over nodes of a level by their last keys. The caller sees to `aligned(level)`.

        None may be the last of its level in the tree that it comes from, unless it is the last here, too: such a node
        may end early.
        """
        if not keys:
            return
        self._level(level).closed += len(keys)
        self._level(level).last = children[-1].id
        for below in self._levels[:level]:
            below.closed += 2
        self._feed(level + 1, keys, children)

    def copy(self, level: int, keys: list[bytes], children: list[Child], *, last: bool) -> None:
        """Take over nodes of a level, opened as far as alignment asks. `last`: the last of them ends its level."""
        i, n = 0, len(keys)
        while i < n:
            whole = n - 1 if last else n
            if i < whole and self.aligned(level):
                self.subtrees(level, keys[i:whole], children[i:whole])
                i = whole
                continue
            node = self.writer.read(children[i].id, level)
            i += 1
            if level:
                self.copy(level - 1, node.keys, node.children, last=last and i == n)
            else:
                self.entries(node.keys, node.values)

    def finish(self) -> bytes:
        """Close all and return the id of the root: the first level that has one node."""
        for level in range(2**16):
            lv = self._level(level)
            if lv.keys:
                self._close(level, lv.keys, lv.items)
                lv.keys, lv.items = [], []
            if level == 0 and not lv.closed:
                return self.writer.write(ObjectType.LEAF, encode_leaf([], []))
            if lv.closed == 1:
                return self._highest(lv.last, level)
        raise AssertionError("a tree of 65,536 levels")

    def _highest(self, root: bytes, level: int) -> bytes:
        """The root, where the only node of a level was taken over: the end of its level may have a single child."""
        while level:
            node = self.writer.read(root, level)
            if node.n > 1:
                break
            root, level = node.ids[0], level - 1
        return root

    def _level(self, level: int) -> _Level:
        while len(self._levels) <= level:
            self._levels.append(_Level())
        return self._levels[level]

    def _feed(self, level: int, keys: list[bytes], items: list[Any]) -> None:
        lv = self._level(level)
        held = len(lv.keys)
        ends = cuts(keys, level, held)
        lv.keys = lv.keys + keys
        lv.items = lv.items + items
        if not ends:
            return
        start = 0
        up_keys, up_children = [], []
        for end in ends:
            stop = held + end
            up_keys.append(lv.keys[stop - 1])
            up_children.append(self._encode(level, lv.keys[start:stop], lv.items[start:stop]))
            start = stop
        lv.closed += len(ends)
        lv.last = up_children[-1].id
        lv.keys, lv.items = lv.keys[start:], lv.items[start:]
        self._feed(level + 1, up_keys, up_children)

    def _close(self, level: int, keys: list[bytes], items: list[Any]) -> None:
        child = self._encode(level, keys, items)
        lv = self._levels[level]
        lv.closed += 1
        lv.last = child.id
        self._feed(level + 1, [keys[-1]], [child])

    def _encode(self, level: int, keys: list[bytes], items: list[Any]) -> Child:
        if level == 0:
            size = sum(map(len, keys)) + sum(len(v) if type(v) is bytes else v.size for v in items)
            return Child(self.writer.write(ObjectType.LEAF, encode_leaf(keys, items)), len(keys), size)
        entries, size = sum(c.entries for c in items), sum(c.size for c in items)
        return Child(self.writer.write(ObjectType.NODE, encode_inner(level, keys, items)), entries, size)
