"""Planes of any orientation: three corners in physical units, trilinear interpolation (DVID: imageblk/arb_image.go)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dagdvid.datatype import Snapshot
from dagdvid.datatypes.grid import SPACE
from dagdvid.datatypes.imageblk.blocks import BlockLayout
from dagdvid.datatypes.imageblk.formats import VoxelFormat
from dagdvid.datatypes.imageblk.ops import batch_blocks
from dagdvid.errors import BadRequest
from dagdvid.kernels.morton import BIAS, encode_keys
from dagdvid.routes import MAX_BODY

__all__ = ["Slanted", "parse_slanted", "sample"]

_TILE = 1 << 16
"""Pixels that are interpolated together."""
_TABLE = 1 << 20
"""Blocks of a box that are told apart by a table of all of them rather than by sorting."""
_MOST = 1 << 26
"""Pixels of an image: beyond, one request would keep a core busy for minutes."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Slanted:
    """A plane: where its first pixel lies, in physical units, and the steps to the next one right and down."""

    corner: Floats
    right: Floats
    down: Floats
    width: int
    height: int


def parse_slanted(top_left: str, top_right: str, bottom_left: str, pixel: str) -> Slanted:
    """The plane of three corners and the size of a pixel, as in a URL.

    As many pixels as fit between two corners and one more: the last one lies on the corner.

    Raises:
        BadRequest: malformed, a pixel that is not above 0, or too many of them.
    """
    corner, right, down = (_point(text) for text in (top_left, top_right, bottom_left))
    size = _number(pixel)
    if size <= 0:
        raise BadRequest(f"a pixel must be larger than {pixel}")
    steps = []
    for end in (right, down):
        count = math.floor(min(math.dist(end, corner) / size, _MOST))
        steps.append((count + 1, (end - corner) / max(count, 1)))
    (width, along), (height, below) = steps
    if width * height > _MOST:
        raise BadRequest(f"an image of {width} by {height} pixels is too large: it may have {_MOST} at most")
    return Slanted(corner, along, below, width, height)


def _point(text: str) -> Floats:
    parts = text.split("_")
    if len(parts) != 3:
        raise BadRequest(f"a corner must be three numbers with '_' between them, not {text[:80]!r}")
    return np.array([_number(part) for part in parts])


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadRequest(f"{text[:40]!r} is no number")
    return value


def sample(
    view: Snapshot, layout: BlockLayout, voxels: VoxelFormat, resolution: list[float], plane: Slanted
) -> NDArray[Any]:
    """The pixels of a plane, [row, column] or [row, column, channel]; where no block is stored, of the background.

    Raises:
        BadRequest: voxels that cannot be interpolated, a resolution that is not above 0, or an image that is too large.
    """
    if voxels.channel.itemsize == 8:
        raise BadRequest(f"{voxels.typename} has no planes of any orientation: 64 bits do not interpolate")
    if min(resolution) <= 0:
        raise BadRequest(f"a resolution of {resolution} gives no place to a plane: set another one")
    if plane.width * plane.height * layout.voxel.itemsize > MAX_BODY:
        raise BadRequest(f"an image of {plane.width} by {plane.height} pixels is too large")
    edge = np.array((resolution + resolution[-1:] * 2)[:3])
    image = np.empty((plane.height * plane.width,), layout.voxel)
    for start in range(0, len(image), _TILE):
        pixel = np.arange(start, min(start + _TILE, len(image)))
        row, column = (each[:, None] for each in divmod(pixel, plane.width))
        at = (plane.corner + column * plane.right + row * plane.down) / edge
        _fill(view, layout, voxels, at, image[start : start + _TILE])
    return voxels.channels(image.reshape(plane.height, plane.width))


