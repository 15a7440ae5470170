"""The coarser scales of a label volume: each voxel is the vote of eight (`kernels.downres_ref`), none is ever stale.

A write leaves an empty entry for each block above those that it changes, and reads nothing, so that many writers need
not wait for each other. Such a block is computed when it is read, by the background, and before a commit is made
(`Datatype.deferred`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from dagdvid.datatype import Snapshot, Txn
from dagdvid.datatypes.grid import SPACE
from dagdvid.datatypes.labelmap.properties import Layout
from dagdvid.geometry import Point
from dagdvid.kernels import labelblocks
from dagdvid.kernels.morton import decode_keys, encode_keys

__all__ = ["coarser", "compute", "filled", "load", "put_off"]

_OCTANTS = np.array([(x, y, z) for z in (0, 1) for y in (0, 1) for x in (0, 1)], np.int64)


def put_off(txn: Txn, layout: Layout, changed: Iterable[Point]) -> None:
    """Leave empty entries for the blocks of all coarser scales above changed blocks of scale 0."""
    places = np.array([place.as_list() for place in changed], np.int64).reshape(-1, 3)
    for scale in range(1, layout.levels + 1):
        places = np.unique(places >> 1, axis=0)
        txn.put_many(SPACE, ((key, b"") for key in encode_keys(places, scale)))


def load(view: Snapshot, layout: Layout, keys: Sequence[bytes], located: Sequence[Any | None]) -> list[bytes | None]:
    """Located blocks; those that stand empty are computed."""
    return filled(view, layout, keys, view.load(located))


def filled(view: Snapshot, layout: Layout, keys: Sequence[bytes], found: list[bytes | None]) -> list[bytes | None]:
    """Blocks as they are stored, those computed that stand empty."""
    for at, data in enumerate(found):
        if data == b"":
            found[at] = _computed(view, layout, keys[at])
    return found


def compute(txn: Txn, layout: Layout, keys: Sequence[bytes]) -> None:
    """Store the blocks of some empty entries."""
    txn.put_many(SPACE, ((key, _computed(txn, layout, key)) for key in keys), layout.codec)


def _computed(view: Snapshot, layout: Layout, key: bytes) -> bytes:
    """The block of a coarser scale; of those below it that stand empty, too, nothing is kept but the way to it."""
    scales, places = decode_keys([key])
    finer = int(scales[0]) - 1
    view.expect(8 * layout.block_bytes << 3 * finer)
    keys = encode_keys(2 * places + _OCTANTS, finer)
    return coarser(layout, load(view, layout, keys, view.locate(SPACE, keys)))


def coarser(layout: Layout, octants: Sequence[bytes | None]) -> bytes:
    """The block of a scale from its eight of the next finer one, x fastest, then y, then z; None is label 0."""
    block = np.zeros(layout.shape, np.uint64)
    bz, by, bx = (edge // 2 for edge in layout.shape)
    for (x, y, z), data in zip(_OCTANTS.tolist(), octants, strict=True):
        if data is not None:
            labelblocks.downres_into(data, block, (z * bz, y * by, x * bx))
    return labelblocks.encode(block)
