"""Writes TIFF files: gray, RGB and RGBA, 8 or 16 bits a channel, one deflated strip.

TIFF Revision 6.0 with the Deflate compression of its supplements; written here because Pillow has no 16-bit RGBA.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

__all__ = ["encode_tiff"]

_SHORT, _LONG = 3, 4
_LEVEL = 1
_DEFLATE = 8
_UNASSOCIATED_ALPHA = 2


def encode_tiff(pixels: NDArray[Any]) -> bytes:
    """The TIFF file of an image [y, x] or [y, x, channel] of uint8 or uint16; 1, 3 or 4 channels."""
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    little = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<"))
    strip = isal_zlib.compress(little.reshape(-1).view(np.uint8).data, _LEVEL)
    tags: list[tuple[int, int, list[int]]] = [
        (256, _LONG, [width]),
        (257, _LONG, [height]),
        (258, _SHORT, [8 * pixels.dtype.itemsize] * channels),
        (259, _SHORT, [_DEFLATE]),
        (262, _SHORT, [1 if channels == 1 else 2]),  # black is zero; RGB
        (273, _LONG, [8]),
        (277, _SHORT, [channels]),
        (278, _LONG, [height]),
        (279, _LONG, [len(strip)]),
    ]
    if channels == 4:
        tags.append((338, _SHORT, [_UNASSOCIATED_ALPHA]))
    at = 8 + len(strip) + len(strip) % 2
    rest_at = at + 2 + 12 * len(tags) + 4
    entries, rest = [struct.pack("<H", len(tags))], b""
    for tag, kind, values in tags:
        data = struct.pack(f"<{len(values)}{'H' if kind == _SHORT else 'I'}", *values)
        if len(data) > 4:
            data, rest = struct.pack("<I", rest_at + len(rest)), rest + data
        entries.append(struct.pack("<HHI4s", tag, kind, len(values), data))
    return b"".join([b"II*\0", struct.pack("<I", at), strip, bytes(len(strip) % 2), *entries, bytes(4), rest])
