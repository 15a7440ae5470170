"""Staged changes: rows of open versions in the embedded database, and the operation that adds them (SPEC 6.5)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dagdvid.errors import Locked, StaleRead, UnknownName
from dagdvid.objects.local.database import Database
from dagdvid.objects.local.store import next_value
from dagdvid.objects.store import Object
from dagdvid.objects.tree.node import INLINE, Ref, Value

__all__ = [
    "LOG",
    "LOG_KEY",
    "MUTATION_START",
    "REMOVED",
    "Layer",
    "Row",
    "Stage",
    "mutation_counter",
    "rows_in",
    "rows_of",
    "value_of",
]

REMOVED = 3
MUTATION_START = 1_000_000_000
"""The first mutation id of a repo (datastore/repo_local.go InitialMutationID)."""
LOG = "log"
"""The key space of the mutation log, beside those of the datatype (SPEC 6.6)."""
LOG_KEY = 16
"""Bytes of its keys: the mutation id, and the beginning of the record's hash."""
_PART = 400

Row = tuple[str, bytes, int, bytes, int]
"""space, key, kind, value, size."""


@dataclass(frozen=True)
class Layer:
    """One version's staging, as a snapshot knows it. `version` 0: the unversioned instance itself."""

    version: int
    epoch: int


def mutation_counter(repo: int) -> str:
    """The name of the counter of a repo's mutation ids."""
    return f"mutation/{repo}"


def value_of(kind: int, value: bytes, size: int) -> Value | None:
    """The tree value of a row; None where it removes."""
    if kind == INLINE:
        return value
    return None if kind == REMOVED else Ref(kind, value, size)


def row_of(space: str, key: bytes, value: Value | None) -> Row:
    """The row of a change."""
    if value is None:
        return space, key, REMOVED, b"", 0
    if isinstance(value, Ref):
        return space, key, value.kind, value.id, value.size
    return space, key, INLINE, value, len(value)


def _epochs_hold(conn: sqlite3.Connection, data: int, layers: Sequence[Layer]) -> bool:
    for layer in layers:
        if layer.version:
            row = conn.execute("SELECT epoch FROM versions WHERE id = ?", (layer.version,)).fetchone()
        else:
            row = conn.execute("SELECT epoch FROM data WHERE id = ?", (data,)).fetchone()
        if row is None or row[0] != layer.epoch:
            return False
    return True


def rows_of(
    database: Database, data: int, layers: Sequence[Layer], space: str, keys: Sequence[bytes]
) -> list[dict[bytes, tuple[Value | None, int]]] | None:
    """For each layer the staged (value, sequence number) of those keys that have one, all at one moment.

    None if a layer was folded since it was looked up: look again.
    """
    conn = database.reader
    if len(keys) == 1 and len(layers) == 1 and layers[0].version:
        return _row_of(conn, data, layers[0], space, keys[0])
    conn.execute("BEGIN")
    try:
        if not _epochs_hold(conn, data, layers):
            return None
        found = []
        for layer in layers:
            rows: dict[bytes, tuple[Value | None, int]] = {}
            for start in range(0, len(keys), _PART):
                part = keys[start : start + _PART]
                marks = ",".join("?" * len(part))
                sql = (
                    "SELECT key, kind, value, size, seq FROM staging"  # noqa: S608  marks only
                    f" WHERE version = ? AND data = ? AND space = ? AND key IN ({marks})"
                )
                for key, kind, value, size, seq in conn.execute(sql, (layer.version, data, space, *part)).fetchall():
                    rows[key] = (value if kind == INLINE else value_of(kind, value, size)), seq
            found.append(rows)
        return found
    finally:
        conn.execute("COMMIT")


def _row_of(
    conn: sqlite3.Connection, data: int, layer: Layer, space: str, key: bytes
) -> list[dict[bytes, tuple[Value | None, int]]] | None:
    """`rows_of` for one key of one version: by far the most frequent, and one statement needs no transaction."""
    row = conn.execute(
        "SELECT v.epoch, s.kind, s.value, s.size, s.seq FROM versions v LEFT JOIN staging s"
        " ON s.version = v.id AND s.data = ? AND s.space = ? AND s.key = ? WHERE v.id = ?",
        (data, space, key, layer.version),
    ).fetchone()
    if row is None or row[0] != layer.epoch:
        return None
    _, kind, value, size, seq = row
    return [{} if kind is None else {key: (value_of(kind, value, size), seq)}]


