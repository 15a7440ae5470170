"""Three-way merge: takes over whole subtrees where only one side changed, and asks about keys that both changed."""

from __future__ import annotations

from collections.abc import Callable

from dagdvid.objects.tree.builder import Builder
from dagdvid.objects.tree.node import Value
from dagdvid.objects.tree.nodes import NodeWriter
from dagdvid.objects.tree.walker import Walker

__all__ = ["Resolve", "merge"]

Resolve = Callable[[bytes, Value | None, Value | None, Value | None], Value | None]
"""(key, base, ours, theirs) -> what the key shall be, None for absent; may raise to refuse the merge."""


def merge(writer: NodeWriter, base: bytes, ours: bytes, theirs: bytes, resolve: Resolve) -> bytes:
    """The root of the tree that has the changes of both sides since `base`.

    `resolve` is called, in key order, for each key that both sides changed differently. Costs O(changes of both), not
    counting runs of keys that one side inserted or left alone: those are spliced as subtrees.
    """
    if ours in (base, theirs):
        return theirs
    if theirs == base:
        return ours
    out = Builder(writer)
    o, a, b = (Walker(writer.read, root) for root in (base, ours, theirs))
    walkers = (o, a, b)
    while not all(w.ended for w in walkers):
        if any(w.keys for w in walkers):
            if _splice_gap(out, o, a, b):
                continue
            closed = next((w for w in walkers if not w.keys and w.peek()), None)
            if closed:
                closed.open()
            else:
                _merge_entries(out, o, a, b, resolve)
        elif not _splice_aligned(out, o, a, b):
            top = max(s.level for s in (w.peek() for w in walkers) if s)
            for w in walkers:
                subtree = w.peek()
                if subtree and subtree.level == top:
                    w.open()
    return out.finish()


def _splice_aligned(out: Builder, o: Walker, a: Walker, b: Walker) -> bool:
    """All stand at the same key: if the next subtrees end at one key, and at most one side changed, take that side."""
    x, p, q = o.peek(), a.peek(), b.peek()
    if not (x and p and q and x.key == p.key == q.key):
        return False
    if q.child.id in (p.child.id, x.child.id):
        chosen = p
    elif p.child.id == x.child.id:
        chosen = q
    else:
        return False
    out.copy(chosen.level, chosen.key, chosen.child, last=chosen.last)
    for w in (o, a, b):
        w.skip()
    return True


def _splice_gap(out: Builder, o: Walker, a: Walker, b: Walker) -> bool:
    """A subtree that lies wholly before the next key of the two others is an insertion (or was removed by both)."""
    for w, others in ((a, (o, b)), (b, (o, a)), (o, (a, b))):
        subtree = None if w.keys else w.peek()
        if subtree is None:
            continue
        if all(v.ended or (v.keys and v.keys[0] > subtree.key) for v in others):
            if w is not o:
                out.copy(subtree.level, subtree.key, subtree.child, last=subtree.last)
            w.skip()
            return True
    return False


def _merge_entries(out: Builder, o: Walker, a: Walker, b: Walker, resolve: Resolve) -> None:
    """Merge the loaded entries key by key, as far as all are known."""
    bound = min(w.keys[-1] for w in (o, a, b) if w.keys)
    base, ours, theirs = (w.take_through(bound) for w in (o, a, b))
    keys: list[bytes] = []
    values: list[Value] = []
    for key in sorted(base.keys() | ours.keys() | theirs.keys()):
        x, p, q = base.get(key), ours.get(key), theirs.get(key)
        if p == q or q == x:
            value = p
        elif p == x:
            value = q
        else:
            value = resolve(key, x, p, q)
        if value is not None:
            keys.append(key)
            values.append(value)
    out.entries(keys, values)
