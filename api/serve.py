"""Runs the HTTP service on a socket until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from dagdvid.config import Config
from dagdvid.errors import UnavailableError

from .hot import create_service
from .logs import set_up_logging
from .memory import keep_memory
from .servers import BACKLOG, SERVERS
from .starting import around, warn_if_open

if TYPE_CHECKING:
    from dagdvid.server import Server

__all__ = ["announce", "listen", "run", "serve", "serve_until"]


def serve(config: Config) -> None:
    """Serve a data directory until SIGINT or SIGTERM, with as many processes as configured.

    Raises:
        UnavailableError: the address is taken, or (InUse) the data directory is.
        DagdvidError: the data directory cannot be opened.
    """
    set_up_logging(config)
    with listen(config) as sock:
        from dagdvid.server import Server, prepare_kernels  # noqa: PLC0415 - a taken address is told before that

        prepare_kernels(config)
        if config.workers > 1:
            from .workers import supervise  # noqa: PLC0415 - single processes need none of it

            warn_if_open(config)
            with around(config):
                supervise(config, sock)
            return

        warn_if_open(config)
        with closing(Server.open(config)) as server, around(config):
            announce(config, sock)
            run(server, sock)


def listen(config: Config) -> socket.socket:
    """A listening socket; port 0 becomes a free one.

    Raises:
        UnavailableError: the address is taken, or not of this machine.
    """
    try:
        sock = _bound(config)
    except OSError as error:
        where = f"{config.host or '*'}:{config.port}"
        reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise UnavailableError(
            f"cannot listen on {where}: {reason}; choose another with --http HOST:PORT (port 0 finds a free one)"
        ) from None
    # Connections inherit it. Without, an answer in two writes waits 40 ms for the client's acknowledgement.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _bound(config: Config) -> socket.socket:
    if not config.host:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", config.port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
        return socket.create_server(("", config.port), backlog=BACKLOG)
    found = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return socket.create_server((address[0], address[1]), family=family, backlog=BACKLOG)


def announce(config: Config, sock: socket.socket) -> None:
    """Say on standard output, in one line, what is served where."""
    host, port = sock.getsockname()[:2]
    if sock.family == socket.AF_INET6:
        host = f"[{host}]"
    scheme = "https" if config.tls.certificate else "http"
    sys.stdout.write(f"dagdvid serving {config.data} on {scheme}://{host}:{port}\n")
    sys.stdout.flush()


def run(
    server: Server,
    sock: socket.socket,
    signals: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM),
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve on a socket until one of the signals; a second one ends the process at once."""

    # Of several processes, the supervisor stops all.
    server.stop = partial(os.kill, os.getppid() if server.config.member else os.getpid(), signal.SIGTERM)

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def stopped() -> None:
            server.state.stopping = True
            stop.set()
            for name in signals:
                loop.remove_signal_handler(name)
                signal.signal(name, signal.SIG_DFL)

        for name in signals:
            loop.add_signal_handler(name, stopped)
        ready()
        await serve_until(stop, server, sock)

    keep_memory()
    asyncio.run(main())


async def serve_until(stop: asyncio.Event, server: Server, sock: socket.socket) -> None:
    """Serve on a socket until an event; then finish what runs, for the grace at most. It takes the socket over."""
    await SERVERS[server.config.http_server](create_service(server), sock, stop, server.config)
