"""Reading and writing boxes of voxels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dagdvid.datatype import Codec, Snapshot, Txn
from dagdvid.datatypes.grid import (
    SPACE,
    STORABLE,
    Pasting,
    block_coordinates,
    bricks,
    morton_blocks,
    overlaps,
    part,
    slabs,
)
from dagdvid.datatypes.imageblk.blocks import BlockLayout
from dagdvid.datatypes.masks import Mask
from dagdvid.errors import BadRequest
from dagdvid.geometry import Box, Point
from dagdvid.kernels.morton import keys_of_box

__all__ = [
    "SPACE",
    "batch_blocks",
    "read",
    "read_box",
    "read_over_background",
    "write",
    "write_blocks",
]

_Cut = tuple[bytes, Point, NDArray[Any]]
"""Key, block coordinate and voxels of a block."""
_SLAB_BYTES = 16 << 20
_BATCH_BYTES = 32 << 20
_BATCH_BLOCKS = 1 << 16
_CHUNK_BYTES = 1 << 20


def batch_blocks(layout: BlockLayout) -> int:
    """How many blocks are fetched or cut at once."""
    return max(1, min(_BATCH_BLOCKS, _BATCH_BYTES // layout.block_bytes))


def read(view: Snapshot, layout: BlockLayout, box: Box, mask: Mask | None = None) -> Iterator[bytes]:
    """The voxels of a box in z, y, x order, in chunks. What was never stored, or never can be, is 0.

    All is of one moment, though read slab by slab: holds a slab, a few layers of blocks, and a batch of blocks.
    """
    for slab, batches in _located(view, layout, list(slabs(box, layout.block.z, _SLAB_BYTES // layout.voxel.itemsize))):
        flat = _array(view, layout, slab, batches, mask).reshape(-1).view(np.uint8)
        for at in range(0, flat.size, _CHUNK_BYTES):
            yield flat[at : at + _CHUNK_BYTES].tobytes()


def read_box(view: Snapshot, layout: BlockLayout, box: Box, mask: Mask | None = None) -> NDArray[Any]:
    """The voxels of a box as `read` has them, as one array [z, y, x]."""
    ((_, batches),) = _located(view, layout, [box])
    return _array(view, layout, box, batches, mask)


def read_over_background(view: Snapshot, layout: BlockLayout, box: Box) -> NDArray[Any]:
    """As `read_box`, but what was never stored is the background."""
    ((_, batches),) = _located(view, layout, [box])
    return _array(view, layout, box, batches, absent=layout.blank)


class _Batch(NamedTuple):
    """Blocks that are read together: some of a brick of blocks."""

    brick: Box
    places: list[int]
    """Where each is in the brick's array [z, y, x]."""
    values: list[Any | None]
    """What the store has of each, unread."""


def _located(view: Snapshot, layout: BlockLayout, boxes: Sequence[Box]) -> Iterator[tuple[Box, list[_Batch]]]:
    """Boxes of voxels with the stored blocks of each, all of one moment."""
    found: list[tuple[Box, list[tuple[Box, list[int]]]]] = []
    keys: list[bytes] = []
    for box in boxes:
        span = box.blocks(layout.block).intersection(STORABLE)
        batches = []
        for brick in bricks(span, batch_blocks(layout)) if span is not None else ():
            places, named = keys_of_box(tuple(brick.offset), tuple(brick.size))
            batches.append((brick, places))
            keys += named
        found.append((box, batches))
    values = view.locate(SPACE, keys) if keys else []
    at = 0
    for box, batches in found:
        done = []
        for brick, places in batches:
            done.append(_Batch(brick, places, values[at : at + len(places)]))
            at += len(places)
        yield box, done


def _array(
    view: Snapshot,
    layout: BlockLayout,
    box: Box,
    batches: Sequence[_Batch],
    mask: Mask | None = None,
    absent: Any = None,
) -> NDArray[Any]:
    """The voxels of a box, as an array [z, y, x]; of what was never stored, 0 or `absent`."""
    stored = sum(len(values) - values.count(None) for _, _, values in batches)
    if stored == box.blocks(layout.block).volume:
        volume = np.empty(box.shape, layout.voxel)
    else:
        volume = np.zeros(box.shape, layout.voxel) if absent is None else np.full(box.shape, absent, layout.voxel)
    copy = Pasting(volume, layout.shape)
    for brick, places, values in batches:
        along_x, along_y, along_z = overlaps(layout.block, box, brick)
        width, layer = brick.size.x, brick.size.x * brick.size.y
        for place, data in zip(places, view.load(values), strict=True):
            if data is not None:
                z, y, x = along_z[place // layer], along_y[place % layer // width], along_x[place % width]
                here, there = (z[0], y[0], x[0]), (z[1], y[1], x[1])
                if mask is None:
                    copy(layout.plain(data), here, there)
                else:
                    volume[here] = mask.shown(layout.voxels(data)[there], part(box, here), layout.blank)
    return volume


def write(txn: Txn, layout: BlockLayout, box: Box, data: bytes, codec: int, mask: Mask | None = None) -> None:
    """Store the voxels of a box of whole blocks, given in z, y, x order; with a mask only those inside the region.

    Raises:
        BadRequest: not on the grid of blocks, data of another length, or blocks beyond STORABLE.
    """
    if not box.aligned(layout.block):
        raise BadRequest(
            f"size {box.size} at offset {box.offset} is not made of whole blocks: both must be multiples of the block "
            f"size {layout.block}"
        )
    wanted = box.volume * layout.voxel.itemsize
    if len(data) != wanted:
        raise BadRequest(f"the body has {len(data)} bytes, but size {box.size} takes {wanted}")
    span = box.blocks(layout.block)
    block_coordinates(span)
    volume = np.frombuffer(data, layout.voxel).reshape(box.shape)
    for brick in bricks(span, batch_blocks(layout)):
        blocks, keys = morton_blocks(brick)
        cut: Iterator[_Cut] = (
            (key, block, layout.cut(volume, box.offset, block)) for key, block in zip(keys, blocks, strict=True)
        )
        if mask is not None:
            cut = _masked(txn, layout, mask, cut)
        write_blocks(txn, layout, ((key, voxels) for key, _, voxels in cut), codec)


def write_blocks(txn: Txn, layout: BlockLayout, blocks: Iterator[tuple[bytes, NDArray[Any]]], codec: int) -> None:
    """Store whole blocks [z, y, x] under their keys."""
    txn.put_many(SPACE, ((key, layout.stored(voxels)) for key, voxels in blocks), Codec.RAW if layout.jpeg else codec)


def _masked(txn: Txn, layout: BlockLayout, mask: Mask, blocks: Iterator[_Cut]) -> Iterator[_Cut]:
    """Blocks that hold some of a region, what lies outside of it as it was before."""
    for key, block, voxels in blocks:
        inside = mask.region.mask(layout.box(block))
        if inside.all():
            yield key, block, voxels
        elif inside.any():
            old = txn.get(SPACE, key)
            yield key, block, np.where(inside, voxels, layout.blank if old is None else layout.voxels(old))
