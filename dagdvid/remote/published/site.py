"""Where published stores lie: named files, immutable but for refs, which move by compare-and-swap (SPEC 8.5)."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import unquote

from blake3 import blake3

from dagdvid.errors import BadRequest, Offline, RemoteError
from dagdvid.urls import split_url

__all__ = ["SCHEMES", "FolderSite", "Named", "Site", "is_site", "open_site"]

SCHEMES = ("file", "s3", "s3a", "gs", "az", "azure", "http", "https")


class Named(NamedTuple):
    """The bytes of a small file, and the state that it was in."""

    data: bytes
    state: str


class Site(Protocol):
    """Files by relative paths. All verbs may be called by several threads."""

    name: str
    """For people, without secrets."""

    def read(self, path: str) -> Named | None:
        """A whole file; None if there is none.

        Raises:
            Offline: the site cannot be reached. RemoteError: it refuses.
        """

    def read_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Bytes from start to end of a file, for each of some ranges; fewer where the file ends before.

        Raises:
            Offline, RemoteError: as `read`; RemoteError also where there is no such file.
        """

    def put(self, path: str, data: bytes | Path) -> None:
        """Write a file that will never change; one that is there already may be left as it is."""

    def swap(self, path: str, data: bytes, state: str | None) -> bool:
        """Write a file if it is still in a state (None: absent); whether it was.

        Raises:
            Offline, RemoteError: it is not known whether it was written.
        """

    def close(self) -> None:
        """Let the connections go."""


def is_site(url: str) -> bool:
    """Whether a URL can only be that of a published store, not of a server."""
    return split_url(url).scheme in SCHEMES[:-2]


def open_site(url: str) -> Site:
    """The site of a URL: file:///FOLDER, s3://, gs:// or az://BUCKET/PREFIX, or http(s)://, for reading.

    Raises:
        BadRequest: no such URL.
    """
    parts = split_url(url)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise BadRequest(f"{url!r} names no folder of this machine: write file:///FOLDER")
        return FolderSite(Path(unquote(parts.path)))
    if parts.scheme not in SCHEMES:
        raise BadRequest(f"{url!r} is not the URL of a published store: file, s3, gs, az, http or https")
    from dagdvid.remote.published.bucket import BucketSite  # noqa: PLC0415  obstore, for who needs it

    return BucketSite(url)


class FolderSite:
    """A folder of this machine, or one that is mounted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.absolute().as_uri()

    def read(self, path: str) -> Named | None:
        """As `Site.read`."""
        try:
            data = (self.folder / path).read_bytes()
        except FileNotFoundError:
            if not self.folder.is_dir():
                raise Offline(f"{self.name} is not there") from None
            return None
        except OSError as error:
            raise Offline(f"cannot read {path} of {self.name}: {error.strerror}") from None
        return Named(data, _state(data))

    def read_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """As `Site.read_ranges`."""
        try:
            fd = os.open(self.folder / path, os.O_RDONLY)
        except FileNotFoundError:
            if not self.folder.is_dir():
                raise Offline(f"{self.name} is not there") from None
            raise RemoteError(f"{self.name} has no {path}") from None
        except OSError as error:
            raise Offline(f"cannot read {path} of {self.name}: {error.strerror}") from None
        try:
            return [os.pread(fd, end - start, start) for start, end in ranges]
        except OSError as error:
            raise Offline(f"cannot read {path} of {self.name}: {error.strerror}") from None
        finally:
            os.close(fd)

    def put(self, path: str, data: bytes | Path) -> None:
        """As `Site.put`."""
        target = self.folder / path
        with _told(self.name):
            if not target.exists():
                self._write(target, data)

    def swap(self, path: str, data: bytes, state: str | None) -> bool:
        """As `Site.swap`. Those who write take turns through a lock beside the file."""
        target = self.folder / path
        with _told(self.name), self._turn():
            before = target.read_bytes() if target.exists() else None
            if (None if before is None else _state(before)) != state:
                return False
            self._write(target, data)
            return True

    def close(self) -> None:
        """As `Site.close`."""

    def _write(self, target: Path, data: bytes | Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
        try:
            with fresh.open("xb") as file:
                if isinstance(data, Path):
                    with data.open("rb") as source:
                        while part := source.read(2**20):
                            file.write(part)
                else:
                    file.write(data)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(target)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        _sync_folder(target.parent)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _state(data: bytes) -> str:
    return blake3(data).hexdigest()


@contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RemoteError(f"cannot write to {name}: {error.strerror}") from None


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
