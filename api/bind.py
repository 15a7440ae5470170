"""Turns route tables into a Quart app; the only module that knows both.

Routes of the server, of repos and of versions become Quart rules one by one; those of instances hang on one rule,
since which table serves them depends on the instance. Either way `Server.find` decides, on the decoded path, and
handlers run in a pool of threads.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import quart
from quart import Quart, Response
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter

from dagdvid.errors import Blocked, DagdvidError
from dagdvid.routes import Cache, Route

from . import help as help_pages
from .dispatch import ALIASES, METHODS, Dispatch
from .incoming import decoded_path, decoded_request
from .outgoing import abandon, cross_origin, response
from .problems import not_found, problem
from .webclient import web_file

if TYPE_CHECKING:
    from dagdvid.server import Server

__all__ = ["create_app"]


def create_app(server: Server, dispatch: Dispatch | None = None) -> Quart:
    """The HTTP service of an open server. It owns its threads, and leaves closing the server to the caller."""
    return _Binding(server, dispatch or Dispatch(server)).app


class _Anything(BaseConverter):
    """The rest of a path, at least one character, whichever. (Werkzeug's own `path` stops at line ends.)"""

    part_isolating = False
    regex = r"(?s:.+)"


class _Binding:
    def __init__(self, server: Server, dispatch: Dispatch) -> None:
        self.server = server
        self.dispatch = dispatch
        self.app = Quart("dagdvid.api", static_folder=None)
        self.app.config.update(MAX_CONTENT_LENGTH=None, RESPONSE_TIMEOUT=None)
        self.app.url_map.strict_slashes = True
        self.app.url_map.merge_slashes = False
        self.app.url_map.converters["anything"] = _Anything
        for scope, prefix, table in (*server.tables(), ("server", help_pages.PREFIX, dispatch.help)):
            if scope != "data":
                for route in table:
                    self._add_route(prefix, route)
        self._add_rule("/api/node/<spec>/<data>/<anything:rest>", METHODS)
        for path in ALIASES:
            self._add_rule(path, METHODS)
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
        request = quart.request
        path = decoded_path(request.scope)
        reply, cache = await self.dispatch.answer(request.scope, path, request.body)
        return await response(reply, cache, head=request.method == "HEAD", path=path, pool=self.dispatch.pool)

    async def unrouted(self, _: HTTPException) -> Response:
        """The answer where no rule fits the path, or none of those that fit takes the method."""
        scope, config, pool = quart.request.scope, self.server.config, self.dispatch.pool
        request = decoded_request(scope, decoded_path(scope), config)
        try:
            await self.dispatch.admitted(request)
        except DagdvidError as error:
            reply = problem(error, quart.request.path) if isinstance(error, Blocked) else not_found()
        else:
            reply = await pool.run(lambda: web_file(config, request), abandon) if config.web_client else not_found()
        head = quart.request.method == "HEAD"
        return await response(reply, Cache.LIVE, head=head, path=quart.request.path, pool=self.dispatch.pool)

    async def add_cors(self, answer: Response) -> Response:
        """Cross-origin headers for every answer, refusals too."""
        answer.headers.update(cross_origin(quart.request.scope, self.server.config))
        return answer

    async def close(self) -> None:
        """Let running handlers finish."""
        await asyncio.to_thread(self.dispatch.pool.close)
