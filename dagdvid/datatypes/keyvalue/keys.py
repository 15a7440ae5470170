"""Keys as text and as bytes, and the lists of them that batch requests carry."""

from __future__ import annotations

import json
import re

from dagdvid.datatype import MAX_KEY
from dagdvid.errors import BadRequest, TooLarge
from dagdvid.interchange.keyvalues import KeyPart

__all__ = ["checked_key", "key_of_path", "parts_of_json", "shown", "span_of_text"]

_UNSIGNED = re.compile(r"[0-9]{1,20}", re.ASCII)


def checked_key(key: bytes) -> bytes:
    """The key, if one of its length can be stored.

    Raises:
        BadRequest: empty.
        TooLarge: longer than MAX_KEY bytes.
    """
    if not key:
        raise BadRequest("a key must have at least one byte")
    if len(key) > MAX_KEY:
        raise TooLarge(f"a key of {len(key)} bytes is too long: the limit is {MAX_KEY} bytes")
    return key


def key_of_path(text: str) -> bytes:
    """The key of a decoded path segment, whose bytes that are not UTF-8 stand as surrogate escapes."""
    return text.encode("utf-8", "surrogateescape")


def shown(key: bytes) -> str:
    """A key for JSON and messages; bytes that are not UTF-8 become U+FFFD, as in DVID's answers."""
    return key.decode("utf-8", "replace")


def span_of_text(first: str | None, last: str | None) -> tuple[int, int] | None:
    """The byte range of `byte_start` and `byte_end`; None if neither is given.

    Raises:
        BadRequest: only one of them, not a number, or the wrong way round.
    """
    if first is None and last is None:
        return None
    if first is None or last is None:
        raise BadRequest("byte_start and byte_end must be given together")
    if not _UNSIGNED.fullmatch(first) or not _UNSIGNED.fullmatch(last):
        raise BadRequest("byte_start and byte_end must be numbers of bytes")
    return checked_span(int(first), int(last))


def checked_span(first: int, last: int) -> tuple[int, int]:
    """A byte range with both ends included.

    Raises:
        BadRequest: it ends before it starts.
    """
    if last < first:
        raise BadRequest(f"byte_end {last} is before byte_start {first}")
    return first, last


def parts_of_json(body: bytes) -> list[KeyPart]:
    """What a JSON list asks for: keys, or objects {"key", "byte_start", "byte_end"}; the last two may both be absent.

    Raises:
        BadRequest: anything else.
    """
    try:
        wanted = json.loads(body.decode())
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"GET keyvalues with json or tar takes a JSON list of keys in its body: {error}") from None
    if not isinstance(wanted, list):
        raise BadRequest("GET keyvalues with json or tar takes a JSON list of keys in its body")
    return [_part_of_json(item) for item in wanted]


def _part_of_json(item: object) -> KeyPart:
    if isinstance(item, str):
        return KeyPart(_key_of_json(item))
    if not isinstance(item, dict) or not isinstance(item.get("key"), str):
        raise BadRequest('each key of the list must be a string or an object {"key", "byte_start", "byte_end"}')
    first, last = item.get("byte_start"), item.get("byte_end")
    key = _key_of_json(item["key"])
    if first is None and last is None:
        return KeyPart(key)
    if type(first) is not int or type(last) is not int or first < 0:
        raise BadRequest(f"key {item['key'][:80]!r}: byte_start and byte_end must be two numbers of bytes")
    return KeyPart(key, checked_span(first, last))


def _key_of_json(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise BadRequest("a key in JSON must be Unicode text, without lone surrogates") from None
