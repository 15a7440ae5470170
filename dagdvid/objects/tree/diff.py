"""What differs between two trees, streamed in key order in the time of the difference."""

from __future__ import annotations

from collections.abc import Iterator

from dagdvid.objects.tree.node import Value
from dagdvid.objects.tree.nodes import Nodes, NodeWriter
from dagdvid.objects.tree.walker import Walker, common

__all__ = ["Change", "diff"]

Change = tuple[bytes, Value | None, Value | None]
"""A key with its value before and after; None where it is absent."""


def diff(nodes: Nodes | NodeWriter, a: bytes, b: bytes) -> Iterator[Change]:
    """The changes from root `a` to root `b`. Subtrees that both have are never opened."""
    if a == b:
        return
    old, new = Walker(nodes.read, a), Walker(nodes.read, b)
    while True:
        if old.keys or new.keys:
            if not old.keys and old.peek():
                old.open()
                continue
            if not new.keys and new.peek():
                new.open()
                continue
            yield from _compare(old, new)
            continue
        x, y = old.peek(), new.peek()
        if x is None and y is None:
            return
        if x is None:
            new.open()
        elif y is None or x.level > y.level:
            old.open()
        elif x.level < y.level:
            new.open()
        elif n := common(old, new):
            old.skip(n)
            new.skip(n)
        else:
            old.open()
            new.open()


def _compare(old: Walker, new: Walker) -> list[Change]:
    """The changes among the loaded entries, as far as both are known."""
    bound = min(w.keys[-1] for w in (old, new) if w.keys)
    before, after = (dict(zip(*w.take_through(bound), strict=True)) for w in (old, new))
    changed = {key for key, _ in before.items() ^ after.items()}
    return [(key, before.get(key), after.get(key)) for key in sorted(changed)]
