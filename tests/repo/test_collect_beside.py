"""gc while others read and write (SPEC 4.12): between any two of its steps anything may happen, and nothing is lost."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from calling import Caller

from dagdvid.config import Config
from dagdvid.errors import Busy
from dagdvid.objects.ids import ObjectType
from dagdvid.objects.local import sweep
from dagdvid.objects.local.collection import Condemn, Retire
from dagdvid.objects.local.operation import Operation, Put
from dagdvid.objects.store import prepare
from dagdvid.objects.tree.node import encode_leaf
from dagdvid.objects.tree.nodes import NodeWriter
from dagdvid.repo import collect as collecting
from dagdvid.repo import marking
from dagdvid.repo.collect import collect
from dagdvid.server import Server

VALUES = [random.Random(i).randbytes(700 + i) for i in range(200)]
TWICE = [random.Random(-i).randbytes(900) for i in range(1, 9)]


class Clients:
    """Random requests to repos, and what they must come to."""

    def __init__(self, server: Server, seed: int) -> None:
        self.server = server
        self.call = Caller(server, admin=True)
        self.rng = random.Random(seed)
        self.open: dict[str, str] = {}
        """By repo: its open version."""
        self.model: dict[str, dict[str, bytes]] = {}
        """By version: what it holds."""
        self.twins: list[str] = []

    def step(self) -> None:
        do = self.rng.choice(
            [
                self.put,
                self.put,
                self.remove,
                self.commit,
                self.forget,
                self.revive,
                self.again,
                self.no_more,
                self.check,
            ]
        )
        if not self.open:
            do = self.create
        do()

    def create(self) -> None:
        root = self.call.json("POST", "/api/repos", {})["root"]
        self.call("POST", f"/api/repo/{root}/instance", {"typename": "keyvalue", "dataname": "kv"})
        self.open[root] = root
        self.model[root] = {}

    def some(self) -> str:
        return self.open[self.rng.choice(list(self.open))]

    def put(self) -> None:
        version = self.some()
        key, value = f"k{self.rng.randrange(30)}", self.rng.choice(VALUES)
        self.call("POST", f"/api/node/{version}/kv/key/{key}", value)
        self.model[version][key] = value

    def remove(self) -> None:
        version = self.some()
        for key in list(self.model[version])[:5]:
            self.call("DELETE", f"/api/node/{version}/kv/key/{key}")
            del self.model[version][key]

    def commit(self) -> None:
        version = self.some()
        self.call("POST", f"/api/node/{version}/commit", {"note": ""})
        child = self.call.json("POST", f"/api/node/{version}/newversion")["child"]
        root = next(root for root, at in self.open.items() if at == version)
        self.open[root] = child
        self.model[child] = dict(self.model[version])

    def forget(self) -> None:
        """A whole repo goes, with trees that others may come to make again."""
        if len(self.open) < 3:
            self.create()
            return
        root = self.rng.choice(list(self.open))
        versions = list(self.server.catalog.repos()[root].versions)
        self.call("DELETE", f"/api/repo/{root}", imsure="true")
        del self.open[root]
        for version in versions:
            del self.model[version]

    def revive(self) -> None:
        """What nobody refers to any more is stored once more."""
        held = {value for kept in self.model.values() for value in kept.values()}
        version = self.some()
        for value in self.rng.sample([value for value in VALUES if value not in held], 3):
            self.call("POST", f"/api/node/{version}/kv/key/r{len(value)}", value)
            self.model[version][f"r{len(value)}"] = value

    def again(self) -> None:
        """A repo of its own with always the same entries, and so the same nodes, which may have become garbage."""
        self.create()
        version = list(self.open)[-1]
        for i, value in enumerate(TWICE):
            self.call("POST", f"/api/node/{version}/kv/key/s{i}", value)
            self.model[version][f"s{i}"] = value
        self.call("POST", f"/api/node/{version}/commit", {"note": ""})
        del self.open[version]
        self.twins.append(version)

    def no_more(self) -> None:
        while self.twins:
            root = self.twins.pop()
            self.call("DELETE", f"/api/repo/{root}", imsure="true")
            del self.model[root]

    def check(self, part: float = 0.1) -> None:
        for version, kept in self.model.items():
            for key, value in kept.items() if self.rng.random() < part else ():
                assert self.call("GET", f"/api/node/{version}/kv/key/{key}").body == value


@pytest.fixture
def fine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small steps, so that there are many."""
    monkeypatch.setattr(marking, "_BATCH", 1)
    monkeypatch.setattr(marking, "_ROWS", 5)
    monkeypatch.setattr(marking, "_NOTES", 5)
    monkeypatch.setattr(sweep, "_BATCH", 1000)
    monkeypatch.setattr(sweep, "_SLICE", 5000)
    monkeypatch.setattr(sweep, "_WORTH", 0.0)
    monkeypatch.setattr(collecting, "_PAUSE", 0.0)


