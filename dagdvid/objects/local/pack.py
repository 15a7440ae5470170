"""Pack files (SPEC 4): a header, entries, and once sealed a sorted index that can always be rebuilt.

    header   "dgvpack" 0x01 | u8 kind (1 nodes, 2 blobs) | 7 zero bytes | 16 bytes pack id
    entry    "dgvE" | u8 type | u8 codec | u16 zero | u32 stored bytes | u32 bytes decoded | u64 checksum | payload
    index    n x 32-byte id, ascending | n x u64 offset | n x u32 stored bytes
    footer   "dgvindex" | u64 n | u64 offset of the index | u64 checksum of index and the 24 bytes before

Integers are little-endian; checksums are xxh3_64, an entry's over its first 16 bytes and its payload.
"""

from __future__ import annotations

import mmap
import struct
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from xxhash import xxh3_64

from dagdvid.errors import Corrupt
from dagdvid.objects.ids import ID_SIZE, ObjectType
from dagdvid.objects.store import Object

__all__ = [
    "BLOBS",
    "ENTRY_SIZE",
    "HEADER_SIZE",
    "NODES",
    "Entry",
    "PackIndex",
    "decode_entry",
    "encode_entry",
    "encode_header",
    "encode_index",
    "entry_size",
    "pack_kind",
    "scan_entries",
]

NODES, BLOBS = 1, 2
_HEADER = struct.Struct("<8sB7x16s")
_ENTRY = struct.Struct("<4sBBHII")
_CHECKSUM = struct.Struct("<Q")
_FOOTER = struct.Struct("<8sQQ")
_MAGIC, _ENTRY_MAGIC, _INDEX_MAGIC = b"dgvpack\x01", b"dgvE", b"dgvindex"
HEADER_SIZE = _HEADER.size
ENTRY_SIZE = _ENTRY.size + _CHECKSUM.size
FOOTER_SIZE = _FOOTER.size + _CHECKSUM.size


class Entry(NamedTuple):
    """Where an object lies in its pack."""

    id: bytes
    offset: int
    stored: int
    """Bytes of the payload."""


def pack_kind(kind: int) -> int:
    """The kind of pack that objects of a type go to: content to BLOBS, structure to NODES."""
    return BLOBS if kind == ObjectType.BLOB else NODES


def encode_header(kind: int, pack: bytes) -> bytes:
    """The first bytes of a pack; `pack` is its 16-byte id."""
    return _HEADER.pack(_MAGIC, kind, pack)


def encode_entry(item: Object) -> bytes:
    """The bytes of an entry."""
    head = _ENTRY.pack(_ENTRY_MAGIC, item.type, item.codec, 0, len(item.payload), item.size)
    return b"".join((head, _CHECKSUM.pack(_checksum(head, item.payload)), item.payload))


def decode_entry(name: bytes, data: bytes) -> Object:
    """The object of an entry's bytes.

    Raises:
        Corrupt: not the bytes that were written.
    """
    if len(data) < ENTRY_SIZE:
        raise Corrupt(f"pack entry of {name.hex()} is cut short")
    head, payload = data[: _ENTRY.size], data[ENTRY_SIZE:]
    magic, kind, codec, _, stored, size = _ENTRY.unpack(head)
    (checksum,) = _CHECKSUM.unpack_from(data, _ENTRY.size)
    if magic != _ENTRY_MAGIC or stored != len(payload) or checksum != _checksum(head, payload):
        raise Corrupt(f"pack entry of {name.hex()} does not match its checksum")
    return Object(name, kind, codec, size, payload)


def entry_size(data: bytes, start: int) -> int:
    """Bytes of the entry that begins at `start`.

    Raises:
        Corrupt: none begins there, or not all of it is there.
    """
    if start + ENTRY_SIZE <= len(data):
        magic, _, _, _, stored, _ = _ENTRY.unpack_from(data, start)
        if magic == _ENTRY_MAGIC and start + ENTRY_SIZE + stored <= len(data):
            return int(ENTRY_SIZE + stored)
    raise Corrupt("not a whole pack entry")


def scan_entries(data: bytes, start: int = HEADER_SIZE) -> Iterator[tuple[int, bytes]]:
    """The (offset, entry bytes) of consecutive entries, until something is not a whole entry."""
    while start + ENTRY_SIZE <= len(data):
        magic, _, _, _, stored, _ = _ENTRY.unpack_from(data, start)
        end = start + ENTRY_SIZE + stored
        if magic != _ENTRY_MAGIC or end > len(data):
            return
        yield start, data[start:end]
        start = end


def encode_index(entries: Sequence[Entry], offset: int) -> bytes:
    """Index and footer of a pack whose entries end at `offset`."""
    ordered = sorted(entries)
    index = b"".join(
        (
            *[e.id for e in ordered],
            np.array([e.offset for e in ordered], "<u8").tobytes(),
            np.array([e.stored for e in ordered], "<u4").tobytes(),
        )
    )
    footer = _FOOTER.pack(_INDEX_MAGIC, len(ordered), offset)
    return b"".join((index, footer, _CHECKSUM.pack(_checksum(index, footer))))


class PackIndex:
    """The index of a sealed pack, mapped into memory. Finds an id in a few steps, ids being uniform."""

    def __init__(self, fd: int, size: int, name: str) -> None:
        """Raises Corrupt: the file does not end in a valid index."""
        if size < HEADER_SIZE + FOOTER_SIZE:
            raise Corrupt(f"pack {name} is too short to be sealed")
        self._map = mmap.mmap(fd, size, prot=mmap.PROT_READ)
        magic, self.n, self.offset = _FOOTER.unpack_from(self._map, size - FOOTER_SIZE)
        self._offsets = self.offset + ID_SIZE * self.n
        self._sizes = self._offsets + 8 * self.n
        end = self._sizes + 4 * self.n
        if magic != _INDEX_MAGIC or self.offset < HEADER_SIZE or end != size - FOOTER_SIZE:
            raise Corrupt(f"pack {name} does not end in an index")
        (checksum,) = _CHECKSUM.unpack_from(self._map, size - _CHECKSUM.size)
        with memoryview(self._map) as view:
            if checksum != _checksum(view[self.offset : end], view[end : end + _FOOTER.size]):
                raise Corrupt(f"the index of pack {name} does not match its checksum")

    def find(self, name: bytes) -> Entry | None:
        """Where an object lies, if it does."""
        guess = int.from_bytes(name[:8], "big") * self.n >> 64
        step = 16
        lo, hi = max(0, guess - step), min(self.n, guess + step)
        while lo > 0 and self._id(lo) > name:
            step *= 4
            lo = max(0, lo - step)
        while hi < self.n and self._id(hi - 1 if hi else 0) < name:
            step *= 4
            hi = min(self.n, hi + step)
        i = bisect_left(range(self.n), name, lo, hi, key=self._id)
        if i == self.n or self._id(i) != name:
            return None
        (offset,) = struct.unpack_from("<Q", self._map, self._offsets + 8 * i)
        (stored,) = struct.unpack_from("<I", self._map, self._sizes + 4 * i)
        return Entry(name, offset, stored)

    def __iter__(self) -> Iterator[bytes]:
        return map(self._id, range(self.n))

    def close(self) -> None:
        """Unmap."""
        self._map.close()

    def _id(self, i: int) -> bytes:
        start = self.offset + ID_SIZE * i
        return self._map[start : start + ID_SIZE]


def _checksum(head: bytes | memoryview, payload: bytes | memoryview) -> int:
    digest = xxh3_64(head)
    digest.update(payload)
    return int(digest.intdigest())
