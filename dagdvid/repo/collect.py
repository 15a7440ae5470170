"""gc: marks what the refs reach, then gives back the room of all else but what the reflog remembers (SPEC 4.12).

Readers and writers of all processes go on meanwhile. A store with damage is not collected: what cannot be walked cannot
be known to be garbage.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dagdvid.errors import Busy, Corrupt
from dagdvid.objects.local.collection import Abandon, Begin
from dagdvid.objects.local.marks import Marks
from dagdvid.objects.local.sweep import Sweep, remove_files
from dagdvid.objects.local.turns import take_turn
from dagdvid.objects.store import Object
from dagdvid.repo import reflog
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.marking import Marking, triggers
from dagdvid.repo.removal import DropOrphans

__all__ = ["PATIENCE", "collect"]

PATIENCE = 600.0
"""Seconds to wait for requests that began before; what they may read is not given up until they end."""
_LOCK = "collect.lock"
_PAUSE = 0.05

Step = dict[str, Any]


def collect(
    catalog: Catalog,
    *,
    dry_run: bool = False,
    forget: bool = False,
    alone: bool = False,
    patience: float = PATIENCE,
) -> Iterator[Step]:
    """Collect garbage. Yields progress, at last {"result": what was given up}. The caller holds no lease.

    forget: give up also what only the reflog remembers. alone: nobody else has the store.

    Raises:
        Corrupt: the store is damaged; nothing was given up of what could be read.
        Busy: a collection runs already, or an earlier request does not end.
    """
    with take_turn(catalog.store.folder, _taken, _LOCK):
        if dry_run:
            run = _Run(catalog, Marks(catalog.store.packs), forget=forget)
            yield from run.mark()
            yield run.result(dry_run=True)
            return
        state = json.dumps([_refs(catalog, forget=forget), _packs(catalog)])
        for (before,) in catalog.store.database.rows("SELECT result FROM collected WHERE state = ?", (state,)):
            yield {"result": json.loads(before) | {"packs": 0, "objects": 0, "bytes": 0, "copied": 0}}
            return
        if alone:
            catalog.store.run(DropOrphans())
        refs = _refs(catalog, forget=forget)
        run = yield from _collect(catalog, forget=forget, patience=patience)
        if _refs(catalog, forget=forget) == refs and run.undisturbed():
            state = json.dumps([refs, _packs(catalog)])
            catalog.store.run(_Collected(state, json.dumps(run.result()["result"])))
        yield run.result()


def _collect(catalog: Catalog, *, forget: bool, patience: float) -> Generator[Step, None, _Run]:
    store = catalog.store
    number = store.run(Begin(triggers(forget=forget)))
    try:
        store.packs.reload()
        epoch = store.leases.begin()
        remove_files(store)  # of a collection that came no further
        run = _Run(catalog, Marks(store.packs), forget=forget)
        yield from run.mark()
        yield from run.sweep(number, epoch, patience)
        return run
    finally:
        store.run(Abandon(number))


class _Run:
    def __init__(self, catalog: Catalog, marks: Marks, *, forget: bool) -> None:
        self.catalog = catalog
        self.marks = marks
        self.marking = Marking(catalog, marks, forget=forget)
        self.planned = Sweep(catalog.store, marks)
        self.swept = self.planned.total

    def mark(self) -> Iterator[Step]:
        """Mark what is kept."""
        for _ in self.marking.roots():
            yield self._progress("objects marked", self.marking.marked)
        self._check()

    def sweep(self, number: int, epoch: int, patience: float) -> Iterator[Step]:
        """Give up the rest."""
        for _ in self.marking.notes():
            yield self._progress("objects marked", self.marking.marked)
        plans = self.planned.plans()
        self.marking.late = self.planned.late
        deadline = time.monotonic() + patience

        def seen() -> Iterator[int]:
            while True:
                ended = self.catalog.store.leases.ended(epoch)
                for _ in self.marking.notes():
                    yield self.marking.seen
                self._check()
                yield self.marking.seen
                if ended:
                    return
                if time.monotonic() > deadline:
                    raise Busy("a request that began before the collection has not ended: try again later")
                time.sleep(_PAUSE)

        for total in self.planned.run(number, plans, seen):
            yield self._progress("packs swept", total.packs, len(plans))

    def result(self, *, dry_run: bool = False) -> Step:
        """What was given up, or would be."""
        swept = asdict(self.swept)
        if dry_run:
            plans = self.planned.plans()
            sums = (len(plans), *(sum(plan[i] for plan in plans) for i in (1, 2, 3)))
            swept = dict(zip(swept, sums, strict=True))
        return {"result": {"live": self.marks.count(), "dry_run": dry_run, **swept}}

    def undisturbed(self) -> bool:
        """Whether nobody else has stored anything since the beginning."""
        packs = self.catalog.store.packs
        packs.reload()
        (entries,) = packs.database.rows("SELECT count(*) FROM entries")[0]
        later = int(entries) + sum(index.n for no, index in packs.indexes() if no not in self.marks.packs)
        return self.marking.seen == 0 and later == self.planned.objects_copied

    def _check(self) -> None:
        self.marking.check_promised()
        if self.marking.problems:
            raise Corrupt(
                f"nothing more is collected, as {self.marking.problems} objects are damaged: run dagdvid fsck"
            )

    def _progress(self, text: str, done: int, total: int | None = None) -> Step:
        return {"progress": text, "done": done, "total": total}


@dataclass(frozen=True)
class _Collected:
    """Remember the state in which nothing is left to collect."""

    state: str
    result: str
    objects: Sequence[Object] = ()

    def apply(self, conn: sqlite3.Connection) -> None:
        """In the place of the one before."""
        conn.execute("DELETE FROM collected")
        conn.execute("INSERT INTO collected VALUES (?, ?)", (self.state, self.result))


def _refs(catalog: Catalog, *, forget: bool) -> list[Any]:
    """What changes with everything that can make garbage, but for objects that nobody came to refer to."""
    rows = catalog.store.database.rows
    since = reflog.since()
    return [
        forget,
        [list(row) for row in rows("SELECT name, value FROM counters WHERE name IN ('seq', 'generation')")],
        [list(row) for row in rows("SELECT count(*), max(id) FROM runs")],
        [list(row) for row in rows("SELECT count(*), sum(epoch) FROM data")],
        [list(row) for row in rows("SELECT count(*), max(id) FROM reflog WHERE time >= ?", (since,))],
        sorted(
            uuid
            for repo in catalog.repos().values()
            for uuid, tombstone in repo.deleted.items()
            if str(tombstone.get("time", "")) >= since
        ),
    ]


def _packs(catalog: Catalog) -> list[Any]:
    rows = catalog.store.database.rows("SELECT no, length FROM packs WHERE state IN ('open', 'sealed') ORDER BY no")
    return [list(row) for row in rows]


def _taken() -> None:
    raise Busy("a collection of garbage is under way")
