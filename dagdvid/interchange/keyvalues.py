"""The protobuf messages of DVID's batch requests on keys (endpoints.csv, keyvalues).

    KeyValues { repeated KeyValue kvs = 1 }             KeyValue { string key = 1; bytes value = 2 }
    Keys { repeated string keys = 1;                    KeyRange { string key = 1; uint64 byte_start = 2;
           repeated KeyRange key_ranges = 2 }                      uint64 byte_end = 3 }

Keys are taken and given as bytes; they need not be UTF-8.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from dagdvid.interchange.protowire import (
    LEN,
    delimited,
    delimited_value,
    fields,
    tag,
    unsigned_value,
    varint,
    varint_field,
)

__all__ = ["KeyPart", "keys_message", "keyvalue_chunks", "keyvalue_message", "read_keys", "read_keyvalues"]

_PAIR = _KEY = tag(1, LEN)
_VALUE = tag(2, LEN)


class KeyPart(NamedTuple):
    """A key whose value is wanted: whole, or from byte `first` to byte `last`, both included."""

    key: bytes
    span: tuple[int, int] | None = None


def _read_keyvalue(message: memoryview) -> tuple[bytes, bytes]:
    key = value = b""
    for field in fields(message):
        if field[0] == 1:
            key = bytes(delimited_value(*field))
        elif field[0] == 2:
            value = bytes(delimited_value(*field))
    return key, value


def read_keyvalues(message: bytes) -> list[tuple[bytes, bytes]]:
    """The pairs of a KeyValues message, in order.

    Raises:
        BadRequest: malformed.
    """
    return [_read_keyvalue(delimited_value(*field)) for field in fields(message) if field[0] == 1]


def _read_range(message: memoryview) -> KeyPart:
    key, first, last = b"", 0, 0
    for field in fields(message):
        if field[0] == 1:
            key = bytes(delimited_value(*field))
        elif field[0] == 2:
            first = unsigned_value(*field)
        elif field[0] == 3:
            last = unsigned_value(*field)
    return KeyPart(key, (first, last))


def read_keys(message: bytes) -> list[KeyPart]:
    """The parts that a Keys message asks for: first its keys, then its ranges, each in order.

    Raises:
        BadRequest: malformed.
    """
    whole, at = _leading_keys(message)
    ranges: list[KeyPart] = []
    for field in fields(memoryview(message)[at:]):
        if field[0] == 1:
            whole.append(KeyPart(bytes(delimited_value(*field))))
        elif field[0] == 2:
            ranges.append(_read_range(delimited_value(*field)))
    return whole + ranges


def _leading_keys(message: bytes) -> tuple[list[KeyPart], int]:
    """The keys of less than 128 bytes that a message begins with, and where they end: all there is, for most."""
    found, at, last = [], 0, len(message) - 1
    while at < last and message[at] == _KEY[0] and message[at + 1] < 0x80:
        end = at + 2 + message[at + 1]
        if end > last + 1:
            break
        found.append(KeyPart(message[at + 2 : end]))
        at = end
    return found, at


def keyvalue_message(key: bytes, value: bytes) -> bytes:
    """One pair of a KeyValues message. What is empty is left out."""
    return _keyvalue_head(key, len(value)) + value


def keyvalue_chunks(key: bytes, value: bytes) -> Iterator[bytes]:
    """The same in pieces that copy no value."""
    yield _keyvalue_head(key, len(value))
    if value:
        yield value


def _keyvalue_head(key: bytes, size: int) -> bytes:
    """All that stands before a value."""
    head = _KEY + varint(len(key)) + key
    if size:
        head += _VALUE + varint(size)
    return _PAIR + varint(len(head) + size) + head


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
