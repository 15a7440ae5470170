"""The writer as a process of its own: its wire, its clients, its death. Here it runs in a thread, or in a child."""

from __future__ import annotations

import operator
import random
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
from concurrent.futures import wait
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagdvid.errors import Busy, FateUnknown, ReadOnly, StaleRead, UnavailableError
from dagdvid.objects.ids import ObjectType
from dagdvid.objects.local.group import Outcome
from dagdvid.objects.local.operation import Put, prepare_operation
from dagdvid.objects.local.store import LocalStore, next_value
from dagdvid.objects.local.wire import (
    Frames,
    decode_answer,
    decode_request,
    encode_answer,
    encode_operation,
    encode_request,
)
from dagdvid.objects.local.writer_client import WriterClient
from dagdvid.objects.store import prepare
from dagdvid.testing.store import ObjectStoreTests, blobs


@contextmanager
def address():
    """A listening socket and its path, which must be short."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        path = Path(folder) / "writer"
        listener.bind(str(path))
        listener.listen()
        yield path, listener


@contextmanager
def writing(folder, listener, **options):
    """A writer at work in a thread."""
    stop, stopper = socket.socketpair()
    with closing(LocalStore(folder, **options)) as store, stop, stopper:
        thread = threading.Thread(target=store.serve_writer, args=(listener, stop))
        thread.start()
        try:
            yield store
        finally:
            stopper.send(b"x")
            thread.join()


@pytest.fixture
def pair(tmp_path):
    """The writer's store, and that of another process."""
    folder = tmp_path / "data"
    with (
        address() as (path, listener),
        writing(folder, listener) as store,
        closing(LocalStore(folder, writer=path)) as other,
    ):
        yield store, other


class TestThroughTheWriter(ObjectStoreTests):
    @pytest.fixture
    def store(self, pair):
        return pair[1]


@dataclass(frozen=True)
class Count:
    step: int
    objects: tuple = ()
    fail: Exception | None = None

    def apply(self, conn):
        value = next_value(conn, "n", self.step)
        if self.fail:
            raise self.fail
        return value


