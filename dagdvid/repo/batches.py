"""Streams of changes in key order, and laying them over one another."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from dagdvid.errors import Corrupt
from dagdvid.objects.tree.node import Value

__all__ = ["Batch", "Batches", "in_batches", "overlaid", "present"]

Batch = tuple[list[bytes], Sequence[Value | None]]
"""Keys in order, and what each holds; None where it is removed. Never empty."""
Batches = Iterator[Batch]

_SIZE = 512


class _Held:
    """The batch of a stream that is being used up."""

    __slots__ = ("at", "keys", "stream", "values")

    def __init__(self, stream: Batches) -> None:
        self.stream = stream
        self.keys: list[bytes] = []
        self.values: Sequence[Value | None] = []
        self.at = 0

    def filled(self) -> bool:
        """Whether there is more."""
        if self.at == len(self.keys):
            batch = next(self.stream, None)
            if batch is None:
                return False
            self.keys, self.values = batch
            self.at = 0
            if not self.keys:
                raise Corrupt("an empty batch in a scan")
        return True

    def take(self, bound: bytes) -> Batch:
        """What there is up to a key."""
        start, self.at = self.at, bisect_right(self.keys, bound, self.at)
        if (start, self.at) == (0, len(self.keys)):
            return self.keys, self.values
        return self.keys[start : self.at], self.values[start : self.at]


def overlaid(streams: Sequence[Batches]) -> Batches:
    """Several streams as one: where they have the same key, the first of them counts. Holds one batch of each."""
    if len(streams) == 1:
        yield from streams[0]
        return
    held = [each for each in map(_Held, streams) if each.filled()]
    while held:
        bound = min(each.keys[-1] for each in held)
        parts = [part for each in held if (part := each.take(bound))[0]]
        if len(parts) == 1:
            yield parts[0]
        else:
            merged: dict[bytes, Value | None] = {}
            for keys, values in reversed(parts):
                merged.update(zip(keys, values, strict=True))
            order = sorted(merged)
            yield order, [merged[key] for key in order]
        held = [each for each in held if each.filled()]


def present(batches: Batches) -> Iterator[tuple[list[bytes], list[Value]]]:
    """Without what is removed."""
    for keys, values in batches:
        if None in values:
            kept = [(key, value) for key, value in zip(keys, values, strict=True) if value is not None]
            if kept:
                yield [key for key, _ in kept], [value for _, value in kept]
        else:
            yield keys, values  # type: ignore[misc]  # there is no None among them


def in_batches(changes: Sequence[tuple[bytes, Value | None]]) -> Batches:
    """Sorted changes as a stream."""
    for start in range(0, len(changes), _SIZE):
        part = changes[start : start + _SIZE]
        yield [key for key, _ in part], [value for _, value in part]
