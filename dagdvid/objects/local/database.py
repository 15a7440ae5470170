"""The embedded database: one SQLite file in WAL mode; a connection a thread for reading, one for the writer."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlite_utils import Database as Utils

from dagdvid.errors import DagdvidError, NoSpace, UnavailableError

__all__ = ["Database", "translated"]

_BUSY_MS = 30_000
_FULL = (sqlite3.SQLITE_FULL,)


class Database:
    """Connections to one SQLite file."""

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        self.path = path
        self.readonly = readonly
        self._local = threading.local()
        self._lock = threading.Lock()
        self._open: list[sqlite3.Connection] = []

    def connect(self, *, write: bool = False) -> sqlite3.Connection:
        """A new connection in autocommit mode: transactions are begun by name, never by accident."""
        mode = "ro" if self.readonly else "rwc" if write else "rw"
        conn = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False
        )
        conn.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        if write:
            conn.execute("PRAGMA journal_mode = WAL")
            conn.execute("PRAGMA synchronous = FULL")
        else:
            conn.execute("PRAGMA query_only = ON")
        with self._lock:
            self._open.append(conn)
        return conn

    @property
    def reader(self) -> sqlite3.Connection:
        """This thread's connection for reading. Statements on it must be run to their end at once."""
        conn: sqlite3.Connection | None = getattr(self._local, "conn", None)
        if conn is None:
            conn = self._local.conn = self.connect()
        return conn

    def rows(self, sql: str, args: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query: one statement, thus one consistent state."""
        return self.reader.execute(sql, args).fetchall()

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
    if isinstance(error, sqlite3.Error) and not isinstance(error, DagdvidError):
        code = getattr(error, "sqlite_errorcode", None)
        if code in _FULL:
            return NoSpace("the disk is full: free some space, then try again")
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return UnavailableError("the database is busy; try again")
    return error
