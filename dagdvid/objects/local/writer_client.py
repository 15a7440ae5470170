"""The writer as a worker process sees it: operations go over a Unix socket to the process that has the folder."""

from __future__ import annotations

import itertools
import socket
import threading
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

from dagdvid.errors import Busy, FateUnknown
from dagdvid.objects.local.operation import Operation, Prepared, Put, prepare_operation
from dagdvid.objects.local.wire import Frames, decode_answer, encode_operation, encode_request

__all__ = ["WriterClient"]

_LARGE = 2**18
"""Bytes from which on an operation goes by a connection of its own, so that small ones need not wait behind it."""


class WriterClient:
    """As `Writer`, for the processes beside it. Connects again by itself when the writer process was replaced."""

    def __init__(self, address: Path) -> None:
        """`address`: the Unix socket, which the supervisor keeps while it replaces a writer that died."""
        self._lines = [_Line(address), _Line(address)]

    def submit(self, operation: Operation) -> Future[Any]:
        """Send an operation; the future has what its `apply` returned, or its error.

        The error is FateUnknown where the writer died before it answered.
        """
        prepared = prepare_operation(operation)
        pickled = encode_operation(prepared.operation)
        return self._lines[len(pickled) + prepared.size >= _LARGE].submit(pickled, prepared)

    def run(self, operation: Operation) -> Any:
        """`submit`, and wait. Objects alone are sent again if the writer dies: it does no harm to store them twice."""
        try:
            return self.submit(operation).result()
        except FateUnknown:
            if not isinstance(operation, Put):
                raise
        return self.submit(operation).result()

    def close(self) -> None:
        """Close the connections. What is under way is no longer waited for."""
        for line in self._lines:
            line.close()


class _Line:
    """One connection at a time."""

    def __init__(self, address: Path) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._link: _Link | None = None
        self._closed = False

    def submit(self, operation: bytes, prepared: Prepared) -> Future[Any]:
        with self._lock:  # frames must not mix
            for last in (False, True):
                if self._closed:
                    raise Busy("the store is closing")
                if self._link is None or self._link.broken:
                    self._link = _Link(self._address)
                try:
                    return self._link.send(operation, prepared)
                except OSError as error:  # it did not come whole, so that nothing was done
                    self._link.broken = True
                    if last:
                        raise Busy(f"the writer process cannot be reached: {error.strerror}") from None
        raise AssertionError

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._link is not None:
                self._link.close()


class _Link:
    """A connection to one life of the writer process."""

    def __init__(self, address: Path) -> None:
        self.broken = False
        self._sock = socket.socket(socket.AF_UNIX)
        try:
            self._sock.connect(str(address))
        except OSError as error:
            self._sock.close()
            raise Busy(f"the writer process cannot be reached: {error.strerror}") from None
        self._numbers = itertools.count()
        self._waiting: dict[int, Future[Any]] = {}
        self._thread = threading.Thread(target=self._receive, name="dagdvid-writer-answers", daemon=True)
        self._thread.start()

    def send(self, operation: bytes, prepared: Prepared) -> Future[Any]:
        number = next(self._numbers) & 0xFFFFFFFF
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        self._waiting[number] = future
        try:
            for piece in encode_request(number, operation, prepared):
                self._sock.sendall(piece)
        except BaseException:
            self._waiting.pop(number, None)
            self.broken = True
            raise
        if self.broken:  # it broke after the last byte was sent, and nobody will answer this one any more
            self._give_up()
        return future

    def close(self) -> None:
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _receive(self) -> None:
        frames = Frames()
        try:
            while n := self._sock.recv_into(frames.space()):
                for frame in frames.filled(n):
                    number, outcome = decode_answer(frame)
                    future = self._waiting.pop(number)
                    if outcome.error is not None:
                        future.set_exception(outcome.error)
                    else:
                        future.set_result(outcome.value)
        except OSError:
            pass
        finally:
            self.broken = True
            self._give_up()
            self._sock.close()

    def _give_up(self) -> None:
        while self._waiting:
            with suppress(KeyError):
                _, future = self._waiting.popitem()
                future.set_exception(
                    FateUnknown(
                        "the writer process died before it answered, and the change may have been made or not:"
                        " look before you make it again"
                    )
                )
