"""What body each supervoxel belongs to when voxels are read: the space `mapping`, supervoxel -> body (SPEC 9.10).

Keys are 8 bytes big-endian, values 8 bytes little-endian. A supervoxel without an entry is its own body; 0 is none: the
label of a body that was cleaved off or renumbered to, or of a supervoxel that was split.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dagdvid.datatype import Snapshot, Txn
from dagdvid.datatypes.labelmap.counts import keys_of

__all__ = ["MAPPING", "Labels", "entries", "mapped", "mapping_of", "set_mapping", "stored"]

MAPPING = "mapping"
_PART = 1 << 16
Labels = NDArray[np.uint64]


def mapped(view: Snapshot, supervoxels: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The body of each supervoxel, in the same shape; 0 stays 0."""
    keys, values = mapping_of(view, supervoxels)
    if not keys.size:
        return supervoxels
    at = np.minimum(np.searchsorted(keys, supervoxels), len(keys) - 1)
    return np.where(keys[at] == supervoxels, values[at], supervoxels)


def mapping_of(view: Snapshot, supervoxels: NDArray[np.uint64]) -> tuple[Labels, Labels]:
    """Those among some supervoxels that have an entry, ascending, and their bodies."""
    labels = np.unique(supervoxels)
    known = [
        (label, value) for label, value in zip(labels.tolist(), stored(view, labels), strict=True) if value is not None
    ]
    return (
        np.array([label for label, _ in known], np.uint64),
        np.array([value for _, value in known], np.uint64),
    )


def stored(view: Snapshot, supervoxels: NDArray[np.uint64]) -> list[int | None]:
    """The entry of each supervoxel; None where there is none."""
    found = view.get_many(MAPPING, keys_of(supervoxels))
    return [None if raw is None else int.from_bytes(raw, "little") for raw in found]


def set_mapping(txn: Txn, supervoxels: NDArray[np.uint64], body: int) -> None:
    """Map supervoxels to a body, or to 0."""
    value = body.to_bytes(8, "little")
    txn.put_many(MAPPING, [(key, value) for key in keys_of(supervoxels)])


def entries(view: Snapshot) -> Iterator[tuple[Labels, Labels]]:
    """All entries but those of supervoxels that are their own body, ascending, in parts."""
    keys: list[bytes] = []
    values: list[bytes] = []
    for key, value in view.items(MAPPING):
        keys.append(key)
        values.append(value)
        if len(keys) == _PART:
            yield _columns(keys, values)
            keys, values = [], []
    if keys:
        yield _columns(keys, values)


def _columns(keys: list[bytes], values: list[bytes]) -> tuple[Labels, Labels]:
    labels = np.frombuffer(b"".join(keys), ">u8").astype(np.uint64)
    bodies = np.frombuffer(b"".join(values), "<u8").astype(np.uint64)
    moved = labels != bodies
    return labels[moved], bodies[moved]
