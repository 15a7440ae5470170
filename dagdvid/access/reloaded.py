"""What a process keeps of a file, until somebody has it loaded again in all processes of the server."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar
from uuid import uuid4

from dagdvid.errors import DagdvidError
from dagdvid.sharedfolder import SharedFolder

__all__ = ["Reloaded", "announce_reload"]

log = logging.getLogger(__name__)

T = TypeVar("T")

_PREFIX = "reload-"


def announce_reload(shared: SharedFolder, name: str) -> None:
    """Have all processes read again what goes by a name."""
    shared.write(_PREFIX + name, uuid4().bytes)


class Reloaded(Generic[T]):
    """A value that `read` makes; processes that have one of the same name and folder make it anew together."""

    def __init__(self, read: Callable[[], T], shared: SharedFolder, name: str) -> None:
        """Raises what `read` does."""
        self._read, self._shared, self._name = read, shared, name
        self._lock = Lock()
        self._stamp = shared.stamp(_PREFIX + name)
        self._value = read()

    def now(self) -> T:
        """The value. Where it cannot be read again, it stays as it was, and the log says so."""
        if self._shared.stamp(_PREFIX + self._name) != self._stamp:
            with self._lock:
                self._stamp = self._shared.stamp(_PREFIX + self._name)
                try:
                    self._value = self._read()
                except DagdvidError as error:
                    log.error("kept as it was: %s", error)
        return self._value

    def reload(self) -> None:
        """Read again, here and in the other processes.

        Raises:
            DagdvidError: what `read` says; then nothing changes anywhere.
        """
        value = self._read()
        with self._lock:
            self._value = value
            announce_reload(self._shared, self._name)
            self._stamp = self._shared.stamp(_PREFIX + self._name)
