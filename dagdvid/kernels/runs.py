"""Runs of voxels along x: tables (N, 4) of int64 with x, y, z of the first voxel and the length in each row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dagdvid.kernels import labelblocks

__all__ = ["by_block", "clip", "in_block", "join", "no_runs", "of_mask", "of_mask_ref", "paint", "paint_ref"]

Runs = NDArray[np.int64]


def no_runs() -> Runs:
    """An empty table."""
    return np.empty((0, 4), np.int64)


def of_mask(mask: NDArray[np.bool_], origin: Sequence[int] = (0, 0, 0)) -> Runs:
    """The longest runs of voxels that are set, in the order of z, y, x.

    Args:
        mask: [z, y, x].
        origin: x, y, z of the mask's first voxel.
    """
    framed = np.zeros((*mask.shape[:2], mask.shape[2] + 2), np.int8)
    framed[:, :, 1:-1] = mask
    steps = np.diff(framed, axis=2)
    z, y, x = np.nonzero(steps > 0)
    found: Runs = np.stack([x, y, z, np.nonzero(steps < 0)[2] - x], axis=1)
    found[:, :3] += origin
    return found


def in_block(data: bytes | memoryview, labels: NDArray[np.uint64], origin: Sequence[int] = (0, 0, 0)) -> Runs:
    """The longest runs of a label block's voxels that have one of some labels, in the order of z, y, x.

    Args:
        data: the block (`labelblocks`).
        labels: ascending.
        origin: x, y, z of the block's first voxel.
    """
    return of_mask(np.isin(labelblocks.decode(data), labels), origin)


def join(runs: Runs) -> Runs:
    """The same voxels in the longest runs, in the order of z, y, x. Runs may touch and overlap."""
    runs = runs[np.lexsort((runs[:, 0], runs[:, 1], runs[:, 2]))]
    if not len(runs):
        return runs
    rows = (runs[1:, 1:3] != runs[:-1, 1:3]).any(axis=1)
    row = np.concatenate([[0], np.cumsum(rows)])
    # ends that only grow within a row; rows are set apart by more than any run is long
    step = int(runs[:, 0].max() + runs[:, 3].max() - runs[:, 0].min()) + 2
    firsts = runs[:, 0] + row * step
    ends = np.maximum.accumulate(firsts + runs[:, 3])
    begins = np.flatnonzero(np.concatenate([[True], firsts[1:] > ends[:-1]]))
    lasts = np.concatenate([begins[1:], [len(runs)]]) - 1
    joined = runs[begins]
    joined[:, 3] = ends[lasts] - firsts[begins]
    return joined


def clip(runs: Runs, first: Sequence[int | None], last: Sequence[int | None]) -> Runs:
    """What of some runs lies in a box.

    Args:
        runs: any.
        first: the lowest x, y, z of the box, None where it has no bound.
        last: the highest, included.
    """
    keep = np.ones(len(runs), bool)
    for axis in (1, 2):
        low, high = first[axis], last[axis]
        if low is not None:
            keep &= runs[:, axis] >= low
        if high is not None:
            keep &= runs[:, axis] <= high
    x, ends = runs[:, 0], runs[:, 0] + runs[:, 3]
    if first[0] is not None:
        x = np.maximum(x, first[0])
    if last[0] is not None:
        ends = np.minimum(ends, last[0] + 1)
    keep &= ends > x
    clipped = np.stack([x, runs[:, 1], runs[:, 2], ends - x], axis=1)
    return clipped[keep]


def by_block(runs: Runs, size: Sequence[int]) -> Iterator[tuple[tuple[int, int, int], Runs]]:
    """Runs cut at the bounds of blocks: each block (z, y, x) that has any, and its runs from its own first voxel.

    Blocks come in the order of z, y, x. A run is given room for every block that it touches.

    Args:
        runs: any.
        size: voxels of a block along x, y, z.
    """
    edge = size[0]
    first = runs[:, 0] // edge
    counts = np.where(runs[:, 3] > 0, (runs[:, 0] + runs[:, 3] - 1) // edge - first + 1, 0)
    which = np.repeat(np.arange(len(runs)), counts)
    block = first[which] + np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
    x = np.maximum(runs[which, 0], block * edge)
    ends = np.minimum(runs[which, 0] + runs[which, 3], (block + 1) * edge)
    y, z = (runs[which, axis] // size[axis] for axis in (1, 2))
    order = np.lexsort((block, y, z))
    blocks = np.stack([z, y, block], axis=1)[order]
    corners = blocks[:, ::-1] * np.array(size)
    cut = np.stack([x, runs[which, 1], runs[which, 2], ends - x], axis=1)[order]
    cut[:, :3] -= corners
    steps = np.flatnonzero((blocks[1:] != blocks[:-1]).any(axis=1)) + 1
    for start, end in pairwise([0, *steps.tolist(), len(blocks)] if len(blocks) else []):
        bz, by, bx = blocks[start].tolist()
        yield (bz, by, bx), cut[start:end]


def paint(runs: Runs, shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """The mask [z, y, x] of some runs, all of which lie within it."""
    return paint_ref(runs, shape)


def paint_ref(runs: Runs, shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """As `paint`, run by run."""
    mask = np.zeros(shape, bool)
    for x, y, z, length in runs.tolist():
        mask[z, y, x : x + length] = True
    return mask


def of_mask_ref(mask: NDArray[np.bool_], origin: Sequence[int] = (0, 0, 0)) -> Runs:
    """As `of_mask`, voxel by voxel."""
    rows: list[list[int]] = []
    for z, y, x in np.argwhere(mask).tolist():
        if rows and rows[-1][1:3] == [y, z] and rows[-1][0] + rows[-1][3] == x:
            rows[-1][3] += 1
        else:
            rows.append([x, y, z, 1])
    found = np.array(rows, np.int64).reshape(-1, 4)
    found[:, :3] += origin
    return found
