"""The operation that stages the changes of a transaction, if what it read still stands (SPEC 6.5)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from dagdvid.errors import Locked, OutOfIds, StaleRead, Unconfirmed, UnknownName
from dagdvid.objects.local.store import next_value
from dagdvid.objects.store import Object
from dagdvid.objects.tree.node import INLINE, Ref, Value
from dagdvid.repo.ids import MUTATION, allocate, observe
from dagdvid.repo.runs import NewRun
from dagdvid.repo.staging import LOG, LOG_KEY, MARKS, REMOVED, Layer, epochs_hold

__all__ = ["Numbers", "Row", "Stage", "row_of"]

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
class Numbers:
    """Numbers of a counter that a transaction took, and those that it met."""

    repo: int
    counter: str
    taken: Sequence[range]
    """The lowest that were left when it asked."""
    met: Sequence[int] = ()
    objects: Sequence[Object] = ()

    def apply(self, conn: sqlite3.Connection) -> None:
        """Give them out.

        Raises:
            StaleRead: some were given out meanwhile.
        """
        try:
            n = sum(map(len, self.taken))
            if n and allocate(conn, self.repo, self.counter, n) != list(self.taken):
                raise StaleRead("ids that the request took were given out meanwhile")
        except OutOfIds:
            raise StaleRead("ids that the request took were given out meanwhile") from None
        observe(conn, self.repo, {self.counter: self.met})


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
    marked: bool = False
    """The instance finds records by their marks."""
    runs: Sequence[NewRun] = ()
    numbers: Numbers | None = None
    sealed: bool = False
    """The version is sealed and not yet folded: what was put off is computed (`deferred`)."""

    @property
    def grows(self) -> bool:
        """It is refused where there is no room, unless it finishes what was begun."""
        return not self.sealed

    def apply(self, conn: sqlite3.Connection) -> list[int]:
        """Make the changes. Returns the mutation ids of the records logged.

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
            if row is None or row[0] != ("sealed" if self.sealed else "open"):
                raise Locked("the version was committed meanwhile")
        if self.reads:
            self._check_reads(conn)
        if self.numbers:
            self.numbers.apply(conn)
        given = list(chain.from_iterable(allocate(conn, self.repo, MUTATION, len(self.logged)))) if self.logged else []
        rows = [*self.rows, *self._log_rows(given)]
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
        return given

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

    def _log_rows(self, given: Sequence[int]) -> Iterator[Row]:
        """The records, each under its mutation id, and what finds it by its mark."""
        for number, (mark, value) in zip(given, self.logged, strict=True):
            prefix = number.to_bytes(LOG_KEY // 2, "big")
            yield row_of(LOG, prefix + mark, value)
            if self.marked:
                yield row_of(MARKS, mark, prefix)


def _numbered(version: int, data: int, rows: Iterable[Row], first: int) -> Iterator[tuple[object, ...]]:
    for i, (space, key, kind, value, size) in enumerate(rows):
        yield version, data, space, key, kind, value, size, first + i
