"""The bytes of a published store: locators, packs, items, heads and refs (SPEC 8.6 to 8.9).

pack     "dgvpubl" 0x01 | u8 kind | 7 zero bytes | 16 bytes pack id | items without their ids
item     (32 bytes id) | pack entry (4.2) | u32 n | n bytes locators
locators u8 version = 1 | u8 form | u16 packs | u32 n | packs x 16 bytes id | n x u16 pack | n x u64 step
         | n x u32 bytes | in form 1: n x 32 bytes id
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import zstandard

from dagdvid.errors import Corrupt
from dagdvid.objects import canonical
from dagdvid.objects.blobs import decode_blob_list
from dagdvid.objects.ids import ID_SIZE, ObjectType
from dagdvid.objects.local.pack import decode_entry, encode_entry, entry_size
from dagdvid.objects.store import Object, verified
from dagdvid.objects.tree.node import Node

__all__ = [
    "MAX_PLAIN",
    "PACK_HEADER",
    "PACK_ID",
    "Head",
    "Item",
    "Locator",
    "decode_head",
    "decode_items",
    "decode_locators",
    "encode_head",
    "encode_items",
    "encode_locators",
    "pack_header",
    "pack_path",
    "path_word",
    "plain_references",
    "split_item",
]

PACK_ID = 16
PACK_HEADER = 32
_PACK = struct.Struct("<8sB7x16s")
_LOCATORS = struct.Struct("<BBHI")
_COUNT = struct.Struct("<I")
_HEAD = struct.Struct("<8sI")
_VERSION, _IN_ORDER, _NAMED = 1, 0, 1
MAX_PLAIN = 2**30
"""Bytes that a head or graph may have, uncompressed."""
_WORD = re.compile(rb"[A-Za-z0-9_-]")


class Locator(NamedTuple):
    """Where an object lies in a published store."""

    pack: bytes
    offset: int
    size: int
    """Bytes of the item, with its locators."""


class Item(NamedTuple):
    """An object as it was published, proven to match its id, and where what it refers to lies."""

    object: Object
    locators: bytes = b""


def pack_header(kind: int, pack: bytes) -> bytes:
    """The first bytes of a published pack."""
    return _PACK.pack(b"dgvpubl\x01", kind, pack)


def pack_path(pack: bytes) -> str:
    """The file of a pack."""
    return f"packs/{pack.hex()}.pack"


def path_word(text: str) -> str:
    """Any text as one word of a path: what is no ASCII letter, digit, `_` or `-` becomes `=` and two digits a byte."""
    return "".join(chr(b) if _WORD.match(bytes([b])) else f"={b:02X}" for b in text.encode()) or "="


# --- locators --------------------------------------------------------------------------------------------------------


def encode_locators(found: Sequence[tuple[bytes, Locator | None]], *, named: bool) -> bytes:
    """The locators of what an object refers to: of `plain_references` in their order, or with ids if `named`."""
    if not found:
        return b""
    packs = list(dict.fromkeys(at.pack for _, at in found if at is not None))
    number = {pack: i for i, pack in enumerate(packs)}
    numbers, steps, sizes = [], [], []
    end = 0
    for _, at in found:
        numbers.append(0 if at is None else number[at.pack])
        steps.append(0 if at is None else (at.offset - end) % 2**64)
        sizes.append(0 if at is None else at.size)
        end = end if at is None else at.offset + at.size
    head = _LOCATORS.pack(_VERSION, _NAMED if named else _IN_ORDER, len(packs), len(found))
    columns = (np.array(numbers, "<u2"), np.array(steps, "<u8"), np.array(sizes, "<u4"))
    ids = [name for name, _ in found] if named else []
    return zstandard.compress(b"".join((head, *packs, *(column.tobytes() for column in columns), *ids)), 3)


def decode_locators(data: bytes, item: Object) -> dict[bytes, Locator]:
    """Where the objects lie that an object refers to, as far as its locators say.

    Nothing vouches for them but what is found there; those that are malformed say nothing.
    """
    if not data:
        return {}
    try:
        plain = zstandard.decompress(data, max_output_size=2**20)
        version, form, packs, n = _LOCATORS.unpack_from(plain)
        at = _LOCATORS.size
        names = [plain[at + PACK_ID * i : at + PACK_ID * (i + 1)] for i in range(packs)]
        at += PACK_ID * packs
        numbers = np.frombuffer(plain, "<u2", n, at).tolist()
        steps = np.frombuffer(plain, "<u8", n, at + 2 * n).tolist()
        sizes = np.frombuffer(plain, "<u4", n, at + 10 * n).tolist()
        at += 14 * n
        ids = [plain[at + i : at + i + ID_SIZE] for i in range(0, ID_SIZE * n, ID_SIZE)]
        if form == _IN_ORDER:
            ids = plain_references(item)
        found = {}
        end = 0
        for name, number, step, size in zip(ids, numbers, steps, sizes, strict=True):
            if size:
                offset = (end + step) % 2**64
                end = offset + size
                found[name] = Locator(names[number], offset, size)
    except (zstandard.ZstdError, struct.error, ValueError, IndexError, Corrupt):
        return {}
    return found if version == _VERSION else {}


def plain_references(item: Object) -> list[bytes]:
    """What a node, leaf or blob list refers to, in its order."""
    if item.type == ObjectType.BLOB_LIST:
        return [name for name, _ in decode_blob_list(item.data())]
    if item.type in (ObjectType.LEAF, ObjectType.NODE):
        node = Node(item.data())
        return node.ids if node.level else [ref.id for ref in node.refs()]
    return []


# --- items -----------------------------------------------------------------------------------------------------------


def encode_items(items: Iterable[tuple[Object, bytes]]) -> bytes:
    """Items with their ids, in a row."""
    return b"".join(
        part for item, locators in items for part in (item.id, encode_entry(item), _COUNT.pack(len(locators)), locators)
    )


def split_item(name: bytes, data: bytes) -> Item:
    """The item that the bytes at a locator are.

    Raises:
        Corrupt: they are no item, or not that of the object.
    """
    size = entry_size(data, 0)
    locators = data[size + _COUNT.size :]
    if len(data) < size + _COUNT.size or _COUNT.unpack_from(data, size)[0] != len(locators):
        raise Corrupt(f"what should be object {name.hex()} is no item of a published store")
    return Item(verified(decode_entry(name, data[:size])), locators)


def decode_items(data: bytes) -> Iterator[Item]:
    """Items with their ids, each proven to match its id.

    Raises:
        Corrupt: malformed, or damaged.
    """
    at = 0
    while at < len(data):
        name, at = data[at : at + ID_SIZE], at + ID_SIZE
        size = entry_size(data, at) + _COUNT.size
        if at + size > len(data):
            raise Corrupt("items that are cut short")
        size += _COUNT.unpack_from(data, at + size - _COUNT.size)[0]
        yield split_item(name, data[at : at + size])
        at += size


# --- heads -----------------------------------------------------------------------------------------------------------


class Head(NamedTuple):
    """A published state of one branch: all that a reader must know before it reads."""

    facts: dict[str, Any]
    """What SPEC 8.8 lists."""
    items: list[Item]


def encode_head(facts: dict[str, Any], items: bytes) -> bytes:
    """The bytes of a head."""
    text = canonical.encode(facts)
    return zstandard.compress(_HEAD.pack(b"dgvhead\x01", len(text)) + text + items, 9)


def decode_head(data: bytes) -> Head:
    """Raises Corrupt: no head, or one whose items do not match their ids."""
    try:
        plain = zstandard.decompress(data, max_output_size=MAX_PLAIN)
        magic, size = _HEAD.unpack_from(plain)
    except (zstandard.ZstdError, struct.error):
        magic, size, plain = b"", 0, b""
    if magic != b"dgvhead\x01" or len(plain) < _HEAD.size + size:
        raise Corrupt("not the head of a published version")
    facts = canonical.decode(plain[_HEAD.size : _HEAD.size + size])
    if not isinstance(facts, dict):
        raise Corrupt("not the head of a published version")
    return Head(facts, list(decode_items(plain[_HEAD.size + size :])))
