"""The embedded database: one SQLite file in WAL mode; a connection a thread for reading, one for the writer."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlite_utils import Database as Utils

from dagdvid.errors import Corrupt, NoSpace, ReadOnly, UnavailableError

__all__ = ["Database", "translated"]

_BUSY_MS = 30_000
_CACHE_KB = 16_384
"""What a connection for reading keeps of the database at most."""
_PRIMARY = 0xFF
"""The bits of an error code that name its class."""


_ADVICE = "restore a backup, or bring committed versions back with dagdvid repair --rebuild-database"


class Database:
    """Connections to one SQLite file."""

    patience = _BUSY_MS
    """Milliseconds that a statement waits for a lock."""

    def __init__(self, path: Path, *, readonly: bool = False, relaxed: bool = False) -> None:
        """`relaxed`: the end of a transaction does not wait for the disk."""
        self.path = path
        self.readonly = readonly
        self.relaxed = relaxed
        self._local = threading.local()
        self._lock = threading.Lock()
        self.wal = path.with_name(path.name + "-wal")
        self._open: list[sqlite3.Connection] = []

    def connect(self, *, write: bool = False) -> sqlite3.Connection:
        """A new connection in autocommit mode: transactions are begun by name, never by accident."""
        uri = f"{self.path.absolute().as_uri()}?mode={'ro' if self.readonly else 'rwc' if write else 'rw'}"
        if self.readonly and not os.access(self.path.parent, os.W_OK) and not self.wal.exists():
            uri += "&immutable=1"  # else SQLite makes its side files, even to read
        conn = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        conn.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        if write:
            conn.execute("PRAGMA journal_mode = WAL")
            # Not OFF: then the beginning of a new WAL would not wait for the disk either, and the order would be lost.
            conn.execute(f"PRAGMA synchronous = {'NORMAL' if self.relaxed else 'FULL'}")
        else:
            conn.execute("PRAGMA query_only = ON")
            conn.execute(f"PRAGMA cache_size = -{_CACHE_KB}")
        with self._lock:
            self._open.append(conn)
        return conn

    def disconnect(self, conn: sqlite3.Connection) -> None:
        """Close a connection that `connect` made."""
        with self._lock:
            self._open.remove(conn)
        conn.close()

    @property
    def reader(self) -> sqlite3.Connection:
        """This thread's connection for reading. Statements on it must be run to their end at once."""
        conn: sqlite3.Connection | None = getattr(self._local, "conn", None)
        if conn is None:
            conn = self._local.conn = self.connect()
        return conn

    def rows(self, sql: str, args: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query: one statement, thus one consistent state."""
        try:
            return self.reader.execute(sql, args).fetchall()
        except sqlite3.Error as error:
            raise translated(error) from error

    def utils(self) -> Utils:
        """The same file through sqlite-utils, for questions asked by people."""
        return Utils(self.reader)

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for conn in self._open:
                conn.close()
            self._open.clear()
        self._local = threading.local()


def translated(error: Exception) -> Exception:
    """An error of SQLite as one of ours; any other as it is."""
    code = getattr(error, "sqlite_errorcode", None)
    if not isinstance(error, sqlite3.Error) or code is None:
        return error
    if code & _PRIMARY == sqlite3.SQLITE_FULL:
        return NoSpace("the disk is full: free some space, then try again")
    if code & _PRIMARY in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return UnavailableError("the database is busy; try again")
    if code & _PRIMARY in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR):
        return Corrupt(f"the database is damaged, or its disk is ({error}): {_ADVICE}")
    if code & _PRIMARY in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
        return ReadOnly(f"the database cannot be opened or written: {error}")
    return error
