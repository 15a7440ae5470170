"""The writer of a server of several processes: a loop that takes operations from a socket and commits what waits."""

from __future__ import annotations

import selectors
import socket
import time
from collections import deque
from contextlib import suppress
from typing import NamedTuple

from dagdvid.objects.local.group import MAX_BYTES, MAX_GROUP, GroupCommit, Outcome
from dagdvid.objects.local.operation import Prepared
from dagdvid.objects.local.wire import Frames, decode_request, encode_answer

__all__ = ["serve_writer"]

GRACE = 60.0
"""Seconds that clients have to go once the writer is told to stop; a supervisor stops them first."""


def serve_writer(listener: socket.socket, commit: GroupCommit, stop: socket.socket) -> None:
    """Commit what the clients of a listening Unix socket send.

    Once `stop` is readable, go on until all clients have gone, but no longer than GRACE seconds.
    """
    _Service(listener, commit, stop).run()


class _Peer:
    """A client's connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.frames = Frames()
        self.unsent = bytearray()


class _Request(NamedTuple):
    peer: _Peer
    number: int
    prepared: Prepared
    size: int
    """Bytes that wait for it in memory."""


class _Service:
    """One thread does everything: while it commits, the next group gathers in the sockets."""

    def __init__(self, listener: socket.socket, commit: GroupCommit, stop: socket.socket) -> None:
        self._listener, self._commit, self._stop = listener, commit, stop
        self._selector = selectors.DefaultSelector()
        self._peers: set[_Peer] = set()
        self._waiting: deque[_Request] = deque()
        self._bytes = 0
        self._deadline: float | None = None

    def run(self) -> None:
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._stop, selectors.EVENT_READ)
        with self._selector:
            while self._deadline is None or (self._peers and time.monotonic() < self._deadline):
                due = self._commit.tend()
                self._poll(0 if self._waiting else due if self._deadline is None else 0.1)
                if self._waiting:
                    self._commit_group()
        for peer in self._peers:
            peer.sock.close()

    def _poll(self, timeout: float | None) -> None:
        for key, events in self._selector.select(timeout):
            if key.fileobj is self._listener:
                self._accept()
            elif key.fileobj is self._stop:
                self._selector.unregister(self._stop)
                self._deadline = time.monotonic() + GRACE
            else:
                peer: _Peer = key.data
                if events & selectors.EVENT_WRITE:
                    self._send(peer)
                if events & selectors.EVENT_READ and self._bytes < MAX_BYTES:
                    self._receive(peer)

    def _accept(self) -> None:
        with suppress(BlockingIOError):
            sock, _ = self._listener.accept()
            sock.setblocking(False)
            peer = _Peer(sock)
            self._peers.add(peer)
            self._selector.register(sock, selectors.EVENT_READ, peer)

    def _receive(self, peer: _Peer) -> None:
        try:
            n = peer.sock.recv_into(peer.frames.space())
        except BlockingIOError:
            return
        except OSError:
            n = 0
        if not n:
            self._drop(peer)
            return
        for frame in peer.frames.filled(n):
            number, prepared = decode_request(frame)
            if isinstance(prepared, Exception):
                peer.unsent += encode_answer(number, Outcome(error=prepared))
                self._send(peer)
            else:
                self._waiting.append(_Request(peer, number, prepared, len(frame.body)))
                self._bytes += len(frame.body)

    def _commit_group(self) -> None:
        group: list[_Request] = []
        size = 0
        while self._waiting and len(group) < MAX_GROUP and size < MAX_BYTES:
            group.append(self._waiting.popleft())
            size += group[-1].size
        self._bytes -= size
        outcomes = self._commit.commit([request.prepared for request in group])
        for request, outcome in zip(group, outcomes, strict=True):
            request.peer.unsent += encode_answer(request.number, outcome)
        for peer in {request.peer for request in group} & self._peers:
            self._send(peer)

    def _send(self, peer: _Peer) -> None:
        """Send what the client takes; the rest when it takes more."""
        try:
            while peer.unsent:
                n = peer.sock.send(peer.unsent)
                del peer.unsent[:n]
        except BlockingIOError:
            self._selector.modify(peer.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, peer)
            return
        except OSError:
            self._drop(peer)
            return
        if self._selector.get_key(peer.sock).events != selectors.EVENT_READ:
            self._selector.modify(peer.sock, selectors.EVENT_READ, peer)

    def _drop(self, peer: _Peer) -> None:
        """The client has gone; what it sent is still done."""
        self._peers.discard(peer)
        self._selector.unregister(peer.sock)
        peer.sock.close()
