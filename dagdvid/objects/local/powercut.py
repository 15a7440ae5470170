"""After a power cut, takes back what was answered but had not reached the disk whole (SPEC 4.10).

Where answers do not wait for the disk, the operating system may write the database's newest transactions before the
objects that they speak of. All that lies behind the last mark is therefore checked; if any of it is missing, the
database goes back to the mark, at which everything was on disk.
"""

from __future__ import annotations

import fcntl
import logging
import os
from contextlib import closing
from pathlib import Path

from dagdvid.errors import Corrupt, InUse
from dagdvid.objects.local.database import Database
from dagdvid.objects.local.files import Files
from dagdvid.objects.local.mark import Mark, read_mark, wal_salts
from dagdvid.objects.local.pack import ENTRY_SIZE, HEADER_SIZE, decode_entry

__all__ = ["take_back"]

_READERS_LOCK = 128
"""The byte of SQLite's shared memory that everybody who has the database open holds a shared lock on
(UNIX_SHM_DMS in SQLite's os_unix.c)."""

log = logging.getLogger(__name__)


def take_back(database: Path, packs: Path, files: Files) -> None:
    """Check what lies behind the mark, and go back to it if need be. To be called before the database is opened.

    Raises:
        InUse: it must go back, but another process reads the database.
    """
    mark = read_mark(database.parent, files)
    if mark is None or not database.exists():
        return
    with closing(Database(database, readonly=True)) as opened:
        missing = _missing(opened, packs, files, mark)
    if missing:
        log.warning("%s: the power was cut; going back to what was on disk before", missing)
        _cut(database, files, mark)


def _missing(database: Database, packs: Path, files: Files, mark: Mark) -> str:
    """What the database knows and the packs lack behind the mark; empty if nothing."""
    for no, name, length in database.rows("SELECT no, name, length FROM packs WHERE state = 'open'"):
        known = mark.packs.get(name, 0)
        if length <= known:
            continue
        rows = database.rows("SELECT id, start, stored FROM entries WHERE pack = ? AND start >= ?", (no, known))
        try:
            fd = files.open(packs / f"{name}.pack")
        except OSError as error:
            return f"pack {name} cannot be read ({error.strerror})"
        try:
            if not known and len(files.read(fd, HEADER_SIZE, 0)) < HEADER_SIZE:
                return f"pack {name} has no header"
            for identity, start, stored in rows:
                decode_entry(identity, files.read(fd, ENTRY_SIZE + stored, start))
        except Corrupt as error:
            return f"pack {name}: {error}"
        finally:
            files.close(fd)
    return ""


def _cut(database: Path, files: Files, mark: Mark) -> None:
    wal, memory = (database.with_name(database.name + suffix) for suffix in ("-wal", "-shm"))
    if memory.exists():
        fd = os.open(memory, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _READERS_LOCK)
        except OSError:
            raise InUse(f"another process reads {database}, which must be repaired after a power cut: end it") from None
        finally:
            os.close(fd)
        memory.unlink()
    if wal.exists():
        fd = files.open(wal, write=True)
        try:
            # With other salts it began anew behind the mark, for which all before went into the database itself.
            files.truncate(fd, mark.wal if wal_salts(files, fd) == mark.salts else 0)
            files.sync(fd)
        finally:
            files.close(fd)
