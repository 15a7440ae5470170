"""What a label volume tells those that are synced with it (`Txn.tell`, `Datatype.follow`), and its mutation log keeps.

Voxels store supervoxels; which body each belongs to, the teller's `mapping` says. All of it has happened already in the
transaction in which it is told. Who keeps things by supervoxel needs `Written`, `SplitSupervoxel` and `Split` only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Block", "Cleave", "Event", "Merge", "Operation", "Renumber", "Split", "SplitSupervoxel", "Written"]


class Block(NamedTuple):
    """A block of scale 0 that changed."""

    place: tuple[int, int, int]
    """Its coordinates x, y, z, in blocks."""
    before: bytes | None
    """What was there (`kernels.labelblocks`); None for nothing."""
    after: bytes


@dataclass(frozen=True)
class Written:
    """Voxels were written: blocks that were not there (an ingest), or over others (an overwrite)."""

    blocks: Sequence[Block]
    ingest: bool


@dataclass(frozen=True)
class Merge:
    """Bodies became part of another."""

    target: int
    labels: Sequence[int]
    supervoxels: Sequence[NDArray[np.uint64]]
    """What each of them had, ascending."""


@dataclass(frozen=True)
class Cleave:
    """Supervoxels became a body."""

    body: int
    made: int
    supervoxels: Sequence[int]
    voxels: int
    rest: int
    """Voxels that the body has left."""


@dataclass(frozen=True)
class Renumber:
    """A body got another label."""

    new: int
    old: int


@dataclass(frozen=True)
class SplitSupervoxel:
    """A supervoxel became two. What was written for it is told here, not by `Written`."""

    body: int
    supervoxel: int
    split: int
    remain: int
    voxels: int
    """Of the split one."""
    rest: int
    """Of the remaining one."""
    rles: str
    """Where the split one's sparse volume is kept: its reference in the blobstore."""
    blocks: Sequence[Block] = ()
    """What changed; not kept in the log."""


@dataclass(frozen=True)
class Split:
    """Voxels of a body became one, with its supervoxels split where the cut goes through them."""

    body: int
    made: int
    supervoxels: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    """For each that was split: what became of the part that was cut off, and of the rest."""
    rles: str = ""
    blocks: Sequence[Block] = ()
    """What changed; not kept in the log."""


Operation = Merge | Cleave | Renumber | SplitSupervoxel | Split
"""What is done to bodies."""
Event = Written | Operation
