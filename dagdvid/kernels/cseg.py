"""Neuroglancer's compressed segmentation, one channel: what `compression=google` answers and precomputed volumes hold.

`cseg_ref` has the format.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dagdvid.kernels import cseg_ref
from dagdvid.kernels.cseg_ref import EDGE
from dagdvid.kernels.twins import Twin

__all__ = ["decode", "encode"]

_encode = Twin(cseg_ref.encode_ref, "cseg")
_decode = Twin(cseg_ref.decode_ref, "cseg")


def encode(voxels: NDArray[np.uint64]) -> bytes:
    """The compressed segmentation of labels [z, y, x] in blocks of 8^3.

    A table lists labels by their first voxel, and stands after the voxels of the first block that uses it; the
    next block shares it if it would have the same.

    Raises:
        BadRequest: an edge is no multiple of 8, or the tables do not fit their 24 bits.
    """
    return _encode(voxels)


def decode(
    data: bytes | memoryview,
    shape: tuple[int, int, int],
    block: tuple[int, int, int] = (EDGE, EDGE, EDGE),
    kind: type[np.uint32] | type[np.uint64] = np.uint64,
) -> NDArray[np.uint64]:
    """The labels [z, y, x] of a compressed segmentation.

    Args:
        data: one channel.
        shape: voxels along z, y, x.
        block: voxels of a block along z, y, x.
        kind: the type of the labels in its tables.

    Raises:
        BadRequest: malformed.
    """
    return _decode(data, shape, block, np.dtype(kind).itemsize // 4)
