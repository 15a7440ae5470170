"""The local store: a folder with packs, one SQLite file, a lock and a format version (SPEC 4)."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from dagdvid.errors import BadRequest, Corrupt, InUse, ReadOnly, RemoteError, UnavailableError
from dagdvid.objects.local.appending import PACK_LIMIT, recover
from dagdvid.objects.local.collection import Keep, collections
from dagdvid.objects.local.database import Database, translated
from dagdvid.objects.local.files import Files, raise_limit
from dagdvid.objects.local.group import GroupCommit
from dagdvid.objects.local.leases import Leases
from dagdvid.objects.local.lost import check_lost
from dagdvid.objects.local.operation import Operation, Put
from dagdvid.objects.local.packs import Packs
from dagdvid.objects.local.powercut import take_back
from dagdvid.objects.local.pulse import Pulse
from dagdvid.objects.local.room import RESERVE, Room
from dagdvid.objects.local.schema import TABLES
from dagdvid.objects.local.writer import Writer
from dagdvid.objects.local.writer_client import WriterClient
from dagdvid.objects.local.writer_process import serve_writer
from dagdvid.objects.store import Object

__all__ = ["BACKUP", "DATABASE", "FORMAT", "INFO", "PACKS", "Below", "LocalStore", "hold", "next_value"]

FORMAT = 1
"""The version of the folder's format; newer ones are refused (SPEC 4.1)."""

INFO, DATABASE, PACKS, INDEXES, BACKUP = "dagdvid.json", "dagdvid.sqlite", "packs", "indexes", "backup.json"
LEASES = "leases"
_LOCK = "lock"


