"""Rename, delete, restore, hide, make-master, limit-versions, passcodes; and properties that a datatype changes."""

from __future__ import annotations

import pytest
from calling import Caller
from graphs import Graph

from dagdvid.config import Config
from dagdvid.errors import BadRequest, Forbidden, RefMoved, StaleRead, UnknownName
from dagdvid.repo import manage
from dagdvid.repo.removal import DropOrphans
from dagdvid.server import Server

BIG = bytes(range(256)) * 40


@pytest.fixture
def graph(call: Caller) -> Graph:
    return Graph(call)


@pytest.fixture
def line(graph: Graph) -> tuple[Graph, dict[str, str]]:
    """root with a (master) - b, and x (side) - y (side) - z (deep) beside it; b and z are open."""
    named = {"root": graph.root}
    graph.put(graph.root, "k", b"root")
    graph.commit(graph.root)
    for parent, name, branch in (
        ("root", "a", ""),
        ("a", "b", ""),
        ("root", "x", "side"),
        ("x", "y", ""),
        ("y", "z", "deep"),
    ):
        if not graph.version(named[parent]).locked:
            graph.commit(named[parent])
        named[name] = graph.child(named[parent], branch)
        graph.put(named[name], name, name.encode())
    return graph, named


def shown(graph: Graph) -> dict[str, tuple[str, list[int], list[int]]]:
    return {u: (n["Branch"], n["Parents"], n["Children"]) for u, n in graph.info()["DAG"]["Nodes"].items()}


def test_a_renamed_instance_keeps_its_data(graph: Graph):
    uuid = graph.repo.instances["kv"].uuid
    graph.put(graph.root, "k", b"v")
    manage.rename_instance(graph.catalog, graph.repo, "kv", "other", "me")
    assert graph.get(graph.root, "k", "other") == b"v"
    assert graph.repo.instances["other"].uuid == uuid
    assert graph.log()[-1] == 'Renamed data instance "kv" to "other"'
    with pytest.raises(UnknownName, match="invalid data instance name"):
        graph.get(graph.root, "k")
    graph.instance("kv")
    assert graph.keys(graph.root) == []


@pytest.mark.parametrize("name", ["", "a/b", "log", "diff", " x", "a\nb"])
def test_names_that_cannot_be(graph: Graph, name: str):
    before = graph.repo.record
    with pytest.raises(BadRequest, match=r"cannot be the name|reserved"):
        manage.rename_instance(graph.catalog, graph.repo, "kv", name)
    assert graph.repo.record == before


def test_renaming_what_is_not_there_or_to_what_is(graph: Graph):
    graph.instance("two")
    with pytest.raises(UnknownName, match="'nothing'"):
        manage.rename_instance(graph.catalog, graph.repo, "nothing", "x")
    with pytest.raises(BadRequest, match="is taken"):
        manage.rename_instance(graph.catalog, graph.repo, "kv", "two")


@pytest.mark.parametrize("versioned", ["true", "false"])
def test_a_deleted_instance_is_gone_from_all_versions_and_its_bytes_from_the_disk(config: Config, versioned: str):
    server = Server.open(config)
    graph = Graph(Caller(server))
    graph.instance("gone", versioned=versioned)
    for i in range(30):
        graph.put(graph.root, f"k{i}", b"gone %d" % i + BIG, "gone")
        graph.put(graph.root, f"k{i}", b"kept %d" % i + BIG)
    graph.commit(graph.root)
    child = graph.child(graph.root)
    graph.put(child, "staged", b"staged" + BIG, "gone")
    tree, number = graph.hash(graph.root), graph.repo.numbers[graph.repo.instances["gone"].uuid]
    uuid = manage.delete_instance(graph.catalog, graph.repo, "gone", "me")
    assert graph.log()[-1] == "Delete data instance 'gone' of type 'keyvalue'"
    for version in (graph.root, child):
        with pytest.raises(UnknownName, match="invalid data instance name"):
            graph.keys(version, "gone")
        assert len(graph.keys(version)) == 30
    assert "gone" not in graph.info()["DataInstances"]
    assert graph.repo.deleted[uuid]["name"] == "gone"
    assert graph.repo.deleted[uuid]["user"] == "me"
    assert graph.hash(graph.root) == tree
    assert graph.catalog.store.database.rows("SELECT count(*) FROM staging WHERE data = ?", (number,)) == [(0,)]
    assert graph.sound()
    graph.commit(child)
    assert graph.hash(child) != tree
    server.close()
    server = Server.open(config)
    assert list(server.collect())[-1]["result"]["objects"] < 30, "the reflog remembers it"
    result = list(server.collect(forget=True))[-1]["result"]
    assert result["objects"] >= 30
    graph.call, graph.catalog = Caller(server), server.catalog
    assert graph.sound()
    assert graph.get(child, "k7") == b"kept 7" + BIG
    grandchild = graph.child(child)
    graph.put(grandchild, "more", b"x")
    graph.commit(grandchild)
    assert graph.sound()
    server.close()


