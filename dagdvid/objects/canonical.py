"""Canonical JSON (SPEC 2.1): the one encoding of a structured object.

UTF-8, object keys unique and sorted by code point, no white space, no floating point, integers below 2^63 in size,
only the escapes that JSON demands, at most 100 levels of lists and objects.
"""

from __future__ import annotations

import json
from typing import Any

from dagdvid.errors import Corrupt

__all__ = ["decode", "encode"]

_LIMIT = 2**63
_DEPTH = 100


def encode(value: Any) -> bytes:
    """The canonical bytes of None, bool, int, str, and lists and string-keyed dicts of these.

    Raises:
        TypeError: anything else, floats above all.
        ValueError: an integer of 2^63 or beyond, text that is not Unicode, or more than 100 levels.
    """
    _check(value, 0)
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def decode(data: bytes) -> Any:
    """The value of canonical bytes.

    Raises:
        Corrupt: not canonical: not what `encode` would have written.
    """
    try:
        value = json.loads(data)
        canonical = encode(value)
    except (ValueError, TypeError, RecursionError) as error:
        raise Corrupt(f"not canonical JSON: {error}") from None
    if canonical != data:
        raise Corrupt("JSON that is not in canonical form")
    return value


def _check(value: Any, depth: int) -> None:
    if value is None or isinstance(value, (bool, str)):
        return
    if isinstance(value, int):
        if not -_LIMIT < value < _LIMIT:
            raise ValueError(f"integer out of range: {value}")
    elif depth == _DEPTH and isinstance(value, (dict, list, tuple)):
        raise ValueError(f"more than {_DEPTH} levels of lists and objects")
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"object key is not text: {key!r}")
            _check(item, depth + 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check(item, depth + 1)
    else:
        raise TypeError(f"{type(value).__name__} has no canonical form")
