"""The plain forms of `runs`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Runs", "bits_ref", "of_mask_ref", "paint_ref"]

Runs = NDArray[np.int64]

_SUB = 8


def of_mask_ref(mask: NDArray[np.bool_], origin: Sequence[int]) -> Runs:
    """As `runs.of_mask`: the steps up and down along x."""
    framed = np.zeros((*mask.shape[:2], mask.shape[2] + 2), np.int8)
    framed[:, :, 1:-1] = mask
    steps = np.diff(framed, axis=2)
    z, y, x = np.nonzero(steps > 0)
    found: Runs = np.stack([x, y, z, np.nonzero(steps < 0)[2] - x], axis=1)
    found[:, :3] += origin
    return found


def paint_ref(runs: Runs, shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """As `runs.paint`, run by run."""
    mask = np.zeros(shape, bool)
    for x, y, z, length in runs.tolist():
        mask[z, y, x : x + length] = True
    return mask


def bits_ref(mask: NDArray[np.bool_]) -> bytes:
    """As `runs.bits`."""
    gz, gy, gx = (edge // _SUB for edge in mask.shape)
    rows = mask.reshape(gz, _SUB, gy, _SUB, gx, _SUB).transpose(0, 2, 4, 1, 3, 5).reshape(-1, _SUB**3)
    kinds = np.where(rows.all(axis=1), 1, np.where(rows.any(axis=1), 2, 0)).tolist()
    if kinds[0] != 2 and kinds.count(kinds[0]) == len(kinds):
        return bytes(kinds[:1])
    packed = np.packbits(rows, axis=1, bitorder="little")
    parts = [bytes([kind]) + (row.tobytes() if kind == 2 else b"") for kind, row in zip(kinds, packed, strict=True)]
    return b"\2" + b"".join(parts)
