"""The protobuf wire format, as far as DVID's small messages need it: varints and length-delimited fields.

Reading is strict: what is cut short, overlong or not a field is a BadRequest. Fields that a message does not know are
skipped by its reader, as protobuf has it; the deprecated groups are refused.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dagdvid.errors import BadRequest

__all__ = [
    "FIXED32",
    "FIXED64",
    "LEN",
    "VARINT",
    "delimited",
    "delimited_value",
    "fields",
    "tag",
    "unsigned_value",
    "unsigned_values",
    "varint",
    "varint_field",
]

VARINT, FIXED64, LEN, FIXED32 = 0, 1, 2, 5
"""Wire types."""

_FIXED_BYTES = {FIXED64: 8, FIXED32: 4}
_MAX_FIELD = (1 << 29) - 1
_MAX_UINT64 = (1 << 64) - 1
_SMALL = [bytes([i]) for i in range(0x80)] + [bytes([i & 0x7F | 0x80, i >> 7]) for i in range(0x80, 0x1000)]
"""The numbers that nearly all lengths are."""


def varint(value: int) -> bytes:
    """An unsigned integer below 2^64, 7 bits a byte, the lowest first."""
    if value < len(_SMALL):
        return _SMALL[value]
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def tag(number: int, wire_type: int) -> bytes:
    """What every field begins with."""
    return varint(number << 3 | wire_type)


def varint_field(number: int, value: int) -> bytes:
    """A field of an unsigned integer."""
    return tag(number, VARINT) + varint(value)


def delimited(number: int, data: bytes | memoryview) -> bytes:
    """A field of bytes, a string or a message."""
    return b"".join((tag(number, LEN), varint(len(data)), data))


def _varint_at(data: memoryview, at: int) -> tuple[int, int]:
    """The varint at a position, and the position after it."""
    value = shift = 0
    if at < len(data) and data[at] < 0x80:
        return data[at], at + 1
    while True:
        if at >= len(data):
            raise BadRequest("malformed protobuf: it ends inside a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value > _MAX_UINT64:
                raise BadRequest("malformed protobuf: a number has more than 64 bits")
            return value, at
        shift += 7
        if shift > 63:
            raise BadRequest("malformed protobuf: a number has more than 10 bytes")


def fields(message: bytes | memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """The fields of a message in order: number, wire type, value.

    The value is an int for VARINT, else a view of the field's bytes (no copy).

    Raises:
        BadRequest: malformed.
    """
    data = memoryview(message)
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint_at(data, at)
        number, wire_type = tag >> 3, tag & 7
        if not 1 <= number <= _MAX_FIELD:
            raise BadRequest(f"malformed protobuf: field number {number}")
        if wire_type == VARINT:
            value, at = _varint_at(data, at)
            yield number, wire_type, value
            continue
        if wire_type == LEN:
            size, at = _varint_at(data, at)
        elif wire_type in _FIXED_BYTES:
            size = _FIXED_BYTES[wire_type]
        else:
            raise BadRequest(f"malformed protobuf: wire type {wire_type}")
        if size > end - at:
            raise BadRequest(f"malformed protobuf: field {number} is cut short")
        yield number, wire_type, data[at : at + size]
        at += size


def delimited_value(number: int, wire_type: int, value: int | memoryview) -> memoryview:
    """The bytes of a field that `fields` gave.

    Raises:
        BadRequest: it is not length-delimited.
    """
    if wire_type != LEN or isinstance(value, int):
        raise BadRequest(f"malformed protobuf: field {number} has wire type {wire_type}, not {LEN}")
    return value


def unsigned_value(number: int, wire_type: int, value: int | memoryview) -> int:
    """The number of a field that `fields` gave.

    Raises:
        BadRequest: it is not a varint.
    """
    if wire_type != VARINT or not isinstance(value, int):
        raise BadRequest(f"malformed protobuf: field {number} has wire type {wire_type}, not {VARINT}")
    return value


def unsigned_values(packed: bytes | memoryview) -> NDArray[np.uint64]:
    """The varints of a packed repeated field.

    Raises:
        BadRequest: malformed.
    """
    data = np.frombuffer(packed, np.uint8)
    lasts = np.flatnonzero(data < 0x80)
    if (lasts[-1] + 1 if len(lasts) else 0) != len(data):
        raise BadRequest("malformed protobuf: it ends inside a number")
    firsts = np.concatenate([[0], lasts[:-1] + 1]).astype(np.int64)[: len(lasts)]
    sizes = lasts - firsts + 1
    if len(sizes) and (sizes.max() > 10 or (data[lasts[sizes == 10]] > 1).any()):
        raise BadRequest("malformed protobuf: a number has more than 64 bits")
    values = np.zeros(len(lasts), np.uint64)
    for place in range(int(sizes.max(initial=0))):
        there = np.flatnonzero(sizes > place)
        values[there] |= (data[firsts[there] + place] & 0x7F).astype(np.uint64) << np.uint64(7 * place)
    return values
