"""Label blocks over HTTP: a stream has, for each block, int32 x, y, z of the block, int32 length and that many bytes,
all little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any

import lz4.block
from isal import igzip, isal_zlib

from dagdvid.datatype import Codec, Snapshot
from dagdvid.datatypes.grid import SPACE, STORABLE, bricks, morton_blocks
from dagdvid.datatypes.labelmap import blocks, pyramid
from dagdvid.datatypes.labelmap.blocks import Incoming
from dagdvid.datatypes.labelmap.properties import Layout
from dagdvid.datatypes.labelmap.voxels import Reading
from dagdvid.errors import BadRequest
from dagdvid.geometry import ONE, Box, Point
from dagdvid.kernels import labelblocks

__all__ = ["Form", "form_of", "listed", "parse", "stream"]

_HEAD = struct.Struct("<iiii")
_CHUNK_BYTES = 1 << 20
"""Bytes that are sent together: each piece of an answer costs a way to a thread and back."""
_BATCH = 64
_GZIP = 16 + isal_zlib.MAX_WBITS
_SLACK = 1 << 16
_ERRORS: tuple[Any, ...] = (isal_zlib.error,)


class Form(Enum):
    """What a stream has of each block."""

    BLOCKS = "blocks"
    """Gzip of a label block."""
    LZ4 = "lz4"
    GZIP = "gzip"
    PLAIN = "uncompressed"


def form_of(text: str, default: Form) -> Form:
    """The form that `?compression=` asks for.

    Raises:
        BadRequest: no such form.
    """
    try:
        return Form(text) if text else default
    except ValueError:
        raise BadRequest(f"compression {text[:40]!r} is not known: use lz4, gzip, blocks or uncompressed") from None


def parse(layout: Layout, body: bytes) -> Iterator[Incoming]:
    """The blocks of a stream in which each is the gzip of a label block; of a place that comes twice, the last one.

    Raises:
        BadRequest: malformed; it says which block, and why.
    """
    last = {place: data for place, data in _pieces(body)}  # noqa: C416  a dictionary keeps the last of each
    for place, data in last.items():
        try:
            plain = _gunzip(data, layout)
            if labelblocks.shape(plain) != layout.shape:
                z, y, x = labelblocks.shape(plain)
                raise BadRequest(f"it has {x} x {y} x {z} voxels, not {layout.block}")
            yield Incoming(place, labelblocks.canonical(plain))
        except (BadRequest, *_ERRORS) as error:
            raise BadRequest(f"block {place} cannot be stored: {error}") from None


def _pieces(body: bytes) -> Iterator[tuple[Point, memoryview]]:
    view, at = memoryview(body), 0
    while at < len(view):
        if len(view) - at < _HEAD.size:
            raise BadRequest(f"the stream of blocks ends inside of a header, after {at} bytes")
        x, y, z, size = _HEAD.unpack_from(view, at)
        place, at = Point(x, y, z), at + _HEAD.size
        if not STORABLE.contains(Box(place, ONE)):
            raise BadRequest(f"block {place} cannot be stored: its coordinates are out of range")
        if not 0 < size <= len(view) - at:
            raise BadRequest(f"block {place} cannot be stored: {size} bytes are announced, {len(view) - at} are there")
        yield place, view[at : at + size]
        at += size


def _gunzip(data: memoryview, layout: Layout) -> bytes:
    """What was compressed, as far as a block can be that large."""
    most = 15 * layout.block.product + _SLACK
    inflate = isal_zlib.decompressobj(_GZIP)
    plain: bytes = inflate.decompress(data, most)
    if not inflate.eof:
        raise BadRequest(f"its gzip data are cut short, or more than {most} bytes")
    return plain


def stream(view: Snapshot, reading: Reading, span: Box, form: Form) -> Iterator[bytes]:
    """The stored blocks of a box of blocks, all of one moment."""
    inside = span.intersection(STORABLE)
    if inside is None:
        return
    batches = [morton_blocks(brick, reading.scale) for brick in bricks(inside, _BATCH)]
    located = iter(view.locate(SPACE, [key for _, keys in batches for key in keys]))
    for places, keys in batches:
        yield from _told(view, reading, places, keys, [next(located) for _ in places], form)


def listed(view: Snapshot, reading: Reading, places: Sequence[Point], form: Form) -> Iterator[bytes]:
    """Those of some blocks that are stored, in the order given, all of one moment."""
    wanted = [place for place in places if STORABLE.contains(Box(place, ONE))]
    if not wanted:
        return
    keys = blocks.keys_of(wanted, reading.scale)
    located = view.locate(SPACE, keys)
    for at in range(0, len(wanted), _BATCH):
        batch = slice(at, at + _BATCH)
        yield from _told(view, reading, wanted[batch], keys[batch], located[batch], form)


def _told(
    view: Snapshot, reading: Reading, places: Sequence[Point], keys: Sequence[bytes], located: Sequence[Any], form: Form
) -> Iterator[bytes]:
    held: list[bytes] = []
    size = 0
    for place, data in zip(places, _sent(view, reading, keys, located, form), strict=True):
        if data is not None:
            held += (_HEAD.pack(*place, len(data)), data)
            size += len(data)
            if size >= _CHUNK_BYTES:
                yield b"".join(held)
                held, size = [], 0
    if held:
        yield b"".join(held)


def _sent(
    view: Snapshot, reading: Reading, keys: Sequence[bytes], located: Sequence[Any], form: Form
) -> Iterator[bytes | None]:
    """Blocks in the form asked for. A label block whose labels stay as they are goes out as it is stored."""
    if form is not Form.BLOCKS:
        for data in reading.shown(view, keys, located):
            yield None if data is None else _voxels(data, form)
        return
    stored = view.load_stored(located)
    unpacked = [None if item is None else item.data() for item in stored]
    plain = pyramid.filled(view, reading.layout, keys, unpacked)
    shown = plain if reading.supervoxels else blocks.mapped(view, plain)
    for item, before, after in zip(stored, plain, shown, strict=True):
        if item is None or after is None:
            yield None
        elif item.codec == Codec.GZIP and after is before:
            yield item.payload
        else:
            yield igzip.compress(after, compresslevel=1, mtime=0)


def _voxels(data: bytes, form: Form) -> bytes:
    plain = labelblocks.decode(data).tobytes()
    if form is Form.LZ4:
        packed: bytes = lz4.block.compress(plain, store_size=False)
        return packed
    return igzip.compress(plain, compresslevel=1, mtime=0) if form is Form.GZIP else plain
