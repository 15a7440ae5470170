"""Several processes on one socket: a supervisor that spawns them, replaces those that die, and stops them all.

The supervisor holds the data directory for all of them, and serves nothing itself.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from dagdvid.config import Config
from dagdvid.errors import DagdvidError, UnavailableError

from .serve import announce, run, set_up_logging
from .servers import GRACE

__all__ = ["supervise"]

log = logging.getLogger("dagdvid.workers")

PAUSE = 1.0
"""Seconds between the death of a worker and the next one, so that a lasting fault makes no storm."""


def supervise(config: Config, sock: socket.socket) -> None:
    """Serve with `config.workers` processes until SIGINT or SIGTERM; a second signal kills them.

    Raises:
        DagdvidError: the data directory is in use or cannot be opened, or a worker cannot start.
    """
    from dagdvid.server import hold  # noqa: PLC0415 - as in serve

    with hold(config), _signals() as signalled:
        workers: list[_Worker] = []
        try:
            workers += [_start(config, sock) for _ in range(config.workers)]
            for worker in workers:
                worker.wait_until_ready()
            announce(config, sock)
            while True:
                wait([signalled, *(worker.process.sentinel for worker in workers)])
                if signalled in wait([signalled], 0):
                    return
                for i, worker in enumerate(workers):
                    if not worker.process.is_alive():
                        log.error("worker %d died with status %s; starting another", *worker.fate())
                        time.sleep(PAUSE)
                        workers[i] = _start(config, sock)
        finally:
            sock.close()  # so that new clients are refused at once
            _stop(workers, signalled)


@dataclass
class _Worker:
    process: SpawnProcess
    report: Connection

    def wait_until_ready(self) -> None:
        try:
            complaint = self.report.recv()
        except EOFError:
            complaint = f"a worker process died at its start with status {self.fate()[1]}; the log above says why"
        if complaint:
            raise UnavailableError(complaint)

    def fate(self) -> tuple[int | None, int | None]:
        self.process.join(1)
        return self.process.pid, self.process.exitcode


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


def _start(config: Config, sock: socket.socket) -> _Worker:
    context = multiprocessing.get_context("spawn")
    report, reporter = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(config.as_member(), sock, reporter), name="dagdvid worker")
    # A Ctrl-C reaches the whole terminal; workers stop when the supervisor says so. The mask is inherited.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    reporter.close()
    return _Worker(process, report)


def _stop(workers: list[_Worker], signalled: socket.socket) -> None:
    running = [worker.process for worker in workers if worker.process.is_alive()]
    for process in running:
        process.terminate()
    if wait([signalled], 0):
        signalled.recv(1)
    deadline = time.monotonic() + GRACE + 10
    while running and time.monotonic() < deadline and not wait([signalled], 0):
        wait([signalled, *(process.sentinel for process in running)], max(0, deadline - time.monotonic()))
        running = [process for process in running if process.is_alive()]
    for process in running:
        process.kill()
    for worker in workers:
        worker.process.join()
        worker.report.close()


def _work(config: Config, sock: socket.socket, reporter: Connection) -> None:
    """The life of one worker process."""
    from dagdvid.server import Server  # noqa: PLC0415 - as in serve

    set_up_logging(config)
    threading.Thread(target=_end_with_supervisor, daemon=True).start()
    try:
        server = Server.open(config)
    except DagdvidError as error:
        reporter.send(str(error))
        sys.exit(1)
    with closing(server):
        run(server, sock, (signal.SIGTERM,), lambda: reporter.send(""))


def _end_with_supervisor() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
