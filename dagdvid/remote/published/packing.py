"""Writes packs of a published store: built in a file, uploaded beside the work that fills the next (SPEC 8.6)."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from blake3 import blake3

from dagdvid.objects.local.pack import encode_entry, pack_kind
from dagdvid.objects.store import Object
from dagdvid.remote.published.form import PACK_HEADER, Locator, pack_header, pack_path
from dagdvid.remote.published.index import Index
from dagdvid.remote.published.site import Site

__all__ = ["PACK_LIMIT", "Packing"]

PACK_LIMIT = 64 * 2**20
"""Bytes at which a pack is uploaded and the next begun."""
_AT_ONCE = 4
"""Packs that are uploaded together."""


class Packing:
    """Objects on their way to a site, and where all lie that are there."""

    def __init__(self, site: Site, folder: Path, known: Sequence[Index], limit: int = PACK_LIMIT) -> None:
        """`folder`: where packs are built; `known`: the indexes of what is published already."""
        self._site = site
        self._folder = folder
        self._known = known
        self._limit = limit
        self._open: dict[int, _Pack] = {}
        self._uploads: list[Future[None]] = []
        self._pool = ThreadPoolExecutor(_AT_ONCE, "dagdvid-publish")
        self.fresh: dict[bytes, Locator] = {}
        """What was written."""
        self.packs: dict[str, dict[str, Any]] = {}
        """Of the packs that were written: kind, size and BLAKE3, by id."""
        self.sent = 0
        """Bytes."""

    def __enter__(self) -> Packing:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=kind is not None)
        for pack in self._open.values():
            pack.drop()

    def find(self, names: Sequence[bytes]) -> dict[bytes, Locator]:
        """Where objects lie, those that are published or written."""
        found = {name: self.fresh[name] for name in names if name in self.fresh}
        for index in self._known:
            rest = [name for name in names if name not in found]
            if not rest:
                break
            found |= index.find(rest)
        return found

    def add(self, item: Object, locators: bytes = b"") -> None:
        """Write an object that is not there."""
        kind = pack_kind(item.type)
        pack = self._open.get(kind)
        if pack is None:
            pack = self._open[kind] = _Pack(kind, self._folder)
        self.fresh[item.id] = pack.add(item, locators)
        if pack.end >= self._limit:
            self._upload(self._open.pop(kind))

    def finish(self) -> None:
        """Return once all that was added is at the site.

        Raises:
            RemoteError: it is not.
        """
        for pack in self._open.values():
            self._upload(pack)
        self._open.clear()
        for upload in self._uploads:
            upload.result()
        self._uploads.clear()

    def _upload(self, pack: _Pack) -> None:
        while len(self._uploads) >= _AT_ONCE:
            self._uploads.pop(0).result()
        digest = pack.close()
        self.packs[pack.id.hex()] = {"blake3": digest, "kind": pack.kind, "size": pack.end}
        self.sent += pack.end
        self._uploads.append(self._pool.submit(self._send, pack))

    def _send(self, pack: _Pack) -> None:
        try:
            self._site.put(pack_path(pack.id), pack.path)
        finally:
            pack.drop()


class _Pack:
    def __init__(self, kind: int, folder: Path) -> None:
        self.id = secrets.token_bytes(16)
        self.kind = kind
        self.path = folder / f"{self.id.hex()}.pack"
        self.end = PACK_HEADER
        self._file: IO[bytes] = self.path.open("xb")
        self._seen = blake3()
        self._write(pack_header(kind, self.id))

    def add(self, item: Object, locators: bytes) -> Locator:
        data = b"".join((encode_entry(item), len(locators).to_bytes(4, "little"), locators))
        self._write(data)
        at = Locator(self.id, self.end, len(data))
        self.end += len(data)
        return at

    def close(self) -> str:
        self._file.close()
        return self._seen.hexdigest()

    def drop(self) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._seen.update(data)
