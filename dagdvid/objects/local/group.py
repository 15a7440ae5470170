"""Group commit: makes all operations that wait durable together, with one flush and one transaction (SPEC 7.1)."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

from dagdvid.objects.local.appending import PACK_LIMIT, PackWriter
from dagdvid.objects.local.collection import Collection
from dagdvid.objects.local.database import Database, translated
from dagdvid.objects.local.flusher import Flusher
from dagdvid.objects.local.operation import Prepared
from dagdvid.objects.local.packs import Packs
from dagdvid.objects.local.pulse import Pulse
from dagdvid.objects.local.room import Room
from dagdvid.objects.local.tiering import TierBuilder

__all__ = ["MAX_BYTES", "MAX_GROUP", "GroupCommit", "Outcome"]

MAX_GROUP, MAX_BYTES = 256, 64 * 2**20
"""Operations, and bytes of their objects, that a group should not exceed."""

log = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """What became of an operation: the value that its `apply` returned, or why nothing was changed."""

    value: Any = None
    error: BaseException | None = None


class GroupCommit:
    """The only one to write packs and database. Used by one thread at a time."""

    def __init__(
        self, database: Database, packs: Packs, pulse: Pulse, room: Room, pack_limit: int = PACK_LIMIT
    ) -> None:
        self._room = room
        self.relaxed = database.relaxed
        """Whether `commit` returns before the disk has it."""
        self._pulse = pulse
        self._packs = packs
        self._writer = PackWriter(packs, relaxed=database.relaxed)
        self._pack_limit = pack_limit
        self._conn = database.connect(write=True)
        self._collection = Collection(self._conn, packs)
        self._tiers = TierBuilder(packs, self._conn)
        self._tiers.tend()
        self._flusher = Flusher(database, self._conn, self._writer, packs.files, relaxed=database.relaxed)

    def commit(self, group: Sequence[Prepared]) -> list[Outcome]:
        """Do operations in their order. On return those without an error are done; the others changed nothing.

        What is done is on disk, or, in a relaxed database, survives the end of this process.
        """
        refused = {i: Outcome(error=error) for i, p in enumerate(group) if (error := self._refusal(p))}
        if not refused:
            return self._commit_all(group)
        others = iter(self._commit_all([p for i, p in enumerate(group) if i not in refused]))
        return [refused.get(i) or next(others) for i in range(len(group))]

    def _refusal(self, prepared: Prepared) -> Exception | None:
        """Why there is no room for an operation."""
        try:
            self._room.check(prepared)
        except Exception as error:  # noqa: BLE001  its caller must get it, whatever it is
            return translated(error)
        return None

    def _commit_all(self, group: Sequence[Prepared]) -> list[Outcome]:
        try:
            outcomes = self._commit(group)
        except BaseException as error:  # noqa: BLE001  every waiting caller must get an answer
            self._rollback()
            self._writer.abandon()
            failure = translated(error) if isinstance(error, Exception) else error
            return [Outcome(error=failure)] * len(group)
        finally:
            self._pulse.beat()
        self._flusher.committed(sum(prepared.size for prepared in group))
        self._seal(all_of_them=_any(group, "seals"))
        return self._last(group, outcomes)

    def tend(self) -> float | None:
        """Do what is due; seconds until there is something to do again, None if not before the next operation."""
        due = [self._flusher.tend(), self._tiers.tend()]
        return min((seconds for seconds in due if seconds is not None), default=None)

    def flush(self) -> None:
        """Return once everything that is done is on disk.

        Raises:
            OSError, NoSpace: it is not.
        """
        self._flusher.flush()

    def close(self) -> None:
        """Close the files."""
        self._tiers.close()
        self._flusher.close()
        self._writer.abandon()
        self._conn.close()

    def _commit(self, group: Sequence[Prepared]) -> list[Outcome]:
        wanted = {item.id: item for prepared in group for item in prepared.packed}
        known = self._packs.locate(list(wanted), self._collection.condemned) if wanted else {}
        again = {item.id for prepared in group if prepared.again for item in prepared.packed}
        fresh = [item for name, item in wanted.items() if name not in known or name in again]
        if fresh:
            self._writer.append(fresh)
        outcomes = []
        conn = self._conn
        conn.execute("BEGIN IMMEDIATE")
        if fresh:
            self._writer.record(conn)
        if known:
            self._collection.note(known)
        for prepared in group:
            conn.execute("SAVEPOINT operation")
            try:
                outcomes.append(Outcome(prepared.operation.apply(conn)))
            except Exception as error:
                if not conn.in_transaction:  # a full disk, say: SQLite took all of it back
                    raise
                conn.execute("ROLLBACK TO operation")
                outcomes.append(Outcome(error=translated(error)))
            conn.execute("RELEASE operation")
        conn.execute("COMMIT")
        self._writer.committed()
        if _any(group, "collects"):
            self._collection.load()
        return outcomes

    def _last(self, group: Sequence[Prepared], outcomes: list[Outcome]) -> list[Outcome]:
        """What operations that must be on disk before they are answered came to."""
        if not _any(group, "lasting"):
            return outcomes
        try:
            self._flusher.flush()
        except (OSError, sqlite3.Error) as error:
            failed = Outcome(error=translated(error))
            return [failed if _any([p], "lasting") else o for p, o in zip(group, outcomes, strict=True)]
        return outcomes

    def _rollback(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            if self._conn.in_transaction:
                self._conn.execute("ROLLBACK")

    def _seal(self, *, all_of_them: bool) -> None:
        try:
            self._writer.seal_full(self._conn, 0 if all_of_them else self._pack_limit)
        except Exception:  # the pack stays open in the catalogue; recovery seals it at the next start
            self._rollback()
            log.exception("a full pack could not be sealed; the next start will do it")


def _any(group: Sequence[Prepared], what: str) -> bool:
    """Whether an operation of a group says something of itself that is rarely said (see `collection`)."""
    return any(getattr(prepared.operation, what, False) for prepared in group)
