"""DVID's sparse volumes: the voxels of a label as runs, or as one bit each (datatype/common/labels/compressed.go).

    rles      u8 0 || u8 dimensions = 3 || u8 dimension of the runs = 0 (x) || u8 0 || u32 voxels, 0 for unknown ||
              u32 runs || runs
    srles     runs alone. One is i32 x || i32 y || i32 z || i32 length
    blocks    u32 gx || u32 gy || u32 gz || u64 label || for each block: i32 x || i32 y || i32 z of its first voxel,
              then a part for the block, and where that says "mixed" one for each of its gx * gy * gz sub-blocks of 8^3:
              u8 0 none, 1 all, 2 mixed; a mixed sub-block has 64 bytes more, a bit a voxel, the lowest bit first

All numbers are little-endian; x runs fastest.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dagdvid.errors import BadRequest
from dagdvid.kernels import runs

__all__ = ["binary_block", "binary_head", "read_rles", "write_coarse", "write_rles", "write_srles"]

_HEAD = struct.Struct("<BBBBII")
_BLOCKS_HEAD = struct.Struct("<3IQ")
_SUB = 8
_LIMIT = 2**31


def write_srles(table: NDArray[np.int64]) -> bytes:
    """The runs (N, 4), x, y, z and length in each row, alone."""
    return table.astype("<i4").tobytes()


def write_rles(table: NDArray[np.int64]) -> bytes:
    """A sparse volume of runs (N, 4), with the head that leaves the number of voxels open, as DVID does."""
    return _HEAD.pack(0, 3, 0, 0, 0, len(table)) + write_srles(table)


def write_coarse(label: int, table: NDArray[np.int64]) -> bytes:
    """An entry of `sparsevols-coarse`: u64 label || i32 runs || runs."""
    return struct.pack("<Qi", label, len(table)) + write_srles(table)


def read_rles(data: bytes | memoryview) -> NDArray[np.int64]:
    """The runs (N, 4) of a sparse volume that a client sent; the number of voxels in its head is not looked at.

    Raises:
        BadRequest: malformed, a run of no voxels, or one that leaves the 32 bits of coordinates.
    """
    if len(data) < _HEAD.size:
        raise BadRequest(f"malformed sparse volume: {len(data)} bytes are too few")
    payload, dimensions, along, _, _, count = _HEAD.unpack_from(data)
    if (payload, dimensions, along) != (0, 3, 0):
        raise BadRequest(f"malformed sparse volume: payload {payload}, {dimensions} dimensions, runs along {along}")
    if len(data) != _HEAD.size + 16 * count:
        raise BadRequest(f"malformed sparse volume: {len(data) - _HEAD.size} bytes for {count} runs")
    table = np.frombuffer(data, "<i4", 4 * count, _HEAD.size).reshape(-1, 4).astype(np.int64)
    if count and (table[:, 3].min() < 1 or (table[:, 0] + table[:, 3]).max() > _LIMIT):
        raise BadRequest("malformed sparse volume: a run that is no run")
    return table


def binary_head(size: tuple[int, int, int], label: int) -> bytes:
    """What a sparse volume of blocks begins with; size: voxels of a block along z, y, x."""
    gz, gy, gx = (edge // _SUB for edge in size)
    return _BLOCKS_HEAD.pack(gx, gy, gz, label)


def binary_block(mask: NDArray[np.bool_], origin: Sequence[int]) -> bytes:
    """A block of a sparse volume: its mask [z, y, x], and x, y, z of its first voxel."""
    return struct.pack("<3i", *origin) + runs.bits(mask)
