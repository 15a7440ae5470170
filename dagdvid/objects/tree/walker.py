"""Steps through a tree subtree by subtree, opening only what it is told to: the ground of diff and merge."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import NamedTuple

from dagdvid.objects.tree.node import Child, Node, Value

__all__ = ["Run", "Subtree", "Walker", "common"]


class Subtree(NamedTuple):
    """The next subtree of a walk."""

    level: int
    key: bytes
    """Its last key."""
    child: Child
    last: bool
    """It is the last of its level, so its end may be early."""


class Run(NamedTuple):
    """Subtrees that stand side by side under one parent."""

    level: int
    keys: list[bytes]
    """Their last keys."""
    children: list[Child]
    last: bool
    """The last of them is the last of its level."""


class _Frame:
    __slots__ = ("at", "last", "node")

    def __init__(self, node: Node, last: bool) -> None:
        self.node = node
        self.at = 0
        self.last = last


class Walker:
    """A position in a tree: before a subtree (`peek`), or inside an opened leaf (`keys` not empty)."""

    def __init__(self, read: Callable[[bytes, int | None], Node], root: bytes) -> None:
        self._read = read
        self._frames: list[_Frame] = []
        self._root: Subtree | None = None
        self.keys: list[bytes] = []
        """What is left of the opened leaf."""
        self.values: list[Value] = []
        node = read(root, None)
        if node.n:
            self._root = Subtree(node.level, node.keys[-1], Child(root, *node.totals()), True)

    def peek(self) -> Subtree | None:
        """The next subtree, or None at the end."""
        if self._root is not None:
            return self._root
        while self._frames:
            frame = self._frames[-1]
            node, i = frame.node, frame.at
            if i < node.n:
                return Subtree(node.level - 1, node.keys[i], node.children[i], frame.last and i == node.n - 1)
            self._frames.pop()
        return None

    def skip(self, n: int = 1) -> None:
        """Pass the next n subtrees of the same parent."""
        if self._root is not None:
            self._root = None
        else:
            self._frames[-1].at += n

    def open(self) -> None:
        """Open the next subtree: stand before its first child, or load a leaf."""
        subtree = self.peek()
        if subtree is None:
            return
        node = self._read(subtree.child.id, subtree.level)
        self.skip()
        if node.level:
            self._frames.append(_Frame(node, subtree.last))
        else:
            self.keys, self.values = node.keys, node.values

    def take_through(self, key: bytes) -> tuple[list[bytes], list[Value]]:
        """The loaded entries up to and including a key; they are passed."""
        n = bisect_right(self.keys, key)
        taken = self.keys[:n], self.values[:n]
        self.keys, self.values = self.keys[n:], self.values[n:]
        return taken

    def run_through(self, key: bytes) -> Run | None:
        """The next subtrees of one parent that end at or before a key; they are passed. None if there are none."""
        subtree = self.peek()
        return None if subtree is None or subtree.key > key else self._run(lambda keys, at: bisect_right(keys, key, at))

    def run_before(self, key: bytes | None) -> Run | None:
        """The next subtrees of one parent that end before a key, or at all if it is None; they are passed."""
        if key is None:
            return self._run(lambda keys, _: len(keys)) if self.peek() else None
        subtree = self.peek()
        return None if subtree is None or subtree.key >= key else self._run(lambda keys, at: bisect_left(keys, key, at))

    def _run(self, find_end: Callable[[list[bytes], int], int]) -> Run:
        if self._root is not None:
            root, self._root = self._root, None
            return Run(root.level, [root.key], [root.child], True)
        frame = self._frames[-1]
        node, start = frame.node, frame.at
        frame.at = end = find_end(node.keys, start)
        return Run(node.level - 1, node.keys[start:end], node.children[start:end], frame.last and end == node.n)

    def last_key(self, n: int) -> bytes:
        """The last key of the next n subtrees of one parent."""
        return self._root.key if self._root is not None else self._frames[-1].node.keys[self._frames[-1].at + n - 1]

    def siblings(self) -> list[bytes]:
        """The ids of the next subtree and of those after it under the same parent."""
        if self._root is not None:
            return [self._root.child.id]
        return self._frames[-1].node.ids[self._frames[-1].at :] if self.peek() else []

    @property
    def ended(self) -> bool:
        """Nothing is left, loaded or not."""
        return not self.keys and self.peek() is None


def common(a: Walker, b: Walker) -> int:
    """How many subtrees that both stand before are the same."""
    n = 0
    for x, y in zip(a.siblings(), b.siblings(), strict=False):
        if x != y:
            break
        n += 1
    return n
