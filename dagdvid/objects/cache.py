"""A cache of objects from elsewhere: one SQLite file of bounded size, shared by the processes of a server.

Losing it loses nothing: it is not flushed, what is damaged in it counts as absent, and a file that cannot be used is
made anew. Objects of trees outlive blobs, and what was used lately the rest.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from dagdvid.errors import Corrupt
from dagdvid.objects.local.pack import decode_entry, encode_entry, entry_size, pack_kind
from dagdvid.objects.store import Object

__all__ = ["CACHE", "Cached", "ObjectCache"]

CACHE = "cache.sqlite"
LIMIT = 8 * 2**30
_WAITING = 256 * 2**20
"""Bytes that may wait to be written; what comes while there are more is not cached."""
_MARKS, _BATCH, _DROPPED = 500, 256, 1000
_BUSY = 10.0
# Pages of 16 KiB: blobs are written 3.5 times as fast as with the usual 4 KiB (102 to 361 MB/s, 32 KiB each).
_TABLES = """
PRAGMA page_size = 16384;
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS objects (id BLOB NOT NULL UNIQUE, kind INTEGER NOT NULL, used INTEGER NOT NULL,
    size INTEGER NOT NULL, data BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS by_use ON objects (kind DESC, used, size);
CREATE TABLE IF NOT EXISTS total (one INTEGER PRIMARY KEY CHECK (one = 1), size INTEGER NOT NULL);
INSERT OR IGNORE INTO total VALUES (1, 0);
"""
_BROKEN = (sqlite3.Error, UnicodeDecodeError)
"""What a file raises that is none of ours, or was damaged."""

log = logging.getLogger(__name__)


class Cached(NamedTuple):
    """An object, and what was put beside it."""

    object: Object
    beside: bytes


class ObjectCache:
    """Objects in a file. Safe for threads and processes; written by a thread of its own."""

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        """`limit`: bytes of objects, about."""
        self.path = path
        self.limit = limit
        self._local = threading.local()
        self._queue: SimpleQueue[Sequence[tuple[Object, bytes]] | threading.Event | None] = SimpleQueue()
        self._waiting = 0
        self._hits: set[bytes] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._open: list[sqlite3.Connection] = []

    def get_many(self, ids: Sequence[bytes]) -> dict[bytes, Cached]:
        """Those that are there, whole."""
        found: dict[bytes, Cached] = {}
        try:
            conn = self._reader()
            for start in range(0, len(ids), _MARKS):
                part = ids[start : start + _MARKS]
                marks = ",".join("?" * len(part))
                sql = f"SELECT id, data FROM objects WHERE id IN ({marks})"  # noqa: S608  marks only
                for name, data in conn.execute(sql, part):
                    with contextlib.suppress(Corrupt):
                        size = entry_size(data, 0)
                        found[name] = Cached(decode_entry(name, data[:size]), data[size:])
        except _BROKEN as error:
            log.warning("the cache %s cannot be read: %s", self.path, error)
        self._hits.update(found)
        return found

    def put_many(self, items: Sequence[tuple[Object, bytes]]) -> None:
        """Keep objects, soon."""
        size = sum(len(item.payload) + len(beside) for item, beside in items)
        with self._lock:
            if not items or self._waiting + size > _WAITING:
                return
            self._waiting += size
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="dagdvid-cache", daemon=True)
                self._thread.start()
        self._queue.put(items)

    def flush(self) -> None:
        """Return once what was put is there."""
        if self._thread is not None:
            done = threading.Event()
            self._queue.put(done)
            done.wait(60)

    def close(self) -> None:
        """Write what waits, and close the file."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(60)
            self._thread = None
        with self._lock:
            for conn in self._open:
                conn.close()
            self._open.clear()
        self._local = threading.local()

    def _reader(self) -> sqlite3.Connection:
        conn: sqlite3.Connection | None = getattr(self._local, "conn", None)
        if conn is None:
            conn = self._local.conn = self._connect()
        return conn

    def _connect(self) -> sqlite3.Connection:
        with self._lock:
            try:
                conn = self._opened()
            except _BROKEN as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                for end in ("", "-wal", "-shm"):
                    self.path.with_name(self.path.name + end).unlink(missing_ok=True)
                conn = self._opened()
            self._open.append(conn)
            return conn

    def _opened(self) -> sqlite3.Connection:
        conn = sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
        try:
            conn.executescript(_TABLES)
            conn.execute("PRAGMA synchronous = OFF")
        except _BROKEN:
            conn.close()
            raise
        return conn

    def _loop(self) -> None:
        while (items := self._queue.get()) is not None:
            if isinstance(items, threading.Event):
                items.set()
                continue
            for start in range(0, len(items), _BATCH):
                try:
                    self._write(items[start : start + _BATCH])
                except _BROKEN as error:  # it is a cache: what reads it goes on without
                    log.warning("the cache %s cannot be written: %s", self.path, error)
            with self._lock:
                self._waiting -= sum(len(item.payload) + len(beside) for item, beside in items)

    def _write(self, items: Sequence[tuple[Object, bytes]]) -> None:
        conn = self._reader()
        used = int(time.time())
        rows = [(i.id, pack_kind(i.type), used, encode_entry(i) + beside) for i, beside in items]
        conn.execute("BEGIN IMMEDIATE")
        try:
            grown = 0
            for name, kind, at, data in rows:
                sql = "INSERT OR IGNORE INTO objects VALUES (?, ?, ?, ?, ?)"
                if conn.execute(sql, (name, kind, at, len(data), data)).rowcount == 1:
                    grown += len(data)
            sql = "UPDATE total SET size = size + ? RETURNING size"
            (total,) = conn.execute(sql, (grown,)).fetchone()
            if total > self.limit:
                self._drop(conn, total, used)
            conn.execute("COMMIT")
        except BaseException:
            conn.execute("ROLLBACK")
            raise

    def _drop(self, conn: sqlite3.Connection, total: int, used: int) -> None:
        """Make room: blobs first, those unused for longest."""
        hits, self._hits = self._hits, set()
        conn.executemany("UPDATE objects SET used = ? WHERE id = ?", [(used, name) for name in hits])
        target = self.limit - self.limit // 10
        while total > target:
            sql = "SELECT rowid, size FROM objects ORDER BY kind DESC, used LIMIT ?"
            rows = conn.execute(sql, (_DROPPED,)).fetchall()
            if not rows:
                break
            for rowid, size in rows:
                if total <= target:
                    break
                conn.execute("DELETE FROM objects WHERE rowid = ?", (rowid,))
                total -= size
        conn.execute("UPDATE total SET size = ?", (max(0, total),))
