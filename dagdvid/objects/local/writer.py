"""The writer of a server of one process: a thread that takes operations from all others."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from typing import Any

from dagdvid.errors import Busy
from dagdvid.objects.local.group import MAX_BYTES, MAX_GROUP, GroupCommit, Outcome
from dagdvid.objects.local.operation import Operation, Prepared, Put, prepare_operation

__all__ = ["Operation", "Put", "Writer"]

_TENDED = 64
"""Transactions of other threads after which the writer's looks after the files, though nothing may be due."""


class Writer:
    """Takes operations from all threads. Their order is the order of `submit`; each answer comes once it is durable.

    Where an answer does not wait for the disk (`GroupCommit.relaxed`), a transaction takes less time than the way to
    the writer's thread and back. So a thread that finds nobody writing makes it itself.
    """

    def __init__(self, commit: GroupCommit) -> None:
        self._commit = commit
        self._waiting: deque[tuple[Prepared, Future[Any]]] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._taken = True
        """Some thread writes, or tends the files; at the beginning the writer's own."""
        self._left = False
        """Some other thread has written, so that there may be something to tend."""
        self._made = 0
        """Transactions made by other threads."""
        self._asleep = False
        """The writer's thread waits until it is woken."""
        self._thread = threading.Thread(target=self._loop, name="dagdvid-writer", daemon=True)
        self._thread.start()

    def submit(self, operation: Operation) -> Future[Any]:
        """Queue an operation; the future has what its `apply` returned, or its error."""
        prepared = prepare_operation(operation)
        future: Future[Any] = Future()
        with self._wake:
            if self._stopping:
                raise Busy("the store is closing")
            if not self._commit.relaxed or self._taken or self._waiting:
                self._waiting.append((prepared, future))
                self._wake.notify()
                return future
            self._taken = True
        try:
            outcome = self._commit.commit([prepared])[0]
        finally:
            with self._wake:
                self._taken, self._left = False, True
                self._made += 1
                if self._waiting or self._asleep or self._made % _TENDED == 0:
                    self._wake.notify()
        _tell(future, outcome)
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

    def _loop(self) -> None:
        while (group := self._next_group(self._commit.tend())) is not None:
            outcomes = self._commit.commit([prepared for prepared, _ in group]) if group else []
            for (_, future), outcome in zip(group, outcomes, strict=True):
                _tell(future, outcome)

    def _next_group(self, timeout: float | None) -> list[tuple[Prepared, Future[Any]]] | None:
        """The operations to do together, none if there is something to tend; None if nothing will ever come again."""
        with self._wake:
            self._taken = False
            if not (self._waiting or self._stopping or self._left):
                self._asleep = timeout is None
                self._wake.wait(timeout)
            while self._taken:
                self._asleep = True
                self._wake.wait()
            self._asleep = False
            if self._stopping and not self._waiting:
                return None
            self._taken, self._left = True, False
            group: list[tuple[Prepared, Future[Any]]] = []
            size = 0
            while self._waiting and len(group) < MAX_GROUP and size < MAX_BYTES:
                prepared, future = self._waiting.popleft()
                if future.set_running_or_notify_cancel():
                    group.append((prepared, future))
                    size += prepared.size
            return group


def _tell(future: Future[Any], outcome: Outcome) -> None:
    if outcome.error is not None:
        future.set_exception(outcome.error)
    else:
        future.set_result(outcome.value)
