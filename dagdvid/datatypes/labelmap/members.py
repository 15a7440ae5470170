"""Which supervoxels bodies have: the space `members` (SPEC 9.10).

Under body (8 bytes big-endian) || page (7 bytes big-endian) stand the lowest bytes of the supervoxels that the body has
of a page, ascending; the page is the rest of their bytes. So a body of many supervoxels is few entries where their ids
are near each other, and a change touches one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from dagdvid.datatype import Snapshot, Txn
from dagdvid.datatypes.labelmap.counts import key_of

__all__ = ["MEMBERS", "add", "are_members", "clear", "contains", "read", "remove"]

MEMBERS = "members"


def read(view: Snapshot, body: int) -> NDArray[np.uint64]:
    """The supervoxels of a body, ascending."""
    prefix = key_of(body)
    keys, values = [], []
    for key, value in view.items(MEMBERS, prefix, key_of(body + 1) if body + 1 < 1 << 64 else None):
        keys.append(key[8:])
        values.append(value)
    return _joined(keys, values)


def _joined(pages: Sequence[bytes], values: Sequence[bytes]) -> NDArray[np.uint64]:
    if not pages:
        return np.empty(0, np.uint64)
    high = np.frombuffer(b"".join(page + b"\0" for page in pages), ">u8").astype(np.uint64)
    lows = np.frombuffer(b"".join(values), np.uint8)
    return np.repeat(high, [len(value) for value in values]) | lows


def _paged(body: int, supervoxels: NDArray[np.uint64]) -> Iterator[tuple[bytes, bytes]]:
    """The keys and lowest bytes of supervoxels, which ascend."""
    if not supervoxels.size:
        return
    prefix = key_of(body)
    pages = supervoxels >> np.uint64(8)
    starts = np.flatnonzero(np.concatenate(([True], pages[1:] != pages[:-1])))
    ends = [*starts[1:].tolist(), len(pages)]
    names = pages[starts].astype(">u8").tobytes()
    lows = (supervoxels & np.uint64(0xFF)).astype(np.uint8).tobytes()
    for i, (start, end) in enumerate(zip(starts.tolist(), ends, strict=True)):
        yield prefix + names[8 * i + 1 : 8 * i + 8], lows[start:end]


def add(txn: Txn, body: int, supervoxels: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Give a body supervoxels, which ascend. Returns those that it had already."""
    paged = list(_paged(body, supervoxels))
    had: list[bytes] = []
    had_pages: list[bytes] = []
    puts = []
    for (key, lows), old in zip(paged, txn.get_many(MEMBERS, [key for key, _ in paged]), strict=True):
        if old is None:
            puts.append((key, lows))
            continue
        both = set(old) & set(lows)
        if both:
            had_pages.append(key[8:])
            had.append(bytes(sorted(both)))
        puts.append((key, bytes(sorted({*old, *lows}))))
    txn.put_many(MEMBERS, puts)
    return _joined(had_pages, had)


def remove(txn: Txn, body: int, supervoxels: NDArray[np.uint64]) -> None:
    """Take supervoxels, which ascend, from a body."""
    paged = list(_paged(body, supervoxels))
    puts = []
    for (key, lows), old in zip(paged, txn.get_many(MEMBERS, [key for key, _ in paged]), strict=True):
        rest = bytes(sorted(set(old or b"") - set(lows)))
        if rest:
            puts.append((key, rest))
        elif old is not None:
            txn.delete(MEMBERS, key)
    txn.put_many(MEMBERS, puts)


def clear(txn: Txn, body: int, supervoxels: NDArray[np.uint64]) -> None:
    """Take from a body all that it has."""
    for key, _ in _paged(body, supervoxels):
        txn.delete(MEMBERS, key)


def contains(view: Snapshot, bodies: Sequence[int], supervoxels: Sequence[int]) -> list[bool]:
    """Whether each body has a supervoxel."""
    keys = [key_of(body) + (label >> 8).to_bytes(7, "big") for body, label in zip(bodies, supervoxels, strict=True)]
    found = view.get_many(MEMBERS, keys)
    return [page is not None and label & 0xFF in page for page, label in zip(found, supervoxels, strict=True)]


def are_members(mine: NDArray[np.uint64], asked: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which of those asked for are among `mine`; both ascend."""
    if not mine.size:
        return np.zeros(len(asked), np.bool_)
    at = np.minimum(np.searchsorted(mine, asked), len(mine) - 1)
    found: NDArray[np.bool_] = mine[at] == asked
    return found