@contextmanager
def hold(folder: Path) -> Iterator[int]:
    """Own a data directory for writing: one server at a time, with all its processes. Yields the locked descriptor.

    The lock lasts until the descriptor and all its duplicates are closed.

    Raises:
        InUse: another process holds it.
        ReadOnly: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ReadOnly(f"cannot write in {folder}: {error.strerror}; use --readonly, or another directory") from None
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise InUse(
                f"{folder} is in use by process {holder}: talk to that server with --server URL, or stop it"
            ) from None
        except OSError as error:
            raise ReadOnly(f"{folder} cannot be locked: {error.strerror}; use --readonly, or another disk") from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield fd
    finally:
        os.close(fd)


class Below(Protocol):
    """Where objects lie that the folder does not hold and still may name."""

    def fetch(self, ids: Sequence[bytes]) -> dict[bytes, Object]:
        """Objects, those that there are; errors as `LocalStore.get_many`."""

    def expect(self, wanted: Sequence[tuple[bytes, int]]) -> None:
        """Begin to fetch objects that will be asked for soon."""

    def lacking(self, ids: Sequence[bytes]) -> list[bytes]:
        """The objects that are in none of the places below; errors as `fetch`."""

    def state(self) -> dict[str, dict[str, Any]]:
        """What was asked of each place, by its name, and what was last wrong with it."""

    @property
    def any(self) -> bool:
        """Whether there is anything below."""


class LocalStore:
    """An `ObjectStore` in a folder, and the database and writer that the layers above share with it."""

    def __init__(
        self,
        folder: Path,
        *,
        tables: str = "",
        readonly: bool = False,
        writer: Path | None = None,
        relaxed: bool = False,
        files: Files | None = None,
        pack_limit: int = PACK_LIMIT,
        quota: int = 0,
        reserve: int = RESERVE,
    ) -> None:
        """Open a folder, making it if need be. The caller holds its lock (`hold`) unless `readonly`.

        `tables`: further tables of the layers above. `writer`: the socket of the process that writes, and has made
        and recovered the folder; without, this process does. `relaxed`: what is acknowledged survives the end of that
        process, and is on disk a second later; else it is on disk. `quota`, `reserve`: see `Room`.

        Raises:
            UnavailableError: the folder has a newer format, or is not there to be read.
            Corrupt: what it says of itself makes no sense.
        """
        raise_limit()
        self.folder = folder
        self.below: Below | None = None
        """Set by the layers above: where else `get_many` looks."""
        self.readonly = readonly
        files = files or Files()
        writing = writer is None and not readonly
        if not writing:
            if not (folder / DATABASE).exists():
                raise BadRequest(f"there is no dagdvid data in {folder}")
        else:
            if (folder / BACKUP).exists():
                raise ReadOnly(
                    f"{folder} is a backup: look into it with --readonly, or use dagdvid restore {folder} DIR"
                )
            (folder / PACKS).mkdir(parents=True, exist_ok=True)
            (folder / INDEXES).mkdir(exist_ok=True)
        known = (folder / INFO).exists() or (folder / DATABASE).exists()
        self.info = _read_info(folder) if known else _write_info(folder, files)
        if writing:
            take_back(folder / DATABASE, folder / PACKS, files)
        self.database = Database(folder / DATABASE, readonly=not writing, relaxed=relaxed)
        self.pulse = Pulse(folder, writing=writing)
        """Changes with every transaction of any process."""
        self._commit: GroupCommit | None = None
        self._writer: Writer | WriterClient | None = None
        self._starting = threading.Lock()
        try:
            if writing:
                conn = self.database.connect(write=True)
                conn.executescript(TABLES + tables)
            self.leases = Leases(folder / LEASES)
            self.packs = Packs(folder / PACKS, folder / INDEXES, self.database, files)
            if writing:
                recover(self.packs, conn)
                room = Room(self.database, quota=quota, reserve=reserve)
                self.database.disconnect(conn)
                self._commit = GroupCommit(self.database, self.packs, self.pulse, room, pack_limit)
            elif writer is not None:
                self._writer = WriterClient(writer)
        except Exception as error:
            self.database.close()
            self.pulse.close()
            if (ours := translated(error)) is error:
                raise
            raise ours from error

    @property
    def writer(self) -> Writer | WriterClient:
        """Where changes go.

        Raises:
            ReadOnly: the store was opened for reading.
        """
        if self._writer is None:
            if self._commit is None:
                raise ReadOnly(f"{self.folder} is open read-only")
            with self._starting:
                self._writer = self._writer or Writer(self._commit)
        return self._writer

    def serve_writer(self, listener: socket.socket, stop: socket.socket) -> None:
        """Be the writer process of others, which open the store with the address of `listener`: see `serve_writer`."""
        if self._commit is None or self._writer is not None:
            raise ReadOnly(f"{self.folder} is not this process's to write")
        serve_writer(listener, self._commit, stop)

    def get_many(self, ids: Sequence[bytes]) -> list[Object | None]:
        """As `ObjectStore.get_many`; from below, too.

        Raises:
            Offline, RemoteError: objects lie below, and cannot be read.
        """
        return self._get(ids, self.below)

    def get_here(self, ids: Sequence[bytes]) -> list[Object | None]:
        """As `ObjectStore.get_many`, of what lies in the folder alone."""
        return self._get(ids, None)

    def _get(self, ids: Sequence[bytes], below: Below | None) -> list[Object | None]:
        found = self._read(ids)
        absent = [name for name in ids if name not in found] if len(found) < len(ids) else []
        if absent and below is not None:
            found |= below.fetch(absent)
            absent = [name for name in absent if name not in found]
        if absent and self.packs.doubt():
            return self._get(ids, below)
        check_lost(self.database, absent)
        return [found.get(name) for name in ids]

    def _read(self, ids: Sequence[bytes]) -> dict[bytes, Object]:
        """The objects that lie in the folder."""
        while True:
            where = sorted(self.packs.locate(ids).items(), key=lambda item: item[1])
            try:
                return {name: self.packs.read(name, at) for name, at in where}
            except Corrupt:
                # Its pack may have been given up, and the object lie in another; or an index of packs is wrong.
                if not (self.packs.reload() or self.packs.doubt()):
                    raise

    def expect(self, wanted: Sequence[tuple[bytes, int]]) -> None:
        """Objects, with about their sizes, that will be asked for soon: what lies below sets out now."""
        if self.below is not None:
            here = self.packs.locate([name for name, _ in wanted])
            self.below.expect([each for each in wanted if each[0] not in here])

    def has_many(self, ids: Sequence[bytes]) -> list[bool]:
        """As `ObjectStore.has_many`; below, too, where that can be asked now."""
        self.packs.reload()  # what another process has given up is not there
        there = {*self.packs.locate(ids)}
        absent = [name for name in dict.fromkeys(ids) if name not in there]
        if absent and self.below is not None and self.below.any:
            with suppress(RemoteError):  # taken for absent, an object is only stored once more
                there |= {*absent} - {*self.below.lacking(absent)}
        return [name in there for name in ids]

    def put_many(self, objects: Sequence[Object]) -> None:
        """As `ObjectStore.put_many`."""
        if objects:
            self.writer.run(Put(objects))

    def keep(self, ids: Sequence[bytes]) -> None:
        """Let objects stay that are there, for who is about to refer to them without storing them.

        Of those that are there when it returns, none goes as garbage until the caller's lease ends.
        """
        if ids and self.collections % 2:
            self.writer.run(Keep(ids))
        self.packs.reload()

    @property
    def collections(self) -> int:
        """As `collection.collections`: odd while garbage is collected."""
        return collections(self.database)

    def run(self, operation: Operation) -> Any:
        """Do a prepared change, durably."""
        return self.writer.run(operation)

    def close(self) -> None:
        """Finish what waits and close all files."""
        if self._writer is not None:
            self._writer.close()
        if self._commit is not None:
            self._commit.close()
        self.packs.close()
        self.leases.close()
        self.database.close()
        self.pulse.close()


def next_value(conn: sqlite3.Connection, counter: str, step: int = 1, start: int = 0) -> int:
    """Raise a counter by `step` inside the writer's transaction; its value before."""
    conn.execute("INSERT OR IGNORE INTO counters VALUES (?, ?)", (counter, start))
    row = conn.execute(
        "UPDATE counters SET value = value + ? WHERE name = ? RETURNING value", (step, counter)
    ).fetchone()
    return int(row[0]) - step


def _write_info(folder: Path, files: Files) -> dict[str, Any]:
    """Begin a folder: its description is the last thing that is made of it, and tells that all else is there."""
    info = {"format": FORMAT, "id": secrets.token_hex(16)}
    temporary = folder / f"{INFO}.{info['id']}"
    fd = files.create(temporary)
    try:
        files.write(fd, json.dumps(info).encode(), 0)
        files.sync(fd)
    finally:
        files.close(fd)
    files.rename(temporary, folder / INFO)
    files.sync_folder(folder)
    files.sync_folder(folder.parent)
    return info


def _read_info(folder: Path) -> dict[str, Any]:
    try:
        info = json.loads((folder / INFO).read_bytes())
        version = int(info["format"])
    except (OSError, ValueError, KeyError, TypeError):
        raise Corrupt(f"{folder / INFO} is missing or not what dagdvid wrote: restore it from a backup") from None
    if version > FORMAT:
        raise UnavailableError(
            f"{folder} has format {version}, this dagdvid knows {FORMAT} at most: use the release that wrote it"
        )
    if version < 1:
        raise Corrupt(f"{folder / INFO} has the impossible format {version}")
    return dict(info)
