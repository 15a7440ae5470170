"""Appends to packs, seals them, and recovers those that an earlier process left open (SPEC 4.4, 4.6)."""

from __future__ import annotations

import contextlib
import logging
import secrets
import sqlite3
from collections.abc import Sequence

from dagdvid.objects.local.collection import abandon
from dagdvid.objects.local.files import Files
from dagdvid.objects.local.operation import Packed
from dagdvid.objects.local.pack import ENTRY_SIZE, HEADER_SIZE, Entry, encode_header, encode_index
from dagdvid.objects.local.packs import Packs, note_change

__all__ = ["PACK_LIMIT", "PackWriter", "recover", "remove_dead"]

PACK_LIMIT = 256 * 2**20
"""Bytes at which a pack is sealed and the next begun."""
_MOST_ENTRIES = 2**16
"""Entries at which it is sealed, too, so that no sealing takes long."""

log = logging.getLogger(__name__)


class PackWriter:
    """Appends to the open packs of one process, one of each kind. Used by the writer thread alone."""

    def __init__(self, packs: Packs, *, relaxed: bool = False) -> None:
        """`relaxed`: what is appended reaches the disk by `flush`, not at once."""
        self._packs = packs
        self._relaxed = relaxed
        self._open: dict[int, _OpenPack] = {}
        self._lengths: dict[str, int] = dict(packs.database.rows("SELECT name, length FROM packs WHERE state = 'open'"))
        self._unflushed: set[str] = set()

    def append(self, objects: Sequence[Packed]) -> None:
        """Write objects behind the known ends and flush them, unless relaxed; `record` makes them count."""
        by_kind: dict[int, list[Packed]] = {}
        for item in objects:
            by_kind.setdefault(item.kind, []).append(item)
        try:
            for kind, items in by_kind.items():
                pack = self._open.get(kind) or self._begin(kind)
                pack.append(items, self._packs.files)
                if self._relaxed:
                    self._unflushed.add(pack.name)
                else:
                    self._packs.files.sync(pack.fd)
        except BaseException:
            self._discard()
            raise

    def record(self, conn: sqlite3.Connection) -> None:
        """Enter in the database what `append` wrote, inside the caller's transaction."""
        for pack in self._open.values():
            if not pack.fresh:
                continue
            if pack.no is None:
                row = conn.execute(
                    "INSERT INTO packs (name, kind, state, length) VALUES (?, ?, 'open', ?) RETURNING no",
                    (pack.name, pack.kind, pack.end),
                ).fetchone()
                pack.assigned = row[0]
            no = pack.no if pack.no is not None else pack.assigned
            conn.executemany(
                "INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?)",
                [(e.id, no, e.offset, e.stored) for e in pack.fresh],
            )
            conn.execute("UPDATE packs SET length = ? WHERE no = ?", (pack.end, no))

    def committed(self) -> None:
        """The transaction of `record` is durable."""
        for pack in self._open.values():
            if pack.fresh:
                pack.no = pack.no if pack.no is not None else pack.assigned
                pack.length = self._lengths[pack.name] = pack.end
                pack.entries += pack.fresh
                pack.fresh = []

    def flush(self) -> dict[str, int]:
        """Bring what was appended to disk; by name, the bytes that count of each pack that is not sealed."""
        files = self._packs.files
        current = {pack.name: pack.fd for pack in self._open.values()}
        for name in list(self._unflushed):
            fd = current.get(name)
            opened = files.open(self._packs.path(name), write=True) if fd is None else fd
            try:
                files.sync(opened)
            finally:
                if fd is None:
                    files.close(opened)
            self._unflushed.discard(name)
        return dict(self._lengths)

    def abandon(self) -> None:
        """Begin new packs. After a failed commit nobody knows what counts: recovery goes by the database."""
        for pack in self._open.values():
            with contextlib.suppress(OSError):
                self._packs.files.close(pack.fd)
        self._open.clear()

    def _discard(self) -> None:
        """After a failed append, which no commit can have seen, give the space back; then as `abandon`."""
        files = self._packs.files
        for pack in self._open.values():
            with contextlib.suppress(Exception):
                if pack.no is None:
                    self._unflushed.discard(pack.name)
                    files.remove(self._packs.path(pack.name))
                else:
                    files.truncate(pack.fd, pack.length)
        self.abandon()

    def seal_full(self, conn: sqlite3.Connection, limit: int = PACK_LIMIT) -> None:
        """Seal the packs that have grown to the limit."""
        for kind, pack in list(self._open.items()):
            if (pack.length >= limit or len(pack.entries) >= _MOST_ENTRIES) and pack.no is not None:
                del self._open[kind]
                _seal(self._packs, conn, pack.no, pack.fd, pack.length, pack.entries)
                self._unflushed.discard(pack.name)
                self._lengths.pop(pack.name, None)

    def _begin(self, kind: int) -> _OpenPack:
        identity = secrets.token_bytes(16)
        name = identity.hex()
        files = self._packs.files
        pack = self._open[kind] = _OpenPack(kind, name, files.create(self._packs.path(name)))
        files.write(pack.fd, encode_header(kind, identity), 0)
        files.sync(pack.fd)
        files.sync_folder(self._packs.folder)
        return pack


