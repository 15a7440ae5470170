"""How fast the server answers to users who ask whether it is alive: the same in every process (DVID: server/web.go)."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from dagdvid.errors import BadRequest, UnavailableError
from dagdvid.objects.store import Object
from dagdvid.repo.catalog import Catalog

__all__ = ["Ping", "latencies", "ping"]

_MOST_USERS = 10_000
_LONGEST = 256


@dataclass(frozen=True)
class Ping:
    """A user asked, and was answered in so many milliseconds."""

    user: str
    stamp: str
    took: int
    objects: Sequence[Object] = ()

    def apply(self, conn: sqlite3.Connection) -> None:
        """Enter it; users who asked longest ago go when there are too many."""
        conn.execute(
            "INSERT INTO latencies VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET last_ping = excluded.last_ping,"
            " last = excluded.last, least = min(least, excluded.least), most = max(most, excluded.most)",
            (self.user, self.stamp, self.took, self.took, self.took),
        )
        conn.execute(
            "DELETE FROM latencies WHERE user IN"
            " (SELECT user FROM latencies ORDER BY last_ping DESC LIMIT -1 OFFSET ?)",
            (_MOST_USERS,),
        )


def ping(catalog: Catalog, user: str, began: float) -> None:
    """Note that a user asked, at the time `began` (of `time.time`), at most once a second.

    Where nothing can be written there is no note: who asks whether the server is alive must hear that it is.

    Raises:
        BadRequest: the user's name is too long.
    """
    if len(user) > _LONGEST:
        raise BadRequest(f"u= is longer than {_LONGEST} characters")
    if not user or catalog.store.readonly:
        return
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began))
    if latencies(catalog, user).get(user, {}).get("LastPing") == stamp:
        return
    with suppress(UnavailableError):
        catalog.store.run(Ping(user, stamp, int((time.time() - began) * 1000)))


def latencies(catalog: Catalog, user: str = "") -> dict[str, dict[str, Any]]:
    """What was noted of all users, or of one, by user. Latencies are milliseconds."""
    where, args = (" WHERE user = ?", [user]) if user else ("", [])
    rows = catalog.store.database.rows(f"SELECT * FROM latencies{where} ORDER BY user", args)  # noqa: S608
    names = ("User", "LastPing", "LastLatency", "MinLatency", "MaxLatency")
    return {row[0]: dict(zip(names, row, strict=True)) for row in rows}
