"""From a request to a reply: finds the route, reads the body, runs the handler, and turns errors into replies.

Both doors of the service come through here, Quart (`bind`) and the short way in front of it (`hot`).
"""

from __future__ import annotations

import errno
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import IO, TYPE_CHECKING, NamedTuple
from uuid import uuid4

from dagdvid.errors import DagdvidError, NoSpace, RequestError, StaleRead
from dagdvid.routes import EVERYBODY, Cache, Reply, Request, Route, Visitor, WouldWait

from . import help as help_pages
from .incoming import (
    REQUEST_ID,
    USER,
    ClientGone,
    Scope,
    content_length,
    decoded_request,
    read_body,
    room_of,
    spool_body,
)
from .outgoing import abandon, primed
from .pool import Pool
from .problems import crash, not_found, problem
from .together import Together

if TYPE_CHECKING:
    from dagdvid.server import Found, Server

__all__ = ["ALIASES", "AT_ONCE", "METHODS", "Dispatch", "Target"]

log = logging.getLogger("dagdvid.api")

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")

ALIASES = {"/metrics": "/api/metrics", "/healthz": "/api/health", "/readyz": "/api/ready"}
"""Where monitors look for what we have under /api/."""

AT_ONCE = 1 << 20
"""Bytes that a hot route may load on the event loop: to send so many, which is done there in any case, takes longer
than to load them, and the way to a thread and back as long as to load half of them."""

SMALL_WRITE = 16 << 10
"""Bytes of a body that is hashed and encoded on the event loop, in less time than it takes to a thread and back."""


class Target(NamedTuple):
    """What answers a request."""

    route: Route
    args: dict[str, str]
    run: Callable[[Request], Reply]
    found: Found | None
    """None for routes of the HTTP service itself."""


class Dispatch:
    """Answers requests of an open server, with a pool of threads of its own."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.pool = Pool()
        self.together = Together()
        self.room = room_of(server.config)
        self.help = help_pages.table(server)

    def find(self, method: str, path: str) -> Target | None:
        """What answers a method on a decoded path. As in DVID, a route that takes GET takes HEAD.

        Raises:
            RequestError: the path names what is not there.
        """
        path = ALIASES.get(path, path)
        methods = ("HEAD", "GET") if method == "HEAD" else (method,)
        for name in methods:
            found = self.server.find(name, path)
            if found is not None:
                return Target(found.route, found.args, partial(self.server.handle, found), found)
            own = self.help.match(name, help_pages.segments(path))
            if own is not None:
                return Target(own[0], own[1], own[0].handler, None)
        return None

    def at_once(self, target: Target, scope: Scope, path: str) -> Reply | None:
        """The reply of a hot route that only reads, without leaving the event loop; None where it would take long."""
        found = target.found
        if found is None or target.route.mutates or found.scope != "data":
            return None
        try:
            request = decoded_request(scope, path, self.server.config, target.args)
            request = _of(request, self.server.admit(request, wait=False))
            reply = self.server.read_at_once(found, request, AT_ONCE)
            return reply and primed(reply)
        except WouldWait:
            return None
        except Exception as error:  # noqa: BLE001 - sorted out below
            return self.refusal(error, scope, path)

    async def answer(
        self, scope: Scope, path: str, pieces: AsyncIterator[bytes], target: Target | None = None
    ) -> tuple[Reply, Cache]:
        """The reply to a request, and how long it may be kept. The handler runs in a thread.

        Raises:
            ClientGone: as `pieces` does.
        """
        method, cache = scope["method"], Cache.LIVE
        try:
            if method == "OPTIONS":
                return self.options(path), cache
            asked = await self.admitted(decoded_request(scope, path, self.server.config))
            scope[USER] = asked.visitor.user
            target = target or self.find(method, path)
            if target is None:
                return not_found(), cache
            run, cache = target.run, target.route.cache
            limits = self.server.config.limits
            announced, limit = content_length(scope), min(target.route.max_body, limits.body or target.route.max_body)
            if target.route.spooled:
                file = await spool_body(pieces, announced, limit, self.server.config.data, limits.seconds)
                request = replace(asked, args=target.args)
                return await self.pool.run(lambda: _run_on(file, run, request), abandon), cache
            body = await read_body(pieces, announced, limit, self.room, limits.seconds)
            try:
                self.server.meters.received(len(body))
                return await self._replied(target, replace(asked, args=target.args, body=body)), cache
            finally:
                self.room.give(len(body))
        except ClientGone:
            raise
        except Exception as error:  # noqa: BLE001 - sorted out below
            return self.refusal(error, scope, path), cache

    async def admitted(self, request: Request) -> Request:
        """The request, once it is known who sends it.

        Raises:
            DagdvidError: it may not go on; see `Server.admit`.
        """
        try:
            visitor = self.server.admit(request, wait=False)
        except WouldWait:
            visitor = await self.pool.run(lambda: self.server.admit(request))
        return _of(request, visitor)

    async def _replied(self, target: Target, request: Request) -> Reply:
        """The reply to a request whose body is here."""
        written = await self._written_at_once(target, request)
        if written is not None:
            return written
        return await self.pool.run(lambda: primed(target.run(request)), abandon)

    async def _written_at_once(self, target: Target, request: Request) -> Reply | None:
        """The reply to a small write of a hot route, prepared on the event loop; None where that cannot be done."""
        if not (target.route.hot and target.found) or len(request.body) > SMALL_WRITE:
            return None
        if not target.route.mutates and target.found.scope != "node":
            return None
        self.pool.check()
        prepared = self.server.prepare(request, SMALL_WRITE)
        if prepared is None:
            return None
        with suppress(StaleRead):
            async with self.together:
                await self.pool.follow(prepared.submit())
            return prepared.reply
        return None

    def refusal(self, error: Exception, scope: Scope, path: str) -> Reply:
        """The reply for an error; what nobody raised on purpose is logged."""
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            error = NoSpace("the disk is full: free some space, then try again")
        if isinstance(error, DagdvidError):
            return problem(error, path)
        request_id = scope.get(REQUEST_ID) or uuid4().hex[:12]
        log.error("request %s failed: %s %r", request_id, scope["method"], path, exc_info=error)
        return crash(request_id)

    def options(self, path: str) -> Reply:
        """Which methods a path takes."""
        allowed = []
        for method in METHODS:
            with suppress(RequestError):
                if self.find(method, path):
                    allowed.append(method)
        return Reply(headers={"Allow": ", ".join([*allowed, "OPTIONS"])}) if allowed else not_found()


def _of(request: Request, visitor: Visitor) -> Request:
    """A request of which it is known who sends it."""
    if visitor is EVERYBODY:
        return request
    return replace(request, visitor=visitor, admin=request.admin or visitor.admin)


def _run_on(file: IO[bytes], run: Callable[[Request], Reply], request: Request) -> Reply:
    """The reply of a handler that reads its body from a file."""
    with file:
        return primed(run(replace(request, file=file)))
