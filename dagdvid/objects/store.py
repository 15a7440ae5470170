"""The store protocol: immutable objects by id, in batches (SPEC 3). Conformance: `dagdvid.testing.store`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from dagdvid.errors import Corrupt, MissingObject
from dagdvid.objects import codecs
from dagdvid.objects.codecs import MAX_OBJECT
from dagdvid.objects.ids import TYPES, ObjectType, object_id

__all__ = ["MAX_OBJECT", "Object", "ObjectStore", "prepare", "read", "read_many", "verified"]


class Object(NamedTuple):
    """An object on its way into or out of a store, hashed and encoded. Stores take its id on trust: see `verified`."""

    id: bytes
    type: int
    codec: int
    size: int
    """Bytes once decoded."""
    payload: bytes

    def data(self) -> bytes:
        """The canonical bytes.

        Raises:
            Corrupt: the payload does not decode.
        """
        return codecs.decode(self.codec, self.size, self.payload)


class ObjectStore(Protocol):
    """Where objects lie. All verbs take batches; order and duplicates of the request are kept."""

    def get_many(self, ids: Sequence[bytes]) -> list[Object | None]:
        """The objects, None where absent.

        Raises:
            Corrupt: an entry that does not match its checksum.
        """

    def has_many(self, ids: Sequence[bytes]) -> list[bool]:
        """Whether each object is there."""

    def put_many(self, objects: Sequence[Object]) -> None:
        """Store objects; those that are there already cost nothing. On return all are durable and readable.

        Raises:
            NoSpace: the disk is full. None of the objects counts as stored.
        """


def prepare(kind: ObjectType, data: bytes, codec: int | None = None) -> Object:
    """Hash and encode: the work that is done outside every lock.

    Raises:
        ValueError: above MAX_OBJECT.
    """
    if len(data) > MAX_OBJECT:
        raise ValueError(f"an object of {len(data)} bytes is above the limit of {MAX_OBJECT}")
    used, payload = codecs.encode(data, codec)
    return Object(object_id(kind, data), int(kind), used, len(data), payload)


def verified(item: Object) -> Object:
    """An object that came from elsewhere, once its content matches its id.

    Raises:
        Corrupt: it does not.
    """
    if item.type not in TYPES or item.size > MAX_OBJECT:
        raise Corrupt(f"object {item.id.hex()} has an impossible type or size")
    if object_id(item.type, item.data()) != item.id:
        raise Corrupt(f"object {item.id.hex()} does not match its hash")
    return item


def read_many(store: ObjectStore, ids: Sequence[bytes], kind: ObjectType) -> list[bytes]:
    """The canonical bytes of objects of one type.

    Raises:
        MissingObject: one is absent.
        Corrupt: one is of another type, or damaged.
    """
    result = []
    for name, item in zip(ids, store.get_many(ids), strict=True):
        if item is None:
            raise MissingObject(f"{kind.name.lower()} {name.hex()} is missing")
        if item.type != kind:
            raise Corrupt(f"object {name.hex()} has type {item.type}, not {kind} ({kind.name.lower()})")
        result.append(item.data())
    return result


def read(store: ObjectStore, name: bytes, kind: ObjectType) -> bytes:
    """The canonical bytes of one object; as `read_many`."""
    return read_many(store, [name], kind)[0]
