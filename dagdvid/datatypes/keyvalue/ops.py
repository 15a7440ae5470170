"""Reading keys and values of an instance, and writing them in DVID's three formats: JSON, tar, protobuf."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from dagdvid.datatype import Snapshot
from dagdvid.datatypes.keyvalue.keys import checked_key, shown
from dagdvid.errors import BadRequest
from dagdvid.interchange.keyvalues import KeyPart, keyvalue_chunks, keyvalue_message

__all__ = [
    "SPACE",
    "Entry",
    "as_json",
    "as_protobuf",
    "as_tar",
    "entries_between",
    "key_list",
    "keys_between",
    "part",
    "wanted",
]

SPACE = "keys"

_KEYS_AT_ONCE = 4096
_ESCAPED = bytes(range(0x20)) + b'"\\'
"""The ASCII characters that JSON does not take as they are."""
_COPIED = 4096
"""Bytes of a value that cost less to copy than to pass on by itself."""
_FIRST_BATCH = 32
_BATCH_BYTES = 8 << 20


class Entry(NamedTuple):
    """One line of an answer."""

    key: bytes
    value: bytes
    """Empty where the key is absent."""
    partial: bool = False
    """Only some bytes of the stored value."""


def keys_between(view: Snapshot, first: bytes, last: bytes) -> Iterator[bytes]:
    """The keys from `first` to `last`, both included, in order."""
    return view.keys(SPACE, first, last + b"\0") if first <= last else iter(())


def entries_between(view: Snapshot, first: bytes, last: bytes) -> Iterator[Entry]:
    """The keys from `first` to `last`, both included, with their values, in order."""
    items = view.items(SPACE, first, last + b"\0") if first <= last else iter(())
    return (Entry(key, value) for key, value in items)


def key_list(keys: Iterable[bytes]) -> Iterator[bytes]:
    """A JSON list of keys, in chunks."""
    source = iter(keys)
    lead = b"["
    while batch := list(islice(source, _KEYS_AT_ONCE)):
        yield lead + _names(batch)
        lead = b","
    yield b"[]" if lead == b"[" else b"]"


def _names(keys: list[bytes]) -> bytes:
    """Keys as JSON strings with commas between; most need no escapes, and are put together as they are."""
    joined = b"".join(keys)
    if joined.isascii() and len(joined.translate(None, _ESCAPED)) == len(joined):
        return b'"' + b'","'.join(keys) + b'"'
    return json.dumps([shown(key) for key in keys], separators=(",", ":"), ensure_ascii=False)[1:-1].encode()


def part(key: bytes, value: bytes, span: tuple[int, int] | None) -> bytes:
    """The bytes of a value that a span selects, both ends included.

    Raises:
        BadRequest: the span does not lie in the value.
    """
    if span is None:
        return value
    first, last = span
    if last >= len(value):
        raise BadRequest(
            f"bytes {first} to {last} are not all in the value of key {shown(key)!r}: it has {len(value)} bytes"
        )
    return value[first : last + 1]


def wanted(view: Snapshot, parts: Sequence[KeyPart]) -> Iterator[Entry]:
    """The values that a batch request asks for, all of one moment, in its order; read in batches of bounded size."""
    located = view.locate(SPACE, [checked_key(wish.key) for wish in parts])
    at, count = 0, _FIRST_BATCH
    while at < len(parts):
        batch = parts[at : at + count]
        values = view.load(located[at : at + count])
        for wish, value in zip(batch, values, strict=True):
            partial = wish.span is not None
            yield Entry(wish.key, b"" if value is None else part(wish.key, value, wish.span), partial)
        at += count
        mean = sum(len(value) for value in values if value is not None) // count + 1
        count = max(1, min(_KEYS_AT_ONCE, _BATCH_BYTES // mean))


def as_json(entries: Iterable[Entry], check: bool) -> Iterator[bytes]:
    """A JSON object of keys and values, in chunks. An empty value is {}; others go in as they are.

    Raises:
        BadRequest: a value that is not JSON, if `check` or if it is a part of a stored value.
    """
    lead = b"{"
    for key, value, partial in entries:
        if value and (check or partial) and not _is_json(value):
            raise BadRequest(f"the {'part of the ' if partial else ''}value of key {shown(key)!r} is not JSON")
        yield lead + json.dumps(shown(key), ensure_ascii=False).encode() + b":" + (value or b"{}")
        lead = b","
    yield b"{}" if lead == b"{" else b"}"


def as_protobuf(entries: Iterable[Entry]) -> Iterator[bytes]:
    """A KeyValues message, in chunks."""
    for key, value, _ in entries:
        if len(value) > _COPIED:
            yield from keyvalue_chunks(key, value)
        else:
            yield keyvalue_message(key, value)


def as_tar(entries: Iterable[Entry]) -> Iterator[bytes]:
    """A tar file of one member a key, in chunks."""
    for key, value, _ in entries:
        member = tarfile.TarInfo(key.decode("utf-8", "surrogateescape"))
        member.mode = 0o755
        member.size = len(value)
        yield member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        yield value
        yield bytes(-len(value) % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _is_json(value: bytes) -> bool:
    try:
        json.loads(value.decode(), parse_int=str, parse_float=str, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return False
    return True
