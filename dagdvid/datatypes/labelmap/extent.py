"""Which blocks a body or a supervoxel lies in, within bounds, at every scale: what its index says, no voxels read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dagdvid.datatype import Snapshot
from dagdvid.datatypes.labelmap import bodies, counts, mapping
from dagdvid.datatypes.labelmap.counts import Table
from dagdvid.datatypes.labelmap.index import supervoxel_sizes, table_of
from dagdvid.errors import BadRequest
from dagdvid.geometry import COORDINATE_LIMIT
from dagdvid.kernels import morton, runs
from dagdvid.routes import Request

__all__ = ["Bounds", "Lies", "bounds_of", "check_not_retired", "coarse_runs", "where"]

_INTEGER = re.compile(r"[+-]?[0-9]{1,10}", re.ASCII)


class Bounds(NamedTuple):
    """A box of voxels; None where it has no bound."""

    first: tuple[int | None, ...] = (None, None, None)
    """The lowest x, y, z."""
    last: tuple[int | None, ...] = (None, None, None)
    """The highest, included."""

    @property
    def given(self) -> bool:
        """There is one."""
        return any(bound is not None for bound in (*self.first, *self.last))

    def keeps(self, blocks: NDArray[np.int64], edge: Sequence[int]) -> NDArray[np.bool_]:
        """Which of some blocks (N, 3), x, y, z in each row and of so many voxels, have voxels in the box."""
        kept = np.ones(len(blocks), np.bool_)
        for axis in range(3):
            low, high = self.first[axis], self.last[axis]
            if low is not None:
                kept &= blocks[:, axis] >= low // edge[axis]
            if high is not None:
                kept &= blocks[:, axis] <= high // edge[axis]
        return kept


def bounds_of(request: Request) -> Bounds:
    """The bounds in the query.

    Raises:
        BadRequest: one that is no integer.
    """
    first, last = (tuple(_bound(request, side + axis) for axis in "xyz") for side in ("min", "max"))
    return Bounds(first, last)


def _bound(request: Request, name: str) -> int | None:
    text = request.query.get(name, "")
    if not text:
        return None
    value = int(text) if _INTEGER.fullmatch(text) else COORDINATE_LIMIT
    if not -COORDINATE_LIMIT <= value < COORDINATE_LIMIT:
        raise BadRequest(f"error parsing bounds: {name} must be an integer of 32 bits, not {text[:40]!r}")
    return value


class Lies(NamedTuple):
    """Where a body, or a supervoxel, lies at scale 0."""

    table: Table
    supervoxels: NDArray[np.uint64]
    """Ascending."""

    def blocks(self, scale: int = 0) -> NDArray[np.int64]:
        """Its blocks (N, 3) at a scale, x, y, z in each row, in the order of z, y, x."""
        blocks = morton.decode(np.unique(self.table.codes)) >> scale
        if scale:
            blocks = np.unique(blocks, axis=0)
        return blocks[np.lexsort((blocks[:, 0], blocks[:, 1], blocks[:, 2]))]


def where(view: Snapshot, label: int, *, supervoxel: bool) -> Lies | None:
    """Where a label lies; None if there is no such body, or no such supervoxel.

    Raises:
        BadRequest: a supervoxel that was split, or the label of a body that is none.
    """
    mine = np.array([label], np.uint64)
    if supervoxel:
        check_not_retired(view, label)
        return Lies(counts.read(view, mine), mine) if supervoxel_sizes(view, mine)[0] else None
    body = bodies.find(view, mine)[0]
    if body is None:
        return None
    table = table_of(view, body)
    return Lies(table, np.unique(table.supervoxels))


def check_not_retired(view: Snapshot, supervoxel: int) -> None:
    """Raises BadRequest: what has this label is no supervoxel, or was split."""
    if mapping.stored(view, np.array([supervoxel], np.uint64))[0] == 0:
        raise BadRequest(f"supervoxel {supervoxel} is none any more: it was split, or is the label of a body")


def coarse_runs(blocks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Runs (N, 4) of blocks (N, 3)."""
    return runs.join(np.concatenate([blocks, np.ones((len(blocks), 1), np.int64)], axis=1))
