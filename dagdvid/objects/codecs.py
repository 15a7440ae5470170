"""How bytes are compressed in a pack entry (SPEC 4.3). Outside the hash: codecs can change, names stay."""

from __future__ import annotations

import threading
from enum import IntEnum
from typing import Any

import lz4.block
import zstandard
from isal import igzip, isal_zlib

from dagdvid.errors import Corrupt

__all__ = ["MAX_OBJECT", "Codec", "decode", "encode"]

MAX_OBJECT = 4 * 2**20
"""Bytes of the largest object, uncompressed; larger values are lists of blobs (SPEC 1.4, 2.3)."""


class Codec(IntEnum):
    """Codec numbers, final. 15 is kept for encryption."""

    RAW = 0
    ZSTD = 1
    LZ4 = 2
    """One LZ4 block without its size, as DVID's `lz4`."""
    GZIP = 3


_ZSTD_LEVEL = 1
_MIN_SIZE = 64
_ERRORS: tuple[Any, ...] = (
    zstandard.ZstdError,
    lz4.block.LZ4BlockError,
    isal_zlib.error,
    ValueError,
)


class _Local(threading.local):
    """zstd's contexts serve one thread each."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL)
        self.decompressor = zstandard.ZstdDecompressor()


_local = _Local()


def encode(data: bytes, codec: int | None = None) -> tuple[int, bytes]:
    """The codec used and the payload. None chooses zstd; whatever does not save a sixteenth stays raw.

    GZIP is kept even where it saves nothing: an instance asks for it to hand its bytes on as they are.
    """
    if codec is None:
        codec = Codec.ZSTD
    if codec == Codec.GZIP:
        return codec, igzip.compress(data, compresslevel=1, mtime=0)
    if codec == Codec.RAW or len(data) < _MIN_SIZE:
        return Codec.RAW, data
    if codec == Codec.ZSTD:
        payload = _local.compressor.compress(data)
    elif codec == Codec.LZ4:
        payload = lz4.block.compress(data, store_size=False)
    else:
        raise ValueError(f"unknown codec {codec}")
    if len(payload) > len(data) - len(data) // 16:
        return Codec.RAW, data
    return codec, payload


def decode(codec: int, size: int, payload: bytes) -> bytes:
    """The `size` bytes of a payload; never expands beyond `size`, nor beyond MAX_OBJECT.

    Raises:
        Corrupt: a payload that is not of that codec and size.
    """
    if size > MAX_OBJECT:
        raise Corrupt(f"an object of {size} bytes is above the limit of {MAX_OBJECT}")
    try:
        if codec == Codec.RAW:
            data = payload
        elif codec == Codec.ZSTD:
            if zstandard.get_frame_parameters(payload).content_size != size:
                raise Corrupt("zstd frame of another size than its entry says")
            data = _local.decompressor.decompress(payload, max_output_size=size, allow_extra_data=False)
        elif codec == Codec.LZ4:
            data = lz4.block.decompress(payload, uncompressed_size=size)
        elif codec == Codec.GZIP:
            data = _gunzip(payload, size)
        else:
            raise Corrupt(f"unknown codec {codec}")
    except _ERRORS as error:
        raise Corrupt(f"payload does not decompress: {error}") from None
    if len(data) != size:
        raise Corrupt(f"payload has {len(data)} bytes, not the {size} of its entry")
    return data


def _gunzip(payload: bytes, size: int) -> bytes:
    decompressor = isal_zlib.decompressobj(16 + isal_zlib.MAX_WBITS)
    data = decompressor.decompress(payload, size + 1)
    if not decompressor.eof or decompressor.unused_data:
        raise Corrupt("gzip stream does not end where its entry ends")
    return bytes(data)
