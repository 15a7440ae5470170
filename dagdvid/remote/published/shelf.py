"""The files of a site that never change, named by the BLAKE3 of their bytes: kept in a folder once they were read."""

from __future__ import annotations

import secrets
from pathlib import Path

import zstandard
from blake3 import blake3

from dagdvid.errors import Corrupt, RemoteError
from dagdvid.remote.published.form import MAX_PLAIN, Head, Item, decode_head, decode_items
from dagdvid.remote.published.index import Index
from dagdvid.remote.published.site import Site

__all__ = ["GRAPHS", "HEADS", "INDEXES", "SHELF", "Shelf"]

SHELF = "published"
"""The folder, in a data directory, of what was read from sites."""
HEADS, GRAPHS, INDEXES = "heads", "graphs", "indexes"


class Shelf:
    """Heads, graphs and indexes of a site."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site = site
        self.folder = folder
        self.sent = 0
        """Bytes."""

    def head(self, name: str) -> Head:
        """A head.

        Raises:
            RemoteError: the site does not have it, or not as it should be.
        """
        data = self._get(HEADS, name)
        try:
            return decode_head(data)
        except Corrupt as error:
            raise RemoteError(f"{self.site.name} has a malformed head {name}: {error}") from None

    def graph(self, name: str) -> list[Item]:
        """The commits and records of a graph; errors as `head`."""
        data = self._get(GRAPHS, name)
        try:
            return list(decode_items(zstandard.decompress(data, max_output_size=MAX_PLAIN)))
        except (Corrupt, zstandard.ZstdError) as error:
            raise RemoteError(f"{self.site.name} has a malformed graph {name}: {error}") from None

    def index(self, name: str) -> Index:
        """An index; errors as `head`."""
        self._get(INDEXES, name)
        try:
            return Index.open(self._path(name))
        except Corrupt as error:
            raise RemoteError(f"{self.site.name} has a malformed index {name}: {error}") from None

    def put(self, kind: str, data: bytes) -> str:
        """Bring a file to the site; its name."""
        name = blake3(data).hexdigest()
        self.site.put(f"{kind}/{name}", data)
        self.sent += len(data)
        self._keep(name, data)
        return name

    def _get(self, kind: str, name: str) -> bytes:
        path = self._path(name)
        if path.exists():
            data = path.read_bytes()
            if blake3(data).hexdigest() == name:
                return data
        found = self.site.read(f"{kind}/{name}")
        if found is None or blake3(found.data).hexdigest() != name:
            what = "does not have" if found is None else "has another file than"
            raise RemoteError(f"{self.site.name} {what} {kind}/{name}")
        self._keep(name, found.data)
        return found.data

    def _path(self, name: str) -> Path:
        if len(name) != 64 or not name.isalnum():
            raise RemoteError(f"{self.site.name} names a file {name!r}, which cannot be one")
        return self.folder / name

    def _keep(self, name: str, data: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        fresh = self.folder / f".{name}.{secrets.token_hex(4)}"
        fresh.write_bytes(data)
        fresh.replace(self._path(name))
