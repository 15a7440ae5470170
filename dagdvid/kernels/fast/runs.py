"""The compiled twin of `runs` and `bitblocks`: masks to runs, runs to masks, masks to bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dagdvid.kernels import runs_ref
from dagdvid.kernels.fast import kernel

__all__ = ["bits", "of_mask", "paint"]

Int = int | np.int64

WORD = 8
SUB = 8


@kernel("int64[:, ::1](Array(uint8, 3, 'C', readonly=True), Array(uint64, 3, 'C', readonly=True), UniTuple(int64, 3))")
def _of_mask(mask: NDArray[np.uint8], words: NDArray[np.uint64], origin: tuple[int, int, int]) -> NDArray[np.int64]:
    """The runs of a mask, of which words are eight voxels each."""
    zero, ones = np.uint64(0), np.uint64(0x0101010101010101)
    found = np.empty((1024, 4), np.int64)
    number = 0
    for z in range(mask.shape[0]):
        for y in range(mask.shape[1]):
            if number + mask.shape[2] > len(found):
                more = np.empty((2 * len(found) + mask.shape[2], 4), np.int64)
                more[:number] = found[:number]
                found = more
            start = -1
            for w in range(words.shape[2]):
                word = words[z, y, w]
                if start < 0:
                    if word == zero:
                        continue
                    if word == ones:
                        start = w * WORD
                        continue
                elif word == ones:
                    continue
                for x in range(w * WORD, w * WORD + WORD):
                    if mask[z, y, x]:
                        if start < 0:
                            start = x
                    elif start >= 0:
                        found[number, 0], found[number, 3] = start, x - start
                        found[number, 1], found[number, 2] = y, z
                        number += 1
                        start = -1
            if start >= 0:
                found[number, 0], found[number, 3] = start, mask.shape[2] - start
                found[number, 1], found[number, 2] = y, z
                number += 1
    kept = found[:number].copy()
    for axis in range(3):
        kept[:, axis] += origin[axis]
    return kept


@kernel("void(int64[:, :], boolean[:, :, ::1])")
def _paint(runs: NDArray[np.int64], mask: NDArray[np.bool_]) -> None:
    for n in range(len(runs)):
        mask[runs[n, 2], runs[n, 1], runs[n, 0] : runs[n, 0] + runs[n, 3]] = True


@kernel("Tuple((uint8[::1], int64))(Array(boolean, 3, 'A', readonly=True))")
def _bits(mask: NDArray[np.bool_]) -> tuple[NDArray[np.uint8], int]:
    """A part for each sub-block; and 0 or 1 where no or all voxels are set, else 2."""
    subs = mask.size // SUB**3
    out = np.empty(subs * 65, np.uint8)
    end = 0
    set_: Int = 0
    for z in range(0, mask.shape[0], SUB):
        for y in range(0, mask.shape[1], SUB):
            for x in range(0, mask.shape[2], SUB):
                here: Int = 0
                at = end + 1
                for k in range(SUB):
                    for j in range(SUB):
                        byte: Int = 0
                        for i in range(SUB):
                            bit = np.int64(mask[z + k, y + j, x + i])
                            byte |= bit << i
                            here += bit
                        out[at] = byte
                        at += 1
                set_ += here
                out[end] = 0 if here == 0 else 1 if here == SUB**3 else 2
                end = at if out[end] == 2 else end + 1
    return out[:end], 0 if set_ == 0 else 1 if set_ == mask.size else 2


def of_mask(mask: NDArray[np.bool_], origin: Sequence[int]) -> NDArray[np.int64]:
    """As the plain one."""
    if mask.shape[2] % WORD or not mask.size:
        return runs_ref.of_mask_ref(mask, origin)
    voxels = np.ascontiguousarray(mask).view(np.uint8)
    x, y, z = origin
    return _of_mask(voxels, voxels.view(np.uint64), (int(x), int(y), int(z)))


def paint(runs: NDArray[np.int64], shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """As the plain one."""
    mask = np.zeros(shape, np.bool_)
    _paint(runs, mask)
    return mask


def bits(mask: NDArray[np.bool_]) -> bytes:
    """As the plain one."""
    parts, kind = _bits(mask)
    return b"\2" + parts.tobytes() if kind == 2 else bytes([kind])
