"""Object identity (SPEC 1): BLAKE3-256 over a domain tag, the object's type and its canonical bytes."""

from __future__ import annotations

from enum import IntEnum

from blake3 import blake3

from dagdvid.errors import BadRequest

__all__ = ["ID_SIZE", "TYPES", "ObjectType", "from_hex", "object_id"]

ID_SIZE = 32
_DOMAIN = b"dagdvid"


class ObjectType(IntEnum):
    """What an object is; part of what is hashed, so that no object can pass for one of another type (SPEC 1.2)."""

    BLOB = 1
    BLOB_LIST = 2
    LEAF = 3
    NODE = 4
    COMMIT = 5
    RECORD = 6


TYPES = frozenset(map(int, ObjectType))
_PREFIX = {int(t): _DOMAIN + bytes([t]) for t in ObjectType}


def object_id(kind: int, data: bytes) -> bytes:
    """The 32-byte id of an object of a type with the given canonical bytes."""
    hasher = blake3(_PREFIX[kind])
    hasher.update(data)
    return hasher.digest()


def from_hex(text: str) -> bytes:
    """An id from its 64 hexadecimal digits.

    Raises:
        BadRequest: anything else.
    """
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != ID_SIZE or len(text) != 2 * ID_SIZE:
        raise BadRequest(f"{text!r} is not an object hash of {2 * ID_SIZE} hexadecimal digits")
    return value
