"""Protolog files: a sequence of checksummed records with a type each (the form of DVID's mutation log files).

u32 bytes of the payload || u32 CRC-32C of the payload || u16 type || payload        all little-endian
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

import google_crc32c

__all__ = ["JSON", "Record", "encode", "last_record", "read_records"]

JSON = 1
"""The type of JSON records, in DVID's mutation logs."""
MAX_PAYLOAD = 2**32 - 2

_HEAD = struct.Struct("<IIH")
_READ = 2**20
_LENGTH = struct.Struct("<I")


class Record(NamedTuple):
    """A whole record of a file."""

    end: int
    """Where it ends in the file."""
    type: int
    payload: bytes


def encode(payload: bytes, kind: int = JSON) -> bytes:
    """A record."""
    return _HEAD.pack(len(payload), google_crc32c.value(payload), kind) + payload


def read_records(read: Callable[[int, int], bytes], start: int = 0) -> Iterator[Record]:
    """The records of a file from an offset on, up to the first that is not whole.

    read: (offset, bytes) -> up to so many bytes, fewer only at the end of the file.
    """
    held, at, offset = b"", 0, start
    while True:
        need = _HEAD.size
        if len(held) - at >= need:
            size, checksum, kind = _HEAD.unpack_from(held, at)
            need += size
            if len(held) - at >= need:
                payload = held[at + _HEAD.size : at + need]
                if google_crc32c.value(payload) != checksum:
                    return
                at += need
                yield Record(offset + at, kind, payload)
                continue
        held, offset, at = held[at:], offset + at, 0
        more = read(offset + len(held), max(_READ, need - len(held)))
        held += more
        if len(held) < need:
            return


def last_record(tail: bytes) -> Record | None:
    """The record that ends where a file ends, found in the file's last bytes; None if none is seen to."""
    for start in range(len(tail) - _HEAD.size, -1, -1):
        if _LENGTH.unpack_from(tail, start)[0] == len(tail) - start - _HEAD.size:
            _, checksum, kind = _HEAD.unpack_from(tail, start)
            payload = tail[start + _HEAD.size :]
            if payload and google_crc32c.value(payload) == checksum:
                return Record(len(tail), kind, payload)
    return None
