"""How many heavy requests run at once, in all processes of a server: `?throttle=true` (DVID: server/web.go).

Each that runs holds the lock (flock) of one of as many small files as may run, so that whoever dies lets go. The limit,
like DVID's, is forgotten when the server starts again.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from dagdvid.errors import BadRequest, Busy
from dagdvid.sharedfolder import SharedFolder

__all__ = ["DEFAULT_LIMIT", "MOST", "Held", "Throttle"]

DEFAULT_LIMIT = 1
MOST = 10_000
"""The largest limit: there is a file for each."""
_LIMIT = "limit"


class Throttle:
    """The slots of one data directory."""

    def __init__(self, data: Path) -> None:
        self._shared = SharedFolder(data)

    def reset(self) -> None:
        """Back to the default, for a server that starts."""
        (self._shared.path / _LIMIT).unlink(missing_ok=True)

    @property
    def limit(self) -> int:
        """How many may run at once."""
        text = self._shared.read(_LIMIT)
        return DEFAULT_LIMIT if text is None else int(text)

    def set_limit(self, limit: int) -> None:
        """Change the limit for all processes. What runs goes on.

        Raises:
            BadRequest: below 0, or above MOST.
        """
        if not 0 <= limit <= MOST:
            raise BadRequest(f"the number of throttled requests must be between 0 and {MOST}, not {limit}")
        self._shared.write(_LIMIT, b"%d" % limit)

    def enter(self) -> Callable[[], None]:
        """Take a slot; what it gives must be called at the end.

        Raises:
            Busy: all are taken.
        """
        limit = self.limit
        if limit:
            self._shared.make()
        for slot in range(limit):
            file = os.open(self._shared.path / str(slot), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(file)
                continue
            return lambda: os.close(file)
        raise Busy(f"Server already running {limit} throttled operations (max = {limit}): try again later")


class Held(Iterator[bytes]):
    """A streamed body that calls `leave` once it is read to its end, or closed."""

    def __init__(self, body: Iterator[bytes], leave: Callable[[], None]) -> None:
        self._body = body
        self._leave: Callable[[], None] | None = leave

    def __next__(self) -> bytes:
        try:
            return next(self._body)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let the slot go."""
        leave, self._leave = self._leave, None
        if leave is not None:
            try:
                with suppress(AttributeError):
                    self._body.close()  # type: ignore[attr-defined]
            finally:
                leave()

    def __del__(self) -> None:
        self.close()
