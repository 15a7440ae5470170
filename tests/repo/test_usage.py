"""What takes how much room, against stores of known content."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from calling import Caller

from dagdvid.config import Config
from dagdvid.objects.ids import ObjectType
from dagdvid.objects.store import prepare
from dagdvid.server import Server

ROOT = "ab" * 16


@pytest.fixture
def server(config: Config) -> Iterator[Server]:
    with closing(Server.open(config)) as server:
        call = Caller(server, admin=True)
        call("POST", "/api/repos", {"root": ROOT})
        for name, versioned in (("kv", True), ("kw", True), ("free", False)):
            body = {"typename": "keyvalue", "dataname": name, "versioned": versioned}
            call("POST", f"/api/repo/{ROOT}/instance", body)
        yield server


def put(server: Server, version: str, name: str, values: list[bytes]) -> None:
    for i, value in enumerate(values):
        Caller(server)("POST", f"/api/node/{version}/{name}/key/{name}{i:03d}", value)


def commit(server: Server, version: str) -> str:
    call = Caller(server)
    call("POST", f"/api/node/{version}/commit", {})
    child: str = call.json("POST", f"/api/node/{version}/newversion")["child"]
    server.upkeep.settle()
    return child


def report(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = Caller(server).json("POST", "/api/store/usage")
    return found


def test_what_is_shared_counts_once(server: Server) -> None:
    values = [random.Random(i).randbytes(2000) for i in range(50)]
    put(server, ROOT, "kv", values)
    put(server, ROOT, "kw", values)
    child = commit(server, ROOT)
    put(server, child, "kv", [b"a" * 4000])
    commit(server, child)
    found = report(server)
    repo = found["repos"][ROOT]
    first = repo["versions"][ROOT]["instances"]
    assert first["kv"]["entries"] >= 50  # and the records of the mutation log
    assert first["kv"]["added"]["bytes"] > 50 * 2000
    assert first["kw"]["added"]["bytes"] < 50 * 2000
    second = repo["versions"][child]["instances"]["kv"]
    assert second["logical"] > 49 * 2000 + 4000
    assert 4000 < second["added"]["bytes"] < 40_000
    assert second["added"]["stored"] < second["added"]["bytes"] - 3500  # of 4,000 equal bytes little is stored
    totals = found["totals"]
    assert totals["saved_by_sharing"] > 100 * 2000
    assert totals["unique"] - totals["stored"] == totals["saved_by_compression"]
    assert totals["logical"] == sum(i["logical"] for i in repo["instances"].values())
    (month,) = found["growth"]
    assert found["growth"][month]["stored"] == sum(i["stored"] for i in repo["instances"].values())


def test_garbage_and_staging(server: Server, config: Config) -> None:
    before = report(server)["totals"]
    put(server, ROOT, "kv", [random.Random(7).randbytes(3000)])
    put(server, ROOT, "free", [random.Random(8).randbytes(3000)])
    staged = report(server)["totals"]
    assert staged["staged"]["bytes"] - before["staged"]["bytes"] >= 6000
    server.store.put_many([prepare(ObjectType.BLOB, random.Random(i).randbytes(5000)) for i in range(20)])
    after = report(server)["totals"]
    assert 100_000 <= after["garbage"] - staged["garbage"] < 110_000
    assert after["stored"] == staged["stored"]
    for _ in server.collect(forget=True):
        pass
    assert report(server)["totals"]["garbage"] < 10_000
