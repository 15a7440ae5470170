"""What is known to be on disk, where answers do not wait for the disk (SPEC 4.10): the file `flushed`.

    slot     "dgvflush" || u64 sequence || 8 bytes salts of the WAL || u64 bytes of the WAL || u32 n
             || n x (16 bytes pack id, u64 bytes) || u64 xxh3_64 of all before

There are two slots, 4,096 bytes apart, written in turn: one of them is always whole.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from xxhash import xxh3_64_intdigest

from dagdvid.objects.local.files import Files

__all__ = ["FLUSHED", "Mark", "MarkFile", "read_mark", "wal_salts", "wal_state"]

FLUSHED = "flushed"
_SLOT = 4096
_HEAD = struct.Struct("<8sQ8sQI")
_PACK = struct.Struct("<16sQ")
_SUM = struct.Struct("<Q")
_MAGIC = b"dgvflush"
_MOST = (_SLOT - _HEAD.size - _SUM.size) // _PACK.size
NO_SALTS = bytes(8)

_WAL_HEADER, _FRAME_HEADER = 32, 24
_PIECE = 1 << 20


@dataclass(frozen=True)
class Mark:
    """A moment of which all is on disk."""

    salts: bytes = NO_SALTS
    """Of the database's WAL, which change when it begins anew; zeros if there was none."""
    wal: int = 0
    """Bytes of it."""
    packs: Mapping[str, int] = field(default_factory=dict)
    """Bytes of the packs that were open, by name."""


class MarkFile:
    """The file, for the process that writes."""

    def __init__(self, folder: Path, files: Files) -> None:
        self._files = files
        self._path = folder / FLUSHED
        found = _newest(self._path, files)
        self._sequence = found[0] if found else 0
        self._fd: int | None = None

    def write(self, mark: Mark) -> None:
        """Replace the mark; the one before stays until this one is on disk."""
        if self._fd is None:
            if self._path.exists():
                self._fd = self._files.open(self._path, write=True)
            else:
                self._fd = self._files.create(self._path)
                self._files.sync_folder(self._path.parent)
        newest = sorted(mark.packs.items(), key=lambda item: -item[1])[:_MOST]  # what is not named is checked whole
        data = _HEAD.pack(_MAGIC, self._sequence + 1, mark.salts, mark.wal, len(newest))
        data += b"".join(_PACK.pack(bytes.fromhex(name), size) for name, size in newest)
        data += _SUM.pack(xxh3_64_intdigest(data))
        self._files.write(self._fd, data, (self._sequence + 1) % 2 * _SLOT)
        self._files.sync(self._fd)
        self._sequence += 1

    def close(self) -> None:
        """Close the file."""
        if self._fd is not None:
            self._files.close(self._fd)
            self._fd = None


def read_mark(folder: Path, files: Files) -> Mark | None:
    """The last mark that is whole; None if every answer waited for the disk."""
    found = _newest(folder / FLUSHED, files)
    return found[1] if found else None


def _newest(path: Path, files: Files) -> tuple[int, Mark] | None:
    if not path.exists():
        return None
    fd = files.open(path)
    try:
        slots = [_slot(files.read(fd, _SLOT, at)) for at in (0, _SLOT)]
    finally:
        files.close(fd)
    # A file without a whole slot was being made: nothing had been answered yet.
    return max((slot for slot in slots if slot), key=lambda slot: slot[0], default=(0, Mark()))


def _slot(data: bytes) -> tuple[int, Mark] | None:
    if len(data) < _HEAD.size + _SUM.size:
        return None
    magic, sequence, salts, wal, n = _HEAD.unpack_from(data)
    end = _HEAD.size + n * _PACK.size
    if magic != _MAGIC or n > _MOST or len(data) < end + _SUM.size:
        return None
    if _SUM.unpack_from(data, end)[0] != xxh3_64_intdigest(data[:end]):
        return None
    packs = {name.hex(): size for name, size in _PACK.iter_unpack(data[_HEAD.size : end])}
    return sequence, Mark(salts, wal, packs)


def wal_salts(files: Files, fd: int) -> bytes:
    """The salts of a WAL; zeros if it has no header yet (sqlite.org/fileformat2.html, section 4.1)."""
    head = files.read(fd, _WAL_HEADER, 0)
    return head[16:24] if len(head) == _WAL_HEADER else NO_SALTS


def wal_state(files: Files, fd: int, before: tuple[bytes, int] = (NO_SALTS, 0)) -> tuple[bytes, int]:
    """Salts of a WAL, and the bytes up to the end of its last transaction. `before`: what was found the last time.

    Frames of its present life have its salts; what an earlier life left behind them has others, and what a transaction
    that was taken back left has no end of a transaction behind it.
    """
    salts = wal_salts(files, fd)
    if salts == NO_SALTS:
        return salts, 0
    page = int.from_bytes(files.read(fd, 4, 8), "big")
    frame = _FRAME_HEADER + page
    end = before[1] if before[0] == salts else _WAL_HEADER
    at = end
    wanted = np.frombuffer(salts, np.uint8)
    while True:
        data = files.read(fd, max(1, _PIECE // frame) * frame, at)
        n = len(data) // frame
        heads = np.frombuffer(data, np.uint8, n * frame).reshape(n, frame)[:, :_FRAME_HEADER]
        strangers = np.flatnonzero((heads[:, 8:16] != wanted).any(axis=1))
        valid = int(strangers[0]) if len(strangers) else n
        ends = np.flatnonzero(heads[:valid, 4:8].any(axis=1))
        if len(ends):
            end = at + (int(ends[-1]) + 1) * frame
        if valid < n or not n:
            return salts, end
        at += n * frame
