"""The protobuf messages of DVID's batch requests on keys (endpoints.csv, keyvalues).

    KeyValues { repeated KeyValue kvs = 1 }             KeyValue { string key = 1; bytes value = 2 }
    Keys { repeated string keys = 1;                    KeyRange { string key = 1; uint64 byte_start = 2;
           repeated KeyRange key_ranges = 2 }                      uint64 byte_end = 3 }

Keys are taken and given as bytes; they need not be UTF-8.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from dagdvid.errors import BadRequest
from dagdvid.interchange.protowire import LEN, VARINT, delimited, delimited_header, fields, varint_field

__all__ = ["KeyPart", "keys_message", "keyvalue_chunks", "read_keys", "read_keyvalues"]


class KeyPart(NamedTuple):
    """A key whose value is wanted: whole, or from byte `first` to byte `last`, both included."""

    key: bytes
    span: tuple[int, int] | None = None


def _delimited(number: int, wire_type: int, value: int | memoryview) -> memoryview:
    if wire_type != LEN or isinstance(value, int):
        raise BadRequest(f"malformed protobuf: field {number} has wire type {wire_type}, not {LEN}")
    return value


def _unsigned(number: int, wire_type: int, value: int | memoryview) -> int:
    if wire_type != VARINT or not isinstance(value, int):
        raise BadRequest(f"malformed protobuf: field {number} has wire type {wire_type}, not {VARINT}")
    return value


def _read_keyvalue(message: memoryview) -> tuple[bytes, bytes]:
    key = value = b""
    for field in fields(message):
        if field[0] == 1:
            key = bytes(_delimited(*field))
        elif field[0] == 2:
            value = bytes(_delimited(*field))
    return key, value


def read_keyvalues(message: bytes) -> list[tuple[bytes, bytes]]:
    """The pairs of a KeyValues message, in order.

    Raises:
        BadRequest: malformed.
    """
    return [_read_keyvalue(_delimited(*field)) for field in fields(message) if field[0] == 1]


def _read_range(message: memoryview) -> KeyPart:
    key, first, last = b"", 0, 0
    for field in fields(message):
        if field[0] == 1:
            key = bytes(_delimited(*field))
        elif field[0] == 2:
            first = _unsigned(*field)
        elif field[0] == 3:
            last = _unsigned(*field)
    return KeyPart(key, (first, last))


def read_keys(message: bytes) -> list[KeyPart]:
    """The parts that a Keys message asks for: first its keys, then its ranges, each in order.

    Raises:
        BadRequest: malformed.
    """
    whole: list[KeyPart] = []
    ranges: list[KeyPart] = []
    for field in fields(message):
        if field[0] == 1:
            whole.append(KeyPart(bytes(_delimited(*field))))
        elif field[0] == 2:
            ranges.append(_read_range(_delimited(*field)))
    return whole + ranges


def keyvalue_chunks(key: bytes, value: bytes) -> Iterator[bytes]:
    """One pair of a KeyValues message, in pieces that copy no value; an empty value is left out, as protobuf does."""
    head = delimited(1, key)
    if value:
        head += delimited_header(2, len(value))
    yield delimited_header(1, len(head) + len(value)) + head
    if value:
        yield value


def keys_message(parts: list[KeyPart]) -> bytes:
    """A Keys message, as a client writes it."""
    out = []
    for key, span in parts:
        if span is None:
            out.append(delimited(1, key))
        else:
            inner = delimited(1, key)
            inner += varint_field(2, span[0]) if span[0] else b""
            inner += varint_field(3, span[1]) if span[1] else b""
            out.append(delimited(2, inner))
    return b"".join(out)
