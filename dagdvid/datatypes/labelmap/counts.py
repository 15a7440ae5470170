"""Where supervoxels lie: for each, the voxels that it has in each block (SPEC 9.10).

The space `supervoxels` has a record under each supervoxel (8 bytes big-endian): voxels u64, blocks u32, and then, of up
to `INLINE` blocks, their codes u64 ascending and their voxels u32. Of more, the codes of chunks u64, ascending: a chunk
is 16 blocks wide, its code is that of its blocks >> 12. The space `index` has them under supervoxel || chunk (7 bytes
big-endian): the low 12 bits of the codes u16 ascending, and the voxels u32.
A code is the Morton code of a block's coordinates (SPEC 9.4).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dagdvid.datatype import Snapshot, Txn
from dagdvid.errors import Corrupt

__all__ = ["INDEX", "INLINE", "SUPERVOXELS", "Table", "Totals", "key_of", "keys_of", "read", "totals", "update"]

SUPERVOXELS, INDEX = "supervoxels", "index"
INLINE = 40
"""Blocks that a record lists itself: 492 bytes, which stand inline in the tree."""
_HEAD = struct.Struct("<QI")
_LOW_BITS = 12
_LOW = (1 << _LOW_BITS) - 1

Counts = dict[int, int]
"""Voxels by block code."""


class Totals(NamedTuple):
    """What a record says before its blocks."""

    voxels: int
    blocks: int


class Table(NamedTuple):
    """N pairs of supervoxel and block."""

    supervoxels: NDArray[np.uint64]
    codes: NDArray[np.uint64]
    counts: NDArray[np.int64]

    def take(self, at: NDArray[np.int64] | NDArray[np.bool_]) -> Table:
        """Some of the rows."""
        return Table(self.supervoxels[at], self.codes[at], self.counts[at])

    def rows(self) -> list[tuple[int, int, int]]:
        """The rows, ascending."""
        return sorted(zip(*(column.tolist() for column in self), strict=True))

    @staticmethod
    def joined(parts: Sequence[Table]) -> Table:
        """All rows of some."""
        if not parts:
            return Table(np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty(0, np.int64))
        return Table(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def key_of(label: int) -> bytes:
    """The key of one label."""
    return label.to_bytes(8, "big")


def keys_of(labels: NDArray[np.uint64]) -> list[bytes]:
    """The keys of labels, in their order."""
    raw = labels.astype(">u8").tobytes()
    return [raw[i : i + 8] for i in range(0, len(raw), 8)]


def totals(view: Snapshot, supervoxels: NDArray[np.uint64]) -> list[Totals | None]:
    """The totals of supervoxels; None where there is no such supervoxel."""
    found = view.get_many(SUPERVOXELS, keys_of(supervoxels))
    return [None if raw is None else Totals(*_HEAD.unpack_from(raw)) for raw in found]


def read(view: Snapshot, supervoxels: NDArray[np.uint64]) -> Table:
    """Where supervoxels lie; those that are not there have no rows. The order is that of the labels given.

    Raises:
        Corrupt: a record makes no sense.
    """
    found = view.get_many(SUPERVOXELS, keys_of(supervoxels))
    there = [(label, raw) for label, raw in zip(supervoxels.tolist(), found, strict=True) if raw is not None]
    small: list[tuple[int, bytes]] = []
    large: list[tuple[int, bytes]] = []
    for label, raw in there:
        (small if int.from_bytes(raw[8:12], "little") <= INLINE else large).append((label, raw))
    parts = [_small(small)] if small else []
    if large:
        parts.append(_large(view, large))
    return Table.joined(parts)


def _small(records: Sequence[tuple[int, bytes]]) -> Table:
    """The rows of records that list their blocks."""
    sizes = np.array([(len(raw) - _HEAD.size) // 12 for _, raw in records])
    ends = [_HEAD.size + 8 * size for size in sizes.tolist()]
    codes = np.frombuffer(b"".join(raw[_HEAD.size : end] for (_, raw), end in zip(records, ends, strict=True)), "<u8")
    counts = np.frombuffer(b"".join(raw[end:] for (_, raw), end in zip(records, ends, strict=True)), "<u4")
    if len(codes) != len(counts):
        raise Corrupt("the record of a supervoxel is malformed")
    labels = np.repeat(np.array([label for label, _ in records], np.uint64), sizes)
    return Table(labels, codes.astype(np.uint64), counts.astype(np.int64))


def _large(view: Snapshot, records: Sequence[tuple[int, bytes]]) -> Table:
    """The rows of records that list chunks."""
    wanted = [(label, chunk) for label, raw in records for chunk in _chunks(raw)]
    parts = []
    for (label, chunk), raw in zip(wanted, view.get_many(INDEX, [_chunk_key(*each) for each in wanted]), strict=True):
        if raw is None or len(raw) % 6:
            raise Corrupt(f"the index of supervoxel {label} lacks a part")
        n = len(raw) // 6
        codes = np.frombuffer(raw, "<u2", n).astype(np.uint64) | np.uint64(chunk << _LOW_BITS)
        counts = np.frombuffer(raw, "<u4", n, 2 * n).astype(np.int64)
        parts.append(Table(np.full(n, label, np.uint64), codes, counts))
    return Table.joined(parts)


def _chunks(raw: bytes) -> list[int]:
    codes: list[int] = np.frombuffer(raw, "<u8", offset=_HEAD.size).tolist()
    return codes


def _chunk_key(label: int, chunk: int) -> bytes:
    return key_of(label) + chunk.to_bytes(7, "big")


class Change(NamedTuple):
    """What became of a supervoxel."""

    before: int
    """Its voxels; 0: it was not there."""
    after: int


def update(txn: Txn, changes: Mapping[int, Counts]) -> dict[int, Change]:
    """Set the voxels that supervoxels have in some blocks; 0 for none any more.

    changes: for each supervoxel, voxels by block code.
    """
    labels = sorted(changes)
    records = txn.get_many(SUPERVOXELS, [key_of(label) for label in labels])
    found: dict[int, Change] = {}
    puts: list[tuple[bytes, bytes]] = []
    for label, raw in zip(labels, records, strict=True):
        head = Totals(0, 0) if raw is None else Totals(*_HEAD.unpack_from(raw))
        if head.blocks > INLINE and raw is not None:
            made = _update_large(txn, label, head, _chunks(raw), changes[label])
        else:
            blocks = {} if raw is None else _unpacked(raw, head.blocks)
            blocks.update(changes[label])
            made = _made(txn, label, {code: count for code, count in blocks.items() if count})
        if made is not None:
            puts.append((key_of(label), made))
        elif raw is not None:
            txn.delete(SUPERVOXELS, key_of(label))
        found[label] = Change(head.voxels, 0 if made is None else _HEAD.unpack_from(made)[0])
    txn.put_many(SUPERVOXELS, puts)
    return found


def _unpacked(raw: bytes, n: int) -> Counts:
    codes = struct.unpack_from(f"<{n}Q", raw, _HEAD.size)
    return dict(zip(codes, struct.unpack_from(f"<{n}I", raw, _HEAD.size + 8 * n), strict=True))


def _made(txn: Txn, label: int, blocks: Counts) -> bytes | None:
    """The record of a supervoxel that has these blocks and no chunks so far; chunks are put. None: it has no blocks."""
    if not blocks:
        return None
    n = len(blocks)
    codes = sorted(blocks)
    head = _HEAD.pack(sum(blocks.values()), n)
    if n <= INLINE:
        return head + struct.pack(f"<{n}Q{n}I", *codes, *(blocks[code] for code in codes))
    chunks = sorted({code >> _LOW_BITS for code in codes})
    txn.put_many(INDEX, _packed_chunks(label, blocks))
    return head + struct.pack(f"<{len(chunks)}Q", *chunks)


def _by_chunk(blocks: Iterable[tuple[int, int]]) -> dict[int, Counts]:
    chunks: dict[int, Counts] = {}
    for code, count in blocks:
        chunks.setdefault(code >> _LOW_BITS, {})[code & _LOW] = count
    return chunks


def _packed_chunks(label: int, blocks: Counts) -> Iterator[tuple[bytes, bytes]]:
    for chunk, counts in _by_chunk(blocks.items()).items():
        yield _chunk_key(label, chunk), _packed(counts)


def _packed(counts: Counts) -> bytes:
    lows, n = sorted(counts), len(counts)
    return struct.pack(f"<{n}H{n}I", *lows, *(counts[low] for low in lows))


def _update_large(txn: Txn, label: int, head: Totals, chunks: Sequence[int], changes: Counts) -> bytes | None:
    """As `_made`, for a supervoxel that has chunks: only those are read and written that change."""
    known = set(chunks)
    changed = _by_chunk(changes.items())
    read = sorted(known & changed.keys())
    voxels, n = head.voxels, head.blocks
    puts = []
    old = dict(zip(read, txn.get_many(INDEX, [_chunk_key(label, chunk) for chunk in read]), strict=True))
    for chunk, new in changed.items():
        counts = _unpacked_chunk(old.get(chunk))
        voxels -= sum(counts.values())
        n -= len(counts)
        counts.update(new)
        counts = {low: count for low, count in counts.items() if count}
        voxels += sum(counts.values())
        n += len(counts)
        key = _chunk_key(label, chunk)
        if counts:
            puts.append((key, _packed(counts)))
            known.add(chunk)
        elif chunk in known:
            txn.delete(INDEX, key)
            known.discard(chunk)
    txn.put_many(INDEX, puts)
    if n > INLINE:
        return _HEAD.pack(voxels, n) + struct.pack(f"<{len(known)}Q", *sorted(known))
    keys = {chunk: _chunk_key(label, chunk) for chunk in known}  # few are left: back into the record
    rest = dict(zip(keys, txn.get_many(INDEX, list(keys.values())), strict=True))
    blocks = {chunk << _LOW_BITS | low: c for chunk, raw in rest.items() for low, c in _unpacked_chunk(raw).items()}
    for key in keys.values():
        txn.delete(INDEX, key)
    return _made(txn, label, blocks)


def _unpacked_chunk(raw: bytes | None) -> Counts:
    if raw is None:
        return {}
    n = len(raw) // 6
    return dict(zip(struct.unpack_from(f"<{n}H", raw), struct.unpack_from(f"<{n}I", raw, 2 * n), strict=True))
