"""Runs of voxels along x: tables (N, 4) of int64 with x, y, z of the first voxel and the length in each row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise

import numpy as np
from numpy.typing import NDArray

from dagdvid.kernels import labelblocks, runs_ref
from dagdvid.kernels.runs_ref import Runs
from dagdvid.kernels.twins import Twin

__all__ = ["bits", "by_block", "clip", "in_block", "in_row", "join", "no_runs", "of_mask", "paint"]

_of_mask = Twin(runs_ref.of_mask_ref, "runs")
_paint = Twin(runs_ref.paint_ref, "runs")
_bits = Twin(runs_ref.bits_ref, "runs")


def no_runs() -> Runs:
    """An empty table."""
    return np.empty((0, 4), np.int64)


def of_mask(mask: NDArray[np.bool_], origin: Sequence[int] = (0, 0, 0)) -> Runs:
    """The longest runs of voxels that are set, in the order of z, y, x.

    Args:
        mask: [z, y, x].
        origin: x, y, z of the mask's first voxel.
    """
    return _of_mask(mask, origin)


def in_block(data: bytes | memoryview, labels: NDArray[np.uint64], origin: Sequence[int] = (0, 0, 0)) -> Runs:
    """The longest runs of a label block's voxels that have one of some labels, in the order of z, y, x.

    Args:
        data: the block (`labelblocks`).
        labels: ascending.
        origin: x, y, z of the block's first voxel.
    """
    return of_mask(labelblocks.mask(data, labels), origin)


def in_row(row: Sequence[tuple[int, bytes]], labels: NDArray[np.uint64], corner: Sequence[int] = (0, 0, 0)) -> Runs:
    """The same of several label blocks of one size that lie in a row along x; runs go on from one into the next.

    Args:
        row: the place of each along x, in blocks, ascending; and the block.
        labels: ascending.
        corner: x, y, z of the first voxel of the block at place 0.
    """
    edge = labelblocks.shape(row[0][1])
    found = []
    for _, group in groupby(enumerate(row), lambda numbered: numbered[1][0] - numbered[0]):
        near = [placed for _, placed in group]
        mask = np.empty((edge[0], edge[1], len(near) * edge[2]), bool)
        for number, (_, data) in enumerate(near):
            labelblocks.mask_into(data, labels, mask, number * edge[2])
        found.append(of_mask(mask, (corner[0] + near[0][0] * edge[2], corner[1], corner[2])))
    if len(found) == 1:
        return found[0]
    runs = np.concatenate(found)
    return runs[np.lexsort((runs[:, 0], runs[:, 1], runs[:, 2]))]


def bits(mask: NDArray[np.bool_]) -> bytes:
    """The parts of a mask [z, y, x] as DVID's sparse volumes have them: one for all, one for each sub-block of 8^3.

    A part is u8 0 for none, 1 for all, 2 for some of its voxels. Only if the whole has some, the sub-blocks follow, x
    fastest; one with some has 64 bytes more, a bit a voxel, x fastest, the lowest bit first.
    """
    return _bits(mask)


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
    return _paint(runs, shape)
