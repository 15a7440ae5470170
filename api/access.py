"""The access log: one line a request, through `logging`, with nothing secret in it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from hypercorn.logging import Logger

if TYPE_CHECKING:
    from hypercorn.typing import ResponseSummary, WWWScope

__all__ = ["AccessLogger"]

log = logging.getLogger("dagdvid.access")


class AccessLogger(Logger):
    """Hypercorn's logger with our line: client, method, path, who and what program, status, milliseconds.

    Paths stand as they were sent, percent-encoded. Of the query only `u` and `app` are shown: the admin token
    may stand in it.
    """

    async def access(self, request: WWWScope, response: ResponseSummary | None, request_time: float) -> None:
        """Log one request; without a response where the client left before it."""
        if request["type"] != "http" or not log.isEnabledFor(logging.INFO):
            return
        client = (request["client"] or ("-",))[0]
        words = request["query_string"].decode("latin-1").split("&")
        who = "&".join(word for word in words if word.startswith(("u=", "app=")))
        path = request["raw_path"].decode("latin-1") + (f"?{who}" if who else "")
        status = response["status"] if response is not None else "-"
        log.info("%s %s %s %s %.1f ms", client, request["method"], path, status, request_time * 1000)

    async def info(self, message: str, *args: Any, **kwargs: Any) -> None:
        """Hypercorn's own remarks on its start are not news to anybody."""
        log.debug(message, *args, **kwargs)
