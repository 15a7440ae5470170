"""The plain form of `labelblocks`: DVID's compressed label blocks with whole arrays, and the format in words.

A block of bx * by * bz voxels is cut into sub-blocks of 8^3, x running fastest (datatype/common/labels/compressed.go):

    3 x uint32      gx, gy, gz: the number of sub-blocks along each axis
    uint32          N, the number of labels
    N x uint64      the labels
    and only where N > 1, with Nsb = gx * gy * gz:
    Nsb x uint16    how many labels each sub-block has; 0 stands for one that is all label 0
    x uint32        for each sub-block in turn, the places of its labels among the N
    bits            for each sub-block with n > 1 labels, 512 numbers below n of ceil(log2(n)) bits, the highest bit
                    first, x fastest; 512 numbers always fill whole bytes

All numbers are little-endian. The canonical form (SPEC, labels) lists what occurs, once, in order of first appearance:
of sub-blocks in the block, of voxels in the sub-block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dagdvid.errors import BadRequest
from dagdvid.kernels.downres_ref import downres_ref

__all__ = [
    "Counted",
    "Parts",
    "at_ref",
    "canonical_ref",
    "check_ref",
    "count_ref",
    "counts_ref",
    "decode_into_ref",
    "decode_ref",
    "downres_into_ref",
    "encode_ref",
    "labels_in",
    "mask_into_ref",
    "parts",
    "shape",
]

Triple = tuple[int, int, int]

SUB = 8
"""Voxels along each edge of a sub-block."""
VOXELS = SUB**3
HEADER = 16
MAX_EDGE = 1024 // SUB
"""The most sub-blocks along an axis (MaxSubBlockSize of DVID)."""


class Counted(NamedTuple):
    """A block in its canonical form, and its voxels of each label."""

    data: bytes
    labels: NDArray[np.uint64]
    """Ascending, without 0."""
    counts: NDArray[np.int64]


class Parts(NamedTuple):
    """The tables of a label block, as views of its bytes."""

    shape: tuple[int, int, int]
    """Voxels along z, y, x."""
    labels: NDArray[np.uint64]
    numbers: NDArray[np.uint16]
    """Labels of each sub-block; empty where the block has one label."""
    places: NDArray[np.uint32]
    values: NDArray[np.uint8]


def shape(data: bytes | memoryview) -> tuple[int, int, int]:
    """Voxels along z, y, x, from the header alone.

    Raises:
        BadRequest: there is no such header.
    """
    if len(data) < HEADER + 8:
        raise BadRequest(f"malformed label block: {len(data)} bytes are too few")
    gx, gy, gz = (int(number) for number in np.frombuffer(data, "<u4", 3))
    if not all(2 <= edge <= MAX_EDGE for edge in (gx, gy, gz)):
        raise BadRequest(f"malformed label block: {gx} x {gy} x {gz} sub-blocks")
    return SUB * gz, SUB * gy, SUB * gx


def labels_in(data: bytes | memoryview) -> NDArray[np.uint64]:
    """The label table alone: in canonical blocks, the labels that occur (0, too), by first appearance.

    Raises:
        BadRequest: the table is cut short.
    """
    count = int.from_bytes(data[12:HEADER], "little")
    if not count or len(data) < HEADER + 8 * count:
        raise BadRequest(f"malformed label block: {count} labels in {len(data)} bytes")
    return np.frombuffer(data, "<u8", count, HEADER)


def parts(data: bytes | memoryview) -> Parts:
    """The tables of a block; the values of its voxels are not looked at.

    Raises:
        BadRequest: malformed.
    """
    size, labels = shape(data), labels_in(data)
    count = len(labels)
    at = HEADER + 8 * count
    nothing = np.empty(0, np.uint8)
    if count == 1:
        if at != len(data):
            raise BadRequest(f"malformed label block: {len(data) - at} bytes after its one label")
        return Parts(size, labels, nothing.astype(np.uint16), nothing.astype(np.uint32), nothing)
    subs = size[0] * size[1] * size[2] // VOXELS
    if at + 2 * subs > len(data):
        raise BadRequest("malformed label block: it ends inside the numbers of labels")
    numbers = np.frombuffer(data, "<u2", subs, at)
    at += 2 * subs
    if numbers.max() > VOXELS:
        raise BadRequest(f"malformed label block: a sub-block of {numbers.max()} labels")
    total = int(numbers.sum(dtype=np.int64))
    if at + 4 * total > len(data):
        raise BadRequest("malformed label block: it ends inside the places of labels")
    places = np.frombuffer(data, "<u4", total, at)
    at += 4 * total
    if total and places.max() >= count:
        raise BadRequest(f"malformed label block: place {places.max()} among {count} labels")
    packed = int(bits_of(numbers).sum(dtype=np.int64)) * (VOXELS // 8)
    if at + packed != len(data):
        raise BadRequest(f"malformed label block: {len(data) - at} bytes of voxels, not {packed}")
    return Parts(size, labels, numbers, places, np.frombuffer(data, np.uint8, packed, at))


def bits_of(numbers: NDArray[np.uint16]) -> NDArray[np.int64]:
    """Bits of a voxel in sub-blocks with so many labels: ceil(log2(n)), and 0 for none."""
    return np.array([max(n - 1, 0).bit_length() for n in range(VOXELS + 1)])[numbers]


def rows_of(block: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The voxels of each sub-block, (Nsb, 512), of a block [z, y, x]; a copy."""
    gz, gy, gx = (edge // SUB for edge in block.shape)
    return block.reshape(gz, SUB, gy, SUB, gx, SUB).transpose(0, 2, 4, 1, 3, 5).reshape(-1, VOXELS)


def block_of(rows: NDArray[np.uint64], size: tuple[int, int, int]) -> NDArray[np.uint64]:
    """The inverse of `rows_of`."""
    gz, gy, gx = (edge // SUB for edge in size)
    return rows.reshape(gz, gy, gx, SUB, SUB, SUB).transpose(0, 3, 1, 4, 2, 5).reshape(size)


def decode_ref(data: bytes | memoryview) -> NDArray[np.uint64]:
    """As `labelblocks.decode`, all sub-blocks with equally wide values at once."""
    size, labels, numbers, places, values = parts(data)
    if len(labels) == 1:
        return np.full(size, labels[0], np.uint64)
    rows = np.zeros((len(numbers), VOXELS), np.uint64)
    firsts = np.cumsum(numbers, dtype=np.int64) - numbers
    single = np.flatnonzero(numbers == 1)
    rows[single] = labels[places[firsts[single]]][:, None]
    bits = bits_of(numbers)
    starts = (np.cumsum(bits) - bits) * (VOXELS // 8)
    for width in np.unique(bits[bits > 0]).tolist():
        subs = np.flatnonzero(bits == width)
        packed = values[starts[subs][:, None] + np.arange(width * (VOXELS // 8))]
        digits = np.unpackbits(packed, axis=1).reshape(len(subs), VOXELS, width)
        numbered = digits @ (1 << np.arange(width)[::-1])
        if (numbered >= numbers[subs][:, None]).any():
            raise BadRequest("malformed label block: a voxel beyond the labels of its sub-block")
        rows[subs] = labels[places[firsts[subs][:, None] + numbered]]
    return block_of(rows, size)


def canonical_bytes(block: NDArray[np.uint64]) -> bytes:
    """The canonical form: one sort of all voxels finds who appears first where."""
    gz, gy, gx = (edge // SUB for edge in block.shape)
    rows = rows_of(block)
    distinct, first, codes = np.unique(rows, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    labels = distinct[order]
    head = np.array([gx, gy, gz, len(labels)], "<u4").tobytes() + labels.astype("<u8").tobytes()
    if len(labels) == 1:
        return head
    subs = np.arange(len(rows))[:, None]
    pairs, first, inverse = np.unique(
        subs * len(labels) + rank[codes.reshape(rows.shape)], return_index=True, return_inverse=True
    )
    order = np.argsort(first)
    numbers = np.bincount(pairs // len(labels), minlength=len(rows))
    within = np.empty_like(order)
    within[order] = np.arange(len(order))
    numbered = within[inverse.reshape(rows.shape)] - (np.cumsum(numbers) - numbers)[:, None]
    bits = bits_of(numbers.astype(np.uint16))
    values = [
        np.packbits(row[:, None] >> np.arange(width)[::-1] & 1).tobytes()
        for row, width in zip(numbered, bits.tolist(), strict=True)
    ]
    places = pairs[order] % len(labels)
    return b"".join([head, numbers.astype("<u2").tobytes(), places.astype("<u4").tobytes(), *values])


def count_ref(voxels: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """As `labelblocks.count`."""
    labels, counts = np.unique(voxels, return_counts=True)
    present = labels != 0
    return labels[present], counts[present]


def counts_ref(data: bytes | memoryview) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """As `labelblocks.counts`."""
    return count_ref(decode_ref(data))


def encode_ref(block: NDArray[np.uint64]) -> Counted:
    """As `labelblocks.encode_counted`."""
    return Counted(canonical_bytes(block), *count_ref(block))


def canonical_ref(data: bytes | memoryview) -> Counted:
    """As `labelblocks.canonical`."""
    return encode_ref(decode_ref(data))


def check_ref(data: bytes | memoryview) -> bool:
    """Whether a block is canonical.

    Raises:
        BadRequest: malformed.
    """
    return canonical_ref(data).data == data


def mask_into_ref(data: bytes | memoryview, labels: NDArray[np.uint64], mask: NDArray[np.bool_], x: int) -> None:
    """As `labelblocks.mask_into`."""
    found = np.isin(decode_ref(data), labels)
    mask[:, :, x : x + found.shape[2]] = found


def decode_into_ref(
    data: bytes | memoryview, volume: NDArray[np.uint64], at: Triple, first: Triple, size: Triple
) -> None:
    """As `labelblocks.decode_into`."""
    volume[_box(at, size)] = decode_ref(data)[_box(first, size)]


def at_ref(data: bytes | memoryview, points: NDArray[np.int64]) -> NDArray[np.uint64]:
    """As `labelblocks.at`."""
    x, y, z = points.T
    found: NDArray[np.uint64] = decode_ref(data)[z, y, x]
    return found


def downres_into_ref(data: bytes | memoryview, volume: NDArray[np.uint64], at: Triple) -> None:
    """As `labelblocks.downres_into`."""
    half = downres_ref(decode_ref(data))
    volume[_box(at, half.shape)] = half


def _box(first: Sequence[int], size: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(low, low + edge) for low, edge in zip(first, size, strict=True))
