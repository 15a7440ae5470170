"""Dividing a region into boxes of blocks, for work that is to be shared out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from dagdvid.datatypes.spans import Spans, joined
from dagdvid.geometry import Box, Point

__all__ = ["fitted", "of_one_size"]


def of_one_size(spans: Spans, batch: int, block: Point) -> dict[str, Any]:
    """Cubes of `batch` blocks a side, laid out as DVID does (datatype/roi/roi.go, SimplePartition), as its JSON.

    The cubes begin half of (extent modulo batch) before the region: in z over all of it, in y over a layer of cubes, in
    x over a row of cubes. A row of cubes without blocks of the region is left out; single cubes without any are not
    listed, but count in NumTotalBlocks. Where a gap in z is wider than a cube, DVID's layers fall behind the spans, and
    so do these: `fitted` has no such gaps.

    Args:
        spans: in order, as they were given.
        batch: at least 1.
        block: voxels of a block.
    """
    cubes: list[tuple[Box, int]] = []
    size = Point(batch, batch, batch)
    for z, layer in _layers(spans, batch):
        for y in _begins(layer[:, 1].min(), layer[:, 1].max(), batch):
            row = joined(layer[(layer[:, 1] >= y) & (layer[:, 1] < y + batch)])
            if len(row):
                for x in _begins(row[:, 2].min(), row[:, 3].max(), batch):
                    cubes.append((Box(Point(x, y, z), size), _count(_cut(row, x, batch))))
    return _json(spans, block, cubes)


def fitted(spans: Spans, batch: int, block: Point) -> dict[str, Any]:
    """Boxes of up to `batch` blocks a side, each as small as the blocks of the region in it allow; as `of_one_size`.

    Each begins where the one before has ended and the region goes on: together they hold every block once.
    """
    boxes: list[tuple[Box, int]] = []
    for layer in _groups(joined(spans), 0, batch):
        for row in _groups(layer, 1, batch):
            x = int(row[:, 2].min())
            while True:
                cell = _cut(row, x, batch)
                first, last = cell.min(axis=0).tolist(), cell.max(axis=0).tolist()
                corner, end = Point(first[2], first[1], first[0]), Point(last[3], last[1], last[0])
                boxes.append((Box.spanning(corner, end), _count(cell)))
                beyond = row[row[:, 3] >= x + batch]
                if not len(beyond):
                    break
                x = max(x + batch, int(beyond[:, 2].min()))
    return _json(spans, block, boxes)


def _layers(spans: Spans, batch: int) -> Iterator[tuple[int, Spans]]:
    """The first z of each layer of cubes, and the spans that count to it: one at least."""
    start = 0
    if len(spans):
        first, last = int(spans[0, 0]), int(spans[-1, 0])
        z = first - (last - first + 1) % batch // 2
    while start < len(spans):
        end = max(start + 1, int(np.searchsorted(spans[:, 0], z + batch)))
        yield z, spans[start:end]
        start, z = end, z + batch


def _begins(low: int, high: int, batch: int) -> Iterable[int]:
    """Where cubes begin along an axis."""
    low, high = int(low), int(high)
    rest = (high - low + 1) % batch
    return range(low - rest // 2, high + rest - rest // 2 + 1, batch)


def _groups(spans: Spans, axis: int, batch: int) -> Iterator[Spans]:
    """Spans by `batch` steps along an axis, each group from the next span on."""
    spans = spans[np.argsort(spans[:, axis], kind="stable")]
    start = 0
    while start < len(spans):
        end = int(np.searchsorted(spans[:, axis], spans[start, axis] + batch))
        yield spans[start:end]
        start = end


def _cut(row: Spans, x: int, batch: int) -> Spans:
    """The parts of spans with x <= their x < x + batch."""
    cell = row[(row[:, 2] < x + batch) & (row[:, 3] >= x)].copy()
    cell[:, 2], cell[:, 3] = np.maximum(cell[:, 2], x), np.minimum(cell[:, 3], x + batch - 1)
    return cell


def _count(spans: Spans) -> int:
    return int((spans[:, 3] - spans[:, 2] + 1).sum())


def _json(spans: Spans, block: Point, boxes: list[tuple[Box, int]]) -> dict[str, Any]:
    listed = [
        {
            "MinPoint": box.voxels(block).offset.as_list(),
            "MaxPoint": box.voxels(block).last.as_list(),
            "MinChunk": box.offset.as_list(),
            "MaxChunk": box.last.as_list(),
            "TotalBlocks": box.volume,
            "ActiveBlocks": active,
        }
        for box, active in boxes
        if active
    ]
    first = last = [0, 0, 0]
    if len(spans):
        first = [int(spans[:, axis].min()) for axis in (2, 1, 0)]
        last = [int(spans[:, axis].max()) for axis in (3, 1, 0)]
    return {
        "NumTotalBlocks": sum(box.volume for box, _ in boxes),
        "NumActiveBlocks": sum(active for _, active in boxes),
        "NumSubvolumes": len(listed),
        "ROI": {"MinChunk": first, "MaxChunk": last},
        "Subvolumes": listed,
    }
