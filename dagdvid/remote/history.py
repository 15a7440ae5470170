"""Graphs of immutable objects with parents: what one side has and the other lacks (SPEC 8.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

__all__ = ["common_base", "in_order", "sample"]

Parents = Callable[[bytes], tuple[bytes, ...]]
_FIRST, _MOST = 10, 64


def in_order(tips: Iterable[bytes], known: Iterable[bytes], parents: Parents) -> list[bytes]:
    """All that the tips reach and the known ones do not, parents before children."""
    done = _reach(known, parents)
    order: list[bytes] = []
    stack = [(tip, False) for tip in tips]
    while stack:
        name, opened = stack.pop()
        if opened:
            order.append(name)
        elif name not in done:
            done.add(name)
            stack.append((name, True))
            stack += [(parent, False) for parent in parents(name)]
    return order


def sample(tips: Iterable[bytes], parents: Parents) -> list[bytes]:
    """The tips and, ever more sparsely, what is before them: enough to find common ground in one question."""
    chain: list[bytes] = []
    front = list(tips)
    seen: set[bytes] = set()
    while front:
        chain += [name for name in dict.fromkeys(front) if name not in seen]
        seen.update(front)
        front = list(dict.fromkeys(parent for name in front for parent in parents(name) if parent not in seen))
    picked = chain[:_FIRST]
    step, at = 1, _FIRST
    while at < len(chain) and len(picked) < _MOST - 1:
        picked.append(chain[at])
        step *= 2
        at += step
    return list(dict.fromkeys([*picked, *chain[-1:]]))


def common_base(a: bytes, b: bytes, parents: Parents) -> bytes | None:
    """The nearest that both reach, going back from `b`; None if they share nothing."""
    ours = _reach([a], parents)
    front, seen = [b], {b}
    while front:
        for name in front:
            if name in ours:
                return name
        front = [p for name in front for p in parents(name) if p not in seen and not seen.add(p)]  # type: ignore[func-returns-value]
    return None


def _reach(tips: Iterable[bytes], parents: Parents) -> set[bytes]:
    seen: set[bytes] = set()
    stack = list(tips)
    while stack:
        name = stack.pop()
        if name not in seen:
            seen.add(name)
            stack += parents(name)
    return seen
