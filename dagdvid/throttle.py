"""How many heavy requests run at once, in all processes of a server: `?throttle=true` (DVID: server/web.go).

Each that runs holds the lock (flock) of one of as many small files as may run, so that whoever dies lets go. They lie
in the system's folder for temporary files, by the path of the data directory, as does the limit: like DVID's, it is
forgotten when the server starts again, and a server that only reads has it, too.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from dagdvid.errors import BadRequest, Busy, UnavailableError

__all__ = ["DEFAULT_LIMIT", "MOST", "Held", "Throttle"]

DEFAULT_LIMIT = 1
MOST = 10_000
"""The largest limit: there is a file for each."""


class Throttle:
    """The slots of one data directory."""

    def __init__(self, data: Path) -> None:
        self._home = Path(tempfile.gettempdir()) / f"dagdvid-{os.getuid()}"
        self._folder = self._home / sha256(os.fsencode(data.resolve())).hexdigest()[:32]
        self._limit = self._folder / "limit"

    def reset(self) -> None:
        """Back to the default, for a server that starts."""
        self._limit.unlink(missing_ok=True)

    @property
    def limit(self) -> int:
        """How many may run at once."""
        try:
            return int(self._limit.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return DEFAULT_LIMIT

    def set_limit(self, limit: int) -> None:
        """Change the limit for all processes. What runs goes on.

        Raises:
            BadRequest: below 0, or above MOST.
        """
        if not 0 <= limit <= MOST:
            raise BadRequest(f"the number of throttled requests must be between 0 and {MOST}, not {limit}")
        self._make_folder()
        fresh = self._limit.with_suffix(f".{os.getpid()}")
        fresh.write_bytes(b"%d" % limit)
        fresh.replace(self._limit)

    def enter(self) -> Callable[[], None]:
        """Take a slot; what it gives must be called at the end.

        Raises:
            Busy: all are taken.
        """
        limit = self.limit
        if limit:
            self._make_folder()
        for slot in range(limit):
            file = os.open(self._folder / str(slot), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(file)
                continue
            return lambda: os.close(file)
        raise Busy(f"Server already running {limit} throttled operations (max = {limit}): try again later")

    def _make_folder(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        home = self._home.lstat()
        if not stat.S_ISDIR(home.st_mode) or home.st_uid != os.getuid():
            raise UnavailableError(f"{self._home} belongs to somebody else: no request can be throttled")


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
