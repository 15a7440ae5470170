"""The pack files of a folder: which there are, reading their entries, appending, sealing, and recovery after a crash."""

from __future__ import annotations

import logging
import secrets
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

from dagdvid.errors import Corrupt
from dagdvid.objects.local.database import Database
from dagdvid.objects.local.files import Files
from dagdvid.objects.local.pack import (
    ENTRY_SIZE,
    HEADER_SIZE,
    Entry,
    PackIndex,
    decode_entry,
    encode_entry,
    encode_header,
    encode_index,
    pack_kind,
)
from dagdvid.objects.store import Object

__all__ = ["PACK_LIMIT", "Location", "PackWriter", "Packs", "recover"]

PACK_LIMIT = 256 * 2**20
"""Bytes at which a pack is sealed and the next begun."""

Location = tuple[int, int, int]
"""Pack number, offset, bytes of the payload."""

log = logging.getLogger(__name__)


class Packs:
    """Reads packs. Sealed ones are found through their mapped indexes, entries of open ones through the database."""

    def __init__(self, folder: Path, database: Database, files: Files) -> None:
        self.folder = folder
        self.files = files
        self.database = database
        self._lock = threading.Lock()
        self._fds: dict[int, int] = {}
        self._indexes: dict[int, PackIndex] = {}
        self.reload()

    def path(self, name: str) -> Path:
        """The file of a pack."""
        return self.folder / f"{name}.pack"

    def reload(self) -> None:
        """Learn of packs that were sealed since, by any process."""
        for no, name in self.database.rows("SELECT no, name FROM packs WHERE state = 'sealed' ORDER BY no"):
            if no not in self._indexes:
                fd = self._fd(no, name)
                with self._lock:
                    self._indexes[no] = PackIndex(fd, self.files.size(fd), name)

    def locate(self, ids: Sequence[bytes]) -> dict[bytes, Location]:
        """Where objects lie; absent ones are left out."""
        found = self._locate_once(ids)
        if len(found) < len(set(ids)):
            # An entry leaves the database when its pack is sealed: look at the list of packs again before a miss counts.
            known = len(self._indexes)
            self.reload()
            if len(self._indexes) > known:
                found |= self._locate_once([name for name in ids if name not in found])
        return found

    def _locate_once(self, ids: Sequence[bytes]) -> dict[bytes, Location]:
        found: dict[bytes, Location] = {}
        rest = []
        indexes = list(self._indexes.items())
        for name in ids:
            for no, index in reversed(indexes):
                entry = index.find(name)
                if entry:
                    found[name] = no, entry.offset, entry.stored
                    break
            else:
                rest.append(name)
        for start in range(0, len(rest), 500):
            part = rest[start : start + 500]
            marks = ",".join("?" * len(part))
            sql = f"SELECT id, pack, start, stored FROM entries WHERE id IN ({marks})"  # noqa: S608  marks only
            for name, no, offset, stored in self.database.rows(sql, part):
                found[name] = no, offset, stored
        return found

    def read(self, name: bytes, location: Location) -> Object:
        """The object at a location.

        Raises:
            Corrupt: its entry is damaged.
        """
        no, offset, stored = location
        data = self.files.read(self._fd(no), ENTRY_SIZE + stored, offset)
        return decode_entry(name, data)

    def sealed_objects(self) -> int:
        """How many objects the sealed packs hold."""
        return sum(index.n for index in self._indexes.values())

    def close(self) -> None:
        """Close all files."""
        with self._lock:
            for index in self._indexes.values():
                index.close()
            for fd in self._fds.values():
                self.files.close(fd)
            self._indexes.clear()
            self._fds.clear()

    def _fd(self, no: int, name: str | None = None) -> int:
        fd = self._fds.get(no)
        if fd is not None:
            return fd
        if name is None:
            rows = self.database.rows("SELECT name FROM packs WHERE no = ?", (no,))
            if not rows:
                raise Corrupt(f"pack {no} is not in the catalogue")
            name = rows[0][0]
        try:
            opened = self.files.open(self.path(name))
        except FileNotFoundError:
            raise Corrupt(f"pack file {name}.pack is missing: run dagdvid fsck") from None
        with self._lock:
            if no in self._fds:
                self.files.close(opened)
            return self._fds.setdefault(no, opened)