def rows_in(
    database: Database,
    data: int,
    layers: Sequence[Layer],
    space: str,
    lo: bytes = b"",
    hi: bytes | None = None,
    *,
    bare: bool = False,
) -> list[tuple[bytes, Value | None]] | None:
    """The staged changes with lo <= key < hi in order, the first layer winning, all at one moment; None as above.

    `bare`: the values are not wanted, and are left empty; those of removed keys are None all the same.
    """
    conn = database.reader
    conn.execute("BEGIN")
    try:
        if not _epochs_hold(conn, data, layers):
            return None
        found = [_select(conn, layer.version, data, space, lo, hi, bare) for layer in layers]
    finally:
        conn.execute("COMMIT")
    if len(found) == 1:
        return found[0]
    merged = {key: value for rows in reversed(found) for key, value in rows}
    return sorted(merged.items(), key=lambda item: item[0])


def _select(
    conn: sqlite3.Connection, version: int, data: int, space: str, lo: bytes, hi: bytes | None, bare: bool
) -> list[tuple[bytes, Value | None]]:
    sql = (
        f"SELECT key, kind{'' if bare else ', value, size'} FROM staging"  # noqa: S608  names of columns only
        " WHERE version = ? AND data = ? AND space = ? AND key >= ?"
    )
    args: list[object] = [version, data, space, lo]
    if hi is not None:
        sql += " AND key < ?"
        args.append(hi)
    rows = conn.execute(sql + " ORDER BY key", args).fetchall()
    if bare:
        return [(key, None if kind == REMOVED else b"") for key, kind in rows]
    return [(key, value if kind == INLINE else value_of(kind, value, size)) for key, kind, value, size in rows]


@dataclass(frozen=True)
class Stage:
    """Add changes to an open version (0: to an unversioned instance), if what they rest on still stands."""

    version: int
    data: int
    rows: Sequence[Row]
    reads: Mapping[tuple[str, bytes], int]
    """Sequence number of each key that was read; 0 if it had no row."""
    objects: Sequence[Object]
    epoch: int = 0
    """Of the unversioned instance when it was read: what lies below its rows changes with it."""
    repo: int = 0
    logged: Sequence[tuple[bytes, Value]] = ()
    """Records for the mutation log: the last half of the key, and the value."""

    def apply(self, conn: sqlite3.Connection) -> None:
        """Raises Locked: committed meanwhile; StaleRead: a key read has changed; UnknownName: deleted meanwhile."""
        if conn.execute("SELECT 1 FROM data WHERE id = ?", (self.data,)).fetchone() is None:
            raise UnknownName("the data instance was deleted meanwhile")
        if self.version:
            row = conn.execute("SELECT state, epoch FROM versions WHERE id = ?", (self.version,)).fetchone()
            if row is None or row[0] != "open":
                raise Locked("the version was committed meanwhile")
            if self.reads and row[1] != self.epoch:
                raise StaleRead("what lies below the version has changed meanwhile")
        elif self.reads and not _epochs_hold(conn, self.data, [Layer(0, self.epoch)]):
            raise StaleRead("what lies below the unversioned instance has changed meanwhile")
        for (space, key), seq in self.reads.items():
            row = conn.execute(
                "SELECT seq FROM staging WHERE version = ? AND data = ? AND space = ? AND key = ?",
                (self.version, self.data, space, key),
            ).fetchone()
            if (row[0] if row else 0) != seq:
                raise StaleRead("what the request read has changed meanwhile")
        rows = [*self.rows, *self._log_rows(conn)]
        first = next_value(conn, "seq", len(rows), start=1)
        conn.executemany(
            "INSERT INTO staging VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " kind = excluded.kind, value = excluded.value, size = excluded.size, seq = excluded.seq",
            _numbered(self.version, self.data, rows, first),
        )

    def _log_rows(self, conn: sqlite3.Connection) -> list[Row]:
        """The records, each under the next mutation id of the repo."""
        if not self.logged:
            return []
        first = next_value(conn, mutation_counter(self.repo), len(self.logged), start=MUTATION_START)
        keys = ((first + i).to_bytes(LOG_KEY // 2, "big") + tail for i, (tail, _) in enumerate(self.logged))
        return [row_of(LOG, key, value) for key, (_, value) in zip(keys, self.logged, strict=True)]


def _numbered(version: int, data: int, rows: Iterable[Row], first: int) -> Iterator[tuple[object, ...]]:
    for i, (space, key, kind, value, size) in enumerate(rows):
        yield version, data, space, key, kind, value, size, first + i
