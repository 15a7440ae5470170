"""The operation that stages the changes of a transaction, if what it read still stands (SPEC 6.5)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from dagdvid.errors import Locked, StaleRead, Unconfirmed, UnknownName
from dagdvid.objects.local.store import next_value
from dagdvid.objects.store import Object
from dagdvid.objects.tree.node import INLINE, Ref, Value
from dagdvid.repo.ids import MUTATION, allocate
from dagdvid.repo.runs import NewRun
from dagdvid.repo.staging import LOG, LOG_KEY, REMOVED, Layer, epochs_hold

__all__ = ["Row", "Stage", "row_of"]

Row = tuple[str, bytes, int, bytes, int]
"""space, key, kind, value, size."""


def row_of(space: str, key: bytes, value: Value | None) -> Row:
    """The row of a change."""
    if value is None:
        return space, key, REMOVED, b"", 0
    if isinstance(value, Ref):
        return space, key, value.kind, value.id, value.size
    return space, key, INLINE, value, len(value)


@dataclass(frozen=True)
class Stage:
    """Add changes to an open version (0: to an unversioned instance)."""

    version: int
    data: int
    rows: Sequence[Row]
    reads: Mapping[tuple[str, bytes], int]
    """The moment at which each key was read (`staging.Found`)."""
    objects: Sequence[Object]
    epoch: int = 0
    """Of the version or the unversioned instance when it was first read: what lies below its staging goes with it."""
    repo: int = 0
    logged: Sequence[tuple[bytes, Value]] = ()
    """Records for the mutation log: the last half of the key, and the value."""
    runs: Sequence[NewRun] = ()

    def apply(self, conn: sqlite3.Connection) -> None:
        """Make the changes.

        Raises:
            Locked: committed meanwhile.
            StaleRead: a key read has changed.
            UnknownName: the instance was deleted meanwhile.
            Unconfirmed: a run came, or what lies below changed, and with it perhaps a key that was read.
        """
        if conn.execute("SELECT 1 FROM data WHERE id = ?", (self.data,)).fetchone() is None:
            raise UnknownName("the data instance was deleted meanwhile")
        if self.version:
            row = conn.execute("SELECT state FROM versions WHERE id = ?", (self.version,)).fetchone()
            if row is None or row[0] != "open":
                raise Locked("the version was committed meanwhile")
        if self.reads:
            self._check_reads(conn)
        rows = [*self.rows, *self._log_rows(conn)]
        seq = next_value(conn, "seq", len(rows) + len(self.runs), start=1)
        conn.executemany(
            "INSERT INTO runs (version, data, space, after, last, entries, size, held, removed)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(self.version, self.data, run.space, seq + i - 1, seq + i, *run[1:]) for i, run in enumerate(self.runs)],
        )
        conn.executemany(
            "INSERT INTO staging VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " kind = excluded.kind, value = excluded.value, size = excluded.size, seq = excluded.seq",
            _numbered(self.version, self.data, rows, seq + len(self.runs)),
        )

    def _check_reads(self, conn: sqlite3.Connection) -> None:
        earliest: dict[str, int] = {}
        for (space, key), moment in self.reads.items():
            row = conn.execute(
                "SELECT seq FROM staging WHERE version = ? AND data = ? AND space = ? AND key = ?",
                (self.version, self.data, space, key),
            ).fetchone()
            if row and row[0] >= moment:
                raise StaleRead("what the request read has changed meanwhile")
            earliest[space] = min(moment, earliest.get(space, moment))
        sql = "SELECT 1 FROM runs WHERE version = ? AND data = ? AND space = ? AND last >= ?"
        runs_came = any(conn.execute(sql, (self.version, self.data, *each)).fetchone() for each in earliest.items())
        if runs_came or not epochs_hold(conn, self.data, [Layer(self.version, self.epoch)]):
            raise Unconfirmed("what the request read may have changed meanwhile")

    def _log_rows(self, conn: sqlite3.Connection) -> list[Row]:
        """The records, each under the next mutation id of the repo."""
        if not self.logged:
            return []
        given = chain.from_iterable(allocate(conn, self.repo, MUTATION, len(self.logged)))
        keys = (n.to_bytes(LOG_KEY // 2, "big") + tail for n, (tail, _) in zip(given, self.logged, strict=True))
        return [row_of(LOG, key, value) for key, (_, value) in zip(keys, self.logged, strict=True)]


def _numbered(version: int, data: int, rows: Iterable[Row], first: int) -> Iterator[tuple[object, ...]]:
    for i, (space, key, kind, value, size) in enumerate(rows):
        yield version, data, space, key, kind, value, size, first + i
