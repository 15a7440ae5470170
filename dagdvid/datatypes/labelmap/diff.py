"""What changed between two versions of a segmentation: blocks voxel by voxel, supervoxels, what they map to, bodies."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dagdvid.datatypes.blockdiff import BlockDiffer
from dagdvid.datatypes.grid import SPACE
from dagdvid.datatypes.labelmap.bodies import BODIES
from dagdvid.datatypes.labelmap.counts import SUPERVOXELS
from dagdvid.datatypes.labelmap.mapping import MAPPING
from dagdvid.kernels import labelblocks

__all__ = ["LabelDiffer"]

_LABELS = {SUPERVOXELS: "supervoxel", MAPPING: "supervoxel", BODIES: "body"}
"""What the keys of spaces are, 8 bytes big-endian."""
_SIZES = struct.Struct("<QQ")


class LabelDiffer(BlockDiffer):
    """Tells of changed blocks of scale 0, with the voxels that changed, and of supervoxels and bodies with their sizes.

    The coarser scales follow from the finest, and are not told of.
    """

    compares = frozenset({SPACE, *_LABELS})

    def __init__(self, block: Any) -> None:
        super().__init__(block)
        self._voxels = 0

    def describe(self, space: str, key: bytes) -> dict[str, Any] | None:
        """As `BlockDiffer`; {"supervoxel": label} or {"body": label}."""
        if space in _LABELS:
            return {_LABELS[space]: int.from_bytes(key, "big")}
        return None if space == SPACE and key[0] else super().describe(space, key)

    def compare(self, space: str, key: bytes, before: bytes | None, after: bytes | None) -> dict[str, Any]:
        """Of a block, "voxels": [label before, label after, number], by number, the largest first; of a supervoxel or
        body "voxels" [before, after], of a body "supervoxels", too; of a supervoxel that is mapped otherwise "maps to".
        """
        if space == SPACE:
            pairs = _changed_voxels(before, after)
            self._voxels += sum(count for _, _, count in pairs)
            return {"voxels": pairs}
        if space == MAPPING:
            own = int.from_bytes(key, "big")
            return {"maps to": [own if raw is None else int.from_bytes(raw, "little") for raw in (before, after)]}
        if space == SUPERVOXELS:
            return {"voxels": [int.from_bytes(raw[:8], "little") if raw else 0 for raw in (before, after)]}
        sizes = [_SIZES.unpack_from(raw) if raw else (0, 0) for raw in (before, after)]
        return {"voxels": [voxels for voxels, _ in sizes], "supervoxels": [number for _, number in sizes]}

    def summary(self) -> dict[str, Any]:
        """As `BlockDiffer`, and "voxels": how many changed."""
        return {**super().summary(), "voxels": self._voxels}


def _changed_voxels(before: bytes | None, after: bytes | None) -> list[list[int]]:
    """Rows of label before, label after, and how many voxels changed so; an absent block is all 0."""
    blocks = [None if data is None else labelblocks.decode(data).reshape(-1) for data in (before, after)]
    size = max(0 if block is None else block.size for block in blocks)
    old, new = (np.zeros(size, np.uint64) if block is None else block for block in blocks)
    changed = old != new
    (olds, old_ranks), (news, new_ranks) = _ranked(old[changed]), _ranked(new[changed])
    counts = np.bincount(old_ranks * len(news) + new_ranks)
    pairs = np.flatnonzero(counts)
    order = pairs[np.argsort(-counts[pairs], kind="stable")]
    rows = zip(olds[order // max(1, len(news))], news[order % max(1, len(news))], counts[order], strict=True)
    return [[int(value) for value in row] for row in rows]


def _ranked(labels: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The labels that occur, ascending, and of each voxel which it has."""
    found, ranks = np.unique(labels, return_inverse=True)
    return found, ranks.astype(np.int64)
