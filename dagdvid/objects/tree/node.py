"""Nodes of the tree (SPEC 5.2): columnar canonical bytes, decoded column by column and only when asked.

A leaf (level 0) maps keys to values; an inner node maps the last key of each child to the child. Little-endian:

    u8 version = 1 | u8 level | u16 prefix length | u32 n | u32 suffix bytes | u32 inline bytes (0 in inner nodes)
    prefix, common to all keys | u32[n] end of each suffix | suffixes
    leaf:  u8[n] kind | u64[n] value size | 32 bytes x references, in order | inline values, in order
    inner: 32 bytes x n child ids | u64[n] entries below | u64[n] bytes below (keys and values)
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from dagdvid.errors import Corrupt
from dagdvid.objects.codecs import MAX_OBJECT
from dagdvid.objects.ids import ID_SIZE, ObjectType

__all__ = [
    "BLOB",
    "BLOB_LIST",
    "INLINE",
    "INLINE_LIMIT",
    "MAX_KEY",
    "MAX_VALUE",
    "Child",
    "Node",
    "Ref",
    "Value",
    "check_value",
    "encode_inner",
    "encode_leaf",
    "inline_limit",
]

INLINE, BLOB, BLOB_LIST = 0, 1, 2
MAX_KEY = 1024
"""Bytes of the longest key; the shortest has one."""
MAX_VALUE = 2**34
"""Bytes of the largest value (SPEC 5.1): 16 GiB, for whose chunks one blob list suffices at any boundaries."""
MAX_ENTRIES = 512
"""Entries of the largest node (SPEC 5.3)."""
INLINE_LIMIT = 512
_LONG_KEY, _LONG_KEY_INLINE_LIMIT = 256, 128
_HEAD = struct.Struct("<BBHIII")
_VERSION = 1
_MAX_TOTAL = 2**63


class Ref(NamedTuple):
    """A value that lies outside the tree."""

    kind: int
    """BLOB or BLOB_LIST."""
    id: bytes
    size: int


Value = bytes | Ref


class Child(NamedTuple):
    """A subtree, as its parent knows it."""

    id: bytes
    entries: int
    """Entries below."""
    size: int
    """Bytes of the keys and values below."""


def inline_limit(key: bytes) -> int:
    """Bytes of the largest value that stands in the leaf itself; anything larger must be a reference (SPEC 5.1)."""
    return INLINE_LIMIT if len(key) <= _LONG_KEY else _LONG_KEY_INLINE_LIMIT


def check_value(key: bytes, value: Value) -> None:
    """Check that a value is of the kind that its size asks for (SPEC 5.1).

    Raises:
        ValueError: it is not.
    """
    limit = inline_limit(key)
    if not isinstance(value, Ref):
        legal = len(value) <= limit
    elif value.kind == BLOB:
        legal = limit < value.size <= MAX_OBJECT
    else:
        legal = value.kind == BLOB_LIST and MAX_OBJECT < value.size <= MAX_VALUE
    if not legal:
        raise ValueError(f"the value of key {key!r} is of the wrong kind for its size")


def encode_leaf(keys: Sequence[bytes], values: Sequence[Value]) -> bytes:
    """Canonical bytes of a leaf. Keys must be strictly ascending, which is the caller's duty.

    Raises:
        ValueError: a key of the wrong length, or a value of the wrong kind.
    """
    refs = [v for v in values if isinstance(v, Ref)]
    inline = [v for v in values if not isinstance(v, Ref)]
    if refs or (inline and max(map(len, inline)) > _LONG_KEY_INLINE_LIMIT):
        for key, value in zip(keys, values, strict=True):
            check_value(key, value)
    if not refs:
        kinds: bytes = bytes(len(values))
        sizes = list(map(len, inline))
    else:
        kinds = bytes([v.kind if isinstance(v, Ref) else INLINE for v in values])
        sizes = [v.size if isinstance(v, Ref) else len(v) for v in values]
    heap = b"".join(inline)
    return b"".join(
        (
            *_encode_keys(0, keys, len(heap)),
            kinds,
            np.array(sizes, "<u8").tobytes(),
            *[ref.id for ref in refs],
            heap,
        )
    )


def encode_inner(level: int, keys: Sequence[bytes], children: Sequence[Child]) -> bytes:
    """Canonical bytes of an inner node."""
    ids, entries, sizes = zip(*children, strict=True)
    return b"".join(
        (*_encode_keys(level, keys, 0), *ids, np.array(entries, "<u8").tobytes(), np.array(sizes, "<u8").tobytes())
    )


def _encode_keys(level: int, keys: Sequence[bytes], inline: int) -> tuple[bytes, ...]:
    if not keys:
        return (_HEAD.pack(_VERSION, level, 0, 0, 0, inline),)
    first, last = keys[0], keys[-1]
    cut = next((i for i, (x, y) in enumerate(zip(first, last, strict=False)) if x != y), min(len(first), len(last)))
    suffixes = [key[cut:] for key in keys] if cut else keys
    lengths = list(map(len, suffixes))
    if not keys[0] or cut + max(lengths) > MAX_KEY:
        raise ValueError(f"a key has 1 to {MAX_KEY} bytes")
    ends = np.array(list(accumulate(lengths)), "<u4")
    head = _HEAD.pack(_VERSION, level, cut, len(keys), int(ends[-1]), inline)
    return head, first[:cut], ends.tobytes(), *suffixes


class Node:
    """A decoded node. Columns are materialised on first use; a node may be shared by threads."""

    def __init__(self, data: bytes) -> None:
        """Raises Corrupt: not the bytes of a node (lengths and columns; `check` proves the rest)."""
        if len(data) < _HEAD.size:
            raise Corrupt("tree node is cut short")
        version, self.level, self._prefix, self.n, suffixes, self._inline = _HEAD.unpack_from(data)
        if version != _VERSION:
            raise Corrupt(f"tree node of unknown version {version}")
        if self.n > MAX_ENTRIES or self._prefix > MAX_KEY:
            raise Corrupt("tree node with too many entries or an overlong key")
        self.data = data
        self._ends = _HEAD.size + self._prefix
        self._suffixes = self._ends + 4 * self.n
        self._columns = self._suffixes + suffixes
        fixed = self._columns + (9 * self.n if self.level == 0 else (ID_SIZE + 16) * self.n)
        if len(data) < fixed:
            raise Corrupt("tree node is cut short")
        if self.level:
            if len(data) != fixed or self._inline or not self.n:
                raise Corrupt("inner tree node has a wrong length")
        else:
            kinds = self.kinds
            if len(data) != fixed + ID_SIZE * (self.n - kinds.count(INLINE)) + self._inline:
                raise Corrupt("tree leaf has a wrong length")

    @property
    def type(self) -> ObjectType:
        """The object type that a node of this level must have."""
        return ObjectType.NODE if self.level else ObjectType.LEAF

    @property
    def kinds(self) -> bytes:
        """The kind of each value of a leaf."""
        return self.data[self._columns : self._columns + self.n]

    @cached_property
    def keys(self) -> list[bytes]:
        """The keys; of an inner node the last keys of its children."""
        data, base = self.data, self._suffixes
        prefix = data[_HEAD.size : _HEAD.size + self._prefix]
        ends = np.frombuffer(data, "<u4", self.n, self._ends).tolist()
        if ends and (base + ends[-1] != self._columns or sorted(ends) != ends):
            raise Corrupt("tree node has impossible key offsets")
        bounds = zip([0, *ends], ends, strict=False)
        if not prefix:
            return [data[base + a : base + b] for a, b in bounds]
        return [prefix + data[base + a : base + b] for a, b in bounds]

    @cached_property
    def _payloads(self) -> tuple[list[int], list[int]]:
        """Per entry of a leaf: where its reference or inline value begins, and its size."""
        sizes = np.frombuffer(self.data, "<i8", self.n, self._columns + self.n)
        kinds = np.frombuffer(self.data, np.uint8, self.n, self._columns)
        is_inline = kinds == INLINE
        lengths = np.where(is_inline, sizes, 0)
        if self.n and not 0 <= int(sizes.min()) <= int(sizes.max()) <= MAX_VALUE:
            raise Corrupt("tree leaf with values of impossible sizes")
        refs = self._columns + 9 * self.n
        heap = refs + ID_SIZE * int(np.count_nonzero(~is_inline))
        in_heap = heap + np.cumsum(lengths) - lengths
        in_refs = refs + ID_SIZE * (np.cumsum(~is_inline) - 1)
        if int(lengths.sum()) != self._inline or (self.n and int(kinds.max()) > BLOB_LIST):
            raise Corrupt("tree leaf has impossible values")
        return np.where(is_inline, in_heap, in_refs).tolist(), sizes.tolist()

    def value(self, i: int) -> Value:
        """The i-th value of a leaf."""
        starts, sizes = self._payloads
        start = starts[i]
        kind = self.data[self._columns + i]
        if kind == INLINE:
            return self.data[start : start + sizes[i]]
        return Ref(kind, self.data[start : start + ID_SIZE], sizes[i])

    @cached_property
    def values(self) -> list[Value]:
        """The values of a leaf."""
        data = self.data
        starts, sizes = self._payloads
        return [
            data[a : a + size] if kind == INLINE else Ref(kind, data[a : a + ID_SIZE], size)
            for kind, a, size in zip(self.kinds, starts, sizes, strict=True)
        ]

    @cached_property
    def ids(self) -> list[bytes]:
        """The ids of the children of an inner node."""
        data, base = self.data, self._columns
        return [data[i : i + ID_SIZE] for i in range(base, base + ID_SIZE * self.n, ID_SIZE)]

    @cached_property
    def children(self) -> list[Child]:
        """The children of an inner node.

        Raises:
            Corrupt: counts or sizes that no tree can have.
        """
        base = self._columns + ID_SIZE * self.n
        counts = np.frombuffer(self.data, "<u8", self.n, base).tolist()
        sizes = np.frombuffer(self.data, "<u8", self.n, base + 8 * self.n).tolist()
        if sum(counts) >= _MAX_TOTAL or sum(sizes) >= _MAX_TOTAL:
            raise Corrupt("inner tree node with impossible counts or sizes")
        return list(map(Child, self.ids, counts, sizes))

    def totals(self) -> tuple[int, int]:
        """Entries below, and the bytes of their keys and values."""
        if self.level == 0:
            return self.n, sum(map(len, self.keys)) + sum(self._payloads[1])
        return sum(c.entries for c in self.children), sum(c.size for c in self.children)

    def find(self, key: bytes) -> int:
        """The position of the first entry whose key is not below `key`; n if there is none."""
        return bisect_left(self.keys, key)

    def refs(self) -> list[Ref]:
        """The references of a leaf."""
        return [v for v in self.values if isinstance(v, Ref)]
