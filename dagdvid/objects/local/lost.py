"""Objects known to be lost: noted when a repair has found them nowhere, so that reading them says so (SPEC 4.9)."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from dagdvid.errors import Lost
from dagdvid.objects.local.database import Database
from dagdvid.objects.store import Object

__all__ = ["SetLost", "check_lost", "lost_objects"]


@dataclass(frozen=True)
class SetLost:
    """Replace the list of what is lost."""

    ids: Sequence[bytes]
    noted: str
    """When, RFC 3339; what was lost before keeps its time."""
    objects: Sequence[Object] = ()

    def apply(self, conn: sqlite3.Connection) -> None:
        """Note them, and forget those that were found again."""
        before = dict(conn.execute("SELECT id, noted FROM lost").fetchall())
        conn.execute("DELETE FROM lost")
        conn.executemany("INSERT INTO lost VALUES (?, ?)", [(i, before.get(i, self.noted)) for i in sorted(self.ids)])


def lost_objects(database: Database) -> dict[bytes, str]:
    """What is lost, and since when that is known."""
    return dict(database.rows("SELECT id, noted FROM lost"))


def check_lost(database: Database, absent: Sequence[bytes]) -> None:
    """Tell of absent objects that they are lost.

    Raises:
        Lost: one of them is.
    """
    lost = lost_objects(database) if absent else {}
    for name in absent:
        if name in lost:
            raise Lost(
                f"object {name.hex()} was lost with a damaged pack, noted on {lost[name][:10]}: "
                "dagdvid repair --from BACKUP brings it back from a backup that has it"
            )
