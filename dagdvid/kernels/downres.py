"""DVID's vote for the voxel of a coarser scale (datatype/common/labels/compressed.go, downresArray)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dagdvid.kernels.downres_ref import downres_ref
from dagdvid.kernels.twins import Twin

__all__ = ["downres"]

_downres = Twin(downres_ref, "downres")


def downres(voxels: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Half the resolution: of each 2^3 voxels the most frequent label that is not 0, of several the smallest.

    Args:
        voxels: [z, y, x], edges even.
    """
    return _downres(voxels)
