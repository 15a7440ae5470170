"""One HTTP connection under Uvicorn, with limits that Uvicorn does not have: the size of a head, and idle time."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .servers import IDLE, MAX_HEAD

__all__ = ["Connection"]


class Connection(HttpToolsProtocol):
    """Uvicorn's protocol on httptools.

    A head above MAX_HEAD bytes, or one that takes longer than IDLE seconds to come, ends the connection.
    """

    _head = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected, and has not said anything yet."""
        super().connection_made(transport)
        self._patience = self.loop.call_later(IDLE, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone, or was left."""
        self._patience.cancel()
        super().connection_lost(exc)

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
        self._patience.cancel()
        super().on_headers_complete()

    def _count(self, size: int) -> None:
        self._head += size
        if self._head > MAX_HEAD:
            raise ValueError("the head of a request is too large")

    def _give_up(self) -> None:
        self.transport.close()
