"""Reading and writing boxes of labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dagdvid.datatype import Snapshot, Txn
from dagdvid.datatypes.grid import SPACE, STORABLE, block_coordinates, bricks, morton_blocks, overlaps, part, slabs
from dagdvid.datatypes.labelmap import blocks, pyramid
from dagdvid.datatypes.labelmap.blocks import Incoming
from dagdvid.datatypes.labelmap.properties import VOXEL, Layout
from dagdvid.datatypes.masks import Mask
from dagdvid.errors import BadRequest
from dagdvid.geometry import ONE, Box
from dagdvid.kernels import labelblocks
from dagdvid.kernels.morton import encode_keys, keys_of_box

__all__ = ["Reading", "read", "read_box", "read_points", "write"]

Labels = NDArray[np.uint64]

_SLAB = (16 << 20) // VOXEL.itemsize
_CHUNK_BYTES = 1 << 20
_BATCH = 256
"""Blocks that are loaded together."""


class Reading(NamedTuple):
    """What of a volume is read."""

    layout: Layout
    scale: int = 0
    """0 to 255; of scales that there are not, all is 0."""
    supervoxels: bool = False
    """Labels as they are stored, not those of their bodies."""

    def shown(self, view: Snapshot, keys: Sequence[bytes], located: Sequence[Any | None]) -> list[bytes | None]:
        """Located blocks with the labels that are asked for."""
        found = pyramid.load(view, self.layout, keys, located)
        return found if self.supervoxels else blocks.mapped(view, found)


def read(view: Snapshot, reading: Reading, box: Box, mask: Mask | None = None) -> Iterator[bytes]:
    """The labels of a box in z, y, x order, little-endian, in chunks: all of one moment, though read slab by slab."""
    parts = list(slabs(box, reading.layout.block.z, _SLAB))
    for slab, located in _located(view, reading, parts):
        flat = _array(view, reading, slab, located, mask).reshape(-1).view(np.uint8)
        for at in range(0, flat.size, _CHUNK_BYTES):
            yield flat[at : at + _CHUNK_BYTES].tobytes()


def read_box(view: Snapshot, reading: Reading, box: Box, mask: Mask | None = None) -> Labels:
    """The labels of a box, as an array [z, y, x]."""
    ((_, located),) = _located(view, reading, [box])
    return _array(view, reading, box, located, mask)


class _Batch(NamedTuple):
    """Blocks that are read together: some of a brick of blocks."""

    brick: Box
    places: list[int]
    """Where each is in the brick's array [z, y, x]."""
    keys: list[bytes]
    values: list[Any | None]
    """What the store has of each, unread."""


def _located(view: Snapshot, reading: Reading, boxes: list[Box]) -> Iterator[tuple[Box, list[_Batch]]]:
    """Boxes of voxels with the stored blocks of each, all of one moment."""
    found: list[tuple[Box, list[tuple[Box, list[int]]]]] = []
    keys: list[bytes] = []
    for box in boxes:
        span = box.blocks(reading.layout.block).intersection(STORABLE)
        batches = []
        for brick in bricks(span, _BATCH) if span is not None else ():
            places, named = keys_of_box(tuple(brick.offset), tuple(brick.size), reading.scale)
            batches.append((brick, places))
            keys += named
        found.append((box, batches))
    values = view.locate(SPACE, keys) if keys else []
    at = 0
    for box, batches in found:
        done = []
        for brick, places in batches:
            upto = at + len(places)
            done.append(_Batch(brick, places, keys[at:upto], values[at:upto]))
            at = upto
        yield box, done


def _array(view: Snapshot, reading: Reading, box: Box, batches: list[_Batch], mask: Mask | None = None) -> Labels:
    volume = np.zeros(box.shape, VOXEL)
    for brick, places, keys, values in batches:
        along_x, along_y, along_z = overlaps(reading.layout.block, box, brick)
        width, layer = brick.size.x, brick.size.x * brick.size.y
        for place, data in zip(places, reading.shown(view, keys, values), strict=True):
            if data is not None:
                z, y, x = along_z[place // layer], along_y[place % layer // width], along_x[place % width]
                here = (z[0], y[0], x[0])
                size = (here[0].stop - here[0].start, here[1].stop - here[1].start, here[2].stop - here[2].start)
                first = (z[1].start, y[1].start, x[1].start)
                labelblocks.decode_into(data, volume, (here[0].start, here[1].start, here[2].start), first, size)
                if mask is not None:
                    volume[here] = mask.shown(volume[here], part(box, here), 0)
    return volume


def read_points(view: Snapshot, reading: Reading, points: NDArray[np.int64]) -> Labels:
    """The labels at points (N, 3), x, y, z in each row, in the voxels of the scale."""
    found = np.zeros(len(points), np.uint64)
    if not len(points):
        return found
    edge = np.array(reading.layout.block.as_list(), np.int64)
    places, which = np.unique(points // edge, axis=0, return_inverse=True)
    low, high = np.array(STORABLE.offset.as_list()), np.array(STORABLE.end.as_list())
    there = np.flatnonzero(((places >= low) & (places < high)).all(axis=1))
    keys = encode_keys(places[there], reading.scale)
    located = view.locate(SPACE, keys)
    order = np.argsort(which.reshape(-1), kind="stable")
    ends = np.searchsorted(which.reshape(-1)[order], np.arange(len(places)), "right")
    starts = np.append(0, ends[:-1])
    within = points % edge
    for at in range(0, len(there), _BATCH):
        shown = reading.shown(view, keys[at : at + _BATCH], located[at : at + _BATCH])
        for place, data in zip(there[at : at + _BATCH].tolist(), shown, strict=True):
            if data is not None:
                rows = order[starts[place] : ends[place]]
                found[rows] = labelblocks.at(data, within[rows])
    return found


def write(txn: Txn, layout: Layout, box: Box, data: bytes, mask: Mask | None = None) -> None:
    """Store the labels of a box of whole blocks, given in z, y, x order; with a mask only those inside the region.

    Raises:
        BadRequest: not on the grid of blocks, data of another length, or blocks that keys cannot name.
    """
    if not box.aligned(layout.block):
        raise BadRequest(
            f"size {box.size} at offset {box.offset} is not made of whole blocks: both must be multiples of the block "
            f"size {layout.block}"
        )
    wanted = box.volume * VOXEL.itemsize
    if len(data) != wanted:
        raise BadRequest(f"the body has {len(data)} bytes, but size {box.size} takes {wanted}")
    span = box.blocks(layout.block)
    block_coordinates(span)
    volume = np.frombuffer(data, VOXEL).reshape(box.shape)
    blocks.store(txn, layout, 0, _cut(txn, layout, box, volume, span, mask))


def _cut(txn: Txn, layout: Layout, box: Box, volume: Labels, span: Box, mask: Mask | None) -> Iterator[Incoming]:
    """The blocks of a volume; what lies outside of a mask as it was before."""
    for brick in bricks(span, _BATCH):
        for place in morton_blocks(brick)[0]:
            voxels = Box(place, ONE).voxels(layout.block)
            labels = volume[voxels.slices(box.offset)]
            if mask is not None:
                inside = mask.region.mask(voxels)
                if not inside.any():
                    continue
                if not inside.all():
                    (old,) = txn.get_many(SPACE, blocks.keys_of([place], 0))
                    labels = np.where(inside, labels, 0 if old is None else labelblocks.decode(old))
            yield Incoming(place, labelblocks.encode_counted(labels))
