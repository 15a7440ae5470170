"""The compiled twin of what `interchange.labelindex` does for each entry of an index."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dagdvid.kernels.fast import BYTES, inlined, kernel

__all__ = ["read_blocks", "write_blocks"]

Columns = tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64], bytes]

Int = int | np.int64

ENTRY, KEY, VALUE = 0x0A, 0x08, 0x12
"""Tags: field 1, a message; field 1, a number; field 2, a message."""
COUNT = 0x10
"""Field 2, a number."""


@inlined
def _size(value: np.uint64) -> int:
    """The bytes of a varint."""
    size = 1
    while value >= np.uint64(128):
        value >>= np.uint64(7)
        size += 1
    return size


@inlined
def _put(out: NDArray[np.uint8], at: int, value: np.uint64) -> int:
    """Writes a varint; where it ends."""
    while value >= np.uint64(128):
        out[at] = np.uint8(value & np.uint64(127) | np.uint64(128))
        value >>= np.uint64(7)
        at += 1
    out[at] = np.uint8(value)
    return at + 1


@kernel("uint8[::1](uint64[::1], uint64[::1], uint64[::1])")
def _write(keys: NDArray[np.uint64], labels: NDArray[np.uint64], counts: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """The messages of entries whose keys ascend."""
    total = len(keys)
    pairs = np.empty(total, np.int64)
    insides = np.empty(total, np.int64)  # of the block that begins at an entry
    size = 0
    first = 0
    for n in range(total):
        pairs[n] = 2 + _size(labels[n]) + _size(counts[n])
        if n == 0 or keys[n] != keys[n - 1]:
            first = n
            insides[n] = 0
        insides[first] += 1 + _size(np.uint64(pairs[n])) + pairs[n]
    for n in range(total):
        if n == 0 or keys[n] != keys[n - 1]:
            entry = 2 + _size(keys[n]) + _size(np.uint64(insides[n])) + insides[n]
            size += 1 + _size(np.uint64(entry)) + entry
    out = np.empty(size, np.uint8)
    at = 0
    for n in range(total):
        if n == 0 or keys[n] != keys[n - 1]:
            out[at] = ENTRY
            entry = 2 + _size(keys[n]) + _size(np.uint64(insides[n])) + insides[n]
            at = _put(out, at + 1, np.uint64(entry))
            out[at] = KEY
            at = _put(out, at + 1, keys[n])
            out[at] = VALUE
            at = _put(out, at + 1, np.uint64(insides[n]))
        out[at] = ENTRY
        at = _put(out, at + 1, np.uint64(pairs[n]))
        out[at] = KEY
        at = _put(out, at + 1, labels[n])
        out[at] = COUNT
        at = _put(out, at + 1, counts[n])
    return out


@inlined
def _get(data: NDArray[np.uint8], at: Int, end: Int) -> tuple[np.uint64, Int]:
    """A varint and where it ends; -1 where there is none."""
    value = np.uint64(0)
    shift = 0
    while at < end and shift < 70:
        byte = np.uint64(data[at])
        at += 1
        if shift == 63 and byte > np.uint64(1):
            return value, -1
        value |= (byte & np.uint64(127)) << np.uint64(shift)
        if byte < np.uint64(128):
            return value, at
        shift += 7
    return value, -1


@inlined
def _skip(data: NDArray[np.uint8], at: Int, end: Int) -> tuple[np.uint64, Int, Int, Int]:
    """A field's tag, and where its bytes begin (those of a message or string: behind their length) and end; or -1."""
    tag, at = _get(data, at, end)
    if at < 0 or tag >> np.uint64(3) == np.uint64(0) or tag >> np.uint64(32) != np.uint64(0):
        return tag, -1, -1, -1
    kind = tag & np.uint64(7)
    start = at
    size = np.uint64(0)
    if kind == np.uint64(0):
        _, stop = _get(data, at, end)
        return tag, start, stop, stop
    if kind == np.uint64(2):
        size, start = _get(data, at, end)
        if start < 0:
            return tag, -1, -1, -1
    elif kind == np.uint64(1):
        size = np.uint64(8)
    elif kind == np.uint64(5):
        size = np.uint64(4)
    else:
        return tag, -1, -1, -1
    if size > np.uint64(end - start):
        return tag, -1, -1, -1
    stop = start + np.int64(size)
    return tag, start, stop, stop


@kernel(f"Tuple((int64, uint64[:, ::1], uint8[::1]))({BYTES})")
def _read(data: NDArray[np.uint8]) -> tuple[int, NDArray[np.uint64], NDArray[np.uint8]]:
    """How many entries there are, -1 for malformed; entries of key, label and count; and the bytes of other fields."""
    rows = np.empty((len(data) // 8 + 1, 3), np.uint64)  # an entry has 8 bytes at least, but for what is left out
    rest = np.empty(len(data), np.uint8)
    number, kept = 0, 0
    at: Int = 0
    end = len(data)
    while at < end:
        field = at
        tag, start, stop, at = _skip(data, at, end)
        if at < 0:
            return -1, rows, rest
        if tag != np.uint64(ENTRY):
            if tag >> np.uint64(3) == np.uint64(1):
                return -1, rows, rest
            for i in range(field, at):
                rest[kept] = data[i]
                kept += 1
            continue
        key = np.uint64(0)
        first: Int = 0
        last: Int = 0
        inner = start
        while inner < stop:
            tag, begin, ends, inner = _skip(data, inner, stop)
            if inner < 0:
                return -1, rows, rest
            if tag == np.uint64(KEY):
                key, _ = _get(data, begin, ends)
            elif tag == np.uint64(VALUE):
                first, last = begin, ends
            elif tag >> np.uint64(3) <= np.uint64(2):
                return -1, rows, rest
        while first < last:
            tag, begin, ends, first = _skip(data, first, last)
            if first < 0:
                return -1, rows, rest
            if tag != np.uint64(ENTRY):
                if tag >> np.uint64(3) == np.uint64(1):
                    return -1, rows, rest
                continue
            label, count = np.uint64(0), np.uint64(0)
            while begin < ends:
                tag, low, high, begin = _skip(data, begin, ends)
                if begin < 0:
                    return -1, rows, rest
                if tag == np.uint64(KEY):
                    label, _ = _get(data, low, high)
                elif tag == np.uint64(COUNT):
                    count, _ = _get(data, low, high)
                elif tag >> np.uint64(3) <= np.uint64(2):
                    return -1, rows, rest
            if number == len(rows):
                more = np.empty((2 * len(rows), 3), np.uint64)
                more[:number] = rows
                rows = more
            rows[number, 0], rows[number, 1], rows[number, 2] = key, label, count
            number += 1
    return number, rows, rest[:kept].copy()


def write_blocks(keys: NDArray[np.uint64], labels: NDArray[np.uint64], counts: NDArray[np.int64]) -> bytes:
    """As the plain one."""
    return _write(keys, np.ascontiguousarray(labels), counts.astype(np.uint64)).tobytes()


def read_blocks(message: bytes | memoryview) -> Columns | None:
    """As the plain one; None for what is malformed."""
    number, rows, rest = _read(np.frombuffer(message, np.uint8))
    if number < 0:
        return None
    keys, labels, counts = (np.ascontiguousarray(column) for column in rows[:number].T)
    return keys, labels, counts, rest.tobytes()
