"""FNV-1 with 128 bits: the hash by which DVID names blobs (Go's hash/fnv, New128).

    h = OFFSET;  for each byte b:  h = (h * PRIME mod 2^128) xor b

Byte by byte Python does 10 MiB/s of it, this way 100. The xor touches only the low byte, so that with l the low byte of
h, m the low byte of l * PRIME and d = (m xor b) - m, each step is h * PRIME + d. The low bytes alone are a small
automaton whose bit k depends on its bits below: eight running xors give all of them. What is left is a sum of
d * PRIME^j, a matrix product, exact in floating point with the powers cut into 16-bit digits.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["DIGEST_BYTES", "fnv1_128", "fnv1_128_ref", "reference_of"]

DIGEST_BYTES = 16
OFFSET = 0x6C62272E07BB014262B821756295C58D
PRIME = 2**88 + 0x13B

_MASK = 2**128 - 1
_BLOCK = 2**12
_BLOCKS = 2**6
_DIGITS = 8


def fnv1_128(data: bytes | memoryview) -> bytes:
    """The hash of bytes: 16 bytes, big-endian."""
    state = OFFSET
    step = _BLOCK * _BLOCKS
    for start in range(0, len(data), step):
        state = _advance(state, np.frombuffer(data, np.uint8, min(step, len(data) - start), start))
    return state.to_bytes(DIGEST_BYTES, "big")


def reference_of(digest: bytes) -> str:
    """By what DVID's blobstore finds the content of a hash: that in URL-safe base64 with padding."""
    return urlsafe_b64encode(digest).decode()


def _advance(state: int, data: NDArray[np.uint8]) -> int:
    """The state after some bytes, at most _BLOCK * _BLOCKS."""
    steps = _steps(state & 0xFF, data)
    whole = len(data) - len(data) % _BLOCK
    for digits in steps[:whole].reshape(-1, _BLOCK) @ _powers():
        state = (state * _power(_BLOCK) + _number(digits)) & _MASK
    rest = len(data) - whole
    if rest:
        state = (state * _power(rest) + _number(steps[whole:] @ _powers()[_BLOCK - rest :])) & _MASK
    return state


def _steps(low: int, data: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What each byte adds to the product, from the low byte of the state before the first."""
    lows = np.empty(len(data) + 1, np.uint8)  # of the states before each byte, and after the last; bits 0 to k - 1
    lows[:] = 0
    factor = np.uint8(PRIME & 0xFF)
    for k in range(8):
        carried = (lows[:-1] * factor ^ data) >> np.uint8(k) & np.uint8(1)
        bits = np.bitwise_xor.accumulate(carried) ^ np.uint8(low >> k & 1)
        lows[0] |= low & 1 << k
        lows[1:] |= bits << np.uint8(k)
    product = lows[:-1] * factor
    return (lows[1:].astype(np.int16) - product).astype(np.float64)


@cache
def _power(exponent: int) -> int:
    return pow(PRIME, exponent, 2**128)


@cache
def _powers() -> NDArray[np.float64]:
    """PRIME^(_BLOCK - 1) to PRIME^0, each as _DIGITS digits of 16 bits, the lowest first: (_BLOCK, _DIGITS)."""
    rows = [_power(_BLOCK - 1 - i).to_bytes(DIGEST_BYTES, "little") for i in range(_BLOCK)]
    return np.frombuffer(b"".join(rows), "<u2").reshape(_BLOCK, _DIGITS).astype(np.float64)


def _number(digits: NDArray[np.float64]) -> int:
    return sum(int(digit) << 16 * i for i, digit in enumerate(digits))


def fnv1_128_ref(data: bytes) -> bytes:
    """As `fnv1_128`, byte by byte."""
    state = OFFSET
    for byte in data:
        state = state * PRIME & _MASK ^ byte
    return state.to_bytes(DIGEST_BYTES, "big")
