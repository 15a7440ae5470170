"""The files of a web page beside the API ([server] webClient; DVID: server/web.go mainHandler)."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator
from pathlib import Path

from dagdvid.config import Config
from dagdvid.routes import Reply, Request

from .outgoing import PIECE, primed
from .problems import not_found

__all__ = ["web_file"]

_PERMANENT = 308


def web_file(config: Config, request: Request) -> Reply:
    """The file that a path names; else, as configured, the way to another or another's content; else 404.

    Only what lies in the folder is sent, wherever links in it lead. Of a folder, its index.html.
    """
    folder = config.web_client
    if folder is None or request.method not in ("GET", "HEAD") or request.path.startswith("/api/"):
        return not_found()
    file = _file(folder, request.path)
    if file is None and config.web_redirect_path:
        where = "/" + config.web_redirect_path.lstrip("/")
        return not_found() if request.path == where else Reply(status=_PERMANENT, headers={"Location": where})
    if file is None and config.web_default_file:
        file = _file(folder, "/" + config.web_default_file)
    try:
        return not_found() if file is None else primed(_sent(file, request))
    except OSError:  # it has just gone, or cannot be read
        return not_found()


def _file(folder: Path, path: str) -> Path | None:
    root = folder.resolve()
    try:
        found = (root / path.lstrip("/")).resolve()
        if found.is_dir():
            found = (found / "index.html").resolve()
        return found if found.is_relative_to(root) and found.is_file() else None
    except (OSError, ValueError, RuntimeError):  # a name that is too long, has a NUL, or links that go in circles
        return None


def _sent(path: Path, request: Request) -> Reply:
    found = path.stat()
    tag = f'"{found.st_mtime_ns:x}-{found.st_size:x}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
    if tag in request.headers.get("if-none-match", ""):
        return Reply(status=304, headers=headers)
    kind, coding = mimetypes.guess_type(path.name)
    if coding is not None:
        kind = None  # it is sent as it lies there
    headers["Content-Length"] = str(found.st_size)
    return Reply(_pieces(path, found.st_size), kind or "application/octet-stream", headers=headers)


def _pieces(path: Path, size: int) -> Iterator[bytes]:
    """As many bytes as were announced, if they are there."""
    with path.open("rb") as file:
        while size > 0 and (piece := file.read(min(PIECE, size))):
            size -= len(piece)
            yield piece
