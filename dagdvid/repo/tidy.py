"""Keeps staging small where versions stay open for long: rows become runs, and runs are merged (SPEC 6.5)."""

from __future__ import annotations

import sqlite3
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dagdvid.errors import RefMoved
from dagdvid.objects.local.turns import with_others
from dagdvid.objects.store import Object
from dagdvid.objects.tree.nodes import NodeWriter
from dagdvid.repo.batches import overlaid
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.runs import RUN, NewRun, Run, make_run
from dagdvid.repo.staging import changes_in, runs_of, spaces_of

__all__ = ["FACTOR", "FLUSH", "MOST_ROWS", "Pause", "tidy_instance"]

FLUSH = 2 * 2**20
"""Bytes of nodes that are stored together: other writers wait for no more."""
MOST_ROWS = 32_768
"""Rows of a key space of an open version, above which they become runs. A scan copies as many."""
FACTOR = 32
"""So many neighbouring runs of one level become one. The runs of the next level are as many times as large, so that an
entry is written once a level: twice in all, where 10^7 are staged by 10^4."""
_PAGE = 8192
_SWEPT = 1000

Pause = Callable[[], None]
"""Called between short stretches of work; it may raise, and what is half done is then done again some day."""


@dataclass(frozen=True)
class AddRun:
    """Put a run in the place of rows and of other runs: of all that is numbered above `after`, up to `last`."""

    version: int
    data: int
    run: NewRun
    after: int
    last: int
    merged: Sequence[int]
    """The runs that it replaces."""
    objects: Sequence[Object]

    def apply(self, conn: sqlite3.Connection) -> None:
        """Raises RefMoved: the version was committed, the instance deleted, or the runs are others."""
        place = self.version, self.data, self.run.space
        sql = "SELECT id FROM runs WHERE version = ? AND data = ? AND space = ? AND last > ? AND last <= ?"
        there = {row[0] for row in conn.execute(sql, (*place, self.after, self.last))}
        state = conn.execute("SELECT state FROM versions WHERE id = ?", (self.version,)).fetchone()
        given_up = conn.execute("SELECT 1 FROM data WHERE id = ?", (self.data,)).fetchone() is None or (
            self.version and (state is None or state[0] == "committed")
        )
        if given_up or there != set(self.merged):
            raise RefMoved("the staging changed meanwhile")
        conn.executemany("DELETE FROM runs WHERE id = ?", [(number,) for number in there])
        conn.execute(
            "INSERT INTO runs (version, data, space, after, last, entries, size, held, removed)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*place, self.after, self.last, *self.run[1:]),
        )


@dataclass(frozen=True)
class Sweep:
    """Remove rows that a run holds, some at a time, so that nobody waits for long."""

    version: int
    data: int
    space: str
    key: bytes
    """Rows above this key."""
    after: int
    last: int
    objects: Sequence[Object] = ()

    def apply(self, conn: sqlite3.Connection) -> bytes | None:
        """The key from which on there is more; None if there is not."""
        where = "version = ? AND data = ? AND space = ? AND key > ?"
        place: tuple[object, ...] = (self.version, self.data, self.space, self.key)
        sql = f"SELECT key FROM staging WHERE {where} ORDER BY key LIMIT 1 OFFSET ?"  # noqa: S608  no value in it
        beyond = conn.execute(sql, (*place, _SWEPT)).fetchone()
        if beyond is not None:
            where, place = f"{where} AND key <= ?", (*place, beyond[0])
        conn.execute(
            f"DELETE FROM staging WHERE {where} AND seq > ? AND seq <= ?",  # noqa: S608  no value in it
            (*place, self.after, self.last),
        )
        return None if beyond is None else bytes(beyond[0])


def tidy_instance(
    catalog: Catalog, version: int, data: int, pause: Pause = lambda: None, most: int = MOST_ROWS
) -> None:
    """Make runs of rows where they are more than `most`, and fewer runs where they are many.

    Only in a turn (`turns.take_turn`): what others fold or tidy must not change on the way.
    """
    for _, space in spaces_of(catalog.store.database, version, data):
        _Space(catalog, version, data, space, pause).tidy(most)


def level(run: Run) -> int:
    """How many times a run is FACTOR times as large as the smallest."""
    n, size = 0, FACTOR * RUN
    while run.entries >= size:
        n, size = n + 1, FACTOR * size
    return n


def crowd(runs: Sequence[Run]) -> tuple[int, int] | None:
    """From and to which runs, oldest first, are to be merged: FACTOR of one level with no higher ones between."""
    levels = [level(run) for run in runs]
    for low in sorted(set(levels)):
        found: list[int] = []
        for i, at in enumerate(levels):
            if at > low:
                found = []
            elif at == low:
                found.append(i)
                if len(found) == FACTOR:
                    return found[0], i + 1
    return None


class _Space:
    """One key space of one instance in one version."""

    def __init__(self, catalog: Catalog, version: int, data: int, space: str, pause: Pause) -> None:
        self.catalog = catalog
        self.database = catalog.store.database
        self.place = version, data, space
        self.pause = pause

    def tidy(self, most: int) -> None:
        runs = self.runs()
        counts, lasts = self.rows(runs)
        for run, left in zip(runs, counts[1::2], strict=True):
            if left:  # by a crash between the two halves of `replace`
                self.sweep(run.after, run.last)
        if sum(counts[::2]) > most:
            for after, n, last in zip([0, *(run.last for run in runs)], counts[::2], lasts[::2], strict=True):
                if n >= RUN:
                    self.replace(after, last, [])
        while (found := crowd(runs := self.runs())) is not None:
            first, end = found
            self.replace(runs[first - 1].last if first else 0, runs[end - 1].last, runs[first:end])

    def runs(self) -> list[Run]:
        """Oldest first."""
        return runs_of(self.database.reader, *self.place)[::-1]

    def rows(self, runs: Sequence[Run]) -> tuple[list[int], list[int]]:
        """How many rows are numbered before, in, between and after runs (2n + 1 counts), and the last of each."""
        bounds = [bound for run in runs for bound in (run.after, run.last)]
        counts, lasts = [0] * (len(bounds) + 1), [0] * (len(bounds) + 1)
        key = b""
        sql = (
            "SELECT key, seq FROM staging WHERE version = ? AND data = ? AND space = ? AND key > ? ORDER BY key LIMIT ?"
        )
        while page := self.database.rows(sql, (*self.place, key, _PAGE)):
            for _, seq in page:
                slot = bisect_left(bounds, seq)
                counts[slot] += 1
                lasts[slot] = max(lasts[slot], seq)
            key = page[-1][0]
            self.pause()
        return counts, lasts

    def replace(self, after: int, last: int, merged: Sequence[Run]) -> None:
        """Make one run of all that is numbered above `after`, up to `last`."""
        writer = NodeWriter(self.catalog.nodes, FLUSH)
        streams = changes_in(self.database, self.catalog.nodes, *self.place, after=after, last=last, pause=self.pause)
        run = make_run(writer, self.place[2], overlaid(streams))
        version, data, _ = self.place
        added = AddRun(version, data, run, after, last, [each.id for each in merged], writer.take())
        with with_others(self.catalog.store.folder):
            self.catalog.store.run(added)
        self.sweep(after, last)

    def sweep(self, after: int, last: int) -> None:
        """Remove the rows that a run holds."""
        key: bytes | None = b""
        while key is not None:
            self.pause()
            key = self.catalog.store.run(Sweep(*self.place, key, after, last))
