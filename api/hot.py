"""The short way in front of Quart, for routes marked `hot`: the same answers, in a tenth of the time.

It takes a request only when it has found a hot route for it, and leaves all others to Quart, untouched. What it answers
comes from the same `Dispatch`, and so from the same tables, checks and handlers. Nothing is kept between requests.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from dagdvid.routes import Cache, Reply

from .access import Logged
from .bind import create_app
from .dispatch import Dispatch, Target
from .incoming import ClientGone, Scope, decoded_path
from .outgoing import PIECE, abandon, cross_origin, reply_headers

if TYPE_CHECKING:
    from dagdvid.server import Server

__all__ = ["Hot", "create_service"]


def create_service(server: Server) -> Logged:
    """The whole service of an open server as an ASGI application. The caller closes the server."""
    dispatch = Dispatch(server)
    return Logged(Hot(dispatch, create_app(server, dispatch)))


class Hot:
    """An ASGI application that answers hot routes, and passes all else on to another."""

    def __init__(self, dispatch: Dispatch, app: Any) -> None:
        self.dispatch = dispatch
        self.app = app
        tables = [table for _, _, table in dispatch.server.tables()]
        self._methods = {method for table in tables for route in table if route.hot for method in route.methods}

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """One request, or the application's whole life."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})  # there are none here
            return
        if scope["type"] != "http" or scope["method"] not in self._methods:
            await self.app(scope, receive, send)
            return
        path = decoded_path(scope)
        target = self._find(scope["method"], path)
        if target is None:
            await self.app(scope, receive, send)
            return
        cache = target.route.cache
        reply = None if _has_body(scope) else self.dispatch.at_once(target, scope, path)
        if reply is None:
            try:
                reply, cache = await self.dispatch.answer(scope, path, _body(receive), target)
            except ClientGone:
                return
        await self._send(scope, reply, cache, send)

    def _find(self, method: str, path: str) -> Target | None:
        try:
            target = self.dispatch.find(method, path)
        except Exception:  # noqa: BLE001 - Quart will meet it again, and answer it
            return None
        return target if target is not None and target.route.hot else None

    async def _send(self, scope: Scope, reply: Reply, cache: Cache, send: Any) -> None:
        headers = reply_headers(reply, cache) | cross_origin(scope, self.dispatch.server.config.cors_domains)
        body = reply.body
        if scope["method"] == "HEAD":
            abandon(reply)
            body = b""
        elif not isinstance(body, bytes):
            raise TypeError("a hot route must answer bytes, not a stream")
        start = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": reply.status, "headers": start})
        last = max(0, len(body) - 1) // PIECE * PIECE
        for at in range(0, last, PIECE):
            await send({"type": "http.response.body", "body": body[at : at + PIECE], "more_body": True})
        await send({"type": "http.response.body", "body": body[last:] if last else body})


def _has_body(scope: Scope) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in scope["headers"]
    )


async def _body(receive: Any) -> AsyncIterator[bytes]:
    more = True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise ClientGone
        yield event.get("body", b"")
        more = event.get("more_body", False)
