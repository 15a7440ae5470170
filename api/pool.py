"""A bounded pool of threads for handlers: so many run, so many wait, and the next is told to come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import TypeVar

from dagdvid.errors import Busy

__all__ = ["Pool"]

R = TypeVar("R")

THREADS = 16
WAITING = 512


class Pool:
    """Runs plain functions, and the steps of plain iterators, away from the event loop."""

    def __init__(self, threads: int = THREADS, waiting: int = WAITING) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="dagdvid")
        self._limit = threads + waiting
        self._inside = 0
        self._lock = Lock()

    async def run(self, function: Callable[[], R], abandoned: Callable[[R], object] | None = None) -> R:
        """The function's result. If the caller is cancelled meanwhile, `abandoned` gets it, in the function's thread.

        Raises:
            Busy: as many are waiting as may.
        """
        self.check()
        job = self._submit(function)
        try:
            return await asyncio.wrap_future(job)
        except asyncio.CancelledError:
            if abandoned is not None and not job.cancelled():
                job.add_done_callback(lambda job: None if job.exception() else abandoned(job.result()))
            raise

    async def follow(self, job: Future[R]) -> R:
        """The result of what others do; it counts as if it ran here. If the caller is cancelled, it goes on."""
        self._enter(job)
        return await asyncio.shield(asyncio.wrap_future(job))

    def check(self) -> None:
        """Whether there is room for one more.

        Raises:
            Busy: as many are waiting as may.
        """
        if self._inside >= self._limit:
            raise Busy("too many requests at once; try again in a moment")

    async def iterate(self, iterator: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
        """The items of an iterator, each fetched when the last one is gone; it is closed in any case."""
        try:
            while True:
                step = asyncio.wrap_future(self._submit(lambda: next(iterator, None)))
                try:
                    item = await asyncio.shield(step)
                except asyncio.CancelledError:
                    # The step goes on in its thread, and a generator cannot be closed before it pauses.
                    await asyncio.wait([step])
                    raise
                if item is None:
                    return
                yield item
        finally:
            await self.discard(iterator)

    async def discard(self, iterator: Iterator[bytes]) -> None:
        """Close an iterator whose items nobody wants."""
        close = getattr(iterator, "close", None)
        if close is not None:
            await asyncio.shield(asyncio.wrap_future(self._submit(close)))

    def close(self) -> None:
        """Wait for what runs, and end the threads."""
        self._executor.shutdown()

    def _submit(self, function: Callable[[], R]) -> Future[R]:
        job = self._executor.submit(function)
        self._enter(job)
        return job

    def _enter(self, job: Future[R]) -> None:
        with self._lock:
            self._inside += 1
        job.add_done_callback(self._left)

    def _left(self, _: Future[R]) -> None:
        with self._lock:
            self._inside -= 1