@pytest.mark.parametrize("seed", range(3))
def test_anything_between_its_steps(config: Config, fine: None, seed: int) -> None:
    config = replace(config, durability="relaxed")  # much sooner, and the same to the collector
    server = Server.open(config)
    clients = Clients(server, seed)
    given_up = steps = 0
    for _ in range(8):
        for _ in range(20):
            clients.step()
        for step in collect(server.catalog, forget=True):
            steps += 1
            given_up += step.get("result", {}).get("objects", 0)
            if clients.rng.random() < 0.2:
                clients.step()
        clients.check(1)
    assert given_up > 20
    assert steps > 100
    assert clients.call.json("POST", "/api/store/fsck")["ok"]
    server.close()
    reopened = Server.open(config)
    clients.call = Caller(reopened, admin=True)
    clients.check(1)
    assert clients.call.json("POST", "/api/store/fsck")["ok"]
    assert not reopened.store.packs.damaged
    reopened.close()


def last_steps(server: Server, patience: float = 60) -> Iterator[dict[str, Any]]:
    return collect(server.catalog, forget=True, patience=patience)


def before(server: Server, monkeypatch: pytest.MonkeyPatch, kind: type, do: Callable[[], object]) -> None:
    """Do something before a collection's first operation of a kind, when all else was done that comes before it."""
    run = server.store.run

    def then(operation: Operation) -> Any:
        if isinstance(operation, kind):
            monkeypatch.setattr(server.store, "run", run)
            do()
        return run(operation)

    monkeypatch.setattr(server.store, "run", then)


MOMENTS = [Condemn, Put, Retire]


@pytest.fixture
def server(config: Config, fine: None) -> Iterator[Server]:
    """With garbage, and some objects in use in the same pack."""
    with closing(Server.open(config)) as server:
        call = Caller(server, admin=True)
        root = call.json("POST", "/api/repos", {"root": "ab" * 16})["root"]
        call("POST", f"/api/repo/{root}/instance", {"typename": "keyvalue", "dataname": "kv"})
        call("POST", f"/api/node/{root}/kv/key/k", VALUES[1])
        server.store.put_many([GARBAGE, prepare(ObjectType.BLOB, b"other garbage" * 100)])
        yield server


GARBAGE = prepare(ObjectType.BLOB, VALUES[0])


def collected(server: Server) -> int:
    *_, found = last_steps(server)
    return int(found["result"]["objects"])


@pytest.mark.parametrize("moment", MOMENTS)
def test_what_is_stored_again_meanwhile_stays(server: Server, monkeypatch: pytest.MonkeyPatch, moment: type) -> None:
    """By a request that will refer to it only when all is over."""
    before(server, monkeypatch, moment, lambda: server.store.put_many([GARBAGE]))
    assert collected(server) >= 1
    assert server.store.get_many([GARBAGE.id]) == [GARBAGE]


