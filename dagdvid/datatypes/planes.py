"""Planes along the axes as images: `raw` and `isotropic` in two dimensions, and a volume as one tall JPEG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dagdvid.errors import BadRequest
from dagdvid.geometry import COORDINATE_LIMIT, Box, Point, parse_plane_size, parse_point

__all__ = ["Plane", "flat", "isotropic_size", "plane_box", "scaled"]

Plane = NDArray[Any]
"""Voxels [row, column]."""


def plane_box(axes: tuple[int, ...], size: str, offset: str) -> Box:
    """The voxels of a plane, one thick: its width lies along the first of the axes, its height along the second.

    Raises:
        BadRequest: malformed, empty, or beyond 32-bit coordinates.
    """
    corner = parse_point(offset, "offset")
    extent = [1, 1, 1]
    for axis, count in zip(axes, parse_plane_size(size), strict=True):
        extent[axis] = count
    box = Box(corner, Point(*extent))
    if max(box.last) >= COORDINATE_LIMIT:
        raise BadRequest(f"size {size} at offset {corner} reaches beyond 32-bit coordinates")
    return box


def flat(volume: NDArray[Any], axes: tuple[int, ...]) -> NDArray[Any]:
    """A volume [z, y, x] of one plane as an image [row, column]; of all three axes, its planes below each other."""
    if len(axes) == 3:
        return volume.reshape(-1, volume.shape[2])
    (across,) = {0, 1, 2} - set(axes)
    plane: Plane = volume.take(0, 2 - across)
    return plane


def isotropic_size(axes: tuple[int, ...], box: Box, resolution: Sequence[float]) -> Box:
    """The part of a plane to read, so that scaled to the asked size its pixels are as large as the finer axis has them.

    DVID reads fewer voxels along the coarser axis, size * finer / coarser rounded (dvid/geometry.go, Isotropy2D), in
    numbers of 32 bits.

    Raises:
        BadRequest: nothing would be read.
    """
    a, b = axes
    size = box.size.as_list()
    res_a, res_b = (np.float32(resolution[min(axis, len(resolution) - 1)]) for axis in axes)
    if res_a == res_b:
        return box
    coarse, ratio = (b, (res_a, res_b)) if res_a < res_b else (a, (res_b, res_a))
    if ratio[0] <= 0:
        raise BadRequest(f"a resolution of {list(resolution)} has no isotropic image")
    size[coarse] = int(np.float32(size[coarse]) * ratio[0] / ratio[1] + np.float32(0.5))
    if size[coarse] < 1:
        raise BadRequest("the image is too small: along its coarser axis it does not reach half a voxel")
    return Box(box.offset, Point(*size))


def scaled(plane: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """A plane [row, column] or [row, column, channel] of numbers at another size.

    Each pixel is the mean of what it covers, rounded down for integers; of 64-bit integers, whose means need more bits
    than numbers have, the voxel at its beginning.
    """
    if plane.dtype.itemsize == 8:
        rows = np.arange(height) * plane.shape[0] // height
        columns = np.arange(width) * plane.shape[1] // width
        nearest: NDArray[Any] = plane[rows][:, columns]
        return nearest
    wide = plane.astype(np.float64 if plane.dtype.kind == "f" else np.uint64)
    sums = _sums(_sums(wide, 0, height), 1, width)
    area = plane.shape[0] * plane.shape[1]
    means = sums / area if plane.dtype.kind == "f" else sums // np.uint64(area)
    pixels: NDArray[Any] = means.astype(plane.dtype)
    return pixels


def _sums(values: NDArray[Any], axis: int, count: int) -> NDArray[Any]:
    """Sums over `count` equal parts of an axis, each value counting `count` times where it is covered whole."""
    values = np.moveaxis(values, axis, 0)
    size = values.shape[0]
    if size == count:
        return np.moveaxis(values * values.dtype.type(count), 0, axis)
    before = np.zeros((size + 1, *values.shape[1:]), values.dtype)
    np.cumsum(values * values.dtype.type(count), axis=0, out=before[1:])
    cuts = np.arange(count + 1) * size  # in units of which a value has `count`
    whole, rest = cuts // count, (cuts % count).astype(values.dtype)
    padded = np.concatenate([values, np.zeros_like(values[:1])])
    upto = before[whole] + padded[whole] * rest.reshape(-1, *[1] * (values.ndim - 1))
    return np.moveaxis(np.diff(upto, axis=0), 0, axis)
