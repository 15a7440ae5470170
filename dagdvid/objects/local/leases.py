"""Leases: who began before garbage is given up, and may still look for it (SPEC 4.12).

Every process has a small file of its own in the folder `leases`, locked (flock) for as long as it lives, in which
stands the oldest epoch in which something that still runs there began. Who collects garbage begins a new epoch, and
waits until no living process has an older one. So neither a crash nor a wrong clock can keep a lease, or lose one.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["Lease", "Leases"]

_EPOCH = "epoch"
_NUMBER = struct.Struct("<Q")
_SETTLE = 0.02
"""Seconds after which what one core has written is seen by all others, many times over."""


class Leases:
    """The leases of one process on a folder, and, for who collects, a look at those of all."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder if need be. Where it cannot be written nobody collects either: then nothing is held."""
        self._folder = folder
        self._lock = threading.RLock()  # the garbage collector may end leases at any moment
        self._users: Counter[int] = Counter()
        self._lowest = 0
        self._path = folder
        self._slot: mmap.mmap | None = None
        self._epoch: mmap.mmap | None = None
        with suppress(OSError):
            folder.mkdir(exist_ok=True)
            self._fd, self._path = _make_slot(folder)
            self._slot = mmap.mmap(self._fd, _NUMBER.size)
            self._epoch = _open_epoch(folder)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold a lease: what can be read now, and what is stored meanwhile, stays until the end."""
        lease = self.take()
        try:
            yield
        finally:
            lease.end()

    def take(self) -> Lease:
        """As `held`, until the lease is ended."""
        while True:
            epoch = self.epoch
            self.add(epoch, 1)
            if self.epoch == epoch:  # else whoever began the new one may not have seen this
                return Lease(self, epoch)
            self.add(epoch, -1)

    @property
    def epoch(self) -> int:
        """The number of the current epoch, from 1."""
        return 1 + int(_NUMBER.unpack_from(self._epoch)[0]) if self._epoch is not None else 1

    def begin(self) -> int:
        """Begin a new epoch: its number. One at a time may do so."""
        if self._epoch is not None:
            _NUMBER.pack_into(self._epoch, 0, self.epoch)
            time.sleep(_SETTLE)
        return self.epoch

    def ended(self, epoch: int) -> bool:
        """Whether everything that began before an epoch has ended, in all processes."""
        for path in self._folder.glob("*.slot"):
            try:
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                if path != self._path:
                    with suppress(BlockingIOError):
                        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        path.unlink(
                            missing_ok=True
                        )  # under the lock: who has made it and not locked it yet looks again
                        continue
                data = os.pread(fd, _NUMBER.size, 0)
                if len(data) < _NUMBER.size or 0 < _NUMBER.unpack(data)[0] < epoch:
                    return False
            finally:
                os.close(fd)
        return True

    def close(self) -> None:
        """Give up the file."""
        if self._slot is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._fd)
            self._slot = None

    def add(self, epoch: int, n: int) -> None:
        """Count leases of an epoch."""
        with self._lock:
            self._users[epoch] += n
            if not self._users[epoch]:
                del self._users[epoch]
            lowest = min(list(self._users), default=0)
            if lowest != self._lowest and self._slot is not None:
                self._lowest = lowest
                _NUMBER.pack_into(self._slot, 0, lowest)


class Lease:
    """A lease; it ends once, with the object at the latest."""

    __slots__ = ("_epoch", "_leases")

    def __init__(self, leases: Leases, epoch: int) -> None:
        self._leases: Leases | None = leases
        self._epoch = epoch

    def end(self) -> None:
        """What was there may go now."""
        leases, self._leases = self._leases, None
        if leases is not None:
            leases.add(self._epoch, -1)

    def __del__(self) -> None:
        self.end()


def _make_slot(folder: Path) -> tuple[int, Path]:
    while True:
        path = folder / f"{secrets.token_hex(8)}.slot"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.ftruncate(fd, _NUMBER.size)
            fcntl.flock(fd, fcntl.LOCK_EX)
        except OSError:
            os.close(fd)
            raise
        if os.fstat(fd).st_nlink:
            return fd, path
        os.close(fd)


def _open_epoch(folder: Path) -> mmap.mmap:
    fd = os.open(folder / _EPOCH, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if os.fstat(fd).st_size < _NUMBER.size:
            os.ftruncate(fd, _NUMBER.size)
        return mmap.mmap(fd, _NUMBER.size)
    finally:
        os.close(fd)
