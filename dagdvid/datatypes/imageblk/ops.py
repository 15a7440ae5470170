"""Reading and writing boxes of voxels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dagdvid.datatype import Snapshot, Txn
from dagdvid.datatypes.imageblk.blocks import BlockLayout, bricks, morton_blocks
from dagdvid.errors import BadRequest
from dagdvid.geometry import Box, Point
from dagdvid.kernels.morton import BIAS

__all__ = ["SPACE", "STORABLE", "read", "write"]

SPACE = "blocks"

STORABLE = Box(Point(-BIAS, -BIAS, -BIAS), Point(2 * BIAS, 2 * BIAS, 2 * BIAS))
"""The block coordinates that a key can name."""

_SLAB_BYTES = 16 << 20
_BATCH_BYTES = 32 << 20
_BATCH_BLOCKS = 1 << 16
_CHUNK_BYTES = 1 << 20


def _batch_blocks(layout: BlockLayout) -> int:
    """How many blocks are fetched or cut at once."""
    return max(1, min(_BATCH_BLOCKS, _BATCH_BYTES // layout.block_bytes))


def read(view: Snapshot, layout: BlockLayout, box: Box) -> Iterator[bytes]:
    """The voxels of a box in z, y, x order, in chunks. What was never stored, or never can be, is 0.

    All is of one moment, though read slab by slab: holds a slab, a few layers of blocks, and a batch of blocks.
    """
    located = _locate(view, layout, box)
    for slab in _slabs(box, layout):
        flat = _read_array(view, layout, slab, located).reshape(-1).view(np.uint8)
        for at in range(0, flat.size, _CHUNK_BYTES):
            yield flat[at : at + _CHUNK_BYTES].tobytes()


def _slabs(box: Box, layout: BlockLayout) -> Iterator[Box]:
    """A box in z, in whole layers of blocks (but for its ends) of together about _SLAB_BYTES."""
    depth = layout.block.z
    layer_bytes = box.size.x * box.size.y * depth * layout.voxel.itemsize
    step = depth * max(1, _SLAB_BYTES // layer_bytes)
    z, end = box.offset.z, box.end.z
    while z < end:
        upto = min(end, (z // depth) * depth + step)
        yield Box(Point(box.offset.x, box.offset.y, z), Point(box.size.x, box.size.y, upto - z))
        z = upto


def _locate(view: Snapshot, layout: BlockLayout, box: Box) -> dict[bytes, Any]:
    """Where the stored blocks of a box lie, by key."""
    span = box.blocks(layout.block).intersection(STORABLE)
    if span is None:
        return {}
    keys = [key for brick in bricks(span, _batch_blocks(layout)) for key in morton_blocks(brick)[1]]
    return {key: at for key, at in zip(keys, view.locate(SPACE, keys), strict=True) if at is not None}


def _read_array(view: Snapshot, layout: BlockLayout, box: Box, located: dict[bytes, Any]) -> NDArray[Any]:
    """The voxels of a box, as an array [z, y, x]."""
    volume = np.zeros(box.shape, layout.voxel)
    span = box.blocks(layout.block).intersection(STORABLE)
    if span is not None:
        for brick in bricks(span, _batch_blocks(layout)):
            blocks, keys = morton_blocks(brick)
            for block, data in zip(blocks, view.load([located.get(key) for key in keys]), strict=True):
                if data is not None:
                    layout.paste(volume, box, block, data)
    return volume


def write(txn: Txn, layout: BlockLayout, box: Box, data: bytes, codec: int) -> None:
    """Store the voxels of a box of whole blocks, given in z, y, x order.

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
    if not STORABLE.contains(span):
        raise BadRequest(f"block coordinates must lie between {-BIAS} and {BIAS - 1}")
    volume = np.frombuffer(data, layout.voxel).reshape(box.shape)
    txn.put_many(SPACE, _cut(volume, layout, box.offset, span), codec)


def _cut(volume: NDArray[Any], layout: BlockLayout, origin: Point, span: Box) -> Iterator[tuple[bytes, bytes]]:
    """The keys and blocks of a volume."""
    for brick in bricks(span, _batch_blocks(layout)):
        blocks, keys = morton_blocks(brick)
        for block, key in zip(blocks, keys, strict=True):
            yield key, layout.cut(volume, origin, block)
