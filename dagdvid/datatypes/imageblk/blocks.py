"""Cutting volumes into blocks and putting them together again: arrays and bytes only.

Volumes are arrays [z, y, x] of opaque voxels; a stored block is its voxels in the same order (x fastest), whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dagdvid.errors import Corrupt
from dagdvid.geometry import Box, Point
from dagdvid.kernels.morton import encode, keys_of_codes

__all__ = ["BlockLayout", "bricks", "morton_blocks"]


@dataclass(frozen=True, slots=True)
class BlockLayout:
    """How voxels lie in blocks: the size of a block in voxels, and the type of a voxel."""

    block: Point
    voxel: np.dtype[Any]

    @property
    def block_bytes(self) -> int:
        """Bytes of one stored block."""
        return self.block.product * self.voxel.itemsize

    def box(self, block: Point) -> Box:
        """The voxels of one block."""
        return Box(block * self.block, self.block)

    def cut(self, volume: NDArray[Any], origin: Point, block: Point) -> bytes:
        """One block of a volume.

        Args:
            volume: array [z, y, x] that holds the whole block.
            origin: voxel coordinate of its first element.
            block: block coordinate.
        """
        return volume[self.box(block).slices(origin)].tobytes()

    def paste(self, volume: NDArray[Any], box: Box, block: Point, data: bytes) -> None:
        """Copy the part of a stored block that lies in `box` into `volume`, the array [z, y, x] of that box.

        Raises:
            Corrupt: the data do not have the size of a block.
        """
        if len(data) != self.block_bytes:
            raise Corrupt(f"block {block} has {len(data)} bytes, not {self.block_bytes}")
        whole = self.box(block)
        shared = whole.intersection(box)
        if shared is not None:
            source = np.frombuffer(data, self.voxel).reshape(whole.shape)
            volume[shared.slices(box.offset)] = source[shared.slices(whole.offset)]


def bricks(span: Box, most: int) -> Iterator[Box]:
    """A box in pieces of at most `most` (>= 1) units, halved along the longest axis as often as needed."""
    if span.volume <= most:
        yield span
        return
    size = span.size.as_list()
    axis = size.index(max(size))
    first, rest, shift = size.copy(), size.copy(), [0, 0, 0]
    first[axis] = shift[axis] = size[axis] // 2
    rest[axis] -= first[axis]
    yield from bricks(Box(span.offset, Point(*first)), most)
    yield from bricks(Box(span.offset + Point(*shift), Point(*rest)), most)


def morton_blocks(span: Box) -> tuple[list[Point], list[bytes]]:
    """The block coordinates of a box of blocks and their keys at scale 0, both in the order of the keys.

    Raises:
        BadRequest: a block that no key can name.
    """
    z, y, x = np.indices(span.shape, np.int64).reshape(3, -1)
    coords = np.stack([x, y, z], axis=1) + np.array(span.offset.as_list(), np.int64)
    codes = encode(coords)
    order = np.argsort(codes)
    return [Point(*row) for row in coords[order].tolist()], keys_of_codes(codes[order])
