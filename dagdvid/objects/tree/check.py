"""Proves that a node is canonical (SPEC 5.5): what fsck and receivers of foreign nodes run."""

from __future__ import annotations

from dagdvid.errors import Corrupt
from dagdvid.objects.tree.node import INLINE, MAX_KEY, Node, Ref, encode_inner, encode_leaf, inline_limit
from dagdvid.objects.tree.splitter import MAX_ENTRIES, is_cut

__all__ = ["check_node"]


def check_node(node: Node, *, last: bool) -> None:
    """Check the form of one node: order, key and value rules, boundaries, encoding. `last`: it ends its level.

    Raises:
        Corrupt: the first rule it breaks.
    """
    keys = node.keys
    if node.n > MAX_ENTRIES:
        raise Corrupt(f"tree node of {node.n} entries")
    if any(not 0 < len(key) <= MAX_KEY for key in keys):
        raise Corrupt("tree node with an empty or overlong key")
    if any(a >= b for a, b in zip(keys, keys[1:], strict=False)):
        raise Corrupt("tree node with keys out of order")
    if node.level:
        canonical = encode_inner(node.level, keys, node.children)
    else:
        for key, value, kind in zip(keys, node.values, node.kinds, strict=True):
            size = value.size if isinstance(value, Ref) else len(value)
            if (kind == INLINE) != (size <= inline_limit(key)):
                raise Corrupt("tree leaf with a value in the wrong place")
        canonical = encode_leaf(keys, node.values)
    if canonical != node.data:
        raise Corrupt("tree node is not in canonical form")
    cut_at = [i for i, key in enumerate(keys, 1) if is_cut(key, i, node.level)]
    if cut_at[:1] not in ([], [node.n]):
        raise Corrupt("tree node reaches beyond a boundary")
    if not last and cut_at != [node.n]:
        raise Corrupt("tree node ends before its boundary")
