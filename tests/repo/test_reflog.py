"""The reflog: every movement of a ref, written with it, kept for a time, honoured by gc."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from calling import Caller

from dagdvid.cli.child import ServerProcess
from dagdvid.cli.client import HttpApi
from dagdvid.config import Config
from dagdvid.errors import BadRequest, UnknownName
from dagdvid.objects.ids import from_hex
from dagdvid.repo import manage
from dagdvid.server import Server

pytestmark = pytest.mark.filterwarnings("error")


def make(call: Caller) -> str:
    root = call.json("POST", "/api/repos", {"alias": "x"})["root"]
    call.json("POST", f"/api/repo/{root}/instance", {"typename": "keyvalue", "dataname": "kv"}, u="ann")
    return str(root)


def moves(call: Caller, root: str = "", **query: str) -> list[dict[str, Any]]:
    path = f"/api/repo/{root}/reflog" if root else "/api/repos/reflog"
    return list(call.json("GET", path, **query))


def told(entries: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(entry["ref"], entry["action"]) for entry in reversed(entries)]


def commit(call: Caller, uuid: str) -> str:
    call.json("POST", f"/api/node/{uuid}/commit", {"note": "", "log": []}, u="bob")
    return str(call.json("GET", f"/api/node/{uuid}/hash")["hash"])


def test_what_moves_is_told(server: Server, call: Caller) -> None:
    root = make(call)
    digest = commit(call, root)
    child = call.json("POST", f"/api/node/{root}/newversion", {})["child"]
    call.json("POST", f"/api/repo/{root}/info", {"alias": "y"}, u="cat")
    found = moves(call, root)
    assert told(found) == [
        ("record", "made"),
        (f"version/{root}", "made"),
        ("record", "moved"),
        (f"version/{root}", "committed"),
        (f"version/{child}", "made"),
        ("record", "moved"),
    ]
    newest, _, bound, made, *_, first = found
    assert (bound["after"], bound["user"], "before" in bound) == (digest, "bob", False)
    assert (newest["user"], newest["keys"], newest["changed"], newest["before"]) == ("cat", ["alias"], 1, made["after"])
    assert (made["user"], made["changed"]) == ("ann", 7)
    assert {entry["repo"] for entry in found} == {root}
    assert found == sorted(found, key=lambda entry: entry["time"], reverse=True)
    assert {"alias", "created", "description"} <= {*first["keys"]}
    assert moves(call, root, limit="2") == found[:2]
    assert moves(call) == found
    assert moves(call, make(call))[-1]["repo"] != root


def test_unversioned_data_and_its_deletion(server: Server, call: Caller) -> None:
    root = make(call)
    call.json("POST", f"/api/repo/{root}/instance", {"typename": "keyvalue", "dataname": "one", "versioned": "0"})
    call("POST", f"/api/node/{root}/one/key/k", b"v")
    uuid = call.json("GET", f"/api/node/{root}/one/info")["Base"]["DataUUID"]
    catalog = server.catalog
    manage.delete_instance(catalog, catalog.repo(root), "one", "dan")
    found = told(moves(call, root))
    assert found[-3:] == [(f"data/{uuid}", "moved"), ("record", "moved"), (f"data/{uuid}", "deleted")]
    newest, tombstone, folded = moves(call, root)[:3]
    assert newest["before"] == folded["after"]
    assert tombstone["user"] == "dan"
    assert f"data/{uuid}/deleted" in tombstone["keys"]


def test_a_deleted_repo_is_remembered(server: Server, call: Caller) -> None:
    root = make(call)
    digest = commit(call, root)
    manage.delete_repo(server.catalog, server.catalog.repo(root))
    found = [move for move in moves(call) if not move["ref"].startswith("data/")]  # what the repo shared goes, too
    *_, record, version = told(found)
    assert (record, version) == (("record", "deleted"), (f"version/{root}", "deleted"))
    assert found[0]["before"] == digest


def test_what_is_refused_leaves_no_trace(call: Caller) -> None:
    root = make(call)
    before = moves(call)
    for path, body in ((f"/api/node/{root}/newversion", {}), ("/api/repos", {"root": root})):
        with pytest.raises(Exception, match=r"unlocked|taken"):
            call.json("POST", path, body)
    assert moves(call) == before


def test_old_movements_are_forgotten(server: Server, call: Caller, config: Config) -> None:
    root = make(call)
    with sqlite3.connect(config.data / "dagdvid.sqlite") as conn:
        conn.execute("UPDATE reflog SET time = '2020-01-01T00:00:00.000Z'")
    conn.close()
    assert len(moves(call, root)) == 3
    call.json("POST", f"/api/repo/{root}/info", {"alias": "y"})
    assert told(moves(call, root)) == [("record", "moved")]


@pytest.fixture
def site(tmp_path: Any) -> Iterator[str]:
    with ServerProcess(tmp_path / "site", "127.0.0.1:0") as process:
        yield process.url


def test_what_is_pulled_is_received(site: str, call: Caller) -> None:
    with HttpApi(site) as api:
        root = api.post("/api/repos", {"alias": "far"})["root"]
        api.post(f"/api/node/{root}/commit", {"note": "", "log": []})
        digest = api.get(f"/api/node/{root}/hash")["hash"]
    call.json("POST", "/api/repos/clone", {"url": site})
    found = moves(call, root)
    assert (f"version/{root}", "received") in told(found)
    assert digest in {entry.get("after") for entry in found}
    with HttpApi(site) as api:
        child = api.post(f"/api/node/{root}/newversion")["child"]
        api.post(f"/api/repo/{root}/info", {"alias": "farther"})
        api.post(f"/api/node/{child}/commit", {"note": "", "log": []})
        api.get(f"/api/node/{child}/hash")
    call.json("POST", f"/api/repo/{root}/remotes", {"name": "far", "url": site})
    call.json("POST", f"/api/repo/{root}/pull", {"remote": "far"})
    assert {("record", "moved"), (f"version/{child}", "received")} <= set(told(moves(call, root))[2:])


def collected(server: Server, *, forget: bool = False) -> int:
    *_, last = server.collect(forget=forget)
    return int(last["result"]["objects"])


def age(config: Config) -> None:
    """Let all that is remembered be older than it may be."""
    with sqlite3.connect(config.data / "dagdvid.sqlite") as conn:
        conn.execute("UPDATE reflog SET time = '2020-01-01T00:00:00.000Z'")
    conn.close()


def test_gc_keeps_a_deleted_repo_for_a_time(config: Config) -> None:
    server = Server.open(config)
    call = Caller(server)
    root = make(call)
    for i in range(20):
        call("POST", f"/api/node/{root}/kv/key/{i}", bytes([i]) * 10_000)
    digest = from_hex(commit(call, root))
    manage.delete_repo(server.catalog, server.catalog.repo(root))
    server.close()
    server = Server.open(config)
    assert collected(server) == 0
    assert server.store.has_many([digest]) == [True]
    age(config)
    assert collected(server) > 20
    assert server.store.has_many([digest]) == [False]
    assert Caller(server).json("POST", "/api/store/fsck")["ok"]
    server.close()


def test_gc_keeps_a_deleted_instance_for_a_time(config: Config) -> None:
    server = Server.open(config)
    call = Caller(server)
    root = make(call)
    for i in range(20):
        call("POST", f"/api/node/{root}/kv/key/{i}", bytes([i]) * 10_000)
    commit(call, root)
    catalog = server.catalog
    uuid = manage.delete_instance(catalog, catalog.repo(root), "kv")
    server.close()
    server = Server.open(config)
    assert collected(server) == 0
    manage.restore_instance(server.catalog, server.catalog.repo(root), uuid)
    assert Caller(server)("GET", f"/api/node/{root}/kv/key/7").body == b"\7" * 10_000
    manage.delete_instance(server.catalog, server.catalog.repo(root), "kv")
    assert collected(server) == 0
    assert collected(server, forget=True) >= 20
    assert Caller(server).json("POST", "/api/store/fsck")["ok"]
    server.close()


def filled(call: Caller) -> str:
    """A repo with two branches, an unversioned instance, an open version."""
    root = make(call)
    call.json("POST", f"/api/repo/{root}/instance", {"typename": "keyvalue", "dataname": "one", "versioned": "0"})
    call("POST", f"/api/node/{root}/one/key/k", b"unversioned")
    call("POST", f"/api/node/{root}/kv/key/k", b"first")
    commit(call, root)
    side = call.json("POST", f"/api/node/{root}/branch", {"branch": "side"})["child"]
    call("POST", f"/api/node/{side}/kv/key/k", b"second" * 1000)
    commit(call, side)
    call.json("POST", f"/api/node/{root}/newversion", {})
    call.server.upkeep.settle()
    return root


def test_a_deleted_repo_comes_back(server: Server, call: Caller, config: Config) -> None:
    root = filled(call)
    before = call.json("GET", f"/api/repo/{root}/info")
    with pytest.raises(BadRequest, match="is here"):
        call.json("POST", "/api/repos/undelete", {"root": root})
    manage.delete_repo(server.catalog, server.catalog.repo(root))
    assert root not in call.json("GET", "/api/repos/info")
    list(server.collect())
    assert call.json("POST", "/api/repos/undelete", {"root": root[:12]}) == {"root": root, "versions": 2}
    after = call.json("GET", f"/api/repo/{root}/info")
    locked = {uuid: node["Hash"] for uuid, node in before["DAG"]["Nodes"].items() if node["Locked"]}
    assert {uuid: node["Hash"] for uuid, node in after["DAG"]["Nodes"].items()} == locked
    assert after["Alias"] == before["Alias"]
    assert after["MutationID"] >= before["MutationID"]
    assert call("GET", f"/api/node/{root}:side/kv/key/k").body == b"second" * 1000
    assert call("GET", f"/api/node/{root}/one/key/k").body == b"unversioned"
    assert call.json("POST", "/api/store/fsck")["ok"]
    child = call.json("POST", f"/api/node/{root}/newversion", {})["child"]
    call("POST", f"/api/node/{child}/kv/key/k", b"third")
    commit(call, child)
    with pytest.raises(BadRequest, match="is here"):
        call.json("POST", "/api/repos/undelete", {"root": root})


def test_what_does_not_come_back(config: Config) -> None:
    server = Server.open(config)
    call = Caller(server)
    with pytest.raises(UnknownName, match="deleted here lately"):
        call.json("POST", "/api/repos/undelete", {"root": "12"})
    for wrong in ({}, {"root": 1}, {"root": ""}):
        with pytest.raises(BadRequest, match="'root'"):
            call.json("POST", "/api/repos/undelete", wrong)
    root = filled(call)
    manage.delete_repo(server.catalog, server.catalog.repo(root))
    server.close()
    server = Server.open(config)
    list(server.collect(forget=True))
    with pytest.raises(UnknownName, match="collected"):
        Caller(server).json("POST", "/api/repos/undelete", {"root": root})
    server.close()


def test_an_instance_and_a_branch_come_back(server: Server, call: Caller) -> None:
    root = filled(call)
    catalog = server.catalog
    for name in ("kv", "one"):
        manage.delete_instance(catalog, catalog.repo(root), name)
    uuid = call.json("POST", f"/api/repo/{root}/undelete", {"data": "kv"})["data"]
    assert call.json("GET", f"/api/node/{root}/kv/info")["Base"]["DataUUID"] == uuid
    call.json("POST", f"/api/repo/{root}/undelete", {"data": "one", "name": "two"})
    assert call("GET", f"/api/node/{root}/two/key/k").body == b"unversioned"
    with pytest.raises(UnknownName):
        call.json("POST", f"/api/repo/{root}/undelete", {"data": "kv"})
    manage.hide_branch(catalog, catalog.repo(root), "side")
    assert call.json("POST", f"/api/repo/{root}/undelete", {"branch": "side"}) == {"versions": 1}
    assert call("GET", f"/api/node/{root}:side/kv/key/k").body == b"second" * 1000
    with pytest.raises(UnknownName, match="no version of a branch 'side' is hidden"):
        call.json("POST", f"/api/repo/{root}/undelete", {"branch": "side"})
    for wrong in ({}, {"data": "kv", "branch": "side"}, {"data": 1}):
        with pytest.raises(BadRequest):
            call.json("POST", f"/api/repo/{root}/undelete", wrong)
