"""A `dagdvid serve` of our own, in another process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import IO, cast

from dagdvid.errors import UnavailableError

__all__ = ["ServerProcess"]

PATIENCE = 60.0
"""Seconds that a server has to stop; running requests take part of them."""


class ServerProcess:
    """A server on a data directory, started at once; as a context manager it is stopped at the end."""

    def __init__(self, data: Path, http: str, *more: str) -> None:
        """Start it, with further words for `dagdvid serve`, and wait until it listens.

        Raises:
            UnavailableError: it does not; it has said why on standard error.
        """
        self.data = data
        # A session of its own keeps a Ctrl-C at the terminal from it: whoever started it also stops it.
        # -P: the installed program, not a folder of its name where the user stands: a checkout has no dagdvid/api.
        words = [sys.executable, "-P", "-m", "dagdvid", "serve", "--data", str(data), "--http", http, "--quiet", *more]
        self._process = subprocess.Popen(  # noqa: S603 - no shell, our own program
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self._said = cast(IO[str], self._process.stdout)
        line = self._said.readline()
        if not line:
            self._process.wait()
            self._said.close()
            raise UnavailableError(f"the server on {data} did not start; its message is above")
        self.url = line.rpartition(" on ")[2].strip()

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()

    def wait(self, seconds: float) -> bool:
        """Whether it has ended by itself within a time."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True
