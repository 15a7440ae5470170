"""Makes tiers of the packs that are not in one yet, so that few files are asked for an object (SPEC 4.11)."""

from __future__ import annotations

import logging
import secrets
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dagdvid.objects.ids import ID_SIZE
from dagdvid.objects.local.operation import Put
from dagdvid.objects.local.pack import PackIndex
from dagdvid.objects.local.packs import Packs, note_change
from dagdvid.objects.local.tier import ROW, Columns, Source, write_tier
from dagdvid.objects.store import Object

if TYPE_CHECKING:
    from dagdvid.objects.local.store import LocalStore

__all__ = ["PackSource", "TierBuilder", "drop_tiers"]

_FACTOR = 2
"""An older tier is merged, too, unless it has this many times the entries of what it would be merged with. So there
are at most log2(objects / objects in a pack) tiers, and an entry is written as often."""
_AT_ONCE = 20_000
"""Entries that are merged at once, by the thread that writes; more by a thread of their own."""
_POLL, _RETRY = 0.1, 5.0

log = logging.getLogger(__name__)


class _Plan(NamedTuple):
    sources: list[Source]
    tiers: list[int]
    """Numbers of those that go."""
    packs: list[int]
    """Numbers of those that the new one has."""


class TierBuilder:
    """Used by the one thread that writes; large merges run beside it."""

    def __init__(self, packs: Packs, conn: sqlite3.Connection) -> None:
        self._packs, self._conn = packs, conn
        self._thread: threading.Thread | None = None
        self._made: tuple[_Plan, str] | None = None
        self._after = 0.0
        for (no,) in packs.database.rows("SELECT no FROM tiers"):
            if no not in packs.view.tiers:  # damaged or gone; its packs have their own indexes
                self._forget(no)
        known = {f"{tier.name}.tier" for tier in packs.view.tiers.values()}
        for name in packs.files.list(packs.indexes_folder):
            if name not in known:  # an earlier life did not come to use it, or to remove it
                with suppress(FileNotFoundError):
                    packs.files.remove(packs.indexes_folder / name)

    def tend(self) -> float | None:
        """Do what is due; seconds until there is something to do again, None if nothing waits."""
        if self._thread is not None:
            if self._thread.is_alive():
                return _POLL
            self._thread = None
            self._switch()
        if not self._packs.view.loose or time.monotonic() < self._after:
            return None
        plan = self._plan()
        if plan is None:
            return None
        if sum(source.n for source in plan.sources) <= _AT_ONCE:
            self._make(plan)
            self._switch()
            return None
        self._thread = threading.Thread(target=self._make, args=(plan,), name="dagdvid-tiers", daemon=True)
        self._thread.start()
        return _POLL

    def close(self) -> None:
        """Finish what is under way."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            self._switch()

    def _forget(self, no: int) -> None:
        self._conn.execute("DELETE FROM tiers WHERE no = ?", (no,))
        self._conn.execute("DELETE FROM tiered WHERE tier = ?", (no,))

    def _plan(self) -> _Plan | None:
        view = self._packs.view
        loose = {no: index for no, index in view.loose.items() if view.names[no] not in self._packs.damaged}
        if not loose:
            return None
        sources: list[Source] = [PackSource(index, no) for no, index in loose.items()]
        size = sum(source.n for source in sources)
        gone = []
        for no, tier in view.tiers.items():
            if tier.n >= _FACTOR * size:
                break
            sources.append(tier)
            gone.append(no)
            size += tier.n
        packs = [*loose, *(pack for pack, tier in view.tiered.items() if tier in gone)]
        return _Plan(sources, gone, packs)

    def _make(self, plan: _Plan) -> None:
        name = secrets.token_hex(16)
        path = self._packs.tier_path(name)
        try:
            write_tier(path, self._packs.files, plan.sources, set(plan.packs))
        except Exception:  # it is an index; all is found without it, only more slowly
            log.exception("packs could not be indexed together; trying again later")
            self._after = time.monotonic() + _RETRY
            with suppress(Exception):
                self._packs.files.remove(path)
        else:
            self._made = plan, name

    def _switch(self) -> None:
        """Let all look into the new tier instead of the old ones."""
        if self._made is None:
            return
        (plan, name), self._made = self._made, None
        conn, packs = self._conn, self._packs
        old = [packs.view.tiers[no].name for no in plan.tiers]
        try:
            conn.execute("BEGIN IMMEDIATE")
            (no,) = conn.execute("INSERT INTO tiers (name) VALUES (?) RETURNING no", (name,)).fetchone()
            for gone in plan.tiers:
                self._forget(gone)
            conn.executemany("INSERT OR REPLACE INTO tiered VALUES (?, ?)", [(pack, no) for pack in plan.packs])
            note_change(conn)
            conn.execute("COMMIT")
            packs.reload()
            for each in old:
                packs.files.remove(packs.tier_path(each))
        except Exception:
            log.exception("an index of packs could not be entered; trying again later")
            self._after = time.monotonic() + _RETRY
            with suppress(sqlite3.Error):
                if conn.in_transaction:
                    conn.execute("ROLLBACK")


@dataclass(frozen=True)
class _Drop:
    objects: Sequence[Object] = ()

    def apply(self, conn: sqlite3.Connection) -> None:
        conn.execute("DELETE FROM tiers")
        conn.execute("DELETE FROM tiered")
        note_change(conn)


def drop_tiers(store: LocalStore) -> None:
    """Do without the tiers that there are, one of which is damaged; new ones are made of the packs' own indexes."""
    names = store.database.rows("SELECT name FROM tiers")
    store.run(_Drop())
    for (name,) in names:
        store.packs.damaged.pop(name, None)
    store.packs.reload()
    store.run(Put(()))  # so that the writer sees it


class PackSource:
    """The own index of a pack, as a source of a tier."""

    def __init__(self, index: PackIndex, no: int) -> None:
        self.n = index.n
        ids, self._offsets, self._sizes = index.columns()
        self._no = no
        self._rest = ids
        words: NDArray[Any] = np.frombuffer(ids.tobytes(), ">u8").reshape(-1, ID_SIZE // 8)
        self.prefixes: NDArray[np.uint64] = words[:, 0].astype(np.uint64)

    def columns(self, start: int, end: int) -> Columns:
        """As `Source.columns`."""
        rows = np.zeros(end - start, ROW)
        rows["rest"] = np.ascontiguousarray(self._rest[start:end, 8:]).view("V24")[:, 0]
        rows["pack"] = self._no
        rows["offset"] = self._offsets[start:end]
        rows["stored"] = self._sizes[start:end]
        return self.prefixes[start:end], rows
