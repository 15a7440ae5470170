"""All file access of the store: one small class, which tests replace to cut power, fill the disk and fail calls."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dagdvid.errors import NoSpace

__all__ = ["Files", "raise_limit"]


class Files:
    """Plain system calls. Raises NoSpace where the disk is full, OSError for all else."""

    def create(self, path: Path) -> int:
        """Make a new file; a descriptor for reading and writing."""
        with _space(path):
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)

    def open(self, path: Path, *, write: bool = False) -> int:
        """Open an existing file."""
        return os.open(path, (os.O_RDWR if write else os.O_RDONLY) | os.O_CLOEXEC)

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        os.close(fd)

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        """Write all bytes at an offset."""
        view = memoryview(data)
        with _space(None):
            while view:
                n = os.pwrite(fd, view, offset)
                view, offset = view[n:], offset + n

    def read(self, fd: int, size: int, offset: int) -> bytes:
        """Up to `size` bytes at an offset; fewer only at the end of the file."""
        data = os.pread(fd, size, offset)
        while len(data) < size:
            more = os.pread(fd, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def size(self, fd: int) -> int:
        """Bytes of an open file."""
        return os.fstat(fd).st_size

    def truncate(self, fd: int, size: int) -> None:
        """Cut a file."""
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        """Return once the file's bytes are on disk."""
        with _space(None):
            os.fdatasync(fd)

    def sync_folder(self, path: Path) -> None:
        """Return once the folder's entries are on disk."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def rename(self, old: Path, new: Path) -> None:
        """Give a file another name, in place of what had it."""
        old.replace(new)

    def remove(self, path: Path) -> None:
        """Remove a file."""
        path.unlink()

    def list(self, path: Path) -> list[str]:
        """Names in a folder, sorted."""
        return sorted(os.listdir(path))  # noqa: PTH208  names, not paths

    def sizes(self, path: Path) -> dict[str, int]:
        """Bytes of the files in a folder, by name."""
        with os.scandir(path) as entries:
            return {entry.name: entry.stat().st_size for entry in entries}


def raise_limit() -> None:
    """Let this process open as many files as it may: connections, and the packs in use."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextmanager
def _space(path: Path | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            where = f" for {path.name}" if path else ""
            raise NoSpace(f"the disk is full{where}: free some space, then try again") from None
        raise
