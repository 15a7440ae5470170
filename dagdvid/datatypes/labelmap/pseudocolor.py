"""Colours for labels: red, green and blue are bytes of the label's MurmurHash3 of 32 bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["pseudocolor"]


def pseudocolor(labels: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """The colours [..., 4] of labels: red, green, blue and an alpha of 255, as DVID has them (labelmap.go, colorImage).

    The three highest bytes of the hash (seed 0) of the label's eight bytes, little-endian.
    """
    found, which = np.unique(labels, return_inverse=True)
    halves = found.astype("<u8").view("<u4").reshape(-1, 2).astype(np.uint32)
    state = np.zeros(len(found), np.uint32)
    for half in halves.T:
        key = _turned(half * np.uint32(0xCC9E2D51), 15) * np.uint32(0x1B873593)
        state = _turned(state ^ key, 13) * np.uint32(5) + np.uint32(0xE6546B64)
    state ^= np.uint32(8)  # the number of bytes
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        state = (state ^ (state >> np.uint32(shift))) * np.uint32(factor)
    state ^= state >> np.uint32(16)
    colours = state.astype(">u4").view(np.uint8).reshape(-1, 4)
    colours[:, 3] = 255
    shown: NDArray[np.uint8] = colours[which.reshape(labels.shape)]
    return shown


def _turned(values: NDArray[np.uint32], bits: int) -> NDArray[np.uint32]:
    """Bits moved up, those that fall out coming in below."""
    return (values << np.uint32(bits)) | (values >> np.uint32(32 - bits))