class PackWriter:
    """Appends to the open packs of one process, one of each kind. Used by the writer thread alone."""

    def __init__(self, packs: Packs) -> None:
        self._packs = packs
        self._open: dict[int, _OpenPack] = {}

    def append(self, objects: Sequence[Object]) -> None:
        """Write objects behind the known ends and flush them; `record` makes them count."""
        by_kind: dict[int, list[Object]] = {}
        for item in objects:
            by_kind.setdefault(pack_kind(item.type), []).append(item)
        try:
            for kind, items in by_kind.items():
                pack = self._open.get(kind) or self._begin(kind)
                pack.append(items, self._packs.files)
        except BaseException:
            self.abandon()
            raise

    def record(self, conn: sqlite3.Connection) -> None:
        """Enter in the database what `append` wrote, inside the caller's transaction."""
        for pack in self._open.values():
            if pack.no is None:
                row = conn.execute(
                    "INSERT INTO packs (name, kind, state, length) VALUES (?, ?, 'open', ?) RETURNING no",
                    (pack.name, pack.kind, pack.length),
                ).fetchone()
                pack.assigned = row[0]
            no = pack.no if pack.no is not None else pack.assigned
            if pack.fresh:
                conn.executemany(
                    "INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?)",
                    [(e.id, no, e.offset, e.stored) for e in pack.fresh],
                )
                conn.execute("UPDATE packs SET length = ? WHERE no = ?", (pack.length, no))

    def committed(self) -> None:
        """The transaction of `record` is durable."""
        for pack in self._open.values():
            pack.no = pack.no if pack.no is not None else pack.assigned
            pack.entries += pack.fresh
            pack.fresh = []

    def abandon(self) -> None:
        """After a failure nothing is known of what lies behind the ends: begin new packs. Recovery cuts the old ones."""
        for pack in self._open.values():
            self._packs.files.close(pack.fd)
        self._open.clear()

    def seal_full(self, conn: sqlite3.Connection, limit: int = PACK_LIMIT) -> None:
        """Seal the packs that have grown to the limit."""
        for kind, pack in list(self._open.items()):
            if pack.length >= limit and pack.no is not None:
                del self._open[kind]
                _seal(self._packs, conn, pack.no, pack.fd, pack.length, pack.entries)

    def _begin(self, kind: int) -> _OpenPack:
        identity = secrets.token_bytes(16)
        name = identity.hex()
        files = self._packs.files
        fd = files.create(self._packs.path(name))
        files.write(fd, encode_header(kind, identity), 0)
        files.sync(fd)
        files.sync_folder(self._packs.folder)
        pack = self._open[kind] = _OpenPack(kind, name, fd)
        return pack


class _OpenPack:
    def __init__(self, kind: int, name: str, fd: int) -> None:
        self.kind = kind
        self.name = name
        self.fd = fd
        self.no: int | None = None
        self.assigned = 0
        self.length = HEADER_SIZE
        self.fresh: list[Entry] = []
        self.entries: list[Entry] = []

    def append(self, items: Sequence[Object], files: Files) -> None:
        parts = []
        end = self.length
        for item in items:
            data = encode_entry(item)
            self.fresh.append(Entry(item.id, end, len(item.payload)))
            parts.append(data)
            end += len(data)
        files.write(self.fd, b"".join(parts), self.length)
        files.sync(self.fd)
        self.length = end


def _seal(packs: Packs, conn: sqlite3.Connection, no: int, fd: int, length: int, entries: Sequence[Entry]) -> None:
    files = packs.files
    tail = encode_index(entries, length)
    files.truncate(fd, length)
    files.write(fd, tail, length)
    files.sync(fd)
    files.close(fd)
    conn.execute("BEGIN IMMEDIATE")
    conn.execute("UPDATE packs SET state = 'sealed', length = ? WHERE no = ?", (length + len(tail), no))
    conn.execute("DELETE FROM entries WHERE pack = ?", (no,))
    conn.execute("COMMIT")
    packs.reload()


def recover(packs: Packs, conn: sqlite3.Connection) -> None:
    """Seal the packs that an earlier life left open, cut to the length that the database knows (SPEC 4.6)."""
    for no, name, length in conn.execute("SELECT no, name, length FROM packs WHERE state = 'open'").fetchall():
        rows = conn.execute("SELECT id, start, stored FROM entries WHERE pack = ?", (no,)).fetchall()
        log.info("sealing pack %s of an earlier run: %d objects, %d bytes", name, len(rows), length)
        try:
            fd = packs.files.open(packs.path(name), write=True)
        except FileNotFoundError:
            raise Corrupt(f"pack file {name}.pack is missing: restore it, or run dagdvid fsck") from None
        if packs.files.size(fd) < length:
            packs.files.close(fd)
            raise Corrupt(f"pack file {name}.pack is shorter than the {length} bytes acknowledged: run dagdvid fsck")
        _seal(packs, conn, no, fd, length, [Entry(*row) for row in rows])
