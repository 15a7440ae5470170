"""The short way in front of Quart, for routes marked `hot`: their own answers, in a tenth of the time.

It takes a request only when it has found its route and nothing about it is odd, and leaves all others to Quart, untouched.
What it answers comes from the same `Dispatch`, the same route tables and the same headers, so both ways agree.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from dagdvid.errors import DagdvidError
from dagdvid.routes import Reply

from .access import Logged
from .bind import create_app
from .dispatch import Dispatch, Target
from .incoming import Scope, decoded_path
from .outgoing import abandon, cross_origin, reply_headers

if TYPE_CHECKING:
    from dagdvid.server import Server

__all__ = ["Hot", "create_service"]


def create_service(server: Server) -> Logged:
    """The whole service of an open server as an ASGI application. The caller closes the server."""
    dispatch = Dispatch(server)
    return Logged(Hot(dispatch, create_app(server, dispatch)))


class _ClientGone(Exception):
    """The client left before its request was whole."""


class Hot:
    """An ASGI application that answers hot routes, and passes all else on to another."""

    def __init__(self, dispatch: Dispatch, app: Any) -> None:
        self.dispatch = dispatch
        self.app = app
        tables = [table for _, _, table in dispatch.server.tables()]
        self._methods = {method for table in tables for route in table if route.hot for method in route.methods}

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """One request, or the lifespan."""
        target = self._find(scope) if scope["type"] == "http" else None
        if target is None:
            await self.app(scope, receive, send)
            return
        path = decoded_path(scope)
        reply = None if _has_body(scope) else self.dispatch.at_once(target, scope, path)
        if reply is None:
            try:
                reply, _ = await self.dispatch.answer(scope, path, _pieces(receive), target)
            except _ClientGone:
                return
        await self._send(scope, target, reply, send)

    def _find(self, scope: Scope) -> Target | None:
        """The hot route of a request. Errors are left to Quart: it will find them again."""
        if scope["method"] not in self._methods:
            return None
        try:
            target = self.dispatch.find(scope["method"], decoded_path(scope))
        except DagdvidError:
            return None
        return target if target is not None and target.route.hot else None