@pytest.mark.parametrize("versioned", ["true", "false"])
def test_a_deletion_is_taken_back(graph: Graph, versioned: str):
    graph.instance("un", versioned=versioned)
    graph.put(graph.root, "k", b"v", "un")
    graph.commit(graph.root)
    uuid = manage.delete_instance(graph.catalog, graph.repo, "un")
    manage.restore_instance(graph.catalog, graph.repo, uuid)
    assert graph.get(graph.root, "k", "un") == b"v"
    assert graph.repo.deleted == {}
    with pytest.raises(UnknownName, match="was deleted"):
        manage.restore_instance(graph.catalog, graph.repo, uuid)
    manage.delete_instance(graph.catalog, graph.repo, uuid)
    child = graph.child(graph.root)
    graph.instance("un")
    with pytest.raises(BadRequest, match="is taken"):
        manage.restore_instance(graph.catalog, graph.repo, uuid)
    manage.restore_instance(graph.catalog, graph.repo, uuid, "again")
    assert graph.get(child, "k", "again") == b"v"
    assert graph.keys(child, "un") == []


def test_a_write_on_its_way_to_a_deleted_instance_is_refused(graph: Graph):
    txn = graph.catalog.txn(graph.repo, graph.version(graph.root), graph.repo.instances["kv"])
    txn.put("keys", b"k", b"v")
    manage.delete_instance(graph.catalog, graph.repo, "kv")
    with pytest.raises(UnknownName, match="deleted meanwhile"):
        graph.catalog.commit_txn(txn, graph.version(graph.root))
    assert graph.catalog.store.run(DropOrphans()) == 0


def test_deleting_over_http(graph: Graph):
    path = f"/api/repo/{graph.root}/kv"
    for query in ({}, {"imsure": "false"}):
        with pytest.raises(BadRequest, match="imsure=true"):
            graph.call("DELETE", path, **query)
    assert graph.keys(graph.root) == []
    assert graph.call("DELETE", path, imsure="true").status == 200
    with pytest.raises(UnknownName):
        graph.call("DELETE", path, imsure="true")
    graph.commit(graph.root)
    child = graph.child(graph.root)
    with pytest.raises(BadRequest, match="by its root"):
        graph.call("DELETE", f"/api/repo/{child}", imsure="true")
    graph.call("DELETE", f"/api/repo/{graph.root}", imsure="true")
    assert graph.call.json("GET", "/api/repos/info") == {}


def test_a_deleted_repo_leaves_nothing_and_its_uuids_are_free(graph: Graph):
    other = Graph(graph.call)
    graph.instance("un", versioned="false")
    for name in ("kv", "un"):
        graph.put(graph.root, "k", b"v", name)
        other.put(other.root, "k", b"other")
    stale = graph.repo
    graph.call("POST", f"/api/repo/{graph.root}/log", {"log": ["moved on"]})
    with pytest.raises(RefMoved, match="changed meanwhile"):
        manage.delete_repo(graph.catalog, stale)
    txn = graph.catalog.txn(graph.repo, graph.version(graph.root), graph.repo.instances["kv"])
    txn.put("keys", b"late", b"v")
    root, numbers = graph.version(graph.root), set(graph.repo.numbers.values())
    manage.delete_repo(graph.catalog, graph.repo)
    with pytest.raises(UnknownName):
        graph.catalog.commit_txn(txn, root)
    with pytest.raises(UnknownName, match="could not find UUID"):
        graph.call("GET", f"/api/repo/{graph.root}/info")
    with pytest.raises(UnknownName, match="has been deleted"):
        graph.catalog.add_log(graph.root, ["too late"])
    rows = graph.catalog.store.database.rows
    assert {data for (data,) in rows("SELECT data FROM staging")} & numbers == set()
    assert other.get(other.root, "k") == b"other"
    assert other.sound()
    again = graph.call.json("POST", "/api/repos", {"root": graph.root})["root"]
    assert again == graph.root
    assert graph.repo.instances == {}


def test_a_passcode_guards_renaming_and_deleting(call: Caller):
    graph = Graph(call, passcode="open sesame")
    assert "sesame" not in str(graph.catalog.store.database.rows("SELECT * FROM passcodes"))
    assert "sesame" not in str(graph.info())
    for wrong in ("", "open"):
        with pytest.raises(Forbidden, match="passcode"):
            manage.rename_instance(graph.catalog, graph.repo, "kv", "x", passcode=wrong)
        with pytest.raises(Forbidden, match="passcode"):
            manage.delete_instance(graph.catalog, graph.repo, "kv", passcode=wrong)
        with pytest.raises(Forbidden, match="passcode"):
            call("DELETE", f"/api/repo/{graph.root}", imsure="true", passcode=wrong)
    manage.rename_instance(graph.catalog, graph.repo, "kv", "x", passcode="open sesame")
    call("DELETE", f"/api/repo/{graph.root}/x", imsure="true", passcode="open sesame")
    call("DELETE", f"/api/repo/{graph.root}", imsure="true", passcode="open sesame")
    assert graph.catalog.store.database.rows("SELECT * FROM passcodes") == []


