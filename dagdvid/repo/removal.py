"""Operations that take instances and repos away (SPEC 6.7). What they leave in packs is garbage from then on."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from dagdvid.errors import RefMoved
from dagdvid.objects.local.store import next_value
from dagdvid.objects.store import Object
from dagdvid.repo.operations import SetRecord

__all__ = ["DeleteData", "DeleteRepo", "DropOrphans", "DropStaging", "RestoreData"]


@dataclass(frozen=True)
class DeleteData:
    """Enter the tombstone of an instance, and forget its local number: what is on its way to it is refused."""

    change: SetRecord
    data_uuid: str

    @property
    def objects(self) -> Sequence[Object]:
        """Those of the record."""
        return self.change.objects

    def apply(self, conn: sqlite3.Connection) -> None:
        """Raises RefMoved: the record is not where it was."""
        self.change.apply(conn)
        conn.execute("DELETE FROM conflicts WHERE data IN (SELECT id FROM data WHERE uuid = ?)", (self.data_uuid,))
        conn.execute("DELETE FROM data WHERE uuid = ?", (self.data_uuid,))


@dataclass(frozen=True)
class RestoreData:
    """Take a tombstone back: a number again, and the ref of an unversioned instance as it last was."""

    change: SetRecord
    data_uuid: str
    record: bytes | None

    @property
    def objects(self) -> Sequence[Object]:
        """Those of the record."""
        return self.change.objects

    def apply(self, conn: sqlite3.Connection) -> None:
        """Raises RefMoved: the record is not where it was."""
        self.change.apply(conn)
        conn.execute("INSERT INTO data (uuid, record) VALUES (?, ?)", (self.data_uuid, self.record))


@dataclass(frozen=True)
class DeleteRepo:
    """Forget a repo with all its refs."""

    repo: int
    record: bytes
    data_uuids: Sequence[str]
    objects: Sequence[Object] = ()

    def apply(self, conn: sqlite3.Connection) -> None:
        """Raises RefMoved: its record is not where it was."""
        gone = conn.execute("DELETE FROM repos WHERE id = ? AND record = ?", (self.repo, self.record))
        if gone.rowcount != 1:
            raise RefMoved("the repo changed meanwhile; try again")
        conn.execute("DELETE FROM conflicts WHERE version IN (SELECT id FROM versions WHERE repo = ?)", (self.repo,))
        for table in ("versions", "remotes", "passcodes"):
            conn.execute(f"DELETE FROM {table} WHERE repo = ?", (self.repo,))  # noqa: S608  names of ours
        conn.executemany("DELETE FROM data WHERE uuid = ?", [(uuid,) for uuid in self.data_uuids])
        next_value(conn, "generation")


@dataclass(frozen=True)
class DropStaging:
    """Remove staged rows of an instance that is gone, or of a version that is; some at a time: nobody waits long."""

    version: int
    data: int | None
    """None: of all instances."""
    most: int
    objects: Sequence[Object] = ()

    def apply(self, conn: sqlite3.Connection) -> int:
        """How many were removed."""
        which, args = "version = ?", [self.version]
        if self.data is not None:
            which, args = "version = ? AND data = ?", [self.version, self.data]
        conn.execute(f"DELETE FROM runs WHERE {which}", args)  # noqa: S608  words of ours
        some = f"SELECT version, data, space, key FROM staging WHERE {which} LIMIT ?"  # noqa: S608  words of ours
        sql = f"DELETE FROM staging WHERE (version, data, space, key) IN ({some})"  # noqa: S608  words of ours
        return conn.execute(sql, (*args, self.most)).rowcount


@dataclass(frozen=True)
class DropOrphans:
    """Remove all staged rows that a crash left behind a removal. Walks the whole table: for stores at rest."""

    objects: Sequence[Object] = ()

    def apply(self, conn: sqlite3.Connection) -> int:
        """How many were removed."""
        gone = "data NOT IN (SELECT id FROM data) OR (version != 0 AND version NOT IN (SELECT id FROM versions))"
        conn.execute(f"DELETE FROM runs WHERE {gone}")  # noqa: S608  words of ours
        return conn.execute(f"DELETE FROM staging WHERE {gone}").rowcount  # noqa: S608  words of ours
