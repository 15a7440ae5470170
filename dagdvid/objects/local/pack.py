"""Pack files (SPEC 4): a header, entries, and once sealed a sorted index that can always be rebuilt.

    header   "dgvpack" 0x01 | u8 kind (1 nodes, 2 blobs) | 7 zero bytes | 16 bytes pack id
    entry    "dgvE" | u8 type | u8 codec | u16 zero | u32 stored bytes | u32 bytes decoded | u64 checksum | payload
    index    n x 32-byte id, ascending | n x u64 offset | n x u32 stored bytes
    footer   "dgvindex" | u64 n | u64 offset of the index | u64 checksum of index and the 24 bytes before

Integers are little-endian; checksums are xxh3_64, an entry's over its id (which the index holds, not the entry), its
first 16 bytes and its payload: so an index that points at the wrong entry is found out, too.
"""

from __future__ import annotations

import mmap
import struct
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64

from dagdvid.errors import Corrupt
from dagdvid.objects.codecs import decode
from dagdvid.objects.ids import ID_SIZE, TYPES, ObjectType, object_id
from dagdvid.objects.store import Object

__all__ = [
    "BLOBS",
    "ENTRY_SIZE",
    "HEADER_SIZE",
    "NODES",
    "TYPE_AT",
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
TYPE_AT = 4
"""Where in an entry the type of its object stands."""
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
    return b"".join((head, _CHECKSUM.pack(_checksum(item.id, head, item.payload)), item.payload))


def decode_entry(name: bytes, data: bytes, payload: bytes | None = None) -> Object:
    """The object of an entry's bytes. Where its payload was read by itself, `data` is what stands before.

    Raises:
        Corrupt: not the bytes that were written, or those of another object.
    """
    if len(data) < ENTRY_SIZE:
        raise Corrupt(f"pack entry of {name.hex()} is cut short")
    head = data[: _ENTRY.size]
    if payload is None:
        payload = data[ENTRY_SIZE:]
    magic, kind, codec, zero, stored, size = _ENTRY.unpack(head)
    (checksum,) = _CHECKSUM.unpack_from(data, _ENTRY.size)
    if magic != _ENTRY_MAGIC or zero or stored != len(payload) or checksum != _checksum(name, head, payload):
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


def scan_entries(data: bytes | mmap.mmap) -> Iterator[Entry]:
    """The intact entries of a pack's bytes, found without its index; what is damaged is stepped over.

    Costs a decode and a hash an entry: an id is known by its content alone.
    """
    start = data.find(_ENTRY_MAGIC, HEADER_SIZE)
    while 0 <= start <= len(data) - ENTRY_SIZE:
        _, kind, codec, _, stored, size = _ENTRY.unpack_from(data, start)
        end = start + ENTRY_SIZE + stored
        try:
            entry = data[start:end]
            name = object_id(kind, decode(codec, size, entry[ENTRY_SIZE:])) if kind in TYPES else b""
            decode_entry(name, entry)
        except Corrupt:
            start = data.find(_ENTRY_MAGIC, start + 1)
            continue
        yield Entry(name, start, stored)
        start = data.find(_ENTRY_MAGIC, end)


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

    def __init__(self, data: mmap.mmap | bytes, start: int, n: int) -> None:
        """An index of `n` entries that begins at `start` of some bytes; as `mapped` and `rebuilt` make it."""
        self._map = data
        self._ids = start
        self.n = n
        self._offsets = start + ID_SIZE * n
        self._sizes = self._offsets + 8 * n

    @classmethod
    def mapped(cls, data: mmap.mmap, name: str) -> PackIndex:
        """The index at the end of a sealed pack.

        Raises:
            Corrupt: header, index or footer are not what was written.
        """
        size = len(data)
        if size < HEADER_SIZE + FOOTER_SIZE:
            raise Corrupt(f"pack {name} is too short to be sealed")
        _, kind, _ = _HEADER.unpack_from(data)
        if kind not in (NODES, BLOBS) or encode_header(kind, bytes.fromhex(name)) != data[:HEADER_SIZE]:
            raise Corrupt(f"pack {name} has a damaged header")
        magic, n, start = _FOOTER.unpack_from(data, size - FOOTER_SIZE)
        end = start + (ID_SIZE + 8 + 4) * n
        if magic != _INDEX_MAGIC or start < HEADER_SIZE or end != size - FOOTER_SIZE:
            raise Corrupt(f"pack {name} does not end in an index")
        (checksum,) = _CHECKSUM.unpack_from(data, size - _CHECKSUM.size)
        if checksum != _checksum(data[start:end], data[end : end + _FOOTER.size]):
            raise Corrupt(f"the index of pack {name} does not match its checksum")
        return cls(data, start, n)

    @classmethod
    def rebuilt(cls, entries: Sequence[Entry]) -> PackIndex:
        """An index in memory, for a pack whose own is damaged."""
        return cls(encode_index(entries, 0), 0, len(entries))

    @staticmethod
    def size(n: int) -> int:
        """Bytes of a sealed pack of `n` entries that are none of theirs."""
        return HEADER_SIZE + n * (ID_SIZE + 8 + 4) + FOOTER_SIZE

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

    def columns(self) -> tuple[NDArray[np.uint8], NDArray[np.uint64], NDArray[np.uint32]]:
        """Ids (n rows of 32 bytes), offsets and stored bytes, copied."""
        ids = np.frombuffer(self._map[self._ids : self._offsets], np.uint8).reshape(-1, ID_SIZE)
        offsets = np.frombuffer(self._map[self._offsets : self._sizes], "<u8")
        return ids, offsets, np.frombuffer(self._map[self._sizes : self._sizes + 4 * self.n], "<u4")

    def __iter__(self) -> Iterator[bytes]:
        return map(self._id, range(self.n))

    def close(self) -> None:
        """Unmap."""
        if isinstance(self._map, mmap.mmap):
            self._map.close()

    def _id(self, i: int) -> bytes:
        start = self._ids + ID_SIZE * i
        return self._map[start : start + ID_SIZE]


def _checksum(*parts: bytes) -> int:
    digest = xxh3_64()
    for part in parts:
        digest.update(part)
    return int(digest.intdigest())
