"""The access log: one line a request, through `logging`, with nothing secret in it."""

from __future__ import annotations

import logging
from time import perf_counter
from typing import TYPE_CHECKING, Any

from .incoming import Scope

if TYPE_CHECKING:
    from .hot import Answer

__all__ = ["Logged"]

log = logging.getLogger("dagdvid.access")


class Logged:
    """An ASGI application that logs the requests of another: client, method, path, who, status, milliseconds.

    Paths stand as they were sent, percent-encoded. Of the query only `u` and `app` are shown: the admin token
    may stand in it. Where the client left before its answer was whole, a dash stands behind the status.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """One request, or the application's whole life."""
        if scope["type"] != "http" or not log.isEnabledFor(logging.INFO):
            await self.app(scope, receive, send)
            return
        started = perf_counter()
        status, whole = "", False

        async def noting(message: Any) -> None:
            nonlocal status, whole
            status = str(message.get("status", status))
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                whole = True
                _write(scope, status, started)

        try:
            await self.app(scope, receive, noting)
        finally:
            if not whole:
                _write(scope, f"{status}-", started)

    def at_once(self, scope: Scope) -> Answer | None:
        """As the application's own `at_once`."""
        started = perf_counter()
        answer: Answer | None = self.app.at_once(scope)
        if answer is not None and log.isEnabledFor(logging.INFO):
            _write(scope, str(answer.status), started)
        return answer


def _write(scope: Scope, status: str, started: float) -> None:
    client = (scope["client"] or ("-",))[0]
    words = scope["query_string"].decode("latin-1").split("&")
    who = "&".join(word for word in words if word.startswith(("u=", "app=")))
    path = scope["raw_path"].decode("latin-1") + (f"?{who}" if who else "")
    log.info("%s %s %s %s %.1f ms", client, scope["method"], path, status, (perf_counter() - started) * 1000)
