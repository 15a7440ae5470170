"""Applies sorted edits to a tree; bulk building is editing the empty tree."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import islice

from dagdvid.objects.tree.builder import Builder
from dagdvid.objects.tree.node import Node, Value
from dagdvid.objects.tree.nodes import EMPTY, NodeWriter

__all__ = ["Edit", "apply", "build"]

Edit = tuple[bytes, Value | None]
"""A key and its new value, or None to remove it."""

_BATCH = 8192


def apply(writer: NodeWriter, root: bytes, edits: Iterable[Edit]) -> bytes:
    """The root of the tree with the edits made: the same, whatever edits led there (SPEC 5.3).

    Edits must be strictly ascending by key; they are taken as a stream. Removing an absent key changes nothing. Costs
    O(edits x depth); nodes go to `writer`.

    Raises:
        ValueError: edits out of order, a key of the wrong length, a value of the wrong kind (SPEC 5.1). Nodes that were
            written before are garbage.
    """
    queue = _Edits(edits)
    if queue.next_key is None:
        return root
    builder = Builder(writer)
    _copy(builder, writer.read(root), queue, last=True)
    while rest := queue.take(_BATCH):
        _entries(builder, [], [], rest)
    return builder.finish()


def build(writer: NodeWriter, entries: Iterable[tuple[bytes, Value]]) -> bytes:
    """The root of a tree of strictly ascending entries."""
    return apply(writer, EMPTY, entries)


def _copy(builder: Builder, node: Node, queue: _Edits, *, last: bool) -> None:
    """Feed a node's entries to the builder, edited; subtrees without edits whole, where they are aligned."""
    if node.level == 0:
        if node.n:
            _entries(builder, node.keys, node.values, queue.take_through(node.keys[-1]))
        return
    below = node.level - 1
    i = 0
    while i < node.n:
        end = node.n if queue.next_key is None else bisect_left(node.keys, queue.next_key, i)
        if last and end == node.n and queue.next_key is not None:
            end = node.n - 1  # the last node of a level may end early, so what follows must be weighed with it
        if end > i and builder.aligned(below):
            builder.subtrees(below, node.keys[i:end], node.children[i:end])
            i = end
        else:
            _copy(builder, builder.writer.read(node.ids[i], below), queue, last=last and i == node.n - 1)
            i += 1


def _entries(builder: Builder, keys: list[bytes], values: list[Value], edits: list[Edit]) -> None:
    if not edits:
        builder.entries(keys, values)
        return
    entries = edits
    if keys:
        merged: dict[bytes, Value | None] = dict(zip(keys, values, strict=True))
        merged.update(edits)
        entries = sorted(merged.items(), key=lambda entry: entry[0])
    kept = [(key, value) for key, value in entries if value is not None]
    if kept:
        builder.entries([key for key, _ in kept], [value for _, value in kept])


class _Edits:
    """A stream of edits, taken by key."""

    def __init__(self, edits: Iterable[Edit]) -> None:
        self._source: Iterator[Edit] = iter(edits)
        self._held: list[Edit] = []
        self._keys: list[bytes] = []
        self._at = 0
        self._fill()

    @property
    def next_key(self) -> bytes | None:
        return self._keys[self._at] if self._at < len(self._keys) else None

    def take(self, n: int) -> list[Edit]:
        """The next n edits, fewer if the batch ends."""
        taken = self._held[self._at : self._at + n]
        self._at += len(taken)
        self._fill()
        return taken

    def take_through(self, key: bytes) -> list[Edit]:
        """All edits up to and including a key."""
        taken: list[Edit] = []
        while self._at < len(self._keys) and self._keys[self._at] <= key:
            end = bisect_left(self._keys, key + b"\0", self._at)
            taken += self._held[self._at : end]
            self._at = end
            self._fill()
        return taken

    def _fill(self) -> None:
        if self._at < len(self._keys):
            return
        last = self._keys[-1] if self._keys else None
        self._held = list(islice(self._source, _BATCH))
        self._keys = [key for key, _ in self._held]
        self._at = 0
        previous = last
        for key in self._keys:
            if previous is not None and key <= previous:
                raise ValueError(f"edits out of order: {key!r} after {previous!r}")
            previous = key
