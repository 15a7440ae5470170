"""The compiled twin of `downres`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dagdvid.kernels.fast import inlined, kernel

__all__ = ["downres", "winner"]


@inlined
def winner(voxels: NDArray[np.uint64]) -> np.uint64:
    """The most frequent of eight labels that is not 0, of several the smallest."""
    winner, most = np.uint64(0), 0
    for i in range(8):
        label = voxels[i]
        if label == 0:
            continue
        votes = 0
        for j in range(8):
            votes += voxels[j] == label
        if votes > most or (votes == most and label < winner):
            winner, most = label, votes
    return winner


@kernel("void(Array(uint64, 3, 'A', readonly=True), Array(uint64, 3, 'A'))")
def _downres(voxels: NDArray[np.uint64], out: NDArray[np.uint64]) -> None:
    eight = np.empty(8, np.uint64)
    for z in range(out.shape[0]):
        for y in range(out.shape[1]):
            for x in range(out.shape[2]):
                first = voxels[2 * z, 2 * y, 2 * x]
                different = np.uint64(0)
                at = 0
                for k in range(2):
                    for j in range(2):
                        for i in range(2):
                            label = voxels[2 * z + k, 2 * y + j, 2 * x + i]
                            different |= label ^ first
                            eight[at] = label
                            at += 1
                out[z, y, x] = first if different == 0 else winner(eight)


def downres(voxels: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """As the plain one."""
    out = np.empty((voxels.shape[0] // 2, voxels.shape[1] // 2, voxels.shape[2] // 2), np.uint64)
    _downres(voxels, out)
    return out
