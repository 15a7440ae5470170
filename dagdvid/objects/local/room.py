"""Room for what grows: a quota of the store, and a reserve of the disk for what must go on when it is full.

Refused is what brings new content. What finishes commits, deletes, or collects garbage goes on, in the reserve.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

from dagdvid.errors import NoSpace
from dagdvid.objects.local.database import Database
from dagdvid.objects.local.operation import Prepared, Put
from dagdvid.objects.local.pack import BLOBS

__all__ = ["RESERVE", "Room"]

RESERVE = 32 * 2**20
_LOOK_EVERY = 0.5
_MB = 2**20


class Room:
    """Used by the one thread that writes. Numbers are bytes; no quota is 0."""

    def __init__(self, database: Database, *, quota: int = 0, reserve: int = RESERVE) -> None:
        self._database = database
        self._quota, self._reserve = quota, reserve
        self._left = 0
        self._until = 0.0
        self._why = ""

    def check(self, prepared: Prepared) -> None:
        """Refuse an operation that brings content if there is no room for it.

        Raises:
            NoSpace: why, and what helps.
        """
        if not _grows(prepared):
            return
        now = time.monotonic()
        if now >= self._until or prepared.size > self._left:
            self._look()
            self._until = now + _LOOK_EVERY
        self._left -= prepared.size
        if self._left < 0:
            raise NoSpace(self._why)

    def _look(self) -> None:
        folder = self._database.path.parent
        disk = os.statvfs(folder)
        free = disk.f_bavail * disk.f_frsize
        self._left = free - self._reserve
        self._why = (
            f"only {free // _MB} MB of the disk are free, and {self._reserve // _MB} MB are kept "
            "for commits and for collecting garbage (store.reserve): free some space, or delete and run dagdvid gc"
        )
        if self._quota and self._quota - self._used() < self._left:
            self._left = self._quota - self._used()
            self._why = (
                f"the store may take {self._quota // _MB} MB (store.quota) and has no room left: "
                "delete and run dagdvid gc, or raise the quota"
            )

    def _used(self) -> int:
        (packs,) = self._database.rows("SELECT coalesce(sum(length), 0) FROM packs")[0]
        used = int(packs)
        for path in (self._database.path, self._database.wal):
            with suppress(FileNotFoundError):
                used += path.stat().st_size
        return used


def _grows(prepared: Prepared) -> bool:
    operation = prepared.operation
    if isinstance(operation, Put):
        return not operation.again and any(item.kind == BLOBS for item in prepared.packed)
    return bool(getattr(operation, "grows", False))
