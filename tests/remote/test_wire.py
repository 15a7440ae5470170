"""The wire between two servers: how much goes over it, and what a cut in the middle leaves behind."""

from __future__ import annotations

import random
import socket
import threading
from contextlib import contextmanager, suppress

import pytest
from sites import Site, same

from dagdvid.interchange.keyvalues import keyvalue_chunks

BLOB = 300_000


class Wire:
    """A TCP proxy to a server. It cuts connections once `limit` bytes have gone both ways; None lets all through."""

    def __init__(self, target: str) -> None:
        self._target = ("127.0.0.1", int(target.rpartition(":")[2]))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self.limit: int | None = None
        self.sent = 0
        self.received = 0
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._run(self._accept)

    def _run(self, work, *args) -> None:
        thread = threading.Thread(target=work, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            self._open += [near, far]
            self._run(self._carry, near, far, True)
            self._run(self._carry, far, near, False)

    def _carry(self, source: socket.socket, sink: socket.socket, there: bool) -> None:
        try:
            while data := source.recv(16_384):
                left = len(data) if self.limit is None else self.limit - self.sent - self.received
                self.sent += len(data) if there else 0
                self.received += 0 if there else len(data)
                sink.sendall(data[: max(0, left)])
                if left < len(data):
                    break
        except OSError:
            pass
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # wakes the thread of the other direction
            end.close()  # whoever still writes to it is told so

    def reset(self, limit: int | None) -> None:
        self.limit, self.sent, self.received = limit, 0, 0

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._open:
            end.close()
        for thread in self._threads:
            thread.join(10)


@contextmanager
def wire_to(site: Site):
    wire = Wire(site.url)
    try:
        yield wire
    finally:
        wire.close()


def put_many(site: Site, uuid: str, values: dict[bytes, bytes]) -> None:
    body = b"".join(part for key, value in values.items() for part in keyvalue_chunks(key, value))
    site.json("POST", f"/api/node/{uuid}/kv/keyvalues", body)


def test_a_connection_cut_in_the_middle(a: Site, b: Site):
    root = a.repo()
    rng = random.Random(3)
    values = {f"k{i}": rng.randbytes(BLOB) for i in range(12)}
    for key, value in values.items():
        a.put(root, key, value)
    a.commit(root)
    with wire_to(b) as wire:
        a.remote(root, wire.url)
        for limit in (100, 1000, BLOB, 6 * BLOB, 12 * BLOB + 2000):
            wire.reset(limit)
            cut = a.ask("POST", f"/api/repo/{root}/push", {"remote": "other"})
            assert cut.status_code == 502, cut.text
            assert not b.has(root)
        wire.reset(None)
        result = a.push(root)
        assert result["versions"] == 1
        assert {key: b.get(root, key) for key in values} == values
        child = a.child(root)
        put_many(a, child, {b"n%d" % i: rng.randbytes(BLOB) for i in range(8)})
        a.commit(child)
        wire.reset(5 * BLOB)
        assert a.ask("POST", f"/api/repo/{root}/push", {"remote": "other"}).status_code == 502
        assert set(b.nodes(root)) == {root}
    same_root = b.fsck()
    assert same_root["ok"]
    a.remote(root, b)
    a.push(root)
    same(a, b, root)


def test_a_cut_pull_and_a_cut_clone(a: Site, b: Site, c: Site):
    root = a.repo()
    for i in range(6):
        a.put(root, f"k{i}", random.Random(i).randbytes(BLOB))
    a.commit(root)
    with wire_to(a) as wire:
        wire.reset(500)
        assert c.ask("POST", "/api/repos/clone", {"url": f"{wire.url}/{root}"}).status_code == 502
        assert not c.has(root)
        wire.reset(None)
        c.clone(f"{wire.url}/{root}")
        child = a.step(root, k=b"new")
        wire.reset(1200)
        assert c.ask("POST", f"/api/repo/{root}/pull", {"remote": "origin"}).status_code == 502
        assert set(c.nodes(root)) == {root}
        wire.reset(None)
        c.pull(root, "origin")
        assert c.get(child, "k") == b"new"
    same(a, c, root)


def test_what_came_before_a_cut_is_not_sent_again(a: Site, b: Site):
    root = a.repo()
    a.commit(root)
    child = a.child(root)
    rng = random.Random(5)
    put_many(a, child, {b"k%d" % i: rng.randbytes(4 * 2**20) for i in range(12)})  # more than one request's worth
    a.commit(child)
    with wire_to(b) as wire:
        a.remote(root, wire.url)
        wire.reset(40 * 2**20)
        assert a.ask("POST", f"/api/repo/{root}/push", {"remote": "other"}).status_code == 502
        wire.reset(None)
        a.push(root)
        assert wire.sent < 20 * 2**20
    same(a, b, root)


def one_key_of_many(a: Site, b: Site, n: int) -> None:
    root = a.repo()
    for start in range(0, n, 50_000):
        part = {b"key-%09d" % i: b"value %d" % i for i in range(start, min(n, start + 50_000))}
        put_many(a, root, part)
    a.commit(root)
    with wire_to(b) as wire:
        a.remote(root, wire.url)
        a.push(root)
        wire.reset(None)
        child = a.step(root, **{"key-000054321": b"changed"})
        result = a.push(root)
        print(f"one key of {n}: {wire.sent + wire.received} bytes, {result['round_trips']} round trips, {result}")
        assert wire.sent + wire.received <= 65_536
        assert result["bytes"] <= 65_536
        assert result["round_trips"] <= 5
        wire.reset(None)
        assert a.push(root)["objects"] == 0
        assert wire.sent + wire.received < 8192
    assert b.get(child, "key-000054321") == b"changed"
    same(a, b, root)


def test_one_key_of_100000(a: Site, b: Site):
    one_key_of_many(a, b, 100_000)


@pytest.mark.soak
def test_one_key_of_1000000(a: Site, b: Site):
    one_key_of_many(a, b, 1_000_000)
