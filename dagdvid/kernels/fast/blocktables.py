"""What the compiled kernels of label blocks share: where the tables of a block lie, and its packed voxels.

Eight voxels along x have as many bytes as each has bits, so that a row of a sub-block is one load of bytes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dagdvid.kernels import labelblocks_ref
from dagdvid.kernels.fast import BYTES, inlined, kernel
from dagdvid.kernels.labelblocks_ref import HEADER, SUB, VOXELS

__all__ = ["WIDEST", "Int", "Tables", "bits_for", "layout", "row_of", "tables_of", "u16", "u32"]

Int = int | np.int64

WIDEST = 9
"""Bits of a voxel where a sub-block has 512 labels."""


@inlined
def bits_for(number: Int) -> int:
    """ceil(log2(n)), 0 for n = 0."""
    bits = 0
    while 1 << bits < number:
        bits += 1
    return bits


@inlined
def u16(data: NDArray[np.uint8], at: Int) -> Int:
    """The number of two bytes, the lowest first."""
    return np.int64(data[at]) | np.int64(data[at + 1]) << 8


@inlined
def u32(data: NDArray[np.uint8], at: Int) -> Int:
    """The number of four bytes, the lowest first."""
    return (
        np.int64(data[at]) | np.int64(data[at + 1]) << 8 | np.int64(data[at + 2]) << 16 | np.int64(data[at + 3]) << 24
    )


@inlined
def row_of(values: NDArray[np.uint8], at: Int, bits: int, places: NDArray[np.int64]) -> None:
    """The eight numbers whose bits begin at a byte: the highest bit first."""
    word = np.uint64(0)
    mask = np.uint64((1 << bits) - 1)
    if bits < WIDEST:
        for i in range(bits):
            word = word << np.uint64(8) | np.uint64(values[at + i])
        for i in range(SUB):
            places[i] = np.int64(word >> np.uint64(bits * (SUB - 1 - i)) & mask)
        return
    for i in range(SUB):
        places[i] = (np.int64(values[at + i]) << 8 | np.int64(values[at + i + 1])) >> (SUB - 1 - i) & 511


@kernel(f"Tuple((int64, int64, int64, int64))({BYTES})")
def layout(data: NDArray[np.uint8]) -> tuple[Int, Int, Int, Int]:
    """Where numbers, places and values of a block of several labels begin, and how many places; -1 where it is none."""
    gx, gy, gz, count = u32(data, 0), u32(data, 4), u32(data, 8), u32(data, 12)
    subs = gx * gy * gz
    numbers = HEADER + 8 * count
    places = numbers + 2 * subs
    if places > len(data):
        return -1, -1, -1, -1
    total: Int = 0
    bits = 0
    for sub in range(subs):
        number = u16(data, numbers + 2 * sub)
        if number > VOXELS:
            return -1, -1, -1, -1
        total += number
        bits += bits_for(number)
    values = places + 4 * total
    if values + bits * (VOXELS // 8) != len(data):
        return -1, -1, -1, -1
    return numbers, places, values, total


class Tables(NamedTuple):
    """What the kernels need of a block."""

    data: NDArray[np.uint8]
    labels: NDArray[np.uint64]
    shape: tuple[int, int, int]
    solid: bool
    """There is one label and nothing after it. What else has one label is malformed."""


def tables_of(data: bytes | memoryview) -> Tables:
    """What stands at the head of a block.

    Raises:
        BadRequest: malformed.
    """
    shape, labels = labelblocks_ref.shape(data), labelblocks_ref.labels_in(data)
    return Tables(np.frombuffer(data, np.uint8), labels.astype(np.uint64), shape, len(data) == HEADER + 8)
