"""The compiled twin of `labelblocks_ref`: what reads the voxels of a block."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dagdvid.kernels import labelblocks_ref
from dagdvid.kernels.fast import BYTES, kernel
from dagdvid.kernels.fast.blocktables import Int, bits_for, layout, row_of, tables_of, u16, u32
from dagdvid.kernels.fast.downres import winner
from dagdvid.kernels.labelblocks_ref import SUB, VOXELS, Triple

__all__ = ["at", "decode", "decode_into", "downres_into", "mask_into"]

_ORIGIN = (0, 0, 0)


@kernel(f"boolean({BYTES}, uint64[::1], UniTuple(int64, 3), uint64[:, :, ::1], UniTuple(int64, 3), UniTuple(int64, 6))")
def _decode(
    data: NDArray[np.uint8],
    table: NDArray[np.uint64],
    shape: Triple,
    out: NDArray[np.uint64],
    shift: Triple,
    window: tuple[int, int, int, int, int, int],
) -> bool:
    """Fills a part of an array with what a table says of each of the block's labels; False: the block is malformed.

    Voxel z, y, x of the block goes to z, y, x + shift, if it is in the window: from the first three, below the others.
    """
    at, first, byte, _ = layout(data)
    if at < 0:
        return False
    count = len(table)
    row = np.empty(SUB, np.int64)
    labels = np.zeros(VOXELS, np.uint64)
    z0, y0, x0, z1, y1, x1 = window
    for z in range(0, shape[0], SUB):
        for y in range(0, shape[1], SUB):
            for x in range(0, shape[2], SUB):
                number = u16(data, at)
                at += 2
                bits = bits_for(number)
                for i in range(number):
                    place = u32(data, first)
                    first += 4
                    if place >= count:
                        return False
                    labels[i] = table[place]
                low, high = max(x, x0), min(x + SUB, x1)
                if low >= high or y >= y1 or y + SUB <= y0 or z >= z1 or z + SUB <= z0:
                    byte += bits * (VOXELS // SUB)
                    continue
                if bits == 0:
                    label = labels[0] if number else np.uint64(0)
                    for k in range(max(z, z0), min(z + SUB, z1)):
                        for j in range(max(y, y0), min(y + SUB, y1)):
                            out[k + shift[0], j + shift[1], low + shift[2] : high + shift[2]] = label
                    continue
                for k in range(z, z + SUB):
                    for j in range(y, y + SUB):
                        if k < z0 or k >= z1 or j < y0 or j >= y1:
                            byte += bits
                            continue
                        row_of(data, byte, bits, row)
                        byte += bits
                        worst = 0
                        for i in range(SUB):
                            worst = max(worst, row[i])
                        if worst >= number:
                            return False
                        for i in range(low - x, high - x):
                            out[k + shift[0], j + shift[1], x + i + shift[2]] = labels[row[i]]
    return True


@kernel(f"boolean({BYTES}, uint64[::1], UniTuple(int64, 3), int64[:, :], uint64[::1])")
def _at(
    data: NDArray[np.uint8],
    table: NDArray[np.uint64],
    shape: Triple,
    points: NDArray[np.int64],
    out: NDArray[np.uint64],
) -> bool:
    """Fills an array with the labels of points, x, y, z in each row; False where the block is malformed there."""
    numbers, first, byte, _ = layout(data)
    if numbers < 0:
        return False
    gy, gx = shape[1] // SUB, shape[2] // SUB
    subs = (first - numbers) // 2
    firsts = np.empty(subs, np.int64)
    bytes_ = np.empty(subs, np.int64)
    for sub in range(subs):
        firsts[sub], bytes_[sub] = first, byte
        number = u16(data, numbers + 2 * sub)
        first += 4 * number
        byte += bits_for(number) * (VOXELS // SUB)
    for n in range(len(points)):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        sub = ((z >> 3) * gy + (y >> 3)) * gx + (x >> 3)
        number = u16(data, numbers + 2 * sub)
        if number == 0:
            out[n] = 0
            continue
        bits = bits_for(number)
        bit = ((z & 7) * 64 + (y & 7) * 8 + (x & 7)) * bits
        at = bytes_[sub] + (bit >> 3)
        place: Int = 0
        if bits:
            pair = np.int64(data[at]) << 8
            if (bit & 7) + bits > 8:
                pair |= np.int64(data[at + 1])
            place = pair >> (16 - (bit & 7) - bits) & ((1 << bits) - 1)
        if place >= number:
            return False
        place = u32(data, firsts[sub] + 4 * place)
        if place >= len(table):
            return False
        out[n] = table[place]
    return True


@kernel(f"boolean({BYTES}, uint64[::1], UniTuple(int64, 3), uint64[:, :, ::1], UniTuple(int64, 3))")
def _downres_into(
    data: NDArray[np.uint8],
    table: NDArray[np.uint64],
    shape: Triple,
    out: NDArray[np.uint64],
    corner: Triple,
) -> bool:
    """Votes in each sub-block, and writes the winners to an array; False where the block is malformed."""
    at, first, byte, _ = layout(data)
    if at < 0:
        return False
    row = np.empty(SUB, np.int64)
    places = np.empty((SUB, SUB, SUB), np.int64)
    labels = np.zeros(VOXELS, np.uint64)
    eight = np.empty(8, np.uint64)
    half = SUB // 2
    for z in range(0, shape[0], SUB):
        for y in range(0, shape[1], SUB):
            for x in range(0, shape[2], SUB):
                number = u16(data, at)
                at += 2
                bits = bits_for(number)
                for i in range(number):
                    place = u32(data, first)
                    first += 4
                    if place >= len(table):
                        return False
                    labels[i] = table[place]
                z0, y0, x0 = corner[0] + z // 2, corner[1] + y // 2, corner[2] + x // 2
                if bits == 0:
                    label = labels[0] if number else np.uint64(0)
                    for k in range(half):
                        for j in range(half):
                            out[z0 + k, y0 + j, x0 : x0 + half] = label
                    continue
                worst = 0
                for k in range(SUB):
                    for j in range(SUB):
                        row_of(data, byte, bits, row)
                        byte += bits
                        for i in range(SUB):
                            worst = max(worst, row[i])
                            places[k, j, i] = row[i]
                if worst >= number:
                    return False
                for k in range(half):
                    for j in range(half):
                        for i in range(half):
                            cube = places[2 * k : 2 * k + 2, 2 * j : 2 * j + 2, 2 * i : 2 * i + 2]
                            one = cube[0, 0, 0]
                            different = 0
                            for n in range(1, 8):
                                different |= cube[n >> 2, n >> 1 & 1, n & 1] ^ one
                            if different == 0:
                                out[z0 + k, y0 + j, x0 + i] = labels[one]
                                continue
                            for n in range(8):
                                eight[n] = labels[cube[n >> 2, n >> 1 & 1, n & 1]]
                            out[z0 + k, y0 + j, x0 + i] = winner(eight)
    return True


@kernel(f"boolean({BYTES}, boolean[::1], UniTuple(int64, 3), boolean[:, :, ::1], int64)")
def _mask(data: NDArray[np.uint8], table: NDArray[np.bool_], shape: Triple, out: NDArray[np.bool_], shift: int) -> bool:
    """As `_decode`, with a table of booleans."""
    at, first, byte, _ = layout(data)
    if at < 0:
        return False
    row = np.empty(SUB, np.int64)
    wanted = np.zeros(VOXELS, np.bool_)
    for z in range(0, shape[0], SUB):
        for y in range(0, shape[1], SUB):
            for x in range(shift, shift + shape[2], SUB):
                number = u16(data, at)
                at += 2
                bits = bits_for(number)
                some, every = False, number > 0
                for i in range(number):
                    place = u32(data, first)
                    first += 4
                    if place >= len(table):
                        return False
                    wanted[i] = table[place]
                    some |= wanted[i]
                    every &= wanted[i]
                if every == some:
                    out[z : z + SUB, y : y + SUB, x : x + SUB] = some
                    byte += bits * (VOXELS // SUB)
                    continue
                for k in range(SUB):
                    for j in range(SUB):
                        row_of(data, byte, bits, row)
                        byte += bits
                        for i in range(SUB):
                            out[z + k, y + j, x + i] = wanted[row[i]]
    return True


def decode(data: bytes | memoryview) -> NDArray[np.uint64]:
    """As the plain one."""
    raw, labels, shape, solid = tables_of(data)
    if solid:
        return np.full(shape, labels[0])
    voxels = np.empty(shape, np.uint64)
    if len(labels) == 1 or not _decode(raw, labels, shape, voxels, _ORIGIN, (*_ORIGIN, *shape)):
        return labelblocks_ref.decode_ref(data)
    return voxels


def decode_into(data: bytes | memoryview, volume: NDArray[np.uint64], at: Triple, first: Triple, size: Triple) -> None:
    """As the plain one."""
    raw, labels, shape, solid = tables_of(data)
    (z, y, x), (fz, fy, fx), (dz, dy, dx) = at, first, size
    if solid:
        volume[z : z + dz, y : y + dy, x : x + dx] = labels[0]
        return
    shift, window = (z - fz, y - fy, x - fx), (fz, fy, fx, fz + dz, fy + dy, fx + dx)
    if len(labels) == 1 or not _decode(raw, labels, shape, volume, shift, window):
        labelblocks_ref.decode_into_ref(data, volume, at, first, size)


def downres_into(data: bytes | memoryview, volume: NDArray[np.uint64], at: Triple) -> None:
    """As the plain one."""
    raw, labels, shape, solid = tables_of(data)
    if solid:
        (z, y, x), (dz, dy, dx) = at, (edge // 2 for edge in shape)
        volume[z : z + dz, y : y + dy, x : x + dx] = labels[0]
    elif len(labels) == 1 or not _downres_into(raw, labels, shape, volume, at):
        labelblocks_ref.downres_into_ref(data, volume, at)


def at(data: bytes | memoryview, points: NDArray[np.int64]) -> NDArray[np.uint64]:
    """As the plain one."""
    raw, labels, shape, solid = tables_of(data)
    if solid:
        return np.full(len(points), labels[0])
    found = np.empty(len(points), np.uint64)
    if len(labels) == 1 or not _at(raw, labels, shape, points, found):
        return labelblocks_ref.at_ref(data, points)
    return found


def mask_into(data: bytes | memoryview, labels: NDArray[np.uint64], mask: NDArray[np.bool_], x: int) -> None:
    """As the plain one."""
    raw, table, shape, solid = tables_of(data)
    wanted = _member(table, labels)
    if solid:
        mask[:, :, x : x + shape[2]] = wanted[0]
    elif len(table) == 1 or not _mask(raw, wanted, shape, mask, x):
        labelblocks_ref.mask_into_ref(data, labels, mask, x)


def _member(table: NDArray[np.uint64], labels: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which of a table are among labels that ascend."""
    if not len(labels):
        return np.zeros(len(table), bool)
    found: NDArray[np.bool_] = labels[np.minimum(np.searchsorted(labels, table), len(labels) - 1)] == table
    return found
