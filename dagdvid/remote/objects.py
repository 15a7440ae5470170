"""Streams of objects (SPEC 8.4): 32 bytes of id, then a pack entry, again and again. Each is verified on arrival."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence

from dagdvid.errors import Unverified
from dagdvid.objects.blobs import decode_blob_list
from dagdvid.objects.ids import ID_SIZE, ObjectType
from dagdvid.objects.local.pack import decode_entry, encode_entry, entry_size
from dagdvid.objects.store import Object, ObjectStore, verified
from dagdvid.remote.foreign import foreign

__all__ = ["closure_of", "decode_ids", "encode_objects", "read_objects"]

_ALLOWED: frozenset[int] = frozenset({ObjectType.BLOB, ObjectType.BLOB_LIST})


def encode_objects(objects: Iterable[Object]) -> bytes:
    """The stream of objects."""
    return b"".join(item.id + encode_entry(item) for item in objects)


def read_objects(data: bytes, allowed: Container[int] = _ALLOWED) -> Iterator[Object]:
    """The objects of a stream, each proven to match its id. For a sync, only blobs and their lists travel this way.

    Raises:
        Unverified: damaged or malformed.
    """
    at = 0
    while at < len(data):
        name = data[at : at + ID_SIZE]
        with foreign():
            size = entry_size(data, at + ID_SIZE)
            item = verified(decode_entry(name, data[at + ID_SIZE : at + ID_SIZE + size]))
        if item.type not in allowed:
            raise Unverified(f"object {name.hex()} is neither a blob nor a list of blobs")
        yield item
        at += ID_SIZE + size


def decode_ids(data: bytes) -> list[bytes]:
    """The ids of a request body.

    Raises:
        Unverified: not a multiple of 32 bytes.
    """
    if len(data) % ID_SIZE:
        raise Unverified("a list of ids with a length that is no multiple of 32")
    return [data[i : i + ID_SIZE] for i in range(0, len(data), ID_SIZE)]


def closure_of(store: ObjectStore, lists: Sequence[bytes]) -> list[tuple[bytes, int]]:
    """The (blob id, size) that blob lists name; lists that are not here yet are left out."""
    return [
        chunk
        for item in store.get_many(lists)
        if item is not None and item.type == ObjectType.BLOB_LIST
        for chunk in decode_blob_list(item.data())
    ]
