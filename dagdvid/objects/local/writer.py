"""The writer of a server of one process: a thread that takes operations from all others."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from typing import Any

from dagdvid.errors import Busy
from dagdvid.objects.local.group import MAX_BYTES, MAX_GROUP, GroupCommit
from dagdvid.objects.local.operation import Operation, Prepared, Put, prepare_operation

__all__ = ["Operation", "Put", "Writer"]


class Writer:
    """Takes operations from all threads. Their order is the order of `submit`; each answer comes once it is durable."""

    def __init__(self, commit: GroupCommit) -> None:
        self._commit = commit
        self._waiting: deque[tuple[Prepared, Future[Any]]] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, name="dagdvid-writer", daemon=True)
        self._thread.start()

    def submit(self, operation: Operation) -> Future[Any]:
        """Queue an operation; the future has what its `apply` returned, or its error."""
        prepared = prepare_operation(operation)
        future: Future[Any] = Future()
        with self._wake:
            if self._stopping:
                raise Busy("the store is closing")
            self._waiting.append((prepared, future))
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

    def _loop(self) -> None:
        while True:
            timeout = self._commit.tend()
            with self._wake:
                if not self._waiting and not self._stopping:
                    self._wake.wait(timeout)
                if not self._waiting:
                    if self._stopping:
                        return
                    continue
                group = self._next_group()
            outcomes = self._commit.commit([prepared for prepared, _ in group])
            for (_, future), outcome in zip(group, outcomes, strict=True):
                if outcome.error is not None:
                    future.set_exception(outcome.error)
                else:
                    future.set_result(outcome.value)

    def _next_group(self) -> list[tuple[Prepared, Future[Any]]]:
        group: list[tuple[Prepared, Future[Any]]] = []
        size = 0
        while self._waiting and len(group) < MAX_GROUP and size < MAX_BYTES:
            prepared, future = self._waiting.popleft()
            if future.set_running_or_notify_cancel():
                group.append((prepared, future))
                size += prepared.size
        return group
