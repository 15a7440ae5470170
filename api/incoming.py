"""From an ASGI request to a `dagdvid.routes.Request`: path, query, headers, body."""

from __future__ import annotations

import asyncio
import hmac
import io
import os
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, cast
from urllib.parse import parse_qsl, unquote_to_bytes

from dagdvid.config import Config
from dagdvid.errors import BadRequest, Busy, TooLarge
from dagdvid.routes import Request

from .proxies import client_address, from_here, is_internal

__all__ = [
    "REQUEST_ID",
    "USER",
    "ClientGone",
    "Room",
    "Scope",
    "content_length",
    "decoded_path",
    "decoded_request",
    "read_body",
    "room_of",
    "spool_body",
]

Scope = Any
"""An ASGI scope: a dictionary whose keys the servers' own libraries each type in their way."""


_NONE: Mapping[str, str] = MappingProxyType({})


class ClientGone(Exception):
    """The client left before its request was whole."""


IN_MEMORY = 16 << 20
"""Bytes of a body that are held in memory where it may be spooled."""
SLOWEST = 10_000
"""Bytes a second that a body must come with, after the first [limits] seconds."""

REQUEST_ID = "dagdvid.request"
"""In a scope: what names the request in the log."""
USER = "dagdvid.user"
"""In a scope: by which name the request was admitted."""


class Room:
    """The memory that one process gives to bodies. For one event loop."""

    def __init__(self, most: int) -> None:
        """`most`: bytes at once; one body may have more if there is no other."""
        self._most, self._held = most, 0

    def check(self, size: int) -> None:
        """Raise Busy where a body of a size could not be held now."""
        if self._held and self._held + size > self._most:
            raise Busy("the bodies of other requests take all memory for them; try again in a moment")

    def take(self, size: int, mine: int) -> None:
        """Hold more of a body of which `mine` bytes are held already, or raise Busy."""
        if self._held > mine and self._held + size > self._most:
            raise Busy("the bodies of other requests take all memory for them; try again in a moment")
        self._held += size

    def give(self, size: int) -> None:
        """Let go of so much."""
        self._held -= size


def room_of(config: Config) -> Room:
    """The memory for bodies that a configuration gives to each process."""
    if config.limits.body_memory:
        return Room(config.limits.body_memory << 20)
    return Room(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2 // config.workers)


def decoded_path(scope: Scope) -> str:
    """The percent-decoded path of the URL. Bytes that are no UTF-8 become surrogates, since keys may be any bytes."""
    raw: bytes = scope["raw_path"]
    if not raw.startswith(b"/"):  # the absolute form, as sent to proxies
        raw = b"/" + raw.partition(b"://")[2].partition(b"/")[2]
    return unquote_to_bytes(raw).decode("utf-8", "surrogateescape")


def content_length(scope: Scope) -> int:
    """The length of the body as announced; 0 if it is not."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


async def read_body(
    pieces: AsyncIterator[bytes], announced: int, limit: int, room: Room, seconds: float = 600.0
) -> bytes:
    """The whole body, which may also come with a GET; never parsed as a form, whatever its type.

    Its size is held in `room` when it is here: the caller gives that back.

    Raises:
        TooLarge: above `limit` bytes; found before reading if the announced length says so.
        BadRequest: it stopped coming. Busy: there is no room.
    """
    if announced > limit:
        raise TooLarge(f"a body of {announced} bytes is too large; here it may have {limit}")
    room.check(announced)
    buffer = io.BytesIO()  # its getvalue() hands over without a copy
    try:
        async for piece in _timed(pieces, seconds):
            if buffer.tell() + len(piece) > limit:
                raise TooLarge(f"the body is too large; here it may have {limit} bytes")
            room.take(len(piece), buffer.tell())
            buffer.write(piece)
    except BaseException:
        room.give(buffer.tell())
        raise
    return buffer.getvalue()


async def spool_body(
    pieces: AsyncIterator[bytes], announced: int, limit: int, folder: Path, seconds: float = 600.0
) -> IO[bytes]:
    """As `read_body`, into a file without a name where it is large; it stands at its beginning."""
    if announced > limit:
        raise TooLarge(f"a body of {announced} bytes is too large; here it may have {limit}")
    file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY, dir=str(folder))  # noqa: SIM115  the caller closes it
    try:
        size = 0
        async for piece in _timed(pieces, seconds):
            size += len(piece)
            if size > limit:
                raise TooLarge(f"the body is too large; here it may have {limit} bytes")
            file.write(piece)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return cast(IO[bytes], file)


async def _timed(pieces: AsyncIterator[bytes], seconds: float) -> AsyncIterator[bytes]:
    """The pieces of a body: all of it within so many seconds, and one more for each SLOWEST bytes.

    Raises:
        BadRequest: they come too slowly.
    """
    end = asyncio.get_running_loop().time() + seconds
    try:
        while True:
            async with asyncio.timeout_at(end):
                piece = await anext(pieces, None)
            if piece is None:
                return
            end += len(piece) / SLOWEST
            yield piece
    except TimeoutError:
        raise BadRequest(f"the body did not come within {seconds:.0f} s and one for each {SLOWEST} bytes") from None


def decoded_request(scope: Scope, path: str, config: Config, args: Mapping[str, str] = _NONE) -> Request:
    """The request as handlers see it, but for its body; `args` are those of its route, where that is known."""
    query: dict[str, str] = {}
    if scope["query_string"]:
        text = scope["query_string"].decode("utf-8", "surrogateescape")
        query = dict(parse_qsl(text, keep_blank_values=True, errors="surrogateescape"))
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    proxies = config.auth.proxies
    return Request(
        method=scope["method"],
        path=path,
        args=args,
        query=query,
        headers=headers,
        admin=_same(query.get("admintoken", ""), config.admin_token),
        local=config.loopback_only and ("origin" not in headers or from_here(headers, config.cors_domains)),
        client=client_address(scope, headers, proxies) if proxies else (scope["client"] or ("",))[0],
        internal=bool(proxies) and is_internal(scope, headers, proxies),
    )


def _same(token: str, secret: str) -> bool:
    if not secret or not token:
        return False
    given, wanted = (text.encode("utf-8", "surrogateescape") for text in (token, secret))
    return hmac.compare_digest(given, wanted)
