"""Copies of a data directory, taken while a server writes to it (SPEC 4.9).

A copy is a data directory itself: the database as it was at one moment, and of each pack as much as counted then. Packs
only grow until they are sealed, so that the next copy into the same place takes what is new. What was copied is read
again and checked before the new database takes the place of the old one: until then the earlier copy is whole.
"""

from __future__ import annotations

import json
import mmap
import secrets
import sqlite3
import time
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from dagdvid.errors import BadRequest, Corrupt, PackGone, UnavailableError
from dagdvid.objects.local.database import Database, translated
from dagdvid.objects.local.files import Files
from dagdvid.objects.local.pack import ENTRY_SIZE, HEADER_SIZE, Entry, PackIndex, decode_entry
from dagdvid.objects.local.store import BACKUP, DATABASE, INFO, PACKS, hold

__all__ = ["FolderOrigin", "Origin", "copy_database", "copy_store"]

_PIECE = 8 * 2**20
_TRIES = 10


class Origin(Protocol):
    """What is copied."""

    name: str
    """For people."""

    def info(self) -> bytes:
        """The description of the folder."""

    def database(self, path: Path) -> None:
        """Make a new file with the database as it is at one moment."""

    def pack(self, name: str, start: int, end: int) -> Iterator[bytes]:
        """Those bytes of a pack, in pieces.

        Raises:
            PackGone: there is no such pack any more.
        """


class FolderOrigin:
    """A data directory of this machine, whether a server has it in use or not."""

    def __init__(self, folder: Path) -> None:
        """Raises BadRequest: nothing of ours is there."""
        self.name = str(folder)
        self.folder = folder
        if not (folder / DATABASE).is_file():
            raise BadRequest(f"there is no dagdvid data in {folder}")

    def info(self) -> bytes:
        """As `Origin.info`."""
        return (self.folder / INFO).read_bytes()

    def database(self, path: Path) -> None:
        """As `Origin.database`."""
        database = Database(self.folder / DATABASE, readonly=True)
        with closing(database):
            copy_database(database, path)

    def pack(self, name: str, start: int, end: int) -> Iterator[bytes]:
        """As `Origin.pack`."""
        try:
            file = (self.folder / PACKS / f"{name}.pack").open("rb")
        except FileNotFoundError:
            raise PackGone(f"pack {name} is gone") from None
        with file:
            file.seek(start)
            while start < end:
                piece = file.read(min(_PIECE, end - start))
                if not piece:
                    raise Corrupt(f"pack {name} of {self.name} is shorter than what counts of it: run dagdvid fsck")
                start += len(piece)
                yield piece


def copy_database(database: Database, path: Path) -> None:
    """Write the database, as it is at this moment, to a new file."""
    try:
        with closing(sqlite3.connect(path)) as copy:
            database.reader.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        raise translated(error) from error


class _Pack(NamedTuple):
    no: int
    name: str
    state: str
    length: int


def copy_store(origin: Origin, folder: Path, *, backup: bool) -> Iterator[dict[str, Any]]:
    """Copy a store to a folder: a new one, or for a `backup` also that of an earlier backup of the same store.

    Yields progress, at last {"result": report}.

    Raises:
        BadRequest: the folder holds something else.
        Corrupt: what was copied is damaged; the folder keeps the copy that it had.
    """
    info = origin.info()
    files = Files()
    with hold(folder):
        before = _check_folder(folder, info, origin.name, backup=backup)
        if backup:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            about = {"of": json.loads(info)["id"], "from": origin.name, "time": stamp}
            _replace(files, folder / BACKUP, json.dumps(about).encode())
        # tells the copy from what it is of: numbers that both may give out must not be the same
        _replace(files, folder / INFO, json.dumps(json.loads(info) | {"copied": secrets.token_hex(16)}).encode())
        for _ in range(_TRIES):
            with suppress(PackGone):
                report = yield from _copy(origin, folder, files, before)
                break
        else:
            raise UnavailableError(f"packs of {origin.name} go as quickly as they are copied; try again later")
    yield {"result": report}


