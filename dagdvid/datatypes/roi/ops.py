"""What is asked of a region."""

from __future__ import annotations

from collections.abc import Iterator

from dagdvid.datatype import Snapshot
from dagdvid.datatypes.regions import SPACE, Region, read_spans, z_of_key
from dagdvid.datatypes.spans import rows_of_json
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
    voxels = rows_of_json(body, "point", ("x", "y", "z"))
    if not len(voxels):
        return []
    first, last = int(voxels[:, 2].min()) // block.z, int(voxels[:, 2].max()) // block.z
    found: list[bool] = Region(block, read_spans(view, first, last)).voxels(voxels).tolist()
    return found
