"""Cutting volumes into blocks and putting them together again: arrays and bytes only.

Volumes are arrays [z, y, x] of opaque voxels; a stored block is its voxels in the same order (x fastest), whole, or the
gray JPEG of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dagdvid.errors import Corrupt
from dagdvid.geometry import Box, Point
from dagdvid.interchange.images import decode_gray_jpeg, encode_gray_jpeg

__all__ = ["BlockLayout"]


@dataclass(frozen=True, slots=True)
class BlockLayout:
    """How voxels lie in blocks, and blocks in the store."""

    block: Point
    """Voxels of a block along each axis."""
    voxel: np.dtype[Any]
    background: int = 0
    """What stands for nothing (0 to 255), in each byte."""
    jpeg: bool = False
    """Blocks are stored as JPEG: gray, as wide as a block, all its rows below each other."""

    @property
    def block_bytes(self) -> int:
        """Bytes of one block, its voxels side by side."""
        return self.block.product * self.voxel.itemsize

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape (z, y, x) of a block's array."""
        return self.block.z, self.block.y, self.block.x

    @property
    def blank(self) -> Any:
        """The voxel that stands for nothing. As in DVID, the background is for voxels of one byte alone."""
        byte = self.background if self.voxel.itemsize == 1 else 0
        return np.full(self.voxel.itemsize, byte, np.uint8).view(self.voxel)[0]

    def box(self, block: Point) -> Box:
        """The voxels of one block."""
        return Box(block * self.block, self.block)

    def stored(self, voxels: NDArray[Any]) -> bytes:
        """A block [z, y, x] as it is stored."""
        data = voxels.tobytes()
        return encode_gray_jpeg(np.frombuffer(data, np.uint8).reshape(self._jpeg_shape)) if self.jpeg else data

    def plain(self, data: bytes) -> bytes:
        """The voxels of a stored block, side by side.

        Raises:
            Corrupt: the data are not those of a block.
        """
        if self.jpeg:
            return decode_gray_jpeg(data, self._jpeg_shape).tobytes()
        if len(data) != self.block_bytes:
            raise Corrupt(f"a block has {len(data)} bytes, not {self.block_bytes}")
        return data

    def voxels(self, data: bytes) -> NDArray[Any]:
        """A stored block as an array [z, y, x].

        Raises:
            Corrupt: the data are not those of a block.
        """
        return np.frombuffer(self.plain(data), self.voxel).reshape(self.shape)

    @property
    def _jpeg_shape(self) -> tuple[int, int]:
        return self.block_bytes // self.block.x, self.block.x

    def cut(self, volume: NDArray[Any], origin: Point, block: Point) -> NDArray[Any]:
        """One block of a volume.

        Args:
            volume: array [z, y, x] that holds the whole block.
            origin: voxel coordinate of its first element.
            block: block coordinate.
        """
        return volume[self.box(block).slices(origin)]
