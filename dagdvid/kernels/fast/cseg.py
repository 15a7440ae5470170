"""The compiled twin of `cseg`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dagdvid.kernels import cseg_ref
from dagdvid.kernels.fast import BYTES, inlined, kernel

__all__ = ["decode", "encode"]

EDGE = 8
VOXELS = EDGE**3
Int = int | np.int64


@inlined
def _width(number: int) -> int:
    """Bits of a voxel in a block of so many labels."""
    if number <= 1:
        return 0
    width = 1
    while number > 1 << width:
        width *= 2
    return width


@kernel("Tuple((uint32[::1], int64))(Array(uint64, 3, 'A', readonly=True))")
def _encode(voxels: NDArray[np.uint64]) -> tuple[NDArray[np.uint32], int]:
    """The words, and where the last table begins."""
    blocks = voxels.size // VOXELS
    end = 1 + 2 * blocks
    words = np.empty(end + 16 * blocks + 2048, np.uint32)
    words[0] = 1
    labels = np.empty(VOXELS, np.uint64)
    old = np.empty(VOXELS, np.uint64)
    old_number = 0
    table = 0
    places = np.empty(VOXELS, np.uint32)
    slots = np.full(2 * VOXELS, -1, np.int64)
    block = -1
    for z in range(0, voxels.shape[0], EDGE):
        for y in range(0, voxels.shape[1], EDGE):
            for x in range(0, voxels.shape[2], EDGE):
                block += 1
                if end + 2048 > len(words):
                    words = np.concatenate((words, np.empty(len(words), np.uint32)))
                number, place, at = 0, np.int64(0), 0
                last = ~voxels[z, y, x]
                for k in range(EDGE):
                    for j in range(EDGE):
                        for i in range(EDGE):
                            label = voxels[z + k, y + j, x + i]
                            if label != last:
                                last = label
                                slot = np.int64((label * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(54))
                                while slots[slot] >> 10 == block and labels[slots[slot] & 1023] != label:
                                    slot = (slot + 1) & (2 * VOXELS - 1)
                                if slots[slot] >> 10 != block:
                                    slots[slot] = block << 10 | number
                                    labels[number] = label
                                    number += 1
                                place = slots[slot] & 1023
                            places[at] = place
                            at += 1
                width = _width(number)
                start = end
                if width:
                    share = 32 // width
                    for word in range(VOXELS // share):
                        packed = np.uint32(0)
                        for i in range(share):
                            packed |= places[word * share + i] << np.uint32(i * width)
                        words[end] = packed
                        end += 1
                same = number == old_number
                if same:
                    for i in range(number):
                        same &= labels[i] == old[i]
                if not same:
                    table = end - 1
                    old_number = number
                    for i in range(number):
                        old[i] = labels[i]
                        words[end] = np.uint32(labels[i] & np.uint64(0xFFFFFFFF))
                        words[end + 1] = np.uint32(labels[i] >> np.uint64(32))
                        end += 2
                words[1 + 2 * block] = np.uint32(table & 0xFFFFFF | width << 24)
                words[2 + 2 * block] = np.uint32(start - 1)
    return words[:end], table


@kernel(f"boolean({BYTES}, int64, int64, int64, int64, uint64[:, :, ::1])")
def _decode(data: NDArray[np.uint8], bz: int, by: int, bx: int, item: int, out: NDArray[np.uint64]) -> bool:
    """Fills an array; False where the data are malformed. Their size is known to be enough for the heads."""
    words = data.view(np.uint32)[1:]
    number = 0
    for z in range(0, out.shape[0], bz):
        for y in range(0, out.shape[1], by):
            for x in range(0, out.shape[2], bx):
                table, start = np.int64(words[2 * number]) & 0xFFFFFF, np.int64(words[2 * number + 1])
                width = np.int64(words[2 * number]) >> 24
                number += 1
                if width > 32 or width & (width - 1):
                    return False
                if start + (bz * by * bx * width + 31) // 32 > len(words) and width:
                    return False
                most = (len(words) - table) // item
                mask = (1 << width) - 1
                for k in range(bz):
                    for j in range(by):
                        bit = (k * by + j) * bx * width
                        for i in range(bx):
                            place: Int = 0
                            if width:
                                place = np.int64(words[start + (bit >> 5)]) >> (bit & 31) & mask
                                bit += width
                            if place >= most:
                                return False
                            if z + k < out.shape[0] and y + j < out.shape[1] and x + i < out.shape[2]:
                                label = np.uint64(words[table + item * place])
                                if item == 2:
                                    label |= np.uint64(words[table + 2 * place + 1]) << np.uint64(32)
                                out[z + k, y + j, x + i] = label
    return True


def encode(voxels: NDArray[np.uint64]) -> bytes:
    """As the plain one."""
    if any(edge % EDGE for edge in voxels.shape):
        return cseg_ref.encode_ref(voxels)
    words, table = _encode(voxels)
    if table >= cseg_ref.TABLES:
        raise cseg_ref.too_large()
    return words.tobytes()


def decode(
    data: bytes | memoryview, shape: tuple[int, int, int], block: tuple[int, int, int], item: int
) -> NDArray[np.uint64]:
    """As the plain one."""
    count = -(-shape[0] // block[0]) * -(-shape[1] // block[1]) * -(-shape[2] // block[2])
    voxels = np.empty(shape, np.uint64)
    if (
        len(data) % 4
        or len(data) < 4 + 8 * count
        or data[:4] != b"\1\0\0\0"
        or not _decode(np.frombuffer(data, np.uint8), *block, item, voxels)
    ):
        return cseg_ref.decode_ref(data, shape, block, item)
    return voxels