def test_a_branch_becomes_master(line: tuple[Graph, dict[str, str]]):
    graph, v = line
    commits = {name: graph.hash(v[name]) for name in ("root", "a", "x", "y")}
    for bad, words in (("", "another name"), ("master", "another name"), ("deep", "already exists")):
        with pytest.raises(BadRequest, match=words):
            manage.make_master(graph.catalog, graph.repo, graph.version(v["x"]), bad)
    for at, words in (("a", "on master already"), ("y", "not the first"), ("z", "no sibling on master")):
        with pytest.raises(BadRequest, match=words):
            manage.make_master(graph.catalog, graph.repo, graph.version(v[at]), "was")
    manage.make_master(graph.catalog, graph.repo, graph.version(v["x"]), "was", "me")
    branches = {name: shown(graph)[uuid][0] for name, uuid in v.items()}
    assert branches == {"root": "", "a": "was", "b": "was", "x": "", "y": "", "z": "deep"}
    assert graph.catalog.find(f"{graph.root}:master")[1].uuid == v["y"]
    assert graph.catalog.find(f"{graph.root}:was")[1].uuid == v["b"]
    graph.commit(v["b"])
    tip = graph.child(v["b"])
    assert graph.version(tip).branch == "was"
    assert {name: graph.hash(v[name]) for name in commits} == commits
    assert graph.sound()


def test_a_hidden_branch_cannot_be_named_and_what_stands_on_it_stays(line: tuple[Graph, dict[str, str]]):
    graph, v = line
    number = {name: graph.version(uuid).id for name, uuid in v.items()}
    with pytest.raises(BadRequest, match="master"):
        manage.hide_branch(graph.catalog, graph.repo, "master")
    with pytest.raises(UnknownName, match="no branch 'none'"):
        manage.hide_branch(graph.catalog, graph.repo, "none")
    manage.hide_branch(graph.catalog, graph.repo, "side")
    assert set(shown(graph)) == {v[name] for name in ("root", "a", "b", "z")}
    assert shown(graph)[v["z"]] == ("deep", [number["root"]], [])
    assert shown(graph)[v["root"]] == ("", [], [number["a"], number["z"]])
    for name in ("x", "y"):
        for text in (v[name], v[name][:20]):
            with pytest.raises(UnknownName, match="could not find UUID"):
                graph.catalog.find(text)
    with pytest.raises(UnknownName, match="no branch"):
        graph.catalog.find(f"{graph.root}:side")
    assert graph.keys(v["z"]) == ["k", "x", "y", "z"]
    line_of_deep = graph.call.json("GET", f"/api/repo/{graph.root}/branch-versions/deep")
    assert line_of_deep == [v["z"], v["root"]]
    graph.commit(v["z"])
    assert graph.sound()
    assert manage.show_versions(graph.catalog, graph.repo, "side") == 2
    assert graph.get(v["y"], "y") == b"y"


def test_versions_limited_to_some_and_their_ancestors(line: tuple[Graph, dict[str, str]]):
    graph, v = line
    with pytest.raises(BadRequest, match="at least one"):
        manage.limit_versions(graph.catalog, graph.repo, [])
    with pytest.raises(UnknownName):
        manage.limit_versions(graph.catalog, graph.repo, ["f" * 32])
    with pytest.raises(BadRequest, match="another repo"):
        manage.limit_versions(graph.catalog, graph.repo, [Graph(graph.call).root])
    assert manage.limit_versions(graph.catalog, graph.repo, [v["y"]]) == 3
    assert set(shown(graph)) == {v[name] for name in ("root", "x", "y")}
    assert manage.show_versions(graph.catalog, graph.repo) == 3
    assert set(shown(graph)) == set(v.values())


def test_a_property_changes_with_the_data_or_not_at_all(graph: Graph):
    def begin():
        txn = graph.catalog.txn(graph.repo, graph.version(graph.root), graph.repo.instances["kv"])
        txn.put("keys", b"\x00", b"v")
        return txn

    txn = begin()
    for bad in ("", "a/b"):
        with pytest.raises(BadRequest, match="name of a property"):
            txn.set_property(bad, 1)
    txn.set_property("resolution", ["4.5", "8"])
    stale = begin()
    stale.set_property("resolution", ["1"])
    graph.catalog.commit_txn(txn, graph.version(graph.root), "me")
    assert graph.repo.instances["kv"].properties["resolution"] == ["4.5", "8"]
    with pytest.raises(StaleRead, match="record has changed"):
        graph.catalog.commit_txn(stale, graph.version(graph.root))
    assert graph.repo.instances["kv"].properties["resolution"] == ["4.5", "8"]
    only = graph.catalog.txn(graph.repo, graph.version(graph.root), graph.repo.instances["kv"])
    only.set_property("resolution", None)
    graph.catalog.commit_txn(only, graph.version(graph.root))
    assert "resolution" not in graph.repo.instances["kv"].properties
    graph.commit(graph.root)
    late = begin()
    late.set_property("resolution", ["2"])
    with pytest.raises(Exception, match="committed"):
        graph.catalog.commit_txn(late, graph.version(graph.root))
    assert "resolution" not in graph.repo.instances["kv"].properties
