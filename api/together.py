"""Lets small writes go to the disk in company: one flush for all costs as much as one flush for each."""

from __future__ import annotations

import asyncio

__all__ = ["Together"]

PATIENCE = 0.001
"""Seconds for which a write waits for others at most; a flush takes as long, or longer."""


class Together:
    """Holds writes back until as many are ready as were on their way when the last ones went, or PATIENCE ends.

    Clients that wait for their answers before they ask again, each with one write at a time, thus share every flush.
    A client that is alone never waits. For one event loop.
    """

    def __init__(self) -> None:
        self._inside = 0
        self._expected = 1
        self._waiting: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> None:
        """Wait for one's turn; the write is made inside the block, and is on its way until the block ends."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._inside += 1
        self._waiting.append(turn)
        last = len(self._waiting) >= self._expected
        company = len(self._waiting) > 1
        if last:
            self._go()
        elif self._timer is None:
            self._timer = loop.call_later(PATIENCE, self._go)
        try:
            await turn
            if last and company:
                await asyncio.sleep(0)  # the others go on in the loop's next round; so does this one
        except BaseException:
            self._inside -= 1
            if turn in self._waiting:
                self._waiting.remove(turn)
            raise

    async def __aexit__(self, *_: object) -> None:
        """The write is done, or has failed."""
        self._inside -= 1

    def _go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._expected = max(1, self._inside)
        waiting, self._waiting = self._waiting, []
        for turn in waiting:
            if not turn.done():
                turn.set_result(None)
