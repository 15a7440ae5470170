"""Cuts large values where their content says (SPEC 2.4), so that an edit changes only the blobs around it.

h(i) is a 32-bit rolling hash of the last 32 bytes: the sum over j of GEAR[byte i-j] << j, modulo 2^32. A chunk of c
bytes ends after byte i: never for c < MIN, else when h(i) < 2^11 (c < NORMAL) or h(i) < 2^13, always at c = MAX.
"""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

__all__ = ["MAX", "MIN", "NORMAL", "chunks", "chunks_ref"]

MIN, NORMAL, MAX = 256 * 2**10, 2**20, 4 * 2**20
_EARLY, _LATE = 2**11, 2**13
_WINDOW = 32
_SEGMENT = 2**20

GEAR: NDArray[np.uint32] = np.array(
    [int.from_bytes(blake3(b"dagdvid gear" + bytes([i])).digest()[:4], "little") for i in range(256)], np.uint32
)


def chunks(data: bytes) -> list[tuple[int, int]]:
    """The half-open byte ranges of the chunks of a value, in order."""
    early: list[int] = []
    late: list[int] = []
    view = np.frombuffer(data, np.uint8)
    for start in range(0, len(data), _SEGMENT):
        lead = min(start, _WINDOW - 1)
        h = _hashes(view[start - lead : start + _SEGMENT])[lead:]
        hits = np.flatnonzero(h < _LATE)
        late.extend((hits + start).tolist())
        early.extend((hits[h[hits] < _EARLY] + start).tolist())
    result = []
    start = 0
    while start < len(data):
        end = min(
            _first(early, start + MIN - 1, start + NORMAL - 1),
            _first(late, start + NORMAL - 1, start + MAX - 1),
            start + MAX - 1,
            len(data) - 1,
        )
        result.append((start, end + 1))
        start = end + 1
    return result


def chunks_ref(data: bytes) -> list[tuple[int, int]]:
    """The same, byte by byte, as SPEC 2.4 reads."""
    result = []
    start = h = 0
    gear = [int(g) for g in GEAR]
    for i, byte in enumerate(data):
        h = ((h << 1) + gear[byte]) % 2**32
        c = i - start + 1
        limit = 0 if c < MIN else _EARLY if c < NORMAL else _LATE if c < MAX else 2**32
        if h < limit or i == len(data) - 1:
            result.append((start, i + 1))
            start = i + 1
    return result


def _hashes(data: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """h at every byte, by doubling: the hash of 2w bytes is that of w bytes plus the earlier one, shifted by w."""
    h = GEAR[data]
    width = 1
    while width < _WINDOW:
        shifted = h[:-width] << np.uint32(width)
        h = h.copy()
        h[width:] += shifted
        width *= 2
    return h


def _first(positions: list[int], lo: int, hi: int) -> int:
    """The first position in [lo, hi), or hi beyond every chunk."""
    i = bisect_left(positions, lo)
    return positions[i] if i < len(positions) and positions[i] < hi else 2**63