def _check_folder(folder: Path, info: bytes, name: str, *, backup: bool) -> dict[str, _Pack]:
    """The packs that an earlier backup holds; none if the folder is new."""
    if not (folder / DATABASE).exists():
        ours = {"lock", PACKS, INFO, BACKUP, f"{DATABASE}.new", f"{INFO}.new", f"{BACKUP}.new"}  # it was broken off
        rest = {path.name for path in folder.iterdir()} - ours
        if rest:
            raise BadRequest(f"{folder} holds other things ({', '.join(sorted(rest)[:3])}): name a new folder")
        return {}
    if not backup or not (folder / BACKUP).is_file():
        raise BadRequest(f"{folder} holds data that is no backup: name a new folder")
    about = json.loads((folder / BACKUP).read_bytes())
    if about.get("of") != json.loads(info)["id"]:
        raise BadRequest(f"{folder} is a backup of another store ({about.get('from')}), not of {name}")
    with closing(Database(folder / DATABASE, readonly=True)) as database:
        return {pack.name: pack for pack in _packs(database)}


def _packs(database: Database) -> list[_Pack]:
    rows = database.rows("SELECT no, name, state, length FROM packs WHERE state != 'dead' ORDER BY no")
    return [_Pack(*row) for row in rows]


def _copy(
    origin: Origin, folder: Path, files: Files, before: dict[str, _Pack]
) -> Generator[dict[str, Any], None, dict[str, int]]:
    fresh = folder / f"{DATABASE}.new"
    fresh.unlink(missing_ok=True)
    origin.database(fresh)
    (folder / PACKS).mkdir(exist_ok=True)
    copied = 0
    with closing(Database(fresh, readonly=True)) as database:
        packs = _packs(database)
        total = sum(pack.length for pack in packs)
        kept = 0
        for pack in packs:
            old = before.get(pack.name)
            if old is not None and (old.state, old.length) == (pack.state, pack.length):
                kept += pack.length
                continue
            # Of a pack that has grown, the copy has all that counted then; sealing adds to it, and changes nothing.
            start = old.length if old is not None and old.state == "open" else 0
            path = folder / PACKS / f"{pack.name}.pack"
            fd = files.open(path, write=True) if path.exists() else files.create(path)
            try:
                files.truncate(fd, start)
                for piece in origin.pack(pack.name, start, pack.length):
                    files.write(fd, piece, start)
                    start += len(piece)
                    copied += len(piece)
                    yield {"progress": "bytes copied", "done": kept + copied, "total": total}
                files.sync(fd)
            finally:
                files.close(fd)
            _check_pack(path, pack, database)
    for suffix in ("-wal", "-shm"):
        (folder / f"{DATABASE}{suffix}").unlink(missing_ok=True)
    fd = files.open(fresh, write=True)
    files.sync(fd)
    files.close(fd)
    files.sync_folder(folder / PACKS)
    files.rename(fresh, folder / DATABASE)
    files.sync_folder(folder)
    named = {f"{pack.name}.pack" for pack in packs}
    for path in (folder / PACKS).iterdir():
        if path.name not in named:
            files.remove(path)
    return {"packs": len(packs), "bytes": total, "copied": copied}


def _check_pack(path: Path, pack: _Pack, database: Database) -> None:
    """Read a copied pack again, every entry against its checksum.

    Raises:
        Corrupt: it is damaged, here or where it came from.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
        if pack.state == "sealed":
            index = PackIndex.mapped(data, pack.name)
            entries = [entry for entry in map(index.find, index) if entry is not None]
            del index
        else:
            rows = database.rows("SELECT id, start, stored FROM entries WHERE pack = ?", (pack.no,))
            entries = [Entry(*row) for row in rows]
        for entry in entries:
            if entry.offset < HEADER_SIZE or entry.offset + ENTRY_SIZE + entry.stored > len(data):
                raise Corrupt(f"pack {pack.name} is cut short")
            decode_entry(entry.id, data[entry.offset : entry.offset + ENTRY_SIZE + entry.stored])


def _replace(files: Files, path: Path, data: bytes) -> None:
    """Write a small file, whole or not at all."""
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    fd = files.create(temporary)
    try:
        files.write(fd, data, 0)
        files.sync(fd)
    finally:
        files.close(fd)
    files.rename(temporary, path)
    files.sync_folder(path.parent)