class OddError(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


@dataclass(frozen=True)
class Odd:
    objects: tuple = ()

    def apply(self, conn):
        raise OddError("a", "b")


@dataclass(frozen=True)
class Absent:
    """Not to be found where it is read again."""

    objects: tuple = ()

    def apply(self, conn):
        pass

    def __reduce__(self):
        return operator.getitem, ({}, "no such thing")


def test_values_and_errors_travel(pair):
    _, other = pair
    assert other.run(Count(3)) == 0
    assert other.run(Count(4, (prepare(ObjectType.BLOB, b"with an object"),))) == 3
    with pytest.raises(StaleRead, match="^moved$"):
        other.run(Count(1, fail=StaleRead("moved")))
    with pytest.raises(UnavailableError, match="a b"):
        other.run(Odd())
    with pytest.raises(KeyError, match="no such thing"):
        other.run(Absent())
    assert other.run(Count(0)) == 7


def test_a_store_is_written_by_one(pair):
    _, other = pair
    one, two = socket.socketpair()
    with one, two, pytest.raises(ReadOnly):
        other.serve_writer(one, two)
    conn = other.database.connect(write=True)
    with pytest.raises(Exception, match="readonly"):
        conn.execute("DELETE FROM entries")


def test_many_threads_of_several_clients(tmp_path):
    """All at once, small and large: each gets its own answer, and every number is given once."""
    with address() as (path, listener), writing(tmp_path / "data", listener, pack_limit=100_000) as store:
        clients = [LocalStore(tmp_path / "data", writer=path) for _ in range(3)]
        got, faults = [], []

        def work(seed):
            rng = random.Random(seed)
            try:
                for _ in range(60):
                    client = clients[rng.randrange(3)]
                    item = prepare(ObjectType.BLOB, rng.randbytes(rng.choice([10, 5000, 400_000])), 0)
                    got.append(client.run(Count(1, (item,))))
                    assert client.get_many([item.id]) == [item]
            except Exception as error:  # noqa: BLE001  shown below
                faults.append(error)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults == []
        assert sorted(got) == list(range(480))
        for client in clients:
            client.close()
        assert not store.packs.damaged


def test_objects_are_sent_again_and_other_changes_are_not(tmp_path):
    """A writer that dies leaves the fate of what it had unknown; the address outlives it."""
    with address() as (path, listener):
        results = {}
        work = {"count": Count(1), "put": Put(blobs(3)), "large": Put(blobs(3, size=1_000_000))}
        clients = {name: WriterClient(path) for name in work}

        def run(name, operation):
            try:
                results[name] = clients[name].run(operation)
            except UnavailableError as error:
                results[name] = error

        threads = [threading.Thread(target=run, args=item) for item in work.items()]
        for thread in threads:
            thread.start()
        taken = [listener.accept()[0] for _ in work]  # each is read a little, and broken
        for sock in taken:
            sock.recv(10)
            sock.close()
        with writing(tmp_path / "data", listener) as store:
            for thread in threads:
                thread.join()
            assert isinstance(results["count"], FateUnknown)
            assert results["put"] is None
            assert results["large"] is None
            assert all(store.has_many([item.id for item in [*work["put"].objects, *work["large"].objects]]))
            for client in clients.values():
                client.close()
                with pytest.raises(Busy, match="closing"):
                    client.run(Count(1))
    with pytest.raises(Busy, match="cannot be reached"):
        WriterClient(path).run(Count(1))


def test_a_writer_that_is_told_to_stop_finishes_what_its_clients_send(tmp_path):
    with address() as (path, listener):
        stop, stopper = socket.socketpair()
        with closing(LocalStore(tmp_path / "data")) as store, stop, stopper:
            client = WriterClient(path)
            thread = threading.Thread(target=store.serve_writer, args=(listener, stop))
            thread.start()
            assert client.run(Count(1)) == 0
            stopper.send(b"x")
            assert [client.run(Count(1)) for _ in range(20)] == list(range(1, 21))
            client.close()
            thread.join(10)
            assert not thread.is_alive()


def test_kill(tmp_path):
    """The writer process dies at some moment, three times: what was acknowledged is there."""
    code = """
        import pathlib, socket, sys
        from dagdvid.objects.local.store import LocalStore
        listener = socket.socket(fileno=int(sys.argv[2]))
        stop, other = socket.socketpair()
        LocalStore(pathlib.Path(sys.argv[1]), pack_limit=20_000).serve_writer(listener, stop)
    """
    folder = tmp_path / "data"
    acknowledged = []
    left = []
    with address() as (path, listener):
        client = WriterClient(path)
        for life in range(3):
            child = subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(code), str(folder), str(listener.fileno())],
                pass_fds=[listener.fileno()],
            )

            def put(life=life, child=child):
                for i in range(10**9):
                    items = [prepare(ObjectType.BLOB, b"%d %d %d " % (life, i, j) * 50) for j in range(3)]
                    future = client.submit(Put(items))
                    try:
                        while not wait([future], 0.1).done:
                            if child.poll() is not None:  # it waits for the next life to accept it
                                left.append((future, items))
                                return
                        future.result()
                    except FateUnknown:
                        return
                    acknowledged.extend(items)
                    if i == 40 + 11 * life:
                        child.send_signal(signal.SIGKILL)

            put()
            assert child.wait(10) == -signal.SIGKILL
        client.close()
    for future, items in left:
        if future.exception() is None:
            acknowledged.extend(items)
    with closing(LocalStore(folder)) as store:
        assert len(acknowledged) > 300
        assert store.get_many([item.id for item in acknowledged]) == acknowledged
        assert not store.packs.damaged


@given(
    st.lists(st.tuples(st.sampled_from([0, 3, 200, 300_000]), st.integers(0, 3)), max_size=6),
    st.lists(st.integers(1, 400_000), min_size=1, max_size=20),
)
def test_frames(shapes, cuts):
    """Any requests, cut into any pieces, come out as they went in."""
    sent = []
    stream = b""
    for number, (size, n) in enumerate(shapes):
        objects = [prepare(ObjectType.BLOB, bytes([i]) * size, 0) for i in range(n)]
        prepared = prepare_operation(Put(objects))
        sent.append((number, prepared))
        stream += b"".join(encode_request(number, encode_operation(prepared.operation), prepared))
    frames, got, at, turn = Frames(), [], 0, 0
    while at < len(stream):
        space = frames.space()
        n = min(len(space), len(stream) - at, cuts[turn % len(cuts)])
        turn += 1
        space[:n] = stream[at : at + n]
        at += n
        got += [decode_request(frame) for frame in frames.filled(n)]
    assert got == sent


@pytest.mark.parametrize("outcome", [Outcome(), Outcome(0), Outcome({"a": [1, b"x"]}), Outcome(None)])
def test_answers(outcome):
    frames = Frames()
    data = encode_answer(7, outcome)
    frames.space()[: len(data)] = data
    assert [decode_answer(frame) for frame in frames.filled(len(data))] == [(7, outcome)]