class _OpenPack:
    def __init__(self, kind: int, name: str, fd: int) -> None:
        self.kind = kind
        self.name = name
        self.fd = fd
        self.no: int | None = None
        """Its number, once a commit holds it."""
        self.assigned = 0
        self.length = self.end = HEADER_SIZE
        """Bytes that a commit holds, and bytes written."""
        self.fresh: list[Entry] = []
        self.entries: list[Entry] = []

    def append(self, items: Sequence[Packed], files: Files) -> None:
        end = self.length
        for item in items:
            self.fresh.append(Entry(item.id, end, len(item.entry) - ENTRY_SIZE))
            end += len(item.entry)
        files.write(self.fd, b"".join(item.entry for item in items), self.length)
        self.end = end


def _seal(packs: Packs, conn: sqlite3.Connection, no: int, fd: int, length: int, entries: Sequence[Entry]) -> None:
    files = packs.files
    tail = encode_index(entries, length)
    try:
        files.truncate(fd, length)
        files.write(fd, tail, length)
        files.sync(fd)
    finally:
        files.close(fd)
    conn.execute("BEGIN IMMEDIATE")
    conn.execute("UPDATE packs SET state = 'sealed', length = ? WHERE no = ?", (length + len(tail), no))
    conn.execute("DELETE FROM entries WHERE pack = ?", (no,))
    note_change(conn)
    conn.execute("COMMIT")
    packs.reload()


def recover(packs: Packs, conn: sqlite3.Connection) -> None:
    """Seal the packs that an earlier life left open, cut to the length that the database knows (SPEC 4.6).

    A pack that is missing or too short is damage: it is left as it is, its objects to be found wanting one by one.

    Raises:
        NoSpace: there is no room for an index.
    """
    conn.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()  # that a pack is dead is on disk before its file goes
    remove_dead(packs, conn)
    conn.execute("BEGIN IMMEDIATE")
    abandon(conn)
    conn.execute("COMMIT")
    for no, name, length in conn.execute("SELECT no, name, length FROM packs WHERE state = 'open'").fetchall():
        rows = conn.execute("SELECT id, start, stored FROM entries WHERE pack = ?", (no,)).fetchall()
        log.info("sealing pack %s of an earlier run: %d objects, %d bytes", name, len(rows), length)
        try:
            fd = packs.files.open(packs.path(name), write=True)
        except OSError as error:
            packs.note(name, f"pack {name} cannot be read: {error.strerror}")
            continue
        if packs.files.size(fd) < length:
            packs.files.close(fd)
            packs.note(name, f"pack {name} is shorter than the {length} bytes acknowledged")
            continue
        _seal(packs, conn, no, fd, length, [Entry(*row) for row in rows])


def remove_dead(packs: Packs, conn: sqlite3.Connection) -> None:
    """Remove the files of packs that a sweep has given up, those that are still there (SPEC 4.7)."""
    dead = conn.execute("SELECT no, name FROM packs WHERE state = 'dead'").fetchall()
    for no, name in dead:
        with contextlib.suppress(FileNotFoundError):  # an earlier run came this far
            packs.files.remove(packs.path(name))
        packs.files.sync_folder(packs.folder)
        conn.execute("DELETE FROM packs WHERE no = ?", (no,))
        conn.execute("DELETE FROM tiered WHERE pack = ?", (no,))
