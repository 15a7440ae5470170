"""What the writer does for a collection of garbage that runs beside it (SPEC 4.12): notes, condemns, retires.

While one runs, the database notes every object id that leaves or enters a place from which others are reached (triggers
of the layers above), and the writer every object that it did not store again because it was there. Packs that are to go
are condemned: what lies in them is stored again when somebody stores it, and only what lies nowhere else is noted. They
are given up in a transaction that is refused if there are notes which nobody has looked at.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dagdvid.errors import Busy
from dagdvid.objects.local.database import Database
from dagdvid.objects.local.packs import Location, Packs, note_change
from dagdvid.objects.store import Object

__all__ = [
    "KEPT",
    "Abandon",
    "Begin",
    "Collection",
    "Condemn",
    "Forget",
    "Keep",
    "Retire",
    "abandon",
    "collections",
]

KEPT = "kept"
"""The kind of a note of one object without those that it refers to."""

_COUNTER = "collections"
_TRIGGERS = "gc\\_%"
"""What the names of triggers that note begin with."""


def collections(database: Database) -> int:
    """How many collections have begun and ended, each counting once: an odd number while one runs."""
    rows = database.rows("SELECT value FROM counters WHERE name = ?", (_COUNTER,))
    return int(rows[0][0]) if rows else 0


class Collection:
    """The collection that runs, as the one process that writes sees it."""

    def __init__(self, conn: sqlite3.Connection, packs: Packs) -> None:
        """The SQL function `gc_matters(id)` of the connection tells whether an object must be noted."""
        self._conn, self._packs = conn, packs
        conn.create_function("gc_matters", 1, lambda name: bool(self._mattering([name])))
        self.runs = False
        self.condemned: frozenset[int] = frozenset()
        self.load()

    def load(self) -> None:
        """Learn what an operation has changed, before the next one: what was given up must not count as there."""
        self._packs.reload()
        self.runs = bool(_number(self._conn) % 2)
        self.condemned = frozenset(no for (no,) in self._conn.execute("SELECT pack FROM condemned"))

    def note(self, known: Mapping[bytes, Location]) -> None:
        """Note objects that were there already, not condemned, when somebody stored them: in the same transaction."""
        if self.runs and not self.condemned:
            sealed = self._packs.view.names
            notes = [(KEPT, name) for name, at in known.items() if at[0] in sealed]
            self._conn.executemany("INSERT INTO notes (kind, id) VALUES (?, ?)", notes)

    def _mattering(self, names: Sequence[bytes]) -> list[bytes]:
        """Those that a pack which may go has, and no other."""
        if self.condemned:
            elsewhere = self._packs.locate(names, self.condemned)
            return [name for name in names if name not in elsewhere]
        sealed = self._packs.view.names
        return [name for name, at in self._packs.locate(names).items() if at[0] in sealed]


def abandon(conn: sqlite3.Connection) -> None:
    """End a collection that was cut off; what it condemned stays. In the caller's transaction."""
    found = conn.execute(
        "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE ? ESCAPE '\\'", (_TRIGGERS,)
    )
    for (name,) in found.fetchall():
        conn.execute(f"DROP TRIGGER {name}")
    conn.execute("DELETE FROM condemned")
    conn.execute("DELETE FROM notes")
    if _number(conn) % 2:
        _count(conn)


@dataclass(frozen=True)
class Begin:
    """Begin a collection. Packs that were open are sealed by it."""

    triggers: Sequence[str]
    """SQL that makes triggers whose names begin with `gc_`, which insert into `notes`."""
    objects: Sequence[Object] = ()
    seals = True
    collects = True

    def apply(self, conn: sqlite3.Connection) -> int:
        """The number of the collection, by which the other operations name it."""
        abandon(conn)
        for sql in self.triggers:
            conn.execute(sql)
        _count(conn)
        return _number(conn)


@dataclass(frozen=True)
class Keep:
    """Note objects that somebody relies on without storing them."""

    ids: Sequence[bytes]
    objects: Sequence[Object] = ()

    def apply(self, conn: sqlite3.Connection) -> None:
        """Nothing to do if no collection runs."""
        if _number(conn) % 2:
            sql = "INSERT INTO notes (kind, id) SELECT ?1, ?2 WHERE gc_matters(?2)"
            conn.executemany(sql, [(KEPT, name) for name in self.ids])


@dataclass(frozen=True)
class Condemn:
    """Let what lies in packs be stored again by who stores it. What lies elsewhere, too, must stay there."""

    number: int
    packs: Sequence[int]
    objects: Sequence[Object] = ()
    collects = True

    def apply(self, conn: sqlite3.Connection) -> None:
        """Raises Busy: the collection was cut off."""
        _check(conn, self.number)
        conn.executemany("INSERT INTO condemned VALUES (?)", [(no,) for no in self.packs])


@dataclass(frozen=True)
class Retire:
    """Give up packs that were condemned, unless something was noted that nobody has looked at."""

    number: int
    seen: int
    """The last note that was looked at."""
    packs: Sequence[int]
    objects: Sequence[Object] = ()
    collects = True
    lasting = True

    def apply(self, conn: sqlite3.Connection) -> bool:
        """Whether it was done; from then on nobody looks into them. Raises Busy: the collection was cut off."""
        _check(conn, self.number)
        (last,) = conn.execute("SELECT coalesce(max(no), 0) FROM notes").fetchone()
        if last > self.seen:
            return False
        for no in self.packs:
            conn.execute("UPDATE packs SET state = 'dead' WHERE no = ?", (no,))
            conn.execute("DELETE FROM condemned WHERE pack = ?", (no,))
        note_change(conn)
        return True


@dataclass(frozen=True)
class Forget:
    """Forget notes that were looked at, and packs whose files are gone."""

    notes: int = 0
    packs: Sequence[int] = ()
    objects: Sequence[Object] = ()

    def apply(self, conn: sqlite3.Connection) -> None:
        """Those up to a number, and those that are dead."""
        conn.execute("DELETE FROM notes WHERE no <= ?", (self.notes,))
        for no in self.packs:
            conn.execute("DELETE FROM packs WHERE no = ? AND state = 'dead'", (no,))
            conn.execute("DELETE FROM tiered WHERE pack = ?", (no,))


@dataclass(frozen=True)
class Abandon:
    """End a collection, whatever it has come to."""

    number: int
    objects: Sequence[Object] = ()
    collects = True

    def apply(self, conn: sqlite3.Connection) -> None:
        """Nothing, if another has begun since."""
        if _number(conn) == self.number:
            abandon(conn)


def _check(conn: sqlite3.Connection, number: int) -> None:
    if _number(conn) != number:
        raise Busy("the writer began anew while garbage was collected: nothing more was given up; try again")


def _number(conn: sqlite3.Connection) -> int:
    row: Any = conn.execute("SELECT value FROM counters WHERE name = ?", (_COUNTER,)).fetchone()
    return int(row[0]) if row else 0


def _count(conn: sqlite3.Connection) -> None:
    conn.execute("INSERT INTO counters VALUES (?, 1) ON CONFLICT DO UPDATE SET value = value + 1", (_COUNTER,))
