"""Commits finish in the background: what may wait, who waits, and what a crash or a fault leaves for later."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from dagdvid.errors import Locked, NoSpace
from dagdvid.objects.local.database import Database
from dagdvid.objects.local.turns import take_turn
from dagdvid.repo import fold
from dagdvid.repo.upkeep import Upkeep
from dagdvid.server import Server


@pytest.fixture
def root(call) -> str:
    uuid = call.json("POST", "/api/repos", {})["root"]
    call.json("POST", f"/api/repo/{uuid}/instance", {"typename": "keyvalue", "dataname": "kv"})
    return uuid


def put(call, uuid: str, key: str, value: bytes) -> None:
    call("POST", f"/api/node/{uuid}/kv/key/{key}", value)


def commit(call, uuid: str) -> None:
    call("POST", f"/api/node/{uuid}/commit", {})


def state(call, uuid: str) -> str:
    return call.server.catalog.find(uuid)[1].state


def staged(server) -> int:
    return server.store.database.rows("SELECT count(*) FROM staging")[0][0]


def test_a_commit_is_answered_before_it_is_folded(call, root, server):
    put(call, root, "k", b"v")
    with take_turn(server.store.folder):
        commit(call, root)
        assert state(call, root) == "sealed"
        with pytest.raises(Locked):
            put(call, root, "k", b"late")
        child = call.json("POST", f"/api/node/{root}/newversion")["child"]
        put(call, child, "l", b"w")
        assert call("GET", f"/api/node/{child}/kv/key/k").body == b"v"
        hashes: list[str] = []
        asking = threading.Thread(target=lambda: hashes.append(call.json("GET", f"/api/node/{root}/hash")["hash"]))
        asking.start()
        asking.join(0.1)
        assert asking.is_alive()
    asking.join()
    server.upkeep.settle()
    assert (state(call, root), staged(server)) == ("committed", 2)  # the child's key and its log
    assert hashes == [call.server.catalog.find(root)[1].commit.hex()]


def test_sealed_versions_in_a_row_are_few(call, root, server):
    at = root
    with take_turn(server.store.folder):
        for i in range(fold.CHAIN):
            put(call, at, f"k{i}", b"v")
            commit(call, at)
            at = call.json("POST", f"/api/node/{at}/newversion")["child"]
        one_more = threading.Thread(target=commit, args=(call, at))
        one_more.start()
        one_more.join(0.1)
        assert one_more.is_alive()
        assert state(call, at) == "open"
        assert len(call.json("GET", f"/api/node/{at}/kv/keys")) == fold.CHAIN
    one_more.join()
    server.upkeep.settle()
    assert state(call, at) == "committed"


def test_a_server_that_closes_leaves_the_fold_to_the_next(call, root, server, config):
    put(call, root, "k", b"v")
    server.upkeep.close()
    hurried = Upkeep(server.catalog, grace=0.05)
    with take_turn(server.store.folder):
        commit(call, root)
        begun = time.monotonic()
        hurried.close()
        assert time.monotonic() - begun < 2
    assert state(call, root) == "sealed"
    server.close()
    again = Server.open(config)
    try:
        again.upkeep.settle()
        call.server = again
        assert state(call, root) == "committed"
        assert call("GET", f"/api/node/{root}/kv/key/k").body == b"v"
    finally:
        again.close()


def test_a_server_that_closes_finishes_what_is_quick(call, root, server, config):
    put(call, root, "k", b"v")
    commit(call, root)
    server.close()
    database = Database(config.data / "dagdvid.sqlite")
    assert database.rows("SELECT state FROM versions") == [("committed",)]
    database.close()


def test_staging_that_a_crash_leaves_after_the_bind_is_removed(call, root, server, config):
    class Crash(Exception):
        pass

    with_log = 0
    for i in range(800):
        put(call, root, f"k{i}", b"v")
        with_log += 2
    server.upkeep.close()
    commit(call, root)

    def crash() -> None:
        if state(call, root) == "committed":
            raise Crash

    with pytest.raises(Crash):
        fold.fold(server.catalog, root, root, crash)
    assert 0 < staged(server) < with_log
    assert len(call.json("GET", f"/api/node/{root}/kv/keys")) == 800
    assert call.json("POST", "/api/store/fsck")["ok"]
    server.close()
    again = Server.open(config)
    try:
        again.upkeep.settle()
        assert staged(again) == 0
    finally:
        again.close()


def test_what_failed_is_tried_again(call, root, server, monkeypatch):
    put(call, root, "k", b"v")
    files = type(server.store.packs.files)

    def full(*_):
        raise NoSpace("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(files, "write", full)
        commit(call, root)
        server.upkeep.settle()
        assert state(call, root) == "sealed"
    end = time.monotonic() + 20
    while state(call, root) == "sealed" and time.monotonic() < end:
        time.sleep(0.05)
    assert state(call, root) == "committed"


def workers_of(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(n) for n in listed if b"multiprocessing.spawn" in Path(f"/proc/{n}/cmdline").read_bytes()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in /proc")
def test_the_successor_of_a_dead_worker_folds(tmp_path):
    words = ["serve", "--data", str(tmp_path / "data"), "--http", "127.0.0.1:0", "--workers", "2", "--quiet"]
    process = subprocess.Popen([sys.executable, "-m", "dagdvid", *words], stdout=subprocess.PIPE, text=True)
    try:
        url = process.stdout.readline().rpartition(" on ")[2].strip()
        uuid = httpx.post(f"{url}/api/repos", json={}).json()["root"]
        httpx.post(f"{url}/api/repo/{uuid}/instance", json={"typename": "keyvalue", "dataname": "kv"})
        httpx.post(f"{url}/api/node/{uuid}/kv/key/k", content=b"v")
        with take_turn(tmp_path / "data"):
            assert httpx.post(f"{url}/api/node/{uuid}/commit", json={}).status_code == 200
            for pid in workers_of(process.pid):
                os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 60
        node: dict[str, object] = {}
        while "Hash" not in node and time.monotonic() < end:
            try:
                node = httpx.get(f"{url}/api/repo/{uuid}/info").json()["DAG"]["Nodes"][uuid]
            except httpx.TransportError:
                time.sleep(0.1)
        assert node["Hash"] == httpx.get(f"{url}/api/node/{uuid}/hash").json()["hash"]
    finally:
        process.terminate()
        assert process.wait(60) == 0
        process.stdout.close()
