"""What is staged: rows and runs of versions that have no trees yet, read at one moment (SPEC 6.5)."""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from dagdvid.objects.local.database import Database
from dagdvid.objects.tree.node import INLINE, Ref, Value
from dagdvid.objects.tree.nodes import Nodes
from dagdvid.repo.batches import Batches, in_batches
from dagdvid.repo.runs import Run, changes_of, pile, settle

__all__ = [
    "LOG",
    "LOG_KEY",
    "MARKS",
    "REMOVED",
    "Found",
    "Layer",
    "changes_at",
    "changes_in",
    "epochs_hold",
    "moment",
    "newest",
    "runs_of",
    "spaces_of",
    "staged_at",
    "value_of",
]

REMOVED = 3
LOG = "log"
"""The key space of the mutation log, beside those of the datatype (SPEC 6.6)."""
LOG_KEY = 16
"""Bytes of its keys: the mutation id, and the beginning of the record's hash."""
MARKS = "marks"
"""The key space that finds records of the log: last half of their key -> mutation id, 8 bytes big-endian (SPEC 6.6)."""
_PART = 400
_PAGE = 4096


@dataclass(frozen=True)
class Layer:
    """One version's staging, as a snapshot knows it. `version` 0: the unversioned instance itself."""

    version: int
    epoch: int


class Found(NamedTuple):
    """What is staged under some keys."""

    moment: int
    """The first sequence number that was not given out yet: any change from here on came later."""
    layers: list[dict[bytes, Value | None]]
    """For each layer those keys that it has; None where it removes."""


def value_of(kind: int, value: bytes, size: int) -> Value | None:
    """The tree value of a row; None where it removes."""
    if kind == INLINE:
        return value
    return None if kind == REMOVED else Ref(kind, value, size)


def epochs_hold(conn: sqlite3.Connection, data: int, layers: Sequence[Layer]) -> bool:
    """Whether the staging of layers, and what lies below it, is still what it was when they were looked up."""
    for layer in layers:
        if layer.version:
            row = conn.execute("SELECT epoch FROM versions WHERE id = ?", (layer.version,)).fetchone()
        else:
            row = conn.execute("SELECT epoch FROM data WHERE id = ?", (data,)).fetchone()
        if row is None or row[0] != layer.epoch:
            return False
    return True


def moment(conn: sqlite3.Connection) -> int:
    """The next sequence number."""
    row = conn.execute("SELECT value FROM counters WHERE name = 'seq'").fetchone()
    return int(row[0]) if row else 1


def runs_of(conn: sqlite3.Connection, version: int, data: int, space: str) -> list[Run]:
    """The runs of a key space, newest first."""
    sql = (
        "SELECT id, after, last, entries, held, removed FROM runs"
        " WHERE version = ? AND data = ? AND space = ? ORDER BY last DESC"
    )
    return [Run(*row) for row in conn.execute(sql, (version, data, space))]


def spaces_of(database: Database, version: int, data: int | None = None) -> list[tuple[int, str]]:
    """The instances, by local number, and key spaces of which a version has something staged; of one, or of all."""
    which = "version = ?1" if data is None else "version = ?1 AND data = ?2"
    some = f"SELECT data, space FROM staging WHERE {which} UNION SELECT data, space FROM runs WHERE {which}"  # noqa: S608
    args = (version,) if data is None else (version, data)
    return [(number, space) for number, space in database.rows(some + " ORDER BY data, space", args)]


def newest(database: Database, version: int, data: int) -> int:
    """The number of the last change of an instance that is staged; 0 if there is none. Walks its rows."""
    sql = (
        "SELECT max(n) FROM (SELECT max(seq) AS n FROM staging WHERE version = ?1 AND data = ?2"
        " UNION ALL SELECT max(last) FROM runs WHERE version = ?1 AND data = ?2)"
    )
    return int(database.rows(sql, (version, data))[0][0] or 0)


def staged_at(
    database: Database, nodes: Nodes, data: int, layers: Sequence[Layer], space: str, keys: Sequence[bytes]
) -> Found | None:
    """What is staged under keys, all at one moment. None if a layer was folded since it was looked up: look again."""
    conn = database.reader
    if len(keys) <= _FEW and len(layers) == 1 and layers[0].version:
        version = layers[0].version
        sql = _few(len(keys))
        found = conn.execute(sql, (version, data, space, version, data, space, *keys, version)).fetchall()
        if not found or found[0][0] != layers[0].epoch:
            return None
        _, last, now, *_ = found[0]
        fresh = [row for row in found if row[3] is not None and row[7] > (last or 0)]
        if last is None or len(fresh) == len(set(keys)):
            return Found(now or 1, [{key: value_of(kind, value, size) for _, _, _, key, kind, value, size, _ in fresh}])
    conn.execute("BEGIN")
    try:
        if not epochs_hold(conn, data, layers):
            return None
        now = moment(conn)
        staged = [(_rows(conn, layer.version, data, space, keys), runs_of(conn, layer.version, data, space))
                  for layer in layers]  # fmt: skip
    finally:
        conn.execute("COMMIT")
    return Found(now, [settle(nodes, keys, rows, runs) for rows, runs in staged])


_FEW = 64
"""Keys of one version, by far the most frequent question, that one statement asks for: it needs no transaction."""


