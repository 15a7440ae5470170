"""Writes the Snappy block format (google/snappy, format_description.txt), as literals: valid for every reader, and not
smaller than its input. For the few clients that ask for the stored bytes of instances that were made with it.
"""

from __future__ import annotations

__all__ = ["encode_snappy"]

_LITERAL = 1 << 16
"""Bytes of one literal: its length, less one, fits the two bytes that tag 61 announces."""


def encode_snappy(data: bytes) -> bytes:
    """A Snappy block that decodes to the data."""
    parts = [_varint(len(data))]
    for start in range(0, len(data), _LITERAL):
        piece = data[start : start + _LITERAL]
        parts += [b"\xf4", (len(piece) - 1).to_bytes(2, "little"), piece]
    return b"".join(parts)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
