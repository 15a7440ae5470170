"""From a Quart request to a `dagdvid.routes.Request`: path, query, headers, body."""

from __future__ import annotations

import asyncio
import hmac
import io
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

import quart

from dagdvid.config import Config
from dagdvid.errors import BadRequest, TooLarge
from dagdvid.routes import Request

__all__ = ["decoded_path", "decoded_request", "read_body"]

BODY_TIMEOUT = 600.0
"""Seconds that the next piece of a body may take (DVID's read timeout, server/web.go)."""


def decoded_path(request: quart.Request) -> str:
    """The percent-decoded path of the URL. Bytes that are no UTF-8 become surrogates, since keys may be any bytes."""
    raw: bytes = request.scope["raw_path"]
    if not raw.startswith(b"/"):  # the absolute form, as sent to proxies
        raw = urlsplit(raw).path
    return unquote_to_bytes(raw).decode("utf-8", "surrogateescape")


async def read_body(request: quart.Request, limit: int) -> bytes:
    """The whole body, which may also come with a GET; never parsed as a form, whatever its type.

    Raises:
        TooLarge: above `limit` bytes; found before reading if Content-Length says so.
        BadRequest: it stopped coming.
    """
    if (request.content_length or 0) > limit:
        raise TooLarge(f"a body of {request.content_length} bytes is too large; here it may have {limit}")
    buffer = io.BytesIO()  # its getvalue() hands over without a copy
    try:
        while True:
            async with asyncio.timeout(BODY_TIMEOUT):
                piece = await anext(request.body, None)
            if piece is None:
                return buffer.getvalue()
            if buffer.tell() + len(piece) > limit:
                raise TooLarge(f"the body is too large; here it may have {limit} bytes")
            buffer.write(piece)
    except TimeoutError:
        raise BadRequest(f"the rest of the body did not come within {BODY_TIMEOUT:.0f} s") from None


def decoded_request(request: quart.Request, path: str, args: dict[str, str], body: bytes, config: Config) -> Request:
    """The request as handlers see it."""
    query_string: bytes = request.scope["query_string"]
    query = dict(
        parse_qsl(query_string.decode("utf-8", "surrogateescape"), keep_blank_values=True, errors="surrogateescape")
    )
    headers: dict[str, str] = {}
    for name, value in request.scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return Request(
        method=request.method,
        path=path,
        args=args,
        query=query,
        headers=headers,
        body=body,
        admin=_same(query.get("admintoken", ""), config.admin_token),
        local=config.loopback_only,
    )


def _same(token: str, secret: str) -> bool:
    given, wanted = (text.encode("utf-8", "surrogateescape") for text in (token, secret))
    return bool(secret) and hmac.compare_digest(given, wanted)
