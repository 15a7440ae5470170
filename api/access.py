"""The outermost layer of the service: numbers requests, counts and logs them, and keeps to the limits of a process."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from itertools import count
from time import perf_counter
from typing import TYPE_CHECKING, Any

from .incoming import REQUEST_ID, USER, Scope
from .problems import busy
from .proxies import client_address, is_trusted

if TYPE_CHECKING:
    from dagdvid.server import Server

    from .hot import Answer

__all__ = ["Logged"]

log = logging.getLogger("dagdvid.access")

_ALWAYS = frozenset(
    {
        b"/metrics",
        b"/healthz",
        b"/readyz",
        b"/api/metrics",
        b"/api/health",
        b"/api/ready",
        b"/api/heartbeat",
        b"/api/load",
    }
)
"""What is answered however many requests are in work."""
_ID = re.compile(r"[0-9A-Za-z._-]{1,64}", re.ASCII)


class Logged:
    """An ASGI application around that of a server's requests.

    A line of the log has the client, method, path, status, milliseconds and the number of the request; that number is
    also in answers that tell of an error. Paths stand as they were sent, percent-encoded. Of the query only `u` and
    `app` are shown: the admin token may stand in it. Where the client left before its answer was whole, a dash stands
    behind the status.
    """

    def __init__(self, app: Any, server: Server) -> None:
        config = server.config
        self.app = app
        self._meters = server.meters
        self._most = config.limits.requests
        self._seconds = config.limits.seconds
        self._slow = config.logging.slow or float("inf")
        self._proxies = config.auth.proxies
        self._inside = 0
        self._prefix = f"{os.getpid():x}-{time.time_ns() // 1_000_000 & 0xFFFFFF:x}-"
        self._numbers = count(1)

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """One request, or the application's whole life."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = perf_counter()
        number = scope[REQUEST_ID] = self._number(scope)
        status, sent, whole = 0, 0, False

        async def noting(message: Any) -> None:
            nonlocal status, sent, whole
            if message["type"] == "http.response.start":
                status = message["status"]
                if status >= 400:
                    message = {**message, "headers": [*message.get("headers", ()), _header(number)]}
                await send(message)
                return
            try:
                async with asyncio.timeout(self._seconds):
                    await send(message)
            except TimeoutError:
                raise asyncio.CancelledError from None  # the client does not read: end the answer, and the connection
            sent += len(message.get("body", b""))
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                whole = True
                self._note(scope, number, status, started, sent, whole=True)

        self._change(1)
        try:
            if self._inside > self._most and scope["raw_path"] not in _ALWAYS:
                self._meters.refused()
                await _refuse(noting)
                return
            await self.app(scope, receive, noting)
        finally:
            self._change(-1)
            if not whole:
                self._note(scope, number, status, started, sent, whole=False)

    def at_once(self, scope: Scope) -> Answer | None:
        """As the application's own `at_once`."""
        started = perf_counter()
        answer: Answer | None = self.app.at_once(scope)
        if answer is None:
            return None
        number = ""
        if answer.status >= 400 or log.isEnabledFor(logging.INFO):
            number = self._number(scope)
        if answer.status >= 400:
            answer.headers.append(_header(number))
        self._note(scope, number, answer.status, started, len(answer.body), whole=True)
        return answer

    def _change(self, by: int) -> None:
        self._inside += by
        self._meters.work(by)

    def _number(self, scope: Scope) -> str:
        """What names a request in the log: what a trusted proxy calls it, or one of ours."""
        if self._proxies and is_trusted(scope, self._proxies):
            for name, value in scope["headers"]:
                if name == b"x-request-id" and _ID.fullmatch(given := value.decode("latin-1")):
                    return str(given)
        return f"{self._prefix}{next(self._numbers):x}"

    def _note(self, scope: Scope, number: str, status: int, started: float, sent: int, *, whole: bool) -> None:
        seconds = perf_counter() - started
        self._meters.request(scope["method"], status, seconds, sent)
        slow = seconds > self._slow
        if slow:
            self._meters.slow()
        if not (slow or log.isEnabledFor(logging.INFO)):
            return
        words = scope["query_string"].decode("latin-1").split("&")
        who = dict(word.split("=", 1) for word in words if word.startswith(("u=", "app=")))
        path = scope["raw_path"].decode("latin-1")
        client = self._client(scope)
        shown = path + ("?" if who else "") + "&".join(f"{name}={value}" for name, value in who.items())
        fields = {
            "id": number,
            "client": client,
            "method": scope["method"],
            "path": path,
            "status": status,
            "ms": round(seconds * 1000, 1),
            "sent": sent,
            "whole": whole,
            "user": scope.get(USER, ""),
            **who,
        }
        log.log(
            logging.WARNING if slow else logging.INFO,
            "%s%s %s %s %s %.1f ms %s",
            "slow: " if slow else "",
            client or "-",
            scope["method"],
            shown,
            f"{status or ''}{'' if whole else '-'}",
            seconds * 1000,
            number or "-",
            extra={"fields": fields},
        )

    def _client(self, scope: Scope) -> str:
        if not self._proxies:
            return str((scope["client"] or ("",))[0])
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        return client_address(scope, headers, self._proxies)


def _header(number: str) -> tuple[bytes, bytes]:
    return b"x-request-id", number.encode()


async def _refuse(send: Any) -> None:
    reply = busy()
    headers = [(name.lower().encode(), value.encode()) for name, value in reply.headers.items()]
    body = reply.body if isinstance(reply.body, bytes) else b""
    headers += [(b"content-type", reply.content_type.encode()), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
