"""What changed between two versions of an image volume: blocks, and the box of them all."""

from __future__ import annotations

from typing import Any

from dagdvid.datatypes.imageblk import ops
from dagdvid.geometry import ONE, Box, Point
from dagdvid.kernels.morton import decode_keys

__all__ = ["BlockDiffer"]


class BlockDiffer:
    """Names changed blocks, and keeps the box that they span."""

    def __init__(self, block: Point) -> None:
        """`block`: voxels of a block along each axis."""
        self._block = block
        self._seen: Box | None = None

    def describe(self, space: str, key: bytes) -> dict[str, Any] | None:
        """{"block": [x,y,z], "box": [first voxel, last voxel]} and "scale" if it is not 0; None for the extents."""
        if space != ops.SPACE:
            return None
        scales, coords = decode_keys([key])
        block, scale = Point(*coords[0].tolist()), int(scales[0])
        box = Box(block, ONE).voxels(self._block)
        seen = self._seen
        self._seen = (
            box if seen is None else Box.spanning(seen.offset.smallest(box.offset), seen.last.largest(box.last))
        )
        found: dict[str, Any] = {"block": block.as_list(), "box": [box.offset.as_list(), box.last.as_list()]}
        return {**found, "scale": scale} if scale else found

    def summary(self) -> dict[str, Any]:
        """{"box": [first voxel, last voxel]} over all changed blocks, or {} if there are none."""
        if self._seen is None:
            return {}
        return {"box": [self._seen.offset.as_list(), self._seen.last.as_list()]}
