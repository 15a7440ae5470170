"""Frames between the processes of one server and its writer process, over a Unix socket. Nothing of it is ever stored.

request  u64 bytes that follow | u32 number | u32 pickled bytes | u32 n objects || pickled operation
         || n x (32 bytes id, u8 kind of pack, u32 bytes of entry) || entries
answer   u64 bytes that follow | u32 number | u8 1: an error || pickled value or error, nothing for None
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from dagdvid.errors import UnavailableError
from dagdvid.objects.local.group import Outcome
from dagdvid.objects.local.operation import Operation, Packed, Prepared

__all__ = ["Frame", "Frames", "decode_answer", "decode_request", "encode_answer", "encode_operation", "encode_request"]

_LENGTH = struct.Struct("<Q")
_REQUEST = struct.Struct("<III")
_OBJECT = struct.Struct("<32sBI")
_ANSWER = struct.Struct("<IB")
_PIECE = 2**18


class Frame(NamedTuple):
    """One request or answer as it travels, without its length."""

    body: memoryview


class Frames:
    """Takes bytes as they come, gives whole frames. A large frame is received into its own memory, and not copied."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(_PIECE))
        self._filled = 0
        self._large: memoryview | None = None

    def space(self) -> memoryview:
        """Where the next bytes belong."""
        return (self._buffer if self._large is None else self._large)[self._filled :]

    def filled(self, n: int) -> Iterator[Frame]:
        """Note that `n` bytes came; the frames that are whole by that."""
        self._filled += n
        if self._large is not None:
            if self._filled == len(self._large):
                yield Frame(self._large)
                self._large, self._filled = None, 0
            return
        at = 0
        while self._filled - at >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._buffer, at)
            start = at + _LENGTH.size
            if size > self._filled - start:
                break
            yield Frame(memoryview(bytes(self._buffer[start : start + size])))
            at = start + size
        rest = bytes(self._buffer[at : self._filled])
        if len(rest) >= _LENGTH.size and (size := _LENGTH.unpack_from(rest)[0]) > _PIECE - _LENGTH.size:
            self._large = memoryview(bytearray(size))
            rest = rest[_LENGTH.size :]
            self._large[: len(rest)] = rest
        else:
            self._buffer[: len(rest)] = rest
        self._filled = len(rest)


def encode_operation(operation: Operation) -> bytes:
    """The pickled operation."""
    return pickle.dumps(operation, protocol=5)


def encode_request(number: int, operation: bytes, prepared: Prepared) -> Iterator[bytes]:
    """The bytes of a request, in pieces of a good size for a socket. `operation`: the pickled one."""
    table = b"".join(_OBJECT.pack(item.id, item.kind, len(item.entry)) for item in prepared.packed)
    head = _REQUEST.pack(number, len(operation), len(prepared.packed))
    length = len(head) + len(operation) + len(table) + prepared.size
    pieces: list[bytes | memoryview] = [_LENGTH.pack(length), head, operation, table]
    size = sum(map(len, pieces))
    for item in prepared.packed:
        pieces.append(item.entry)
        size += len(item.entry)
        if size >= _PIECE:
            yield b"".join(pieces)
            pieces, size = [], 0
    if pieces:
        yield b"".join(pieces)


def decode_request(frame: Frame) -> tuple[int, Prepared | Exception]:
    """Number and operation of a request, or why that cannot be had; the objects' bytes stay in the frame."""
    body = frame.body
    number, pickled, n = _REQUEST.unpack_from(body)
    at = _REQUEST.size + pickled
    try:
        operation = pickle.loads(body[_REQUEST.size : at])  # noqa: S301  from our own process, by a socket of ours alone
    except Exception as error:  # noqa: BLE001  whatever its class does; the sender must hear of it
        return number, error
    end = at + n * _OBJECT.size
    packed = []
    for name, kind, size in _OBJECT.iter_unpack(body[at:end]):
        packed.append(Packed(name, kind, body[end : end + size]))
        end += size
    return number, Prepared(operation, packed)


def encode_answer(number: int, outcome: Outcome) -> bytes:
    """The bytes of an answer."""
    failed = outcome.error is not None
    if failed:
        body = _pickled_error(outcome.error)
    else:
        body = b"" if outcome.value is None else pickle.dumps(outcome.value, protocol=5)
    return _LENGTH.pack(_ANSWER.size + len(body)) + _ANSWER.pack(number, failed) + body


def decode_answer(frame: Frame) -> tuple[int, Outcome]:
    """Number of the request, and what became of it."""
    number, failed = _ANSWER.unpack_from(frame.body)
    body = frame.body[_ANSWER.size :]
    value: Any = pickle.loads(body) if body else None  # noqa: S301  as above
    return number, Outcome(error=value) if failed else Outcome(value)


def _pickled_error(error: BaseException | None) -> bytes:
    """An error that the other process can raise: itself, or, where it cannot travel, one that quotes it."""
    try:
        data = pickle.dumps(error, protocol=5)
        pickle.loads(data)  # noqa: S301  an exception may pickle and yet not come back
    except Exception:  # noqa: BLE001  whatever its class does
        data = pickle.dumps(UnavailableError(f"the writer failed: {error!r}"), protocol=5)
    return data
