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
    met: list[bytes] = []  # of what both reach, what is first on each way back from b
    front, seen = [b], {b}
    while front:
        name = front.pop(0)
        if name in ours:
            met.append(name)
            continue
        fresh = [parent for parent in parents(name) if parent not in seen]
        seen.update(fresh)
        front += dict.fromkeys(fresh)
    for name in met:
        others = [parent for other in met if other != name for parent in parents(other)]
        if name not in _reach(others, parents):
            return name
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
