"""The pulse: a number in shared memory that changes with every transaction, so that nobody asks the database in vain.

It is no state: the file `pulse` may be lost, or hold anything. Who has seen a value, and sees it again, knows that no
transaction was answered in between.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

__all__ = ["Pulse"]

_FILE = "pulse"
_NUMBER = struct.Struct("=Q")


class Pulse:
    """The pulse of a folder, as all processes on this machine see it; the writer alone may `beat`."""

    def __init__(self, folder: Path, *, writing: bool) -> None:
        """Where the file cannot be had, there is none."""
        self._memory: mmap.mmap | None = None
        try:
            fd = os.open(folder / _FILE, (os.O_RDWR | os.O_CREAT if writing else os.O_RDONLY) | os.O_CLOEXEC, 0o644)
        except OSError:
            return
        try:
            if writing:
                before = os.pread(fd, _NUMBER.size, 0)
                os.pwrite(fd, before.ljust(_NUMBER.size, b"\0"), 0)  # a page that the disk has room for
            access = mmap.ACCESS_WRITE if writing else mmap.ACCESS_READ
            self._memory = mmap.mmap(fd, _NUMBER.size, access=access)
        except (OSError, ValueError):
            return
        finally:
            os.close(fd)
        if writing:
            self.beat()  # an earlier writer may have died between a transaction and its beat

    def now(self) -> bytes | None:
        """The number; None if there is none, so that whoever wants to know has to ask the database."""
        return None if self._memory is None else self._memory[:]

    def beat(self) -> None:
        """After a transaction, and before anybody is told of it."""
        if self._memory is not None:
            (number,) = _NUMBER.unpack(self._memory[:])
            self._memory[:] = _NUMBER.pack((number + 1) % 2**64)

    def close(self) -> None:
        """Let it go."""
        if self._memory is not None:
            self._memory.close()
            self._memory = None
