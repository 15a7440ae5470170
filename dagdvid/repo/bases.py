"""Which bases repos have: other places where what their versions hold lies (SPEC 8.10)."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dagdvid.objects.local.store import LocalStore
from dagdvid.objects.store import Object

__all__ = ["SERVER", "SITE", "BaseRow", "SetBase", "base_rows"]

SITE, SERVER = "site", "server"


class BaseRow(NamedTuple):
    """A base, as the database has it."""

    repo: str
    url: str
    kind: str
    heads: str


@dataclass(frozen=True)
class SetBase:
    """Name a base of a repo, or what it has now."""

    row: BaseRow
    objects: Sequence[Object] = ()

    def apply(self, conn: sqlite3.Connection) -> None:
        """Enter it."""
        conn.execute("INSERT OR REPLACE INTO bases VALUES (?, ?, ?, ?)", self.row)


def base_rows(store: LocalStore) -> list[BaseRow]:
    """The bases of all repos."""
    return [BaseRow(*row) for row in store.database.rows("SELECT repo, url, kind, heads FROM bases ORDER BY repo, url")]
