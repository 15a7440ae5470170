"""Turns route tables into a Quart app; the only module that knows both.

Routes of the server, of repos and of versions become Quart rules one by one; those of instances hang on one rule,
since which table serves them depends on the instance. Either way `Server.find` decides, on the decoded path, and
handlers run in a pool of threads.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

import quart
from quart import Quart, Response
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter

from dagdvid.errors import DagdvidError, RequestError
from dagdvid.routes import Cache, Reply, Request, Route

from . import help as help_pages
from .cors import cors_headers
from .incoming import decoded_path, decoded_request, read_body
from .outgoing import abandon, primed, response
from .pool import Pool
from .problems import crash, not_found, problem

if TYPE_CHECKING:
    from dagdvid.server import Server

__all__ = ["create_app"]

log = logging.getLogger("dagdvid.api")

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")


def create_app(server: Server) -> Quart:
    """The HTTP service of an open server. It owns its threads, and leaves closing the server to the caller."""
    return _Binding(server).app


class _Anything(BaseConverter):
    """The rest of a path, at least one character, whichever. (Werkzeug's own `path` stops at line ends.)"""

    part_isolating = False
    regex = r"(?s:.+)"


class _Target(NamedTuple):
    route: Route
    args: dict[str, str]
    run: Callable[[Request], Reply]


class _Binding:
    def __init__(self, server: Server) -> None:
        self.server = server
        self.pool = Pool()
        self.help = help_pages.table(server)
        self.app = Quart("dagdvid.api", static_folder=None)
        self.app.config.update(MAX_CONTENT_LENGTH=None, RESPONSE_TIMEOUT=None)
        self.app.url_map.strict_slashes = True
        self.app.url_map.merge_slashes = False
        self.app.url_map.converters["anything"] = _Anything
        for scope, prefix, table in (*server.tables(), ("server", help_pages.PREFIX, self.help)):
            if scope != "data":
                for route in table:
                    self._add_route(prefix, route)
        self._add_rule("/api/node/<spec>/<data>/<anything:rest>", METHODS)
        self.app.register_error_handler(HTTPException, self.unrouted)
        self.app.after_request(self.add_cors)
        self.app.after_serving(self.close)

    def _add_route(self, prefix: str, route: Route) -> None:
        pattern = (prefix + route.pattern.lstrip("/")).rstrip("/").replace("{", "<").replace("}", ">")
        if not pattern.endswith("?>"):
            self._add_rule(pattern, route.methods)
            return
        base = pattern.rpartition("/")[0]
        for rule in (base, base + "/", pattern.replace("?>", ">")):
            self._add_rule(rule, route.methods)

    def _add_rule(self, rule: str, methods: tuple[str, ...]) -> None:
        self.app.add_url_rule(
            rule,
            endpoint=f"{','.join(methods)} {rule}".replace(".", "_"),
            view_func=self.view,
            methods=[*methods, "OPTIONS"],
            provide_automatic_options=False,
        )

    async def view(self, **_: str) -> Response:
        """Answer the current request."""
        method, path, cache = quart.request.method, decoded_path(quart.request), Cache.LIVE
        try:
            if method == "OPTIONS":
                reply = self.options(path)
            elif target := self.find(method, path):
                cache = target.route.cache
                reply = await self.handle(target, path)
            else:
                reply = not_found()
        except DagdvidError as error:
            reply = problem(error, path)
        except Exception:
            request_id = uuid4().hex[:12]
            log.exception("request %s failed: %s %r", request_id, method, path)
            reply = crash(request_id)
        return await response(reply, cache, head=method == "HEAD", path=path, pool=self.pool)

    def find(self, method: str, path: str) -> _Target | None:
        """What answers a method on a decoded path. As in DVID, a route that takes GET takes HEAD."""
        methods = ("HEAD", "GET") if method == "HEAD" else (method,)
        for name in methods:
            own = self.help.match(name, help_pages.segments(path))
            if own is not None:
                return _Target(own[0], own[1], own[0].handler)
            found = self.server.find(name, path)
            if found is not None:
                return _Target(found.route, found.args, partial(self.server.handle, found))
        return None

    def options(self, path: str) -> Reply:
        """Which methods a path takes."""
        allowed = []
        for method in METHODS:
            with suppress(RequestError):
                if self.find(method, path):
                    allowed.append(method)
        return Reply(headers={"Allow": ", ".join([*allowed, "OPTIONS"])}) if allowed else not_found()

    async def handle(self, target: _Target, path: str) -> Reply:
        """The reply of a route's handler, run in a thread."""
        body = await read_body(quart.request, target.route.max_body)
        request = decoded_request(quart.request, path, target.args, body, self.server.config)
        return await self.pool.run(lambda: primed(target.run(request)), abandon)

    async def unrouted(self, _: HTTPException) -> Response:
        """The answer where no rule fits the path, or none of those that fit takes the method."""
        head = quart.request.method == "HEAD"
        return await response(not_found(), Cache.LIVE, head=head, path=quart.request.path, pool=self.pool)

    async def add_cors(self, answer: Response) -> Response:
        """Cross-origin headers for every answer, refusals too."""
        asked = quart.request.headers
        preflight = quart.request.method == "OPTIONS" and "Access-Control-Request-Method" in asked
        requested = asked.get("Access-Control-Request-Headers", "") if preflight else None
        answer.headers.update(cors_headers(self.server.config.cors_domains, asked.get("Origin", ""), requested))
        return answer

    async def close(self) -> None:
        """Let running handlers finish."""
        await asyncio.to_thread(self.pool.close)
