"""The one writer of a process: a thread that makes what waits durable together, with one flush and one transaction."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from dagdvid.errors import Busy
from dagdvid.objects.local.appending import PACK_LIMIT, PackWriter
from dagdvid.objects.local.database import Database, translated
from dagdvid.objects.local.packs import Packs
from dagdvid.objects.store import Object

__all__ = ["Operation", "Put", "Writer"]

_MAX_GROUP, _MAX_BYTES = 256, 64 * 2**20

log = logging.getLogger(__name__)


class Operation(Protocol):
    """A prepared change: objects to store, and what to do in the database, all of it or nothing."""

    @property
    def objects(self) -> Sequence[Object]:
        """What to store before `apply` runs."""

    def apply(self, conn: sqlite3.Connection) -> Any:
        """Change the database inside the writer's transaction; an error undoes this operation alone."""


@dataclass(frozen=True)
class Put:
    """Store objects, nothing else."""

    objects: Sequence[Object]
    again: bool = False
    """Store also what is there already: the pack that it lies in is about to go."""

    def apply(self, conn: sqlite3.Connection) -> None:
        """Nothing to do."""


class Writer:
    """Takes operations from all threads. Their order is the order of `submit`; each answer comes once it is durable."""

    def __init__(self, database: Database, packs: Packs, pack_limit: int = PACK_LIMIT) -> None:
        self._packs = packs
        self._writer = PackWriter(packs)
        self._pack_limit = pack_limit
        self._conn = database.connect(write=True)
        self._waiting: deque[tuple[Operation, Future[Any]]] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, name="dagdvid-writer", daemon=True)
        self._thread.start()

    def submit(self, operation: Operation) -> Future[Any]:
        """Queue an operation; the future has what its `apply` returned, or its error."""
        future: Future[Any] = Future()
        with self._wake:
            if self._stopping:
                raise Busy("the store is closing")
            self._waiting.append((operation, future))
            self._wake.notify()
        return future

    def run(self, operation: Operation) -> Any:
        """`submit`, and wait."""
        return self.submit(operation).result()

    def close(self) -> None:
        """Finish what waits, then stop."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()
        self._writer.abandon()
        self._conn.close()

    def _loop(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._stopping:
                    self._wake.wait()
                if not self._waiting:
                    return
                group = self._next_group()
            if not group:
                continue
            try:
                self._commit(group)
            except BaseException as error:  # noqa: BLE001  every waiting caller must get an answer
                self._rollback()
                self._writer.abandon()
                for _, future in group:
                    if not future.done():
                        future.set_exception(translated(error) if isinstance(error, Exception) else error)
            else:
                self._seal()

    def _next_group(self) -> list[tuple[Operation, Future[Any]]]:
        group: list[tuple[Operation, Future[Any]]] = []
        size = 0
        while self._waiting and len(group) < _MAX_GROUP and size < _MAX_BYTES:
            operation, future = self._waiting.popleft()
            if future.set_running_or_notify_cancel():
                group.append((operation, future))
                size += sum(len(item.payload) for item in operation.objects)
        return group

    def _commit(self, group: list[tuple[Operation, Future[Any]]]) -> None:
        wanted = {item.id: item for operation, _ in group for item in operation.objects}
        known = self._packs.locate(list(wanted)) if wanted else {}
        moved = [operation for operation, _ in group if isinstance(operation, Put) and operation.again]
        again = {item.id for operation in moved for item in operation.objects}
        fresh = [item for name, item in wanted.items() if name not in known or name in again]
        if fresh:
            self._writer.append(fresh)
        results: list[tuple[Future[Any], Any, Exception | None]] = []
        conn = self._conn
        conn.execute("BEGIN IMMEDIATE")
        if fresh:
            self._writer.record(conn)
        for operation, future in group:
            conn.execute("SAVEPOINT operation")
            try:
                results.append((future, operation.apply(conn), None))
            except Exception as error:
                if not conn.in_transaction:  # a full disk, say: SQLite took all of it back
                    raise
                conn.execute("ROLLBACK TO operation")
                results.append((future, None, translated(error)))
            conn.execute("RELEASE operation")
        conn.execute("COMMIT")
        self._writer.committed()
        for future, value, failure in results:
            if failure is not None:
                future.set_exception(failure)
            else:
                future.set_result(value)

    def _rollback(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            if self._conn.in_transaction:
                self._conn.execute("ROLLBACK")

    def _seal(self) -> None:
        try:
            self._writer.seal_full(self._conn, self._pack_limit)
        except Exception:  # the pack stays open in the catalogue; recovery seals it at the next start
            self._rollback()
            log.exception("a full pack could not be sealed; the next start will do it")
