"""From an ASGI request to a `dagdvid.routes.Request`: path, query, headers, body."""

from __future__ import annotations

import asyncio
import hmac
import io
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

from dagdvid.config import Config
from dagdvid.errors import BadRequest, TooLarge
from dagdvid.routes import Request

from .proxies import client_address, from_here, is_internal

__all__ = ["ClientGone", "Scope", "content_length", "decoded_path", "decoded_request", "read_body", "spool_body"]

Scope = Any
"""An ASGI scope: a dictionary whose keys the servers' own libraries each type in their way."""


class ClientGone(Exception):
    """The client left before its request was whole."""


IN_MEMORY = 16 << 20
"""Bytes of a body that are held in memory where it may be spooled."""
BODY_TIMEOUT = 600.0
"""Seconds that the next piece of a body may take (DVID's read timeout, server/web.go)."""


def decoded_path(scope: Scope) -> str:
    """The percent-decoded path of the URL. Bytes that are no UTF-8 become surrogates, since keys may be any bytes."""
    raw: bytes = scope["raw_path"]
    if not raw.startswith(b"/"):  # the absolute form, as sent to proxies
        raw = urlsplit(raw).path
    return unquote_to_bytes(raw).decode("utf-8", "surrogateescape")


def content_length(scope: Scope) -> int:
    """The length of the body as announced; 0 if it is not."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


async def read_body(pieces: AsyncIterator[bytes], announced: int, limit: int) -> bytes:
    """The whole body, which may also come with a GET; never parsed as a form, whatever its type.

    Raises:
        TooLarge: above `limit` bytes; found before reading if the announced length says so.
        BadRequest: it stopped coming.
    """
    if announced > limit:
        raise TooLarge(f"a body of {announced} bytes is too large; here it may have {limit}")
    buffer = io.BytesIO()  # its getvalue() hands over without a copy
    async for piece in _timed(pieces):
        if buffer.tell() + len(piece) > limit:
            raise TooLarge(f"the body is too large; here it may have {limit} bytes")
        buffer.write(piece)
    return buffer.getvalue()


async def spool_body(pieces: AsyncIterator[bytes], announced: int, limit: int, folder: Path) -> IO[bytes]:
    """As `read_body`, into a file without a name where it is large; it stands at its beginning."""
    if announced > limit:
        raise TooLarge(f"a body of {announced} bytes is too large; here it may have {limit}")
    file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY, dir=str(folder))  # noqa: SIM115  the caller closes it
    try:
        size = 0
        async for piece in _timed(pieces):
            size += len(piece)
            if size > limit:
                raise TooLarge(f"the body is too large; here it may have {limit} bytes")
            file.write(piece)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return cast(IO[bytes], file)


async def _timed(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The pieces of a body.

    Raises:
        BadRequest: they stopped coming.
    """
    try:
        while True:
            async with asyncio.timeout(BODY_TIMEOUT):
                piece = await anext(pieces, None)
            if piece is None:
                return
            yield piece
    except TimeoutError:
        raise BadRequest(f"the rest of the body did not come within {BODY_TIMEOUT:.0f} s") from None


def decoded_request(scope: Scope, path: str, config: Config) -> Request:
    """The request as handlers see it, but for what its route says and its body."""
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
        query=query,
        headers=headers,
        admin=_same(query.get("admintoken", ""), config.admin_token),
        local=config.loopback_only and from_here(headers, config.cors_domains),
        client=client_address(scope, headers, proxies),
        internal=bool(proxies) and is_internal(scope, headers, proxies),
    )


def _same(token: str, secret: str) -> bool:
    if not secret or not token:
        return False
    given, wanted = (text.encode("utf-8", "surrogateescape") for text in (token, secret))
    return hmac.compare_digest(given, wanted)
