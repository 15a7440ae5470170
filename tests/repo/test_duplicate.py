"""Copies of instances share their source's trees, are seen where they were made and after, and go their own way."""

from __future__ import annotations

import pytest
from calling import Caller
from graphs import Graph

from dagdvid.errors import BadRequest, Locked, UnknownName
from dagdvid.repo import manage

BIG = bytes(range(256)) * 40


@pytest.fixture
def graph(call: Caller) -> Graph:
    return Graph(call)


def copy(graph: Graph, uuid: str, source: str, target: str, **settings: str):
    return manage.copy_instance(graph.catalog, graph.repo, graph.version(uuid), source, target, settings, "me")


def contents(graph: Graph, uuid: str, data: str) -> dict[str, bytes | None]:
    return {key: graph.get(uuid, key, data) for key in graph.keys(uuid, data)}


@pytest.mark.parametrize("source", ["true", "false"])
@pytest.mark.parametrize("target", ["true", "false"])
def test_a_copy_has_what_its_source_has_and_goes_its_own_way(graph: Graph, source: str, target: str):
    graph.instance("src", versioned=source)
    for i in range(40):
        graph.put(graph.root, f"k{i}", b"%d" % i + BIG, "src")
    graph.commit(graph.root)
    child = graph.child(graph.root)
    for i in range(0, 40, 3):
        graph.put(child, f"k{i}", None, "src")
        graph.put(child, f"new{i}", b"new", "src")
    expected = contents(graph, child, "src")
    objects = graph.call.json("GET", "/api/store/stats")["store"]["objects"]
    made = copy(graph, child, "src", "dup", versioned=target)
    assert graph.call.json("GET", "/api/store/stats")["store"]["objects"] - objects < 10
    assert made.versioned == (target == "true")
    assert contents(graph, child, "dup") == expected
    assert graph.log()[-1] == f'Copied data instance "src" of version {child} to "dup"'
    graph.put(child, "k1", b"in the copy", "dup")
    graph.put(child, "k2", b"in the source", "src")
    assert (graph.get(child, "k1", "src"), graph.get(child, "k2", "dup")) == (b"1" + BIG, b"2" + BIG)
    expected |= {"k1": b"in the copy"}
    graph.commit(child)
    assert contents(graph, child, "dup") == expected
    after = graph.child(child)
    assert contents(graph, after, "dup") == expected
    assert graph.keys(graph.root, "dup") == (sorted(expected) if target == "false" else [])
    manage.delete_instance(graph.catalog, graph.repo, "src")
    assert contents(graph, after, "dup") == expected
    assert graph.sound()


def test_an_empty_instance_and_a_copy_of_a_copy(graph: Graph):
    copy(graph, graph.root, "kv", "two", Checksum="crc32")
    graph.put(graph.root, "k", b"v", "two")
    copy(graph, graph.root, "two", "three", Tags="type=meshes", transmit="flatten")
    assert graph.keys(graph.root) == []
    assert graph.get(graph.root, "k", "three") == b"v"
    base = graph.call.json("GET", f"/api/node/{graph.root}/three/info")["Base"]
    assert (base["Checksum"], base["Tags"]) == ("CRC32 checksum", {"type": "meshes"})


def test_properties_are_copied(graph: Graph):
    graph.catalog.change_record(
        graph.root, lambda repo: {f"data/{repo.instances['kv'].uuid}/property/resolution": ["4.5"]}
    )
    copy(graph, graph.root, "kv", "two")
    assert graph.repo.instances["two"].properties == {"resolution": ["4.5"]}


def test_refusals_change_nothing(graph: Graph):
    graph.put(graph.root, "k", b"v")
    before = graph.repo.record
    for target, settings, words in (
        ("kv", {}, "is taken"),
        ("log", {}, "reserved"),
        ("two", {"filter": "roi:a,b"}, "copies are whole"),
        ("two", {"transmit": "some"}, "transmit must be"),
        ("two", {"Compression": "zip"}, "not known"),
    ):
        with pytest.raises(BadRequest, match=words):
            copy(graph, graph.root, "kv", target, **settings)
    with pytest.raises(UnknownName):
        copy(graph, graph.root, "nothing", "two")
    graph.commit(graph.root)
    with pytest.raises(Locked, match="open one"):
        copy(graph, graph.root, "kv", "two")
    assert graph.repo.record == before
    copy(graph, graph.root, "kv", "flat", versioned="false")
    assert graph.get(graph.root, "k", "flat") == b"v"


def test_settings_that_change_stored_bytes_must_agree(graph: Graph):
    body = {"typename": "uint8blk", "dataname": "gray", "BlockSize": "32,32,32"}
    graph.call.json("POST", f"/api/repo/{graph.root}/instance", body)
    graph.call("POST", f"/api/node/{graph.root}/gray/raw/0_1_2/32_32_32/0_0_0", bytes(range(256)) * 128)
    with pytest.raises(BadRequest, match="must agree"):
        copy(graph, graph.root, "gray", "two", BlockSize="64,64,64")
    copy(graph, graph.root, "gray", "two")
    path = "raw/0_1_2/32_32_32/0_0_0"
    assert graph.call("GET", f"/api/node/{graph.root}/two/{path}").body == bytes(range(256)) * 128


def test_a_view_that_is_open_meanwhile_follows_and_so_does_a_transaction(graph: Graph):
    graph.put(graph.root, "k", b"v")
    kv = graph.repo.instances["kv"]
    view = graph.catalog.snapshot(graph.repo, graph.version(graph.root), kv)
    txn = graph.catalog.txn(graph.repo, graph.version(graph.root), kv)
    key = next(iter(view.keys("keys")))
    txn.put("keys", key, txn.get("keys", key) + b"!")
    copy(graph, graph.root, "kv", "two")
    assert list(view.keys("keys")) == [key]
    graph.catalog.commit_txn(txn, graph.version(graph.root))  # what it read stands, though below is another tree
    assert view.get("keys", key) == b"v!"
    graph.put(graph.root, "k", b"new")
    assert (graph.get(graph.root, "k"), graph.get(graph.root, "k", "two")) == (b"new", b"v")


def test_a_copy_into_a_merge_and_a_version_whose_parent_was_just_sealed(graph: Graph):
    graph.commit(graph.root)
    a, b = graph.child(graph.root), graph.child(graph.root, "b")
    for uuid, key in ((a, "a"), (b, "b")):
        graph.put(uuid, key, key.encode())
        graph.commit(uuid)
    body = {"mergeType": "conflict-free", "parents": [a, b], "note": ""}
    merged = graph.call.json("POST", f"/api/repo/{graph.root}/merge", body)["child"]
    copy(graph, merged, "kv", "two")
    assert graph.keys(merged, "two") == graph.keys(merged) == ["a", "b"]
    graph.commit(merged)
    assert graph.keys(graph.child(merged), "two") == ["a", "b"]
    assert graph.sound()
