"""Where nodes end (SPEC 5.3): a rule on counts and keys alone, so that equal entries always give equal nodes.

With c entries in the open node, the candidate included, and h = xxh3_64(key, seed of the level): never cut below 128,
else cut when h < 2^64/512 (c < 256), h < 2^64/64 (c < 384), h < 2^64/16 (c < 512), and always at 512.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from xxhash import xxh3_64_intdigest

from dagdvid.objects.tree.node import MAX_ENTRIES

__all__ = ["MAX_ENTRIES", "MIN_ENTRIES", "cuts", "is_cut", "seed"]

MIN_ENTRIES = 128
_ZONES = ((128, 256, 2**64 // 512), (256, 384, 2**64 // 64), (384, 512, 2**64 // 16))
_SEED = int.from_bytes(b"dagdvid\0", "big")


def seed(level: int) -> int:
    """The hash seed of a level, so that the last keys of one level are unbiased on the next."""
    return _SEED + level


def is_cut(key: bytes, count: int, level: int) -> bool:
    """Whether a node that holds `count` entries ends after `key`: the rule, word for word."""
    if count >= MAX_ENTRIES:
        return True
    h = xxh3_64_intdigest(key, seed(level))
    return any(lo <= count < hi and h < limit for lo, hi, limit in _ZONES)


def cuts(keys: Sequence[bytes], level: int, open_count: int = 0) -> list[int]:
    """Positions in `keys` at which nodes end (each is one past a node's last key).

    `open_count` entries of the open node stand before `keys` and held no cut.
    """
    n = len(keys)
    if open_count + n < MIN_ENTRIES:
        return []
    s = seed(level)
    h = np.fromiter((xxh3_64_intdigest(key, s) for key in keys), np.uint64, n)
    candidates = np.flatnonzero(h < _ZONES[-1][2])
    hashes = h[candidates]
    zones = [(lo, hi, candidates[hashes < limit].tolist()) for lo, hi, limit in _ZONES]
    result: list[int] = []
    start = -open_count
    while True:
        end = start + MAX_ENTRIES
        for lo, hi, hits in zones:
            i = bisect_left(hits, start + lo - 1)
            if i < len(hits) and hits[i] < start + hi - 1:
                end = hits[i] + 1
                break
        if end > n:
            return result
        result.append(end)
        start = end
