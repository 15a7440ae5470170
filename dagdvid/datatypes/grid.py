"""Volumes cut into blocks: boxes of voxels and of blocks, in the order of their keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dagdvid.datatype import key_text
from dagdvid.errors import BadRequest
from dagdvid.geometry import COORDINATE_LIMIT, Box, Point
from dagdvid.kernels.morton import BIAS, decode, keys_of_box

__all__ = [
    "SPACE",
    "STORABLE",
    "Pasting",
    "block_coordinates",
    "bricks",
    "extent_of_keys",
    "morton_blocks",
    "overlaps",
    "parse_blocks",
    "part",
    "slabs",
]

KEY = 9
"""Bytes of a block's key: its scale and its Morton code."""

SPACE = "blocks"
"""The key space of the blocks of a volume."""


STORABLE = Box(Point(-BIAS, -BIAS, -BIAS), Point(2 * BIAS, 2 * BIAS, 2 * BIAS))
"""The block coordinates that a key can name."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)

Slices = tuple[slice, slice, slice]
"""An index [z, y, x]."""


def block_coordinates(span: Box) -> None:
    """Raises BadRequest: a box of blocks that keys cannot name."""
    if not STORABLE.contains(span):
        raise BadRequest(f"block coordinates must lie between {-BIAS} and {BIAS - 1}")


def extent_of_keys(first: bytes, last: bytes) -> dict[str, Any]:
    """The box of blocks, as JSON, that encloses those above one key (at it, if both are the same) and up to another.

    {"scale", "first": [x, y, z], "size": [x, y, z]} in blocks; of keys that are none of a block, {"keys": [...]}.
    """
    if len(last) != KEY or len(first) not in (0, KEY):
        return {"keys": [key_text(first), key_text(last)]}
    scale, end = last[0], int.from_bytes(last[1:], "big")
    at = 0 if first[:1] != last[:1] else int.from_bytes(first[1:], "big") + (first != last)
    low, high = np.full(3, 2 * BIAS), np.full(3, -BIAS)
    while at <= end:  # the range as cubes that are each one range of codes, as large as they can be
        side = 1
        while at % (8 * side**3) == 0 and at + 8 * side**3 - 1 <= end:
            side *= 2
        corner = decode(np.array([at], np.uint64))[0]
        low, high = np.minimum(low, corner), np.maximum(high, corner + side)
        at += side**3
    return {"blocks": {"scale": scale, "first": low.tolist(), "size": (high - low).tolist()}}


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


def slabs(box: Box, depth: int, most: int) -> Iterator[Box]:
    """A box of voxels in z, in whole layers of blocks of a depth (but for its ends), of `most` voxels if that is enough
    for a layer.
    """
    step = depth * max(1, most // (box.size.x * box.size.y * depth))
    z, end = box.offset.z, box.end.z
    while z < end:
        upto = min(end, (z // depth) * depth + step)
        yield Box(Point(box.offset.x, box.offset.y, z), Point(box.size.x, box.size.y, upto - z))
        z = upto


def morton_blocks(span: Box, scale: int = 0) -> tuple[list[Point], list[bytes]]:
    """The block coordinates of a box of blocks and their keys at a scale, both in the order of the keys.

    Raises:
        BadRequest: a block that no key can name.
    """
    places, keys = keys_of_box(tuple(span.offset), tuple(span.size), scale)
    width, layer = span.size.x, span.size.x * span.size.y
    first = span.offset
    return [Point(first.x + at % width, first.y + at % layer // width, first.z + at // layer) for at in places], keys


def overlaps(block: Point, box: Box, span: Box) -> list[list[tuple[slice, slice]]]:
    """Where the blocks (of a size) of a span, which a box of voxels touches, overlap with that box: along x, y and z,
    for each block the index in the box's array and the index in the block's.
    """
    found = []
    for edge, at, count, first, size in zip(block, span.offset, span.size, box.offset, box.size, strict=True):
        line = []
        for start in range(at * edge - first, (at + count) * edge - first, edge):
            begin, end = max(start, 0), min(start + edge, size)
            line.append((slice(begin, end), slice(begin - start, end - start)))
        found.append(line)
    return found


class Pasting:
    """Copies parts of blocks into a volume, row by row: what numpy does voxel by voxel takes twice as long."""

    def __init__(self, volume: NDArray[Any], shape: tuple[int, int, int]) -> None:
        """Args: the volume [z, y, x], whole and in order in memory; the shape of a block."""
        item = volume.itemsize
        self._volume = volume
        self._item = item
        self._out = volume.shape[1] * volume.shape[2] * item, volume.shape[2] * item
        self._in = shape[1] * shape[2] * item, shape[2] * item

    def __call__(self, block: bytes, here: Slices, there: Slices) -> None:
        """Put the voxels `there` of a block's bytes `here` into the volume. Slices have both ends and no step."""
        (z, y, x), (bz, by, bx) = here, there
        item, out, into = self._item, self._out, self._in
        row = np.dtype((np.void, (x.stop - x.start) * item))
        rows = z.stop - z.start, y.stop - y.start
        target = np.ndarray(rows, row, self._volume, z.start * out[0] + y.start * out[1] + x.start * item, out)
        target[...] = np.ndarray(rows, row, block, bz.start * into[0] + by.start * into[1] + bx.start * item, into)


def part(box: Box, index: Slices) -> Box:
    """The part of a box that an index [z, y, x] of its array means."""
    z, y, x = index
    size = Point(x.stop - x.start, y.stop - y.start, z.stop - z.start)
    return Box(box.offset + Point(x.start, y.start, z.start), size)


def parse_blocks(text: str) -> list[Point]:
    """The block coordinates of a list "x,y,z,x,y,z,...".

    Raises:
        BadRequest: not three integers for each block.
    """
    parts = text.split(",") if text else []
    if len(parts) % 3:
        raise BadRequest(f"blocks must be three coordinates for each block, not {len(parts)} numbers")
    for number in parts:
        if not _INTEGER.fullmatch(number):
            raise BadRequest(f"a block coordinate must be an integer, not {number[:40]!r}")
    numbers = [int(number) for number in parts]
    if any(not -COORDINATE_LIMIT <= number < COORDINATE_LIMIT for number in numbers):
        raise BadRequest("block coordinates must fit 32 bits")
    return [Point(*numbers[i : i + 3]) for i in range(0, len(numbers), 3)]
