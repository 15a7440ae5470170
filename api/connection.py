"""One HTTP connection under Uvicorn, with limits that Uvicorn does not have and a shorter way for small hot reads."""

from __future__ import annotations

import asyncio
import re
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from . import servers

if TYPE_CHECKING:
    from .hot import Answer

__all__ = ["Connection", "connection_class"]

_IN_A_ROW = 32
"""Requests of one piece of data that are answered before others have their turn."""

_HEADER = re.compile(rb"[!#-'*+.^_`|~0-9A-Za-z-]+: [\t -~\x80-\xff]*\r\n")


class Connection(HttpToolsProtocol):
    """Uvicorn's protocol on httptools.

    A head above MAX_HEAD bytes, or one that takes longer than IDLE seconds to come, ends the connection.

    Where the application has an answer at once, it is written here, without the task, the events and the messages that
    Uvicorn needs for it, which take three times as long as all else. Only the next in line may be answered so: not
    while an earlier request of the connection is in work, or earlier answers wait for the client to read them.
    """

    seconds = 600.0
    """That a client may leave an answer unread."""
    _head = 0
    _paused_since: float | None = None
    _in_a_row = 0
    _answered = False
    """The request that the parser is at has its answer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._at_once = getattr(self.app, "at_once", lambda _: None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected, and has not said anything yet."""
        super().connection_made(cast("asyncio.Transport", transport))
        self._waits_since = self.loop.time()
        self._patience = self.loop.call_later(servers.IDLE, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone, or was left."""
        self._patience.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read as fast as it is answered."""
        self._paused_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """It has read."""
        self._paused_since = None
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Some bytes of one request or of many."""
        self._in_a_row = 0
        super().data_received(data)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._head = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A piece of the address."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """A whole head."""
        self._answered = self.transport.is_closing()  # the client was told that nothing more is answered
        if self._answered:
            return
        answer = self._short_answer() if self._is_next() else None
        if answer is None:
            super().on_headers_complete()
            return
        self._answered = True
        self._write(answer)

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        if not self._answered:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The end of a request."""
        if not self._answered:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """The end of an answer that came from the application."""
        self._waits_since = self.loop.time()
        super().on_response_complete()

    def _is_next(self) -> bool:
        self._in_a_row += 1
        return (
            not self._working()
            and not self.flow.write_paused
            and self._in_a_row <= _IN_A_ROW
            and not self.parser.should_upgrade()
        )

    def _working(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _short_answer(self) -> Answer | None:
        url = httptools.parse_url(self.url)
        self.scope["method"] = self.parser.get_method().decode("ascii")
        self.scope["raw_path"] = url.path
        self.scope["query_string"] = url.query or b""
        answer: Answer | None = self._at_once(self.scope)
        return answer

    def _write(self, answer: Answer) -> None:
        keep = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        headers = (*self.server_state.default_headers, *answer.headers)
        lines = [_status_line(answer.status), *(_line(name, value) for name, value in headers)]
        if not keep:
            lines.append(b"connection: close\r\n")
        self.transport.write(b"".join((*lines, b"\r\n", answer.body)))
        self.server_state.total_requests += 1
        self._waits_since = self.loop.time()
        if not keep:
            self.transport.close()

    def _count(self, size: int) -> None:
        self._head += size
        if self._head > servers.MAX_HEAD:
            raise ValueError("the head of a request is too large")

    def _look(self) -> None:
        """Leave a client that has not sent a whole head for so long, or not read what it was sent."""
        left = self._waits_since + servers.IDLE - self.loop.time()
        if self._paused_since is not None and self.loop.time() - self._paused_since > self.seconds:
            self.transport.abort()
        elif left > 0 or self._working():
            self._patience = self.loop.call_later(left if left > 0 else servers.IDLE, self._look)
        else:
            self.transport.close()


def connection_class(seconds: float) -> type[Connection]:
    """The class of connections whose clients may leave an answer unread for so many seconds."""
    return type("Connection", (Connection,), {"seconds": seconds})


@lru_cache
def _status_line(status: int) -> bytes:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()


@lru_cache(1024)
def _line(name: bytes, value: bytes) -> bytes:
    line = b"%b: %b\r\n" % (name, value)
    if not _HEADER.fullmatch(line):
        raise ValueError(f"{line!r} cannot be a header")
    return line
