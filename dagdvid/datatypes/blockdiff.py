"""What changed between two versions of a volume: blocks, by name, and the box of them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dagdvid.datatypes.grid import SPACE
from dagdvid.geometry import ONE, Box, Point, parse_point
from dagdvid.kernels.morton import decode_keys, encode_keys

__all__ = ["BlockDiffer", "block_key", "blocks_between"]


def block_key(text: str) -> tuple[str, bytes]:
    """Key space and key of the block x,y,z of the finest scale.

    Raises:
        BadRequest: not three integers, or outside of what keys can hold.
    """
    return SPACE, encode_keys(np.array([_block(text).as_list()], np.int64))[0]


def blocks_between(first: str, last: str) -> Callable[[str, bytes], bool]:
    """Whether a key is a block of the box between two corner blocks, both included.

    Raises:
        BadRequest: a corner that is not three integers.
    """
    low, high = _block(first).as_list(), _block(last).as_list()

    def chosen(space: str, key: bytes) -> bool:
        if space != SPACE:
            return False
        place = decode_keys([key])[1][0].tolist()
        return all(a <= x <= b for a, x, b in zip(low, place, high, strict=True))

    return chosen


def _block(text: str) -> Point:
    return parse_point(text, "a block", ",")


class BlockDiffer:
    """Names changed blocks, and keeps the box that they span."""

    def __init__(self, block: Point) -> None:
        """`block`: voxels of a block along each axis."""
        self._block = block
        self._seen: Box | None = None

    def describe(self, space: str, key: bytes) -> dict[str, Any] | None:
        """{"block": [x,y,z], "box": [first voxel, last voxel]} and "scale" if it is not 0; None for the extents."""
        if space != SPACE:
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
