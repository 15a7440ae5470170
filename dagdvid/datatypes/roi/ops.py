"""What is asked of a region."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np

from dagdvid.datatype import Snapshot
from dagdvid.datatypes.regions import SPACE, Region, read_spans, z_of_key
from dagdvid.errors import BadRequest
from dagdvid.geometry import COORDINATE_LIMIT, Box, Point

__all__ = ["inside", "mask", "z_range"]

_SLAB_VOXELS = 16 << 20


def z_range(view: Snapshot) -> tuple[int, int]:
    """The first and last layer that has spans; of an empty region as in DVID: the largest and the smallest number."""
    layers = [z_of_key(key) for key in view.keys(SPACE)]
    return (layers[0], layers[-1]) if layers else (COORDINATE_LIMIT - 1, -COORDINATE_LIMIT)


def mask(view: Snapshot, block: Point, box: Box) -> Iterator[bytes]:
    """The voxels of a box in z, y, x order, 1 inside and 0 outside, in chunks. All is of one moment."""
    span = box.blocks(block)
    region = Region(block, read_spans(view, span.offset.z, span.last.z))
    step = max(1, _SLAB_VOXELS // (box.size.x * box.size.y))
    for z in range(box.offset.z, box.end.z, step):
        slab = Box(Point(box.offset.x, box.offset.y, z), Point(box.size.x, box.size.y, min(step, box.end.z - z)))
        yield region.mask(slab).tobytes()


def inside(view: Snapshot, block: Point, body: bytes) -> list[bool]:
    """For each voxel of a JSON list of [x, y, z]: whether it is in the region.

    Raises:
        BadRequest: not such a list, or coordinates beyond 32 bits.
    """
    try:
        points = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"malformed JSON in the request body: {error}") from None
    if not isinstance(points, list):
        raise BadRequest("points must be a JSON list of [x, y, z]")
    for point in points:
        if not isinstance(point, list) or len(point) != 3 or any(type(v) is not int for v in point):
            raise BadRequest(f"a point must be three integers [x, y, z], not {json.dumps(point)[:80]}")
        if min(point) < -COORDINATE_LIMIT or max(point) >= COORDINATE_LIMIT:
            raise BadRequest(f"voxel coordinates must fit 32 bits: {point}")
    if not points:
        return []
    voxels = np.array(points, np.int64)
    first, last = int(voxels[:, 2].min()) // block.z, int(voxels[:, 2].max()) // block.z
    found: list[bool] = Region(block, read_spans(view, first, last)).voxels(voxels).tolist()
    return found