@pytest.mark.parametrize("moment", MOMENTS)
def test_what_is_relied_on_meanwhile_stays(server: Server, monkeypatch: pytest.MonkeyPatch, moment: type) -> None:
    before(server, monkeypatch, moment, lambda: server.store.keep([GARBAGE.id]))
    assert collected(server) >= 1
    assert server.store.get_many([GARBAGE.id]) == [GARBAGE]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_cached_node_that_is_garbage_is_stored_again(
    server: Server, monkeypatch: pytest.MonkeyPatch, moment: type
) -> None:
    nodes = server.catalog.nodes
    leaf = encode_leaf([b"key"], [b"value"])

    def write() -> bytes:
        writer = NodeWriter(nodes)
        name = writer.write(ObjectType.LEAF, leaf)
        writer.flush()
        return name

    name = write()
    assert nodes.cache.get(name) is not None
    before(server, monkeypatch, moment, write)
    assert collected(server) >= 1
    assert server.store.has_many([name]) == [True]
    list(last_steps(server))
    assert server.store.has_many([name]) == [False]
    assert write() == name
    assert server.store.has_many([name]) == [True]


@pytest.mark.parametrize("moment", MOMENTS)
def test_what_is_named_and_no_longer_named_stays(server: Server, monkeypatch: pytest.MonkeyPatch, moment: type) -> None:
    """A request has read it from where it was; then that place is overwritten, and the request names it elsewhere."""
    call = Caller(server)
    path = f"/api/node/{'ab' * 16}/kv/key/"

    def move() -> None:
        call("POST", path + "new", VALUES[0])
        call("DELETE", path + "new")
        call("POST", path + "new", VALUES[0])

    before(server, monkeypatch, moment, move)
    assert collected(server) >= 1
    assert call("GET", path + "new").body == VALUES[0]
    assert call("GET", path + "k").body == VALUES[1]
    assert call.json("POST", "/api/store/fsck")["ok"]


def test_who_began_before_reads_on(config: Config, fine: None) -> None:
    server = Server.open(config)
    garbage = prepare(ObjectType.BLOB, b"garbage" * 100)
    server.store.put_many([garbage])
    lease = server.store.leases.take()
    with pytest.raises(Busy, match="has not ended"):
        for _ in last_steps(server, patience=0.05):
            assert server.store.get_many([garbage.id]) == [garbage]
    assert server.store.get_many([garbage.id]) == [garbage]
    lease.end()
    *_, found = last_steps(server)
    assert found["result"]["objects"] >= 1
    assert server.store.get_many([garbage.id]) == [None]
    server.close()


def test_a_second_run_has_nothing_to_do_until_something_happens(config: Config) -> None:
    server = Server.open(config)
    clients = Clients(server, 1)
    for _ in range(20):
        clients.step()
    server.upkeep.settle()  # a commit that is bound meanwhile is something that happens
    assert len(list(last_steps(server))) > 1
    assert len(list(last_steps(server))) == 1
    clients.put()
    assert len(list(last_steps(server))) > 1
    server.close()


def test_one_at_a_time(config: Config) -> None:
    server = Server.open(config)
    Clients(server, 1).create()
    first = last_steps(server)
    next(first)
    with pytest.raises(Busy, match="under way"):
        next(last_steps(server))
    first.close()
    assert server.store.collections % 2 == 0
    list(last_steps(server))
    server.close()


def test_many_small_packs_become_few(config: Config) -> None:
    kept: dict[str, bytes] = {}
    for i in range(10):
        server = Server.open(config)
        call = Caller(server, admin=True)
        if not i:
            root = call.json("POST", "/api/repos", {})["root"]
            call("POST", f"/api/repo/{root}/instance", {"typename": "keyvalue", "dataname": "kv"})
        for j in range(3):
            kept[f"{i}.{j}"] = VALUES[3 * i + j] * 2
            call("POST", f"/api/node/{root}/kv/key/{i}.{j}", kept[f"{i}.{j}"])
        server.close()
    server = Server.open(config)
    count = "SELECT count(*) FROM packs"
    assert server.store.database.rows(count)[0][0] >= 10
    list(last_steps(server))
    assert server.store.database.rows(count)[0][0] <= 4
    call = Caller(server, admin=True)
    for key, value in kept.items():
        assert call("GET", f"/api/node/{root}/kv/key/{key}").body == value
    server.close()
