"""Three-way merge: takes over whole subtrees where only one side changed, and asks about keys that both changed."""

from __future__ import annotations

from collections.abc import Callable

from dagdvid.objects.tree.builder import Builder
from dagdvid.objects.tree.node import Value
from dagdvid.objects.tree.nodes import NodeWriter
from dagdvid.objects.tree.walker import Walker, common

__all__ = ["Resolve", "merge"]

Resolve = Callable[[bytes, Value | None, Value | None, Value | None], Value | None]
"""(key, base, ours, theirs) -> what the key shall be, None for absent; may raise to refuse the merge."""


def merge(writer: NodeWriter, base: bytes, ours: bytes, theirs: bytes, resolve: Resolve) -> bytes:
    """The root of the tree that has the changes of both sides since `base`.

    `resolve` is called, in key order, for each key that both sides changed differently. Entries are read where both
    sides changed something near; elsewhere the subtrees of the side that did are spliced, unread.
    """
    if ours in (base, theirs):
        return theirs
    if theirs == base:
        return ours
    out = Builder(writer)
    o, a, b = (Walker(writer.read, root) for root in (base, ours, theirs))
    walkers = (o, a, b)
    while not all(w.ended for w in walkers):
        if _splice_unchanged(out, o, a, b) or _splice_gap(out, o, a, b):
            continue
        closed = [(subtree.level, w) for w in walkers if not w.keys and (subtree := w.peek())]
        if closed:
            top = max(level for level, _ in closed)
            for level, w in closed:
                if level == top:
                    w.open()
        else:
            _merge_entries(out, o, a, b, resolve)
    return out.finish()


def _splice_unchanged(out: Builder, o: Walker, a: Walker, b: Walker) -> bool:
    """Where two stand before the same subtrees, the third decides for all keys through their end, whatever it holds."""
    for same, other, third, decides in ((o, b, a, a), (o, a, b, b), (a, b, o, a)):
        if same.keys or other.keys:
            continue
        n = common(same, other)
        if n:
            bound = same.last_key(n)
            if decides is third:
                same.skip(n)
            else:
                _pass_through(same, bound, out)
            other.skip(n)
            _pass_through(third, bound, out if decides is third else None)
            return True
    return False


def _pass_through(w: Walker, bound: bytes, out: Builder | None) -> None:
    """Pass all up to and including a key, on to `out` if there is one; only what reaches beyond the key is opened."""
    passed = b""
    while passed < bound and not w.ended:
        if w.keys:
            if w.keys[0] > bound:
                return
            keys, values = w.take_through(bound)
            if out:
                out.entries(keys, values)
        elif run := w.run_through(bound):
            level, keys, children, last = run
            if out:
                out.copy(level, keys, children, last=last)
        else:
            w.open()
            continue
        passed = keys[-1]


def _splice_gap(out: Builder, o: Walker, a: Walker, b: Walker) -> bool:
    """Subtrees that lie wholly before the next key of the two others are an insertion (or were removed by both)."""
    for w, others in ((a, (o, b)), (b, (o, a)), (o, (a, b))):
        subtree = None if w.keys else w.peek()
        if subtree is None or not all(v.ended or (v.keys and v.keys[0] > subtree.key) for v in others):
            continue
        starts = [v.keys[0] for v in others if v.keys]
        run = w.run_before(min(starts)) if starts else w.run_before(None)
        if run and w is not o:
            level, keys, children, last = run
            out.copy(level, keys, children, last=last)
        return True
    return False


def _merge_entries(out: Builder, o: Walker, a: Walker, b: Walker, resolve: Resolve) -> None:
    """Merge the loaded entries key by key, as far as all are known."""
    bound = min(w.keys[-1] for w in (o, a, b) if w.keys)
    base, ours, theirs = (dict(zip(*w.take_through(bound), strict=True)) for w in (o, a, b))
    by_us = {key for key, _ in base.items() ^ ours.items()}
    by_them = {key for key, _ in base.items() ^ theirs.items()}
    merged: dict[bytes, Value | None] = dict(ours)
    for key in by_them - by_us:
        merged[key] = theirs.get(key)
    for key in sorted(by_them & by_us):
        if ours.get(key) != theirs.get(key):
            merged[key] = resolve(key, base.get(key), ours.get(key), theirs.get(key))
    entries = sorted((key, value) for key, value in merged.items() if value is not None)
    out.entries([key for key, _ in entries], [value for _, value in entries])