@cache
def _few(count: int) -> str:
    return f"""
SELECT v.epoch, (SELECT max(last) FROM runs WHERE version = ? AND data = ? AND space = ?),
    (SELECT value FROM counters WHERE name = 'seq'), s.key, s.kind, s.value, s.size, s.seq
FROM versions v LEFT JOIN staging s
    ON s.version = ? AND s.data = ? AND s.space = ? AND s.key IN ({",".join("?" * count)})
WHERE v.id = ?
"""  # noqa: S608  marks only


def _rows(
    conn: sqlite3.Connection, version: int, data: int, space: str, keys: Sequence[bytes]
) -> dict[bytes, tuple[Value | None, int]]:
    rows: dict[bytes, tuple[Value | None, int]] = {}
    ordered = sorted(keys)  # so that each part lies on pages of its own
    for start in range(0, len(ordered), _PART):
        part = ordered[start : start + _PART]
        marks = ",".join("?" * len(part))
        sql = (
            "SELECT key, kind, value, size, seq FROM staging"  # noqa: S608  marks only
            f" WHERE version = ? AND data = ? AND space = ? AND key IN ({marks})"
        )
        for key, kind, value, size, seq in conn.execute(sql, (version, data, space, *part)):
            rows[key] = value_of(kind, value, size), seq
    return rows


def changes_at(
    database: Database,
    nodes: Nodes,
    data: int,
    layers: Sequence[Layer],
    space: str,
    lo: bytes = b"",
    hi: bytes | None = None,
    *,
    bare: bool = False,
) -> list[Batches] | None:
    """The staged changes with lo <= key < hi, all at one moment, as streams of which the first counts; None as above.

    Rows are copied at once, and few: upkeep makes runs of them. Runs are immutable, and read as the streams are.
    `bare`: the values of rows are not wanted, and are left empty; those of removed keys are None all the same.
    """
    conn = database.reader
    conn.execute("BEGIN")
    try:
        if not epochs_hold(conn, data, layers):
            return None
        staged = []
        for layer in layers:
            runs = runs_of(conn, layer.version, data, space)
            ends = [-run.last for run in runs]
            staged.append((_select(conn, layer.version, data, space, lo, hi, bare, ends), runs))
    finally:
        conn.execute("COMMIT")
    streams: list[Batches] = []
    for slots, runs in staged:
        if runs or slots[0]:
            streams += pile([in_batches(slot) for slot in slots], [changes_of(nodes, run, lo, hi) for run in runs])
    return streams


def _select(
    conn: sqlite3.Connection,
    version: int,
    data: int,
    space: str,
    lo: bytes,
    hi: bytes | None,
    bare: bool,
    ends: Sequence[int],
) -> list[list[tuple[bytes, Value | None]]]:
    """Rows by the runs that they lie between, of which `ends` has the last numbers, negative and ascending."""
    sql = (
        f"SELECT key, kind{'' if bare else ', value, size'}{', seq' if ends else ''} FROM staging"  # noqa: S608
        " WHERE version = ? AND data = ? AND space = ? AND key >= ?"
    )
    args: list[object] = [version, data, space, lo]
    if hi is not None:
        sql += " AND key < ?"
        args.append(hi)
    rows = conn.execute(sql + " ORDER BY key", args).fetchall()
    changes: list[tuple[bytes, Value | None]]
    if bare:
        changes = [(row[0], None if row[1] == REMOVED else b"") for row in rows]
    else:
        changes = [(row[0], row[2] if row[1] == INLINE else value_of(*row[1:4])) for row in rows]
    if not ends:
        return [changes]
    slots: list[list[tuple[bytes, Value | None]]] = [[] for _ in range(len(ends) + 1)]
    for change, row in zip(changes, rows, strict=True):
        slots[bisect_right(ends, -row[-1])].append(change)
    return slots


def changes_in(
    database: Database,
    nodes: Nodes,
    version: int,
    data: int,
    space: str,
    *,
    after: int = 0,
    last: int = 2**63 - 1,
    pause: Callable[[], None] = lambda: None,
) -> list[Batches]:
    """As `changes_at`, of one layer that changes no more, or of changes numbered after < n <= last: rows by pages."""
    runs = [run for run in runs_of(database.reader, version, data, space) if after < run.last <= last]
    ends = [last, *(run.last for run in runs), after]
    rows = [_pages(database, version, data, space, low, high, pause) for high, low in pairwise(ends)]
    return pile(rows, [changes_of(nodes, run) for run in runs])


def _pages(
    database: Database, version: int, data: int, space: str, low: int, high: int, pause: Callable[[], None]
) -> Iterator[tuple[list[bytes], list[Value | None]]]:
    """The rows with low < sequence number <= high, a page a query: no transaction lasts."""
    key = b""
    sql = (
        "SELECT key, kind, value, size FROM staging WHERE version = ? AND data = ? AND space = ? AND key > ?"
        " AND seq > ? AND seq <= ? ORDER BY key LIMIT ?"
    )
    while rows := database.rows(sql, (version, data, space, key, low, high, _PAGE)):
        yield [row[0] for row in rows], [value_of(*row[1:]) for row in rows]
        key = rows[-1][0]
        pause()
