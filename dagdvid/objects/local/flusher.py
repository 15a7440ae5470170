"""Keeps the WAL short and, where answers do not wait for the disk, brings all to it within a second (SPEC 4.10)."""

from __future__ import annotations

import logging
import sqlite3
import time
from contextlib import suppress

from dagdvid.objects.local.appending import PackWriter
from dagdvid.objects.local.database import Database
from dagdvid.objects.local.files import Files
from dagdvid.objects.local.mark import FLUSHED, NO_SALTS, Mark, MarkFile, wal_state

__all__ = ["Flusher"]

_AFTER = 0.8
"""Seconds from the first answer that is not on disk to the flush, so that it is done within one."""
_RETRY = 1.0
_MOST = 64 * 2**20
"""Bytes of objects that are flushed without waiting for that time."""
_WAL_WORTH, _WAL_LONG = 4 * 2**20, 16 * 2**20
"""Bytes of the WAL from which on it is copied into the database, and cut."""
_READERS = 50
"""Milliseconds to wait for readers that keep the WAL from being cut; longer, the more it has grown beyond that."""

log = logging.getLogger(__name__)


class Flusher:
    """Used by the one thread that writes."""

    def __init__(
        self, database: Database, conn: sqlite3.Connection, packs: PackWriter, files: Files, *, relaxed: bool
    ) -> None:
        self._database, self._conn, self._packs, self._files = database, conn, packs, files
        self._relaxed = relaxed
        self._due: float | None = None
        self._bytes = 0
        self._cut_after = 0.0
        self._wal = (NO_SALTS, 0)
        self._fd: int | None = None
        self._mark: MarkFile | None = None
        folder = database.path.parent
        if relaxed:
            self._conn.execute("PRAGMA wal_autocheckpoint = 0")
            self._fd = files.open(database.wal)
            files.sync_folder(folder)
            self._mark = MarkFile(folder, files)
            self.flush()
        elif (folder / FLUSHED).exists():
            self._conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            files.remove(folder / FLUSHED)
            files.sync_folder(folder)

    def committed(self, size: int) -> None:
        """Note a transaction that was answered, with `size` bytes of objects."""
        if not self._relaxed:
            return
        self._bytes += size
        if self._due is None:
            self._due = time.monotonic() + _AFTER

    def tend(self) -> float | None:
        """Do what is due; seconds until there is something to do again, None if not before the next transaction."""
        now = time.monotonic()
        size = self._wal_size()
        long = size >= _WAL_LONG and now >= self._cut_after
        try:
            if self._due is not None and (now >= self._due or self._bytes >= _MOST or long):
                self.flush()
            if long:
                self._cut_wal(_READERS * size // _WAL_LONG)
        except (OSError, sqlite3.Error):
            log.exception("what was answered could not be brought to disk; trying again")
            if self._due is not None:
                self._due = now + _RETRY
            self._cut_after = now + _RETRY
        return None if self._due is None else max(0.0, self._due - time.monotonic())

    def flush(self) -> None:
        """Return once everything is on disk.

        Raises:
            OSError, NoSpace: it is not.
        """
        if self._fd is None or self._mark is None:
            return
        lengths = self._packs.flush()
        self._wal = wal_state(self._files, self._fd, self._wal)
        self._files.sync(self._fd)
        self._mark.write(Mark(*self._wal, lengths))
        self._due, self._bytes = None, 0
        if self._wal[1] >= _WAL_WORTH:
            self._conn.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self) -> None:
        """Flush, and close the files."""
        try:
            self.flush()
        except (OSError, sqlite3.Error):
            log.exception("what was answered could not be brought to disk")
        if self._fd is not None:
            self._files.close(self._fd)
        if self._mark is not None:
            self._mark.close()

    def _wal_size(self) -> int:
        with suppress(FileNotFoundError):
            return self._database.wal.stat().st_size
        return 0

    def _cut_wal(self, patience: int) -> None:
        """Copy all of the WAL into the database and cut it, unless readers keep it: then a little later."""
        self._conn.execute(f"PRAGMA busy_timeout = {patience}")
        try:
            busy, _, _ = self._conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            self._conn.execute(f"PRAGMA busy_timeout = {self._database.patience}")
        if busy:
            self._cut_after = time.monotonic() + _RETRY / 10
