"""Values of tree entries as objects: inline, one blob, or a list of blobs (SPEC 2.2, 2.3)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from dagdvid.errors import Corrupt, TooLarge
from dagdvid.objects.chunking import MAX, MIN, chunks
from dagdvid.objects.ids import ID_SIZE, ObjectType
from dagdvid.objects.store import MAX_OBJECT, Object, ObjectStore, prepare, read_many
from dagdvid.objects.tree.node import BLOB, BLOB_LIST, MAX_VALUE, Ref, Value, inline_limit

__all__ = ["blob_list_chunks", "decode_blob_list", "encode_blob_list", "make_value", "read_value", "read_values"]

_HEAD = struct.Struct("<B3xI")
_ITEM = struct.Struct(f"<{ID_SIZE}sI")
_VERSION = 1
_BATCH = 32 * 2**20


def make_value(key: bytes, data: bytes, codec: int | None = None) -> tuple[Value, list[Object]]:
    """The tree value for an entry's bytes, and the objects to store with it.

    Raises:
        TooLarge: above MAX_VALUE.
    """
    if len(data) <= inline_limit(key):
        return bytes(data), []
    if len(data) <= MAX_OBJECT:
        blob = prepare(ObjectType.BLOB, data, codec)
        return Ref(BLOB, blob.id, len(data)), [blob]
    if len(data) > MAX_VALUE:
        raise TooLarge(f"a value of {len(data)} bytes is above the limit of {MAX_VALUE}")
    view = memoryview(data)
    blobs = [prepare(ObjectType.BLOB, bytes(view[start:end]), codec) for start, end in chunks(data)]
    listing = prepare(ObjectType.BLOB_LIST, encode_blob_list([(b.id, b.size) for b in blobs]))
    return Ref(BLOB_LIST, listing.id, len(data)), [*{b.id: b for b in blobs}.values(), listing]


def encode_blob_list(items: Sequence[tuple[bytes, int]]) -> bytes:
    """The canonical bytes of a list of (blob id, size), the chunks of a value above MAX_OBJECT in order."""
    return _HEAD.pack(_VERSION, len(items)) + b"".join(_ITEM.pack(name, size) for name, size in items)


def decode_blob_list(data: bytes) -> list[tuple[bytes, int]]:
    """The (blob id, size) of a blob list.

    Raises:
        Corrupt: not canonical.
    """
    if len(data) < _HEAD.size:
        raise Corrupt("blob list is cut short")
    version, n = _HEAD.unpack_from(data)
    if version != _VERSION or data[1:4] != b"\0\0\0" or len(data) != _HEAD.size + n * _ITEM.size:
        raise Corrupt("blob list is not in canonical form")
    items = list(_ITEM.iter_unpack(data[_HEAD.size :]))
    sizes = [size for _, size in items]
    if sum(sizes) <= MAX_OBJECT or min(sizes[:-1]) < MIN or sizes[-1] < 1 or max(sizes) > MAX:
        raise Corrupt("blob list with chunks of impossible sizes")
    return items


def blob_list_chunks(store: ObjectStore, ref: Ref) -> list[tuple[bytes, int]]:
    """The (blob id, size) behind a reference to a blob list, checked against its size."""
    items = decode_blob_list(read_many(store, [ref.id], ObjectType.BLOB_LIST)[0])
    if sum(size for _, size in items) != ref.size:
        raise Corrupt(f"blob list {ref.id.hex()} does not add up to {ref.size} bytes")
    return items


def read_values(store: ObjectStore, values: Sequence[Value]) -> list[bytes]:
    """The bytes of tree values, blobs fetched in one batch."""
    refs = [v for v in values if isinstance(v, Ref) and v.kind == BLOB]
    fetched = iter(_read_blobs(store, [(ref.id, ref.size) for ref in refs]))
    result = []
    for value in values:
        if not isinstance(value, Ref):
            result.append(value)
        elif value.kind == BLOB:
            result.append(next(fetched))
        else:
            result.append(b"".join(_stream_list(store, value)))
    return result


def read_value(store: ObjectStore, value: Value) -> bytes:
    """The bytes of one tree value."""
    return read_values(store, [value])[0]


def _stream_list(store: ObjectStore, ref: Ref) -> Iterator[bytes]:
    items = blob_list_chunks(store, ref)
    step = max(1, _BATCH // MAX_OBJECT)
    for i in range(0, len(items), step):
        yield from _read_blobs(store, items[i : i + step])


def _read_blobs(store: ObjectStore, items: Sequence[tuple[bytes, int]]) -> list[bytes]:
    """The bytes of blobs of known sizes."""
    blobs = read_many(store, [name for name, _ in items], ObjectType.BLOB) if items else []
    for (name, size), data in zip(items, blobs, strict=True):
        if len(data) != size:
            raise Corrupt(f"blob {name.hex()} has {len(data)} bytes, not the {size} that refer to it")
    return blobs
