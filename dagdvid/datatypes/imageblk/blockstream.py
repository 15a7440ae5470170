"""Whole blocks over HTTP: rows of them side by side (`blocks`), and streams in which each has a head of its own.

A stream is, for each block that is stored, int32 x, y, z of the block, int32 length, and that many bytes, all
little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any

import lz4.block
import numpy as np
from isal import igzip

from dagdvid.datatype import Codec, Snapshot, Stored, Txn
from dagdvid.datatypes.grid import SPACE, STORABLE, block_coordinates, bricks, morton_blocks
from dagdvid.datatypes.imageblk.blocks import BlockLayout
from dagdvid.datatypes.imageblk.ops import batch_blocks, write_blocks
from dagdvid.datatypes.streaming import gathered
from dagdvid.errors import BadRequest
from dagdvid.geometry import ONE, Box, Point
from dagdvid.interchange.snappy import encode_snappy
from dagdvid.kernels.morton import encode_keys

__all__ = ["Form", "form_of", "listed", "read_row", "stream", "write_row"]

_CHUNK_BYTES = 1 << 20
"""Bytes that are sent together: each piece of an answer costs a way to a thread and back."""
_HEAD = struct.Struct("<iiii")


class Form(Enum):
    """What a stream has of each block."""

    STORED = ""
    """What DVID would have in its store: by the instance's compression."""
    JPEG = "jpeg"
    PLAIN = "uncompressed"


def form_of(text: str) -> Form:
    """The form that `?compression=` asks for.

    Raises:
        BadRequest: no such form.
    """
    try:
        return Form(text)
    except ValueError:
        raise BadRequest(f"compression {text[:40]!r} is not known here: use jpeg or uncompressed, or none") from None


def stream(view: Snapshot, layout: BlockLayout, span: Box, form: Form, compression: str) -> Iterator[bytes]:
    """The stored blocks of a box of blocks, all of one moment. `compression` is the instance's, as it was set.

    Raises:
        BadRequest: JPEG is asked for, and there are blocks that are stored otherwise.
    """
    inside = span.intersection(STORABLE)
    if inside is None:
        return
    batches = [morton_blocks(brick) for brick in bricks(inside, batch_blocks(layout))]
    found = view.locate(SPACE, [key for _, keys in batches for key in keys])
    if form is Form.JPEG and not layout.jpeg and any(at is not None for at in found):
        raise BadRequest("the blocks are not stored as JPEG: leave compression out, or ask for uncompressed")
    located = iter(found)
    for blocks, _ in batches:
        yield from _told(view, layout, blocks, [next(located) for _ in blocks], form, compression)


def listed(
    view: Snapshot, layout: BlockLayout, blocks: Sequence[Point], form: Form, compression: str
) -> Iterator[bytes]:
    """Those of some blocks that are stored, in the order given, all of one moment."""
    wanted = [block for block in blocks if STORABLE.contains(Box(block, ONE))]
    if not wanted:
        return
    located = view.locate(SPACE, encode_keys(np.array([block.as_list() for block in wanted], np.int64)))
    step = batch_blocks(layout)
    for at in range(0, len(wanted), step):
        yield from _told(view, layout, wanted[at : at + step], located[at : at + step], form, compression)


def _told(
    view: Snapshot, layout: BlockLayout, blocks: Sequence[Point], located: Sequence[Any], form: Form, compression: str
) -> Iterator[bytes]:
    found: Iterator[bytes | None]
    if form is Form.STORED and not layout.jpeg:
        items = view.load_stored(located)
        found = (None if item is None else _as_dvid(item, compression) for item in items)
    else:
        values = view.load(located)
        found = (value if value is None or form is not Form.PLAIN else layout.plain(value) for value in values)
    there = ((block, data) for block, data in zip(blocks, found, strict=True) if data is not None)
    return gathered((part for block, data in there for part in (_HEAD.pack(*block, len(data)), data)), _CHUNK_BYTES)


def _as_dvid(item: Stored, compression: str) -> bytes:
    """A stored value as DVID's store has it, without its first byte and its checksum (dvid/serialize.go)."""
    if compression == "lz4":
        packed = item.payload if item.codec == Codec.LZ4 else lz4.block.compress(item.data(), store_size=False)
        return item.size.to_bytes(4, "little") + packed
    if compression == "gzip":
        return item.payload if item.codec == Codec.GZIP else igzip.compress(item.data(), compresslevel=1, mtime=0)
    return encode_snappy(item.data()) if compression == "snappy" else item.data()


def read_row(view: Snapshot, layout: BlockLayout, first: Point, count: int) -> Iterator[bytes]:
    """`count` blocks along x, one after the other; where none is stored, each byte is the background."""
    blank = bytes([layout.background]) * layout.block_bytes
    step = batch_blocks(layout)
    for start in range(0, count, step):
        row = Box(first + Point(start, 0, 0), Point(min(step, count - start), 1, 1))
        inside = row.intersection(STORABLE)
        found: dict[Point, bytes | None] = {}
        if inside is not None:
            blocks, keys = morton_blocks(inside)
            found = dict(zip(blocks, view.get_many(SPACE, keys), strict=True))
        for x in range(row.offset.x, row.end.x):
            data = found.get(Point(x, first.y, first.z))
            yield blank if data is None else layout.plain(data)


def write_row(txn: Txn, layout: BlockLayout, first: Point, count: int, data: bytes, codec: int) -> None:
    """Store `count` blocks along x. Bytes beyond them are ignored, as DVID does.

    Raises:
        BadRequest: too few bytes, or blocks that keys cannot name.
    """
    if len(data) < count * layout.block_bytes:
        raise BadRequest(f"the body has {len(data)} bytes, but {count} blocks take {count * layout.block_bytes}")
    span = Box(first, Point(count, 1, 1))
    block_coordinates(span)
    rows: Any = np.frombuffer(data, layout.voxel, count * layout.block.product).reshape(count, *layout.shape)
    for brick in bricks(span, batch_blocks(layout)):
        blocks, keys = morton_blocks(brick)
        cut = ((key, rows[block.x - first.x]) for key, block in zip(keys, blocks, strict=True))
        write_blocks(txn, layout, cut, codec)
