"""The coarser scales of a label volume: each voxel is the vote of eight (`kernels.downres_ref`), none is ever stale."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from dagdvid.datatype import Txn
from dagdvid.datatypes.grid import SPACE
from dagdvid.datatypes.labelmap.properties import Layout
from dagdvid.geometry import Point
from dagdvid.kernels import labelblocks
from dagdvid.kernels.morton import encode_keys

__all__ = ["coarser", "follow"]

_BATCH = 32
"""Blocks that are computed together."""
_OCTANTS = tuple((x, y, z) for z in (0, 1) for y in (0, 1) for x in (0, 1))
_TWO = Point(2, 2, 2)


def follow(txn: Txn, layout: Layout, changed: Iterable[Point]) -> None:
    """Compute the blocks of all coarser scales above changed blocks of scale 0."""
    for scale in range(1, layout.levels + 1):
        changed = sorted({place // _TWO for place in changed}, key=lambda place: (place.z, place.y, place.x))
        for at in range(0, len(changed), _BATCH):
            _compute(txn, layout, scale, changed[at : at + _BATCH])


def _compute(txn: Txn, layout: Layout, scale: int, places: Sequence[Point]) -> None:
    corners = np.array([(place + place).as_list() for place in places], np.int64)
    children = (corners[:, None] + np.array(_OCTANTS)).reshape(-1, 3)
    found = txn.get_many(SPACE, encode_keys(children, scale - 1))
    keys = encode_keys(np.array([place.as_list() for place in places], np.int64), scale)
    entries = ((key, coarser(layout, found[8 * i : 8 * i + 8])) for i, key in enumerate(keys))
    txn.put_many(SPACE, entries, layout.codec)


def coarser(layout: Layout, octants: Sequence[bytes | None]) -> bytes:
    """The block of a scale from its eight of the next finer one, x fastest, then y, then z; None is label 0."""
    block = np.zeros(layout.shape, np.uint64)
    bz, by, bx = (edge // 2 for edge in layout.shape)
    for (x, y, z), data in zip(_OCTANTS, octants, strict=True):
        if data is not None:
            labelblocks.downres_into(data, block, (z * bz, y * by, x * bx))
    return labelblocks.encode(block)
