"""Indexes of many sealed packs in one file (SPEC 4.11): immutable, made of the packs' own, which can make it again.

header    "dgvtier" || u8 1 || 16 bytes id || u64 n || u64 start of the filter || u64 its words || u64 start of the rows
          || u64 checksum of prefixes, rows and filter || u64 xxh3_64 of all before
prefixes  n x u64: the first 8 bytes of the ids, big-endian, as a number; ascending
filter    words x u64: of the word that a prefix falls on, three bits are set; ids whose bits are not are not here
rows      n x (24 bytes rest of the id || u32 number of the pack || u64 offset || u32 stored bytes)
"""

from __future__ import annotations

import mmap
import struct
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64

from dagdvid.errors import Corrupt
from dagdvid.objects.ids import ID_SIZE
from dagdvid.objects.local.files import Files

__all__ = ["ROW", "Asked", "Columns", "Source", "Tier", "write_tier"]

_HEADER = struct.Struct("<8s16sQQQQQQ")
_ALIGNED = 128
_MAGIC = b"dgvtier\x01"
_PREFIX = 8
ROW = np.dtype([("rest", "V24"), ("pack", "<u4"), ("offset", "<u8"), ("stored", "<u4")])
_ROW = struct.Struct("<24sIQI")
_FEW = 8
"""Ids that are looked up one by one; more go through numpy together."""
_PER_WORD = 8
"""Objects a word of the filter, so that one absent id in twenty or thirty passes it."""
_PIECE = 2**16
"""Entries that are merged at a time."""

Columns = tuple[NDArray[np.uint64], NDArray[Any]]
"""Prefixes and rows."""


class Source(Protocol):
    """Sorted entries that a tier can be made of."""

    n: int

    def columns(self, start: int, end: int) -> Columns:
        """Those from one position to another."""

    @property
    def prefixes(self) -> NDArray[np.uint64]:
        """The first column, all of it."""