def _fill(view: Snapshot, layout: BlockLayout, voxels: VoxelFormat, at: Floats, out: NDArray[Any]) -> None:
    """Interpolate at points (N, 3) in voxels; in parts, if they lie in more blocks than are to be held."""
    low = np.floor(at)
    weights = at - low
    corners = np.stack([low, np.ceil(at)])  # [lower or upper, point, axis]
    lattice = np.stack([corners[[i & 1, i >> 1 & 1, i >> 2], :, [0, 1, 2]].T for i in range(8)])
    lattice = np.clip(lattice, -(2.0**62), 2.0**62).astype(np.int64)
    size = np.array(layout.block.as_list(), np.int64)
    blocks, which = _distinct((lattice // size).reshape(-1, 3))
    if len(blocks) > batch_blocks(layout) and len(at) > 1:
        step = -(-len(at) // (len(blocks) // batch_blocks(layout) + 1))
        for start in range(0, len(at), step):
            _fill(view, layout, voxels, at[start : start + step], out[start : start + step])
        return
    stack, places = _blocks(view, layout, blocks)
    x, y, z = np.moveaxis(lattice % size, -1, 0)
    values = _values(stack, places[which].reshape(x.shape), (z * layout.block.y + y) * layout.block.x + x, voxels)
    out[:] = _packed(_interpolated(values, weights), voxels)


def _distinct(blocks: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The different ones of block coordinates (N, 3), and which of them each is."""
    low, high = blocks.min(axis=0), blocks.max(axis=0)
    spans = [int(last) - int(first) + 1 for first, last in zip(low, high, strict=True)]
    if math.prod(spans) >= 1 << 62:
        rows, which = np.unique(blocks, axis=0, return_inverse=True)
        return rows, which.reshape(-1)
    x, y, z = (blocks - low).T
    places = (z * spans[1] + y) * spans[0] + x
    if math.prod(spans) > _TABLE:
        found, which = np.unique(places, return_inverse=True)
    else:
        there = np.zeros(math.prod(spans), bool)
        there[places] = True
        found, which = np.flatnonzero(there), (np.cumsum(there) - 1)[places]
    rows = np.stack([found % spans[0], found // spans[0] % spans[1], found // (spans[0] * spans[1])], axis=1)
    return rows + low, which


def _blocks(view: Snapshot, layout: BlockLayout, blocks: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Blocks of voxels side by side, [block, voxel], and for each of those asked for its place there.

    One that is not stored is the first, which is blank.
    """
    there = np.flatnonzero(((blocks >= -BIAS) & (blocks < BIAS)).all(axis=1))
    found = view.get_many(SPACE, encode_keys(blocks[there]))
    stored = [(i, data) for i, data in zip(there.tolist(), found, strict=True) if data is not None]
    stack = np.full((1 + len(stored), layout.block.product), layout.blank, layout.voxel)
    places = np.zeros(len(blocks), np.int64)
    for place, (i, data) in enumerate(stored, 1):
        stack[place] = layout.voxels(data).reshape(-1)
        places[i] = place
    return stack, places


def _values(
    stack: NDArray[Any], which: NDArray[np.int64], voxel: NDArray[np.int64], voxels: VoxelFormat
) -> NDArray[Any]:
    """The channels of voxels, each given by its block in the stack and its place there.

    Where there are several channels, DVID counts that many bytes from the beginning of the block, not voxels
    (arb_image.go, computeValue). Its answers are on record, and so are ours.
    """
    if voxels.voxel == voxels.channel:
        return stack[which, voxel]
    channel = np.arange(voxels.voxel.itemsize)
    found: NDArray[Any] = stack.view(np.uint8)[which[..., None], voxel[..., None] + channel]
    return found


def _interpolated(values: NDArray[Any], weights: Floats) -> Floats:
    """Values [corner, point] or [corner, point, channel] by their distances: corner bit 0 is x, bit 1 y, bit 2 z."""
    result = values.astype(np.float64)
    for axis in range(3):
        weight = weights[:, axis].reshape(-1, *[1] * (values.ndim - 2))
        result = result[0::2] * (1 - weight) + result[1::2] * weight
    whole: Floats = result[0]
    return whole


def _packed(values: Floats, voxels: VoxelFormat) -> NDArray[Any]:
    """Numbers as voxels: rounded where those are integers."""
    channel = voxels.channel
    if channel.kind != "f":
        values = np.floor(values + 0.5)
    numbers = np.ascontiguousarray(values.astype(channel))
    return numbers if voxels.voxel == channel else numbers.view(voxels.voxel)[..., 0]
