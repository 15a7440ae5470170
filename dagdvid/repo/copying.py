"""Endpoints by which a backup copies a running server's store (SPEC 4.10). Handlers `(catalog, request)`."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dagdvid.errors import BadRequest
from dagdvid.objects.local.backup import FolderOrigin
from dagdvid.repo.catalog import Catalog
from dagdvid.routes import Example, Reply, Request, Right, Route, RouteTable

__all__ = ["COPY"]

_PIECE = 2**20
_NAME = re.compile(r"[0-9a-f]{32}")
_BYTES = "application/octet-stream"


def info(catalog: Catalog, request: Request) -> Reply:  # noqa: ARG001
    """GET store/copy/info."""
    return Reply(FolderOrigin(catalog.store.folder).info(), "application/json")


def database(catalog: Catalog, request: Request) -> Reply:  # noqa: ARG001
    """GET store/copy/database."""
    return Reply(_database(catalog.store.folder), _BYTES)


def _database(folder: Path) -> Iterator[bytes]:
    with tempfile.TemporaryDirectory(prefix="dagdvid-copy-") as temporary:
        path = Path(temporary) / "database"
        FolderOrigin(folder).database(path)
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece


def pack(catalog: Catalog, request: Request) -> Reply:
    """GET store/copy/pack/{name}."""
    name = request.args["name"]
    start, end = request.query.get("start", ""), request.query.get("end", "")
    if not _NAME.fullmatch(name) or not (start.isdecimal() and end.isdecimal()):
        raise BadRequest("a pack has a name of 32 hexadecimal digits, and its bytes are asked for by ?start= and ?end=")
    return Reply(FolderOrigin(catalog.store.folder).pack(name, int(start), int(end)), _BYTES)


_READ = ("GET", "HEAD")
COPY = RouteTable(
    (
        Route(
            _READ,
            "store/copy/info",
            info,
            "For backups: what the store is.",
            right=Right.ADMIN,
            examples=(Example("store/copy/info", "{...}"),),
        ),
        Route(
            _READ,
            "store/copy/database",
            database,
            "For backups: the database as it is at this moment.",
            right=Right.ADMIN,
            examples=(Example("store/copy/database", "SQLite format 3..."),),
        ),
        Route(
            _READ,
            "store/copy/pack/{name}",
            pack,
            "For backups: bytes of a pack.",
            right=Right.ADMIN,
            query={"start": "the first byte", "end": "the byte after the last"},
        ),
    )
)
