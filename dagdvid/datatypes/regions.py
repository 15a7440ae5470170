"""Regions of interest as they are stored, for the roi datatype and for others that mask their voxels by one.

A region lies in the key space `layers`: for each z of blocks that has spans, the z biased by 2^31 as 4 bytes
big-endian, and under it the spans of that layer (SPEC 9.6). A layer is small enough to be read whole, and two versions
that changed different layers, or different blocks of one, merge.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from dagdvid.datatype import Snapshot, Txn
from dagdvid.datatypes.spans import Spans, SpanSet
from dagdvid.errors import BadRequest, Corrupt
from dagdvid.geometry import COORDINATE_LIMIT, Box, Point

__all__ = [
    "LOCK_SPACE",
    "SPACE",
    "TYPENAME",
    "Region",
    "decode_layer",
    "encode_layer",
    "key_of_z",
    "read_spans",
    "region",
    "replace",
    "z_of_key",
]

TYPENAME = "roi"
SPACE = "layers"
LOCK_SPACE = "lock"
_LOCK = b"spans"
"""Every change reads and writes this key, so that of two at the same time one is run again, and they never mix."""
_SPAN = np.dtype("<i4")


def key_of_z(z: int) -> bytes:
    """The key of a layer of blocks."""
    return (z + COORDINATE_LIMIT).to_bytes(4, "big")


def z_of_key(key: bytes) -> int:
    """The layer of a key.

    Raises:
        Corrupt: not such a key.
    """
    if len(key) != 4:
        raise Corrupt("the key of a layer of blocks must have 4 bytes")
    return int.from_bytes(key, "big") - COORDINATE_LIMIT


def encode_layer(spans: Spans) -> bytes:
    """The value of a layer: y, x0, x1 of each span as little-endian i32, in order."""
    return spans[:, 1:].astype(_SPAN).tobytes()


def decode_layer(key: bytes, value: bytes) -> Spans:
    """The spans (N, 4) of a stored layer.

    Raises:
        Corrupt: not such an entry.
    """
    if not value or len(value) % 12:
        raise Corrupt(f"a layer of blocks cannot have {len(value)} bytes")
    rows = np.frombuffer(value, _SPAN).reshape(-1, 3).astype(np.int64)
    return np.insert(rows, 0, z_of_key(key), axis=1)


def read_spans(view: Snapshot, first: int = -COORDINATE_LIMIT, last: int = COORDINATE_LIMIT - 1) -> Spans:
    """The spans of an ROI instance in the layers from z = first to last, in order."""
    end = key_of_z(last + 1) if last + 1 < COORDINATE_LIMIT else None
    layers = [decode_layer(key, value) for key, value in view.items(SPACE, key_of_z(first), end)]
    return np.concatenate(layers) if layers else np.empty((0, 4), np.int64)


def replace(txn: Txn, spans: Spans) -> None:
    """Make a region of these spans (in order, each once), whatever it was before."""
    txn.get(LOCK_SPACE, _LOCK)
    cuts = np.flatnonzero(np.diff(spans[:, 0])) + 1
    layers = {key_of_z(int(layer[0, 0])): layer for layer in np.split(spans, cuts)} if len(spans) else {}
    for key in list(txn.keys(SPACE)):
        if key not in layers:
            txn.delete(SPACE, key)
    txn.put_many(SPACE, [(key, encode_layer(layer)) for key, layer in layers.items()])
    if layers:
        txn.put(LOCK_SPACE, _LOCK, b"1")
    else:
        txn.delete(LOCK_SPACE, _LOCK)


class Region:
    """Blocks of voxels, of any size of block: what is inside and what is not."""

    def __init__(self, block: Point, spans: Spans) -> None:
        """`block`: voxels of a block along each axis; `spans`: in block coordinates."""
        self.block = block
        self._set = SpanSet(spans)

    def blocks(self, span: Box) -> NDArray[np.bool_]:
        """For a box of the region's own blocks: which are inside, as an array [z, y, x]."""
        z, y, x = np.indices(span.shape, np.int64).reshape(3, -1)
        coords = np.stack([x, y, z], axis=1) + np.array(span.offset.as_list(), np.int64)
        return self._set.holds(coords).reshape(span.shape)

    def mask(self, box: Box) -> NDArray[np.bool_]:
        """For a box of voxels: which are inside, as an array [z, y, x]."""
        span = box.blocks(self.block)
        mask = self.blocks(span)
        for axis, (size, first, count) in enumerate(_axes(self.block, span, box)):
            index = (np.arange(first, first + count) // size).astype(np.intp)
            mask = mask.take(index, axis)
        return mask

    def voxels(self, points: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each of the voxels (N, 3), in x, y, z order, is inside."""
        return self._set.holds(points // np.array(self.block.as_list(), np.int64))


def _axes(block: Point, span: Box, box: Box) -> Iterable[tuple[int, int, int]]:
    """In z, y, x order: voxels of a block, where the box begins in the voxels of the span, and its size."""
    begin = box.offset - span.offset * block
    return zip(reversed(block.as_list()), reversed(begin.as_list()), box.shape, strict=True)


def region(view: Snapshot, name: str, box: Box) -> Region:
    """The ROI instance of a name, at the version of a view, as far as a box of voxels needs it.

    Raises:
        UnknownName: no such instance. BadRequest: it is not an ROI.
    """
    other = view.sibling(name)
    if other.instance.typename != TYPENAME:
        raise BadRequest(f"{name!r} cannot mask: it is of type {other.instance.typename}, not {TYPENAME}")
    block = Point(*other.instance.config["BlockSize"])
    span = box.blocks(block)
    return Region(block, read_spans(other, span.offset.z, span.last.z))
