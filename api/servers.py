"""The ASGI servers that can carry the service. Each serves a listening socket until an event.

Measured with small reads of a hot route, one worker on two shared cores: Uvicorn 10,300 requests/s, Granian 11,200,
Hypercorn 4,500. Granian starts processes and opens sockets of its own, so that our supervisor cannot share one with it.
uvloop gave Uvicorn 0 to 7 % more, which does not pay for a dependency.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from dagdvid.config import Config

__all__ = ["SERVERS", "Serve"]

BACKLOG = 1024
IDLE = 75.0
"""Seconds for which a connection is kept without a request."""

MAX_HEAD = 1 << 20
"""Bytes of a request's first line and headers; clients put long lists of blocks into the query."""

Serve = Callable[[Any, socket.socket, asyncio.Event, Config], Awaitable[None]]
"""(ASGI application, socket, stop, configuration): serve until the event, then finish what runs, for the configured
grace at most."""


async def uvicorn(app: Any, sock: socket.socket, stop: asyncio.Event, config: Config) -> None:
    """Serve with Uvicorn on httptools."""
    import uvicorn  # noqa: PLC0415 - only the chosen server is loaded

    from .connection import connection_class  # noqa: PLC0415 - as above

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield  # signals are the caller's

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            # asyncio accepts as many connections at a time as its backlog says. With 1, workers that share a socket
            # share a burst of connections, too; the socket itself may then hold more of them again.
            await super().startup(sockets)
            sock.listen(BACKLOG)

    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # the service has logged whatever is wrong
    server = Server(
        uvicorn.Config(
            app,
            http=connection_class(config.limits.seconds),
            ws="none",
            lifespan="on",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=1,
            timeout_keep_alive=int(IDLE),
            timeout_graceful_shutdown=config.grace,
            ssl_certfile=config.tls.certificate,
            ssl_keyfile=config.tls.key,
        )
    )

    async def stopping() -> None:
        await stop.wait()
        server.should_exit = True

    waiter = asyncio.ensure_future(stopping())
    try:
        await server.serve([sock])
    finally:
        waiter.cancel()


async def hypercorn(app: Any, sock: socket.socket, stop: asyncio.Event, config: Config) -> None:
    """Serve with Hypercorn."""
    import hypercorn.asyncio  # noqa: PLC0415 - as above
    from hypercorn.config import Config as Settings  # noqa: PLC0415 - as above

    settings = Settings()
    settings.bind = [f"fd://{sock.detach()}"]
    settings.backlog = BACKLOG
    settings.errorlog = logging.getLogger("dagdvid.hypercorn")
    settings.loglevel = "WARNING"
    settings.graceful_timeout = config.grace
    settings.h11_max_incomplete_size = MAX_HEAD
    settings.include_server_header = False
    settings.keep_alive_max_requests = sys.maxsize
    settings.keep_alive_timeout = IDLE
    if config.tls.certificate is not None and config.tls.key is not None:
        settings.certfile, settings.keyfile = str(config.tls.certificate), str(config.tls.key)
    service = asyncio.ensure_future(hypercorn.asyncio.serve(app, settings, shutdown_trigger=stop.wait, mode="asgi"))
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait([service, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    # From Python 3.12 on, Hypercorn waits without end for clients that do not read.
    done, _ = await asyncio.wait([service], timeout=config.grace + 5)
    if done:
        await service
    else:
        service.cancel()
        await asyncio.wait([service])


SERVERS: dict[str, Serve] = {"uvicorn": uvicorn, "hypercorn": hypercorn}
"""By name; the first is the default."""
