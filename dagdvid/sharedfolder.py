"""What all processes of a server agree on until it starts again: small temporary files.

They lie outside of the data directory, under a name made of its path, so that a server that only reads has them, too.
"""

from __future__ import annotations

import os
import stat
import tempfile
from hashlib import sha256
from pathlib import Path

from dagdvid.errors import UnavailableError

__all__ = ["SharedFolder"]


class SharedFolder:
    """The folder of one data directory."""

    def __init__(self, data: Path) -> None:
        self._home = Path(tempfile.gettempdir()) / f"dagdvid-{os.getuid()}"
        self.path = self._home / sha256(os.fsencode(data.resolve())).hexdigest()[:32]

    def make(self) -> Path:
        """Make the folder if need be.

        Raises:
            UnavailableError: its place belongs to somebody else.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        home = self._home.lstat()
        if not stat.S_ISDIR(home.st_mode) or home.st_uid != os.getuid():
            raise UnavailableError(f"{self._home} belongs to somebody else: it is needed for what processes share")
        return self.path

    def write(self, name: str, content: bytes) -> None:
        """Put a file in the place of another at once."""
        fresh = self.make() / f"{name}.{os.getpid()}"
        fresh.write_bytes(content)
        fresh.replace(self.path / name)

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if it is not there."""
        try:
            return (self.path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def stamp(self, name: str) -> tuple[int, int]:
        """What changes whenever a file is written."""
        try:
            found = os.stat(self.path / name)  # noqa: PTH116 - a third of the time, for each request
        except (FileNotFoundError, NotADirectoryError):
            return (0, 0)
        return (found.st_mtime_ns, found.st_ino)
