"""Keys of 3-d blocks: a scale byte, then the Morton code of the block's coordinates (SPEC, keys).

Each of x, y, z is biased by 2^20 to an unsigned number of 21 bits. Bit i of x is bit 3i of the code, bit i of y bit
3i + 1, bit i of z bit 3i + 2. The code's 63 bits stand big-endian in 8 bytes, so that byte order is Morton order and
blocks that are near each other in space are near each other in the tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dagdvid.errors import BadRequest, Corrupt

__all__ = [
    "BIAS",
    "BITS",
    "KEY_BYTES",
    "decode",
    "decode_keys",
    "decode_ref",
    "encode",
    "encode_keys",
    "encode_ref",
    "key_ref",
    "keys_of_box",
    "keys_of_codes",
]

BITS = 21
"""Bits of one biased coordinate."""
BIAS = 1 << (BITS - 1)
"""Block coordinates lie in [-BIAS, BIAS)."""
KEY_BYTES = 9

# Each step moves the upper half of every run of bits up, until two empty bits stand between neighbours.
_STEPS = (
    (32, 0x001F_0000_0000_FFFF),
    (16, 0x001F_0000_FF00_00FF),
    (8, 0x100F_00F0_0F00_F00F),
    (4, 0x10C3_0C30_C30C_30C3),
    (2, 0x1249_2492_4924_9249),
)
_LOW = (1 << BITS) - 1
_FEW = 64
"""Blocks of a box up to which numbers are quicker than arrays."""


def _spread(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    for shift, mask in _STEPS:
        values = (values | (values << np.uint64(shift))) & np.uint64(mask)
    return values


@lru_cache(1 << 16)
def _spread_one(value: int) -> int:
    """As `_spread`, for one number: quicker than an array of a few."""
    for shift, mask in _STEPS:
        value = (value | (value << shift)) & mask
    return value


def _gather(codes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = codes & np.uint64(_STEPS[-1][1])
    masks = [mask for _, mask in _STEPS[-2::-1]] + [_LOW]
    for (shift, _), mask in zip(reversed(_STEPS), masks, strict=True):
        values = (values | (values >> np.uint64(shift))) & np.uint64(mask)
    return values


def encode(coords: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The Morton codes of block coordinates.

    Args:
        coords: (N, 3) signed integers, x, y, z in each row.

    Returns:
        (N,) codes of 63 bits.

    Raises:
        BadRequest: a coordinate outside [-2^20, 2^20).
    """
    if coords.size and (coords.min() < -BIAS or coords.max() >= BIAS):
        raise BadRequest(f"block coordinates must lie between {-BIAS} and {BIAS - 1}")
    biased = (coords + BIAS).astype(np.uint64)
    codes = np.zeros(len(coords), np.uint64)
    for axis in range(3):
        codes |= _spread(biased[:, axis]) << np.uint64(axis)
    return codes


def decode(codes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The block coordinates (N, 3), x, y, z in each row, of Morton codes (N,) below 2^63."""
    coords = np.empty((len(codes), 3), np.int64)
    for axis in range(3):
        coords[:, axis] = _gather(codes >> np.uint64(axis))
    coords -= BIAS
    return coords


def keys_of_codes(codes: NDArray[np.uint64], scale: int = 0) -> list[bytes]:
    """The tree keys of Morton codes at one scale, in the order given."""
    table = np.empty((len(codes), KEY_BYTES), np.uint8)
    table[:, 0] = scale
    table[:, 1:] = codes.astype(">u8").view(np.uint8).reshape(-1, 8)
    raw = table.tobytes()
    return [raw[i : i + KEY_BYTES] for i in range(0, len(raw), KEY_BYTES)]


def keys_of_box(first: Sequence[int], size: Sequence[int], scale: int = 0) -> tuple[list[int], list[bytes]]:
    """The tree keys of a box of blocks, ascending, and the place of each in an array [z, y, x] of the box.

    Args:
        first: x, y, z of the first block.
        size: blocks along x, y, z, at least 1.
        scale: 0 to 255.

    Raises:
        BadRequest: a coordinate outside [-2^20, 2^20).
    """
    if min(first) < -BIAS or max(map(int.__add__, first, size)) > BIAS:
        raise BadRequest(f"block coordinates must lie between {-BIAS} and {BIAS - 1}")
    axes = [range(begin + BIAS, begin + BIAS + count) for begin, count in zip(first, size, strict=True)]
    if size[0] * size[1] * size[2] <= _FEW:
        x, y, z = ([_spread_one(value) << axis for value in values] for axis, values in enumerate(axes))
        few = sorted((a | b | c, at) for at, (a, b, c) in enumerate((a, b, c) for a in z for b in y for c in x))
        lead = scale << 3 * BITS + 1
        return [at for _, at in few], [(lead | code).to_bytes(KEY_BYTES, "big") for code, _ in few]
    parts = [_spread(np.array(values, np.uint64)) << np.uint64(axis) for axis, values in enumerate(axes)]
    codes = (parts[2][:, None, None] | parts[1][:, None] | parts[0]).reshape(-1)
    order = np.argsort(codes)
    return order.tolist(), keys_of_codes(codes[order], scale)


def encode_keys(coords: NDArray[np.int64], scale: int = 0) -> list[bytes]:
    """The tree keys of block coordinates (N, 3) at one scale (0 to 255), in the order given.

    Raises:
        BadRequest: a coordinate outside [-2^20, 2^20).
    """
    return keys_of_codes(encode(coords), scale)


def decode_keys(keys: Sequence[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The scales (N,) and block coordinates (N, 3) of tree keys.

    Raises:
        Corrupt: a key that `encode_keys` does not make.
    """
    if any(len(key) != KEY_BYTES for key in keys):
        raise Corrupt(f"a block key must have {KEY_BYTES} bytes")
    table = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, KEY_BYTES)
    codes = np.ascontiguousarray(table[:, 1:]).view(">u8").reshape(-1).astype(np.uint64)
    if codes.size and codes.max() >= 1 << 3 * BITS:
        raise Corrupt("a block key has its highest bit set")
    return table[:, 0].copy(), decode(codes)


def encode_ref(x: int, y: int, z: int) -> int:
    """As `encode` for one block, bit by bit."""
    code = 0
    for axis, value in enumerate((x, y, z)):
        if not -BIAS <= value < BIAS:
            raise BadRequest(f"block coordinates must lie between {-BIAS} and {BIAS - 1}")
        for bit in range(BITS):
            code |= ((value + BIAS) >> bit & 1) << (3 * bit + axis)
    return code


def decode_ref(code: int) -> tuple[int, int, int]:
    """As `decode` for one code, bit by bit."""
    x, y, z = (sum((code >> (3 * bit + axis) & 1) << bit for bit in range(BITS)) - BIAS for axis in range(3))
    return x, y, z


def key_ref(x: int, y: int, z: int, scale: int = 0) -> bytes:
    """As `encode_keys` for one block."""
    return bytes([scale]) + encode_ref(x, y, z).to_bytes(8, "big")
