"""File access that fails as disks do: power cuts, torn writes, a full disk, failing calls. The files are real."""

from __future__ import annotations

import errno
import random
from pathlib import Path

from dagdvid.errors import NoSpace
from dagdvid.objects.local.files import Files


class PowerCut(OSError):
    """The machine is off: every call fails until the store is opened anew."""


class FaultFiles(Files):
    """Counts calls; what was written since the last sync is known, so that a power cut can take it back."""

    def __init__(self, *, cut_at: int = 0, fail_at: int = 0, full_at: int = 0) -> None:
        """Numbers count from 1: the call at which the power goes, the call that fails, the write that finds no room."""
        self.calls = self.writes = 0
        self.cut_at, self.fail_at, self.full_at = cut_at, fail_at, full_at
        self.full = self.off = False
        self._paths: dict[int, Path] = {}
        self._durable: dict[Path, bytes] = {}
        self._unsynced: dict[Path, list[tuple[int, bytes | None]]] = {}
        self._new: list[tuple[Path, Path | None]] = []

    def _call(self) -> None:
        self.calls += 1
        if self.calls == self.cut_at:
            self.off = True
        if self.off:
            raise PowerCut(errno.EIO, "the power is off")
        if self.calls == self.fail_at:
            raise OSError(errno.EIO, "input/output error")

    def power_cut(self, rng: random.Random) -> None:
        """What the disk holds afterwards: all that was synced, and of the rest any part, torn and out of order."""
        for path, changes in self._unsynced.items():
            data = bytearray(self._durable[path])
            for at, written in changes:
                if rng.random() < 0.5:
                    continue
                if written is None:
                    del data[at:]
                    continue
                part = written[: rng.randrange(len(written) + 1)]
                data += bytes(max(0, at + len(part) - len(data)))
                data[at : at + len(part)] = part
            path.write_bytes(data)
        for path, before in reversed(self._new):
            if rng.random() < 0.5 and before is None:
                path.unlink(missing_ok=True)
            elif before is not None and rng.random() < 0.5:
                path.rename(before)

    def create(self, path):
        self._call()
        if self.full:
            raise NoSpace("the disk is full")
        fd = super().create(path)
        self._paths[fd] = path
        self._durable[path] = b""
        self._unsynced[path] = []
        self._new.append((path, None))
        return fd

    def open(self, path, *, write=False):
        self._call()
        fd = super().open(path, write=write)
        self._paths[fd] = path
        if write and path not in self._durable:
            self._durable[path] = path.read_bytes()
            self._unsynced[path] = []
        return fd

    def write(self, fd, data, offset):
        self.writes += 1
        data = bytes(data)
        self._unsynced[self._paths[fd]].append((offset, data))
        self._call()
        if self.writes == self.full_at:
            self.full = True
        if self.full:
            super().write(fd, data[: len(data) // 2], offset)
            raise NoSpace("the disk is full")
        super().write(fd, data, offset)

    def truncate(self, fd, size):
        self._unsynced[self._paths[fd]].append((size, None))
        self._call()
        super().truncate(fd, size)

    def sync(self, fd):
        self._call()
        super().sync(fd)
        path = self._paths[fd]
        self._durable[path] = path.read_bytes()
        self._unsynced[path] = []

    def sync_folder(self, path):
        self._call()
        super().sync_folder(path)
        self._new = [(new, old) for new, old in self._new if new.parent != path]

    def rename(self, old, new):
        self._call()
        super().rename(old, new)
        self._new = [(new, old) if path == old else (path, before) for path, before in self._new]
        for state in (self._durable, self._unsynced):
            state[new] = state.pop(old)
        self._paths = {fd: new if path == old else path for fd, path in self._paths.items()}

    def remove(self, path):
        self._call()
        super().remove(path)
        self._durable.pop(path, None)
        self._unsynced.pop(path, None)
        self._new = [(new, old) for new, old in self._new if new != path]
