"""The mutation log of keyvalue: one record a request, with all keys that it set or removed.

    {"keys": [[key, bytes of the value or null if removed], ...], "time", "user"?, "app"?}

A key stands as text; one that is not UTF-8 as ["hex", digits] in its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dagdvid.datatype import Txn
from dagdvid.datatypes.keyvalue.keys import shown
from dagdvid.routes import Request
from dagdvid.words import Call

__all__ = ["log_keys", "logged_keys", "shown_mutations"]


def log_keys(txn: Txn, request: Request | Call, keys: Iterable[tuple[bytes, int | None]]) -> None:
    """Log the keys that a request set, with the sizes of their values, or removed (None)."""
    record: dict[str, Any] = {"keys": logged_keys(keys)}
    if request.user:
        record["user"] = request.user
    if request.app:
        record["app"] = request.app
    txn.log(record)


def logged_keys(keys: Iterable[tuple[bytes, int | None]]) -> list[list[Any]]:
    """The member `keys` of a record."""
    return [[_text(key), size] for key, size in keys]


def shown_mutations(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """DVID's objects (datatype/keyvalue/keyvalue.go): postkv with Key and Bytes, delete with Key."""
    who = {name: record[key] for name, key in (("User", "user"), ("App", "app")) if key in record}
    found = []
    for key, size in record["keys"]:
        text = key if isinstance(key, str) else shown(bytes.fromhex(key[1]))
        what = {"Action": "delete", "Key": text} if size is None else {"Action": "postkv", "Bytes": size, "Key": text}
        found.append(what | who)
    return found


def _text(key: bytes) -> str | list[str]:
    try:
        return key.decode()
    except UnicodeDecodeError:
        return ["hex", key.hex()]