class Asked:
    """Ids to look for in several tiers, ascending."""

    def __init__(self, ids: Sequence[bytes]) -> None:
        self.ids = ids
        self.few = len(ids) <= _FEW
        self.prefixes: NDArray[np.uint64] = np.zeros(0, np.uint64)
        if not self.few:
            words = np.frombuffer(b"".join(ids), ">u8").reshape(-1, ID_SIZE // 8)
            self.prefixes = words[:, 0].astype(np.uint64)
            self.high, self.bits = _filtered(self.prefixes)


class Tier:
    """An index file. Prefixes and filter are mapped into memory, rows are read: 9 bytes of memory an object."""

    def __init__(self, path: Path, files: Files) -> None:
        """Raises Corrupt: not what was written; OSError: it cannot be opened."""
        self.name = path.stem
        self.n: int
        self.checked = False
        """It was read as a whole."""
        self._files = files
        self._fd = -1
        self._fd = files.open(path)
        try:
            head = files.read(self._fd, _HEADER.size, 0)
            size = files.size(self._fd)
            if len(head) < _HEADER.size or head[:8] != _MAGIC or _sum(head[:-8]) != int.from_bytes(head[-8:], "little"):
                raise Corrupt(f"index {path.name} has a damaged header")
            _, identity, self.n, at, self._words, self._rows, self._checksum, _ = _HEADER.unpack(head)
            if identity.hex() != self.name or size != self._rows + self.n * _ROW.size:
                raise Corrupt(f"index {path.name} is cut short, or another")
            self._map = mmap.mmap(self._fd, self._rows, prot=mmap.PROT_READ)
        except BaseException:
            self.close()
            raise
        view = memoryview(self._map)
        prefixes, words = view[_ALIGNED : _ALIGNED + 8 * self.n], view[at : at + 8 * self._words]
        self.prefixes: NDArray[np.uint64] = np.frombuffer(prefixes, "<u8")
        self._filter: NDArray[np.uint64] = np.frombuffer(words, "<u8")
        self._numbers, self._word_list = prefixes.cast("Q"), words.cast("Q")

    def find(self, asked: Asked) -> Iterator[tuple[bytes, int, int, int]]:
        """Those of the ids that are here: (id, pack, offset, stored bytes)."""
        if not self.n:
            return
        if asked.few:
            for name in asked.ids:
                prefix = int.from_bytes(name[:_PREFIX], "big")
                word, bits = (prefix >> 32) * self._words >> 32, _bits(prefix)
                if self._word_list[word] & bits == bits:
                    yield from self._row(name, bisect_left(self._numbers, prefix))
            return
        there = np.take(self._filter, asked.high * np.uint64(self._words) >> _HALF) & asked.bits
        maybe = np.flatnonzero(there == asked.bits)
        wanted = asked.prefixes[maybe]
        places = np.minimum(np.searchsorted(self.prefixes, wanted), self.n - 1)
        for i in np.flatnonzero(self.prefixes[places] == wanted).tolist():
            yield from self._row(asked.ids[maybe[i]], int(places[i]))

    def _row(self, name: bytes, at: int) -> Iterator[tuple[bytes, int, int, int]]:
        prefix = int.from_bytes(name[:_PREFIX], "big")
        while at < self.n and self._numbers[at] == prefix:
            rest, pack, offset, stored = _ROW.unpack(self._files.read(self._fd, _ROW.size, self._rows + _ROW.size * at))
            if rest == name[_PREFIX:]:
                yield name, pack, offset, stored
                return
            at += 1

    def columns(self, start: int, end: int) -> Columns:
        """As `Source.columns`."""
        data = self._files.read(self._fd, (end - start) * _ROW.size, self._rows + start * _ROW.size)
        return self.prefixes[start:end], np.frombuffer(data, ROW)

    def check(self) -> None:
        """Read all of it. Raises Corrupt: it is damaged."""
        self.checked = True
        digest = xxh3_64()
        for at in range(0, self.n, _PIECE):
            prefixes, rows = self.columns(at, min(self.n, at + _PIECE))
            digest.update(prefixes.tobytes())
            digest.update(rows.tobytes())
        of_filter = xxh3_64()
        for at in range(0, self._words, _PIECE):
            of_filter.update(self._filter[at : at + _PIECE].tobytes())
        digest.update(of_filter.digest())
        if digest.intdigest() != self._checksum:
            raise Corrupt(f"index {self.name} does not match its checksum")

    def close(self) -> None:
        """Close the file. What still uses the mapping keeps it."""
        if self._fd >= 0:
            self._files.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()


def write_tier(path: Path, files: Files, sources: Sequence[Source], live: set[int]) -> int:
    """Merge sources into a new file, and flush it; the number of its entries.

    Of entries with one id that in the greatest pack stays; entries of packs that are not live go.
    """
    most = sum(source.n for source in sources)
    words = -(-most // _PER_WORD)
    filter_at = -(-(_ALIGNED + _PREFIX * most) // 4096) * 4096
    start = -(-(filter_at + 8 * words) // 4096) * 4096
    digest, of_filter = xxh3_64(), xxh3_64()
    done, open_word = 0, np.zeros(min(words, 1), np.uint64)
    n = 0

    def write_words(found: NDArray[np.uint64]) -> None:
        files.write(fd, found.tobytes(), filter_at + 8 * done)
        of_filter.update(found.tobytes())

    fd = files.create(path)
    try:
        for prefixes, rows in _merged(sources, live):
            files.write(fd, prefixes.tobytes(), _ALIGNED + _PREFIX * n)
            files.write(fd, rows.tobytes(), start + _ROW.size * n)
            for at in range(0, len(rows), _PIECE):  # as `check` does
                digest.update(prefixes[at : at + _PIECE].tobytes())
                digest.update(rows[at : at + _PIECE].tobytes())
            n += len(rows)
            if len(rows):  # words ascend as prefixes do: all but the last are complete
                high, bits = _filtered(prefixes)
                places = (high * np.uint64(words) >> _HALF).astype(np.intp) - done
                found = np.zeros(places[-1] + 1, np.uint64)
                found[0] = open_word[0]
                np.bitwise_or.at(found, places, bits)
                write_words(found[:-1])
                done, open_word = done + len(found) - 1, found[-1:]
        write_words(np.pad(open_word, (0, words - done - len(open_word))))
        digest.update(of_filter.digest())
        identity = bytes.fromhex(path.stem)
        head = _HEADER.pack(_MAGIC, identity, n, filter_at, words, start, digest.intdigest(), 0)[:-8]
        files.write(fd, head + _sum(head).to_bytes(8, "little"), 0)
        files.truncate(fd, start + _ROW.size * n)
        files.sync(fd)
    finally:
        files.close(fd)
    files.sync_folder(path.parent)
    return n


_HALF, _SIXTY_THREE = np.uint64(32), np.uint64(63)


def _bits(prefix: int) -> int:
    """The bits that a prefix sets in its word of the filter."""
    return 1 << (prefix & 63) | 1 << (prefix >> 6 & 63) | 1 << (prefix >> 12 & 63)


def _filtered(prefixes: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The upper halves of prefixes, which choose the word, and the bits."""
    one = np.uint64(1)
    bits = one << (prefixes & _SIXTY_THREE)
    for shift in (6, 12):
        bits |= one << (prefixes >> np.uint64(shift) & _SIXTY_THREE)
    return prefixes >> _HALF, bits


def _merged(sources: Sequence[Source], live: set[int]) -> Iterator[Columns]:
    """The entries of all sources in order, in pieces of _PIECE but the last, whatever the sources are."""
    packs = np.array(sorted(live), np.uint32)
    held: list[Columns] = []
    for part in _ranges(sources):
        held.append(_sorted(part, packs))
        size = sum(len(rows) for _, rows in held)
        if size >= _PIECE:
            prefixes, rows = (np.concatenate(column) for column in zip(*held, strict=True))
            whole = size // _PIECE * _PIECE
            yield prefixes[:whole], rows[:whole]
            held = [(prefixes[whole:], rows[whole:])]
    if held:
        prefixes, rows = (np.concatenate(column) for column in zip(*held, strict=True))
        yield prefixes, rows


def _ranges(sources: Sequence[Source]) -> Iterator[list[Columns]]:
    """The sources cut at the same prefixes, so that equal ids meet in one part of about _PIECE entries."""
    total = sum(source.n for source in sources)
    parts = max(1, total // _PIECE)
    at = [0] * len(sources)
    for part in range(1, parts + 1):
        ends = [
            source.n if part == parts else int(np.searchsorted(source.prefixes, np.uint64((part << 64) // parts)))
            for source in sources
        ]
        yield [source.columns(lo, hi) for source, lo, hi in zip(sources, at, ends, strict=True) if hi > lo]
        at = ends


def _sorted(parts: list[Columns], live: NDArray[np.uint32]) -> Columns:
    if not parts:
        return np.zeros(0, np.uint64), np.zeros(0, ROW)
    prefixes, rows = (np.concatenate(column) for column in zip(*parts, strict=True))
    kept = np.isin(rows["pack"], live)
    prefixes, rows = prefixes[kept], rows[kept]
    order = np.argsort(prefixes, kind="stable")
    prefixes, rows = prefixes[order], rows[order]
    equal = np.flatnonzero(prefixes[1:] == prefixes[:-1])
    if not len(equal):
        return prefixes, rows
    # Nearly all of these are one object in two packs; ids that share 8 bytes are rare, and must be told apart.
    doubtful = np.unique(np.concatenate([equal, equal + 1]))
    best: dict[bytes, int] = {}
    for i in doubtful.tolist():
        name = prefixes[i].tobytes()[::-1] + rows[i].tobytes()[:24]
        if name not in best or rows["pack"][best[name]] < rows["pack"][i]:
            best[name] = i
    keep = np.ones(len(rows), bool)
    keep[doubtful] = False
    keep[list(best.values())] = True
    return prefixes[keep], rows[keep]


def _sum(data: bytes) -> int:
    return int(xxh3_64(data).intdigest())
