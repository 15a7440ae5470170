"""From a `dagdvid.routes.Reply` to what is sent: headers, HEAD, and bodies in pieces."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace
from functools import lru_cache

from quart import Response

from dagdvid.config import Config
from dagdvid.errors import DagdvidError
from dagdvid.routes import Cache, Reply

from .cors import cors_headers
from .incoming import Scope
from .pool import Pool

__all__ = ["PIECE", "abandon", "cross_origin", "primed", "reply_headers", "response", "streamed"]

log = logging.getLogger("dagdvid.api")

PIECE = 1 << 20
"""Bytes of a body that are handed to the connection at once."""

CACHE_CONTROL = {
    Cache.LIVE: "no-store",
    Cache.CONTENT: "no-cache",
    Cache.IMMUTABLE: "public, max-age=31536000, immutable",
}


class _Primed(Iterator[bytes]):
    """An iterator whose first item has been taken already."""

    def __init__(self, first: bytes, rest: Iterator[bytes]) -> None:
        self._first: bytes | None = first
        self._rest = rest

    def __next__(self) -> bytes:
        first, self._first = self._first, None
        return next(self._rest) if first is None else first

    def close(self) -> None:
        _close(self._rest)


def primed(reply: Reply) -> Reply:
    """The same reply with the first piece of a streamed body fetched, so that an error there still makes a status."""
    if isinstance(reply.body, bytes):
        return reply
    try:
        first = next(reply.body, b"")
    except BaseException:
        _close(reply.body)
        raise
    return replace(reply, body=_Primed(first, reply.body))


def abandon(reply: Reply) -> None:
    """Close what nobody will read."""
    if not isinstance(reply.body, bytes):
        _close(reply.body)


def reply_headers(reply: Reply, cache: Cache) -> dict[str, str]:
    """The headers of a reply; those for other origins are not its business."""
    headers = dict(_settled(reply.content_type, tuple(reply.headers.items()), cache, reply.status < 400))
    if isinstance(reply.body, bytes):
        headers["Content-Length"] = str(len(reply.body))
    return headers


@lru_cache
def _settled(content_type: str, own: tuple[tuple[str, str], ...], cache: Cache, good: bool) -> dict[str, str]:
    """The headers that do not hang on the body: few sets of them are used again and again."""
    headers = dict(own)
    if content_type:
        headers["Content-Type"] = "text/plain; charset=utf-8" if content_type == "text/plain" else content_type
    headers.setdefault("Cache-Control", CACHE_CONTROL[cache] if good else "no-store")
    return headers


def cross_origin(scope: Scope, config: Config) -> dict[str, str]:
    """The headers that say who else's pages may read the answer to a request, and how long it took."""
    timing = config.allow_timing and scope["raw_path"].startswith(b"/api/node/") and scope["raw_path"].count(b"/") > 4
    headers = {"Timing-Allow-Origin": "*"} if timing else {}
    if not config.cors_domains:
        return headers
    asked = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
    preflight = scope["method"] == "OPTIONS" and b"access-control-request-method" in asked
    requested = asked.get(b"access-control-request-headers", "") if preflight else None
    origin = asked.get(b"origin", "")
    return headers | cors_headers(config.cors_domains, origin, requested, enforced=config.auth.enforced)


async def response(reply: Reply, cache: Cache, *, head: bool, path: str, pool: Pool) -> Response:
    """The Quart response; for HEAD with the headers of a GET and no body."""
    body: bytes | AsyncIterator[bytes]
    if head:
        body = b""
        if not isinstance(reply.body, bytes):
            await pool.discard(reply.body)
    elif not isinstance(reply.body, bytes):
        body = streamed(reply.body, path, pool)
    else:
        body = reply.body if len(reply.body) <= PIECE else _pieces(reply.body)
    result = Response(body, reply.status)
    result.timeout = None
    result.headers.clear()
    result.headers.update(reply_headers(reply, cache))
    return result


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), PIECE):
        yield body[start : start + PIECE]


async def streamed(body: Iterator[bytes], path: str, pool: Pool) -> AsyncGenerator[bytes, None]:
    """The pieces of a streamed body, each fetched in a thread once the one before is sent.

    Raises:
        CancelledError: it broke off, which is in the log; so must the answer.
    """
    try:
        async with aclosing(pool.iterate(body)) as pieces:
            async for piece in pieces:
                yield piece
    except DagdvidError as error:
        log.error("answer to %r broken off: %s", path, error)
        raise _broken_off() from None
    except Exception:
        log.exception("answer to %r broken off", path)
        raise _broken_off() from None


def _broken_off() -> BaseException:
    # The status is out already. What remains is to end the connection before the end of the body, so that the client
    # knows; a cancelled handler does just that, without a second report in the server's log.
    return asyncio.CancelledError()


def _close(iterator: Iterator[bytes]) -> None:
    close = getattr(iterator, "close", None)
    if close is not None:
        close()
