"""Several processes on one socket: a supervisor that spawns them, replaces those that die, and stops them all.

One of them writes (`dagdvid.server.write`), the others serve. The supervisor holds the data directory for all of them,
and the sockets, so that a process that is replaced leaves no gap; it serves nothing itself.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

from dagdvid.config import Config
from dagdvid.errors import DagdvidError, UnavailableError

from .logs import set_up_logging
from .serve import announce, run
from .servers import BACKLOG

__all__ = ["supervise"]

log = logging.getLogger("dagdvid.workers")

PAUSE = 1.0
"""Seconds that a process must have lived to be replaced at once, so that a lasting fault makes no storm."""


def supervise(config: Config, sock: socket.socket) -> None:
    """Serve with `config.workers` processes until SIGINT or SIGTERM; a second signal kills them.

    Raises:
        DagdvidError: the data directory is in use or cannot be opened, or a process cannot start.
    """
    from dagdvid.server import hold  # noqa: PLC0415 - as in serve

    with ExitStack() as stack:
        members: list[_Member] = []
        address = None
        if not config.readonly:
            lock = stack.enter_context(hold(config))
            address, listener = stack.enter_context(_writer_socket())
            members.append(_Member("writer", _write, (config, listener, _Descriptor(lock))))
        worker = config.as_member(address)
        members += [_Member("worker", _work, (worker, sock)) for _ in range(config.workers)]
        signalled = stack.enter_context(_signals())
        try:
            for member in members:
                member.start()
                if member.name == "writer":
                    member.wait_until_ready()
            for member in members:
                member.wait_until_ready()
            announce(config, sock)
            while True:
                wait([signalled, *(member.process.sentinel for member in members)])
                if signalled in wait([signalled], 0):
                    if signalled.recv(1, socket.MSG_PEEK)[0] != signal.SIGHUP:
                        return
                    signalled.recv(1)  # it was for its own handler
                for member in members:
                    if not member.process.is_alive():
                        log.error("%s; starting another", member.fate())
                        time.sleep(max(0.0, member.started + PAUSE - time.monotonic()))
                        member.start()
        finally:
            sock.close()  # so that new clients are refused at once
            _stop(members, signalled, config.grace)


@dataclass
class _Member:
    """A process that is replaced when it dies."""

    name: str
    target: Callable[..., None]
    args: tuple[Any, ...]
    """Of the target, before the last, by which it reports."""
    started: float = 0.0
    ready: bool = False
    process: SpawnProcess = field(init=False)
    report: Connection = field(init=False)

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        if self.started:
            self.report.close()
        self.report, reporter = context.Pipe(duplex=False)
        # A Ctrl-C reaches the whole terminal; processes stop when the supervisor says so. The mask is inherited.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            name = f"dagdvid {self.name}"
            self.process = context.Process(target=self.target, args=(*self.args, reporter), name=name)
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        reporter.close()
        self.started = time.monotonic()

    def wait_until_ready(self) -> None:
        if self.ready:
            return
        try:
            complaint = self.report.recv()
        except EOFError:
            self.process.join(1)
            status = self.process.exitcode
            complaint = f"a {self.name} process died at its start with status {status}; the log above says why"
        if complaint:
            raise UnavailableError(complaint)
        self.ready = True

    def fate(self) -> str:
        self.process.join(1)
        said = f"{self.name} {self.process.pid} died with status {self.process.exitcode}"
        with suppress(EOFError):
            while self.report.poll():
                if complaint := self.report.recv():
                    said += f": {complaint}"
        return said


class _Descriptor:
    """A file descriptor that goes to each process that is spawned with it; there it is an int."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __reduce__(self) -> tuple[Callable[[Any], int], tuple[Any]]:
        return _detached, (DupFd(self.fd),)


def _detached(duplicate: Any) -> int:
    return int(duplicate.detach())


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """A socket that becomes readable, and stays so, when the process is told to stop."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    names = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(name, lambda *_: None) for name in names]
    wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(wakeup)
        for name, handler in zip(names, before, strict=True):
            signal.signal(name, handler)
        reader.close()
        writer.close()


@contextmanager
def _writer_socket() -> Iterator[tuple[Path, socket.socket]]:
    """A listening Unix socket that only this user can reach, and its path, which must be short."""
    with tempfile.TemporaryDirectory(prefix="dagdvid-") as folder, socket.socket(socket.AF_UNIX) as listener:
        path = Path(folder) / "writer"
        listener.bind(str(path))
        listener.listen(BACKLOG)
        yield path, listener


def _stop(members: list[_Member], signalled: socket.socket, grace: float) -> None:
    """Stop the workers, then, as they may still have something to write, the writer."""
    started = [member for member in members if member.started]
    if wait([signalled], 0):
        signalled.recv(1)
    deadline = time.monotonic() + grace + 10
    for name in ("worker", "writer"):
        running = [member.process for member in started if member.name == name and member.process.is_alive()]
        for process in running:
            process.terminate()
        while running and time.monotonic() < deadline and not wait([signalled], 0):
            wait([signalled, *(process.sentinel for process in running)], max(0, deadline - time.monotonic()))
            running = [process for process in running if process.is_alive()]
        for process in running:
            process.kill()
    for member in started:
        member.process.join()
        member.report.close()


def _work(config: Config, sock: socket.socket, reporter: Connection) -> None:
    """The life of one worker process."""
    from dagdvid.server import Server  # noqa: PLC0415 - as in serve

    set_up_logging(config)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it is for the supervisor
    threading.Thread(target=_end_with_supervisor, daemon=True).start()
    with _complaining(reporter):
        server = Server.open(config)
    with closing(server):
        run(server, sock, (signal.SIGTERM,), lambda: reporter.send(""))


def _write(config: Config, listener: socket.socket, _lock: int, reporter: Connection) -> None:
    """The life of the writer process. It has the lock, too: should the supervisor die first, nobody else gets in."""
    from dagdvid.server import write  # noqa: PLC0415 - as in serve

    set_up_logging(config)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as above
    with _signals() as signalled:
        threading.Thread(target=_end_with_supervisor, daemon=True).start()
        with _complaining(reporter):
            write(config, listener, signalled, lambda: reporter.send(""))


@contextmanager
def _complaining(reporter: Connection) -> Iterator[None]:
    """Tell the supervisor why a process cannot go on, then end."""
    try:
        yield
    except DagdvidError as error:
        reporter.send(str(error))
        sys.exit(1)


def _end_with_supervisor() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
