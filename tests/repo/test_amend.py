"""Changes to committed versions: seen in what comes after as DVID shows them, with new commits, or not at all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from calling import Caller
from graphs import Graph
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagdvid.config import Config
from dagdvid.errors import BadRequest, Locked, StaleRead
from dagdvid.repo import amend, manage
from dagdvid.repo.commits import read_commit
from dagdvid.repo.operations import Seal
from dagdvid.server import Server

BIG = bytes(range(256)) * 40


@pytest.fixture
def graph(call: Caller) -> Graph:
    return Graph(call)


@pytest.fixture
def admin(graph: Graph) -> Graph:
    """The same repo for an admin."""
    return as_admin(graph)


def as_admin(graph: Graph) -> Graph:
    other = object.__new__(Graph)
    other.call, other.catalog, other.root = Caller(graph.call.server, admin=True), graph.catalog, graph.root
    return other


def test_only_admins_and_full_write_servers_may(graph: Graph, admin: Graph):
    graph.put(graph.root, "k", b"v")
    graph.commit(graph.root)
    before = graph.hash(graph.root)
    with pytest.raises(Locked, match='Cannot do POST on endpoint "key" of locked node'):
        graph.put(graph.root, "k", b"new")
    assert graph.hash(graph.root) == before
    admin.put(graph.root, "k", b"new", u="me")
    assert graph.get(graph.root, "k") == b"new"
    assert read_commit(graph.catalog.nodes, graph.hash(graph.root)).amends == before
    assert graph.log()[-1] == f"Amended 1 keys of kv in locked version {graph.root}, by me"
    with pytest.raises(Locked, match="is committed"):
        admin.commit(graph.root)
    assert graph.sound()


def test_a_server_in_full_write_mode(config: Config):
    server = Server.open(replace(config, fullwrite=True))
    graph = Graph(Caller(server))
    graph.commit(graph.root)
    graph.put(graph.root, "k", b"v")
    assert graph.get(graph.root, "k") == b"v"
    server.close()


def test_versions_after_it_show_the_change_where_they_had_not_changed_the_key(graph: Graph, admin: Graph):
    """root - a (kept) - b (wrote k) - c (wrote k back) and a - d (open), a - e (deleted k)."""
    for key in ("k", "other"):
        graph.put(graph.root, key, b"root" + BIG)
    graph.commit(graph.root)
    a = graph.child(graph.root)
    graph.put(a, "mine", b"a")
    graph.commit(a)
    b, d, e = graph.child(a), graph.child(a, "d"), graph.child(a, "e")
    graph.put(b, "k", b"b")
    graph.put(e, "k", None)
    graph.commit(b)
    graph.commit(e)
    c = graph.child(b)
    graph.put(c, "k", b"root" + BIG)
    graph.commit(c)
    graph.call("POST", f"/api/node/{c}/tag", {"tag": "v1"})
    before = {u: graph.hash(u) for u in (graph.root, a, b, c, e, "v1")}
    admin.put(graph.root, "k", b"amended")
    values = {u: graph.get(u, "k") for u in (graph.root, a, b, c, d, e, "v1")}
    assert values == {
        graph.root: b"amended",
        a: b"amended",
        b: b"b",
        c: b"root" + BIG,
        d: b"amended",
        e: None,
        "v1": b"root" + BIG,
    }
    for uuid, old in before.items():
        made = read_commit(graph.catalog.nodes, graph.hash(uuid))
        assert made.amends == old
        assert replace(made, amends=None, parents=(), root=b"") == replace(
            read_commit(graph.catalog.nodes, old), amends=None, parents=(), root=b""
        )
        assert made.parents == tuple(graph.hash(p) for p in graph.version(uuid).parents)
    admin.put(a, "fresh", b"new key")
    assert [graph.get(u, "fresh") for u in (graph.root, a, b, c, d, e)] == [None, *[b"new key"] * 5]
    admin.put(a, "other", None)
    assert [graph.get(u, "other") for u in (a, b, d)] == [None] * 3
    graph.put(d, "late", b"x")
    graph.commit(d)
    assert (graph.get(d, "k"), graph.get(d, "late")) == (b"amended", b"x")
    assert graph.sound()


def test_one_that_changes_nothing_leaves_all_as_it_is(graph: Graph, admin: Graph):
    """Deleting what is not there makes no new commits, unless the mutation log has something to say."""
    graph.commit(graph.root)
    child = graph.child(graph.root)
    repo, version = amend.ready(graph.catalog, graph.root, graph.root)
    txn = graph.catalog.txn(repo, version, repo.instances["kv"])
    txn.delete("keys", b"absent")
    amend.amend(graph.catalog, txn, version)
    assert graph.repo is repo
    assert child in repo.versions
    assert admin.keys(graph.root) == []


def test_open_views_follow_and_open_transactions_are_run_again(graph: Graph, admin: Graph):
    graph.put(graph.root, "k", b"v")
    graph.commit(graph.root)
    child = graph.child(graph.root)
    kv = graph.repo.instances["kv"]
    view = graph.catalog.snapshot(graph.repo, graph.version(child), kv)
    txn = graph.catalog.txn(graph.repo, graph.version(child), kv)
    key = next(iter(view.keys("keys")))
    txn.put("keys", key, txn.get("keys", key) + b"!")
    older = view.get("keys", key)
    admin.put(graph.root, "k", b"amended")
    assert view.get("keys", key) != older
    with pytest.raises(StaleRead, match="has changed meanwhile"):
        graph.catalog.commit_txn(txn, graph.version(child))


def test_a_version_that_was_sealed_but_not_folded_is_folded_first(graph: Graph, admin: Graph):
    graph.put(graph.root, "k", b"v")
    graph.commit(graph.root)
    child = graph.child(graph.root)
    graph.put(child, "mine", b"x")
    graph.catalog.store.run(Seal(graph.repo.id, graph.version(child).id, "", [], ""))
    admin.put(graph.root, "k", b"amended")
    admin.put(child, "mine", b"y")
    assert (graph.get(child, "k"), graph.get(child, "mine")) == (b"amended", b"y")
    assert graph.sound()


def test_what_moved_meanwhile_makes_it_start_again(graph: Graph):
    graph.commit(graph.root)
    stale_repo, version = amend.ready(graph.catalog, graph.root, graph.root)
    txn = graph.catalog.txn(stale_repo, version, stale_repo.instances["kv"])
    txn.put("keys", b"k", b"v")
    child = graph.child(graph.root)
    with pytest.raises(StaleRead, match="changed while"):
        amend.amend(graph.catalog, txn, version)
    assert graph.keys(child) == []


def test_merges_follow_the_parent_that_their_value_came_from(graph: Graph, admin: Graph):
    for key in ("k", "left", "right"):
        graph.put(graph.root, key, b"root")
    graph.commit(graph.root)
    left, right = graph.child(graph.root), graph.child(graph.root, "right")
    graph.put(left, "left", b"l")
    graph.put(right, "right", b"r")
    graph.commit(left)
    graph.commit(right)
    body = {"mergeType": "conflict-free", "parents": [left, right], "note": ""}
    merged = graph.call.json("POST", f"/api/repo/{graph.root}/merge", body)["child"]
    manage.copy_instance(graph.catalog, graph.repo, graph.version(merged), "kv", "two", {})
    graph.put(merged, "staged", b"s")
    for uuid, key in ((graph.root, "k"), (left, "left"), (right, "right"), (graph.root, "right")):
        admin.put(uuid, key, b"amended " + key.encode() + uuid[:4].encode())
    expected = {
        "k": b"amended k" + graph.root[:4].encode(),
        "left": b"amended left" + left[:4].encode(),
        "right": b"amended right" + right[:4].encode(),
        "staged": b"s",
    }
    assert {key: graph.get(merged, key) for key in graph.keys(merged)} == expected
    graph.commit(merged)
    admin.put(left, "left", b"once more")
    assert graph.get(merged, "left") == b"once more"
    assert graph.get(merged, "left", "two") == b"l"
    assert graph.sound()


def test_the_mutation_log_tells_of_it_where_it_was_done(graph: Graph, admin: Graph):
    graph.put(graph.root, "k", b"v")
    graph.commit(graph.root)
    child = graph.child(graph.root)
    graph.put(child, "own", b"x")
    graph.commit(child)
    admin.put(graph.root, "k", b"amended")
    told = {u: graph.call.json("GET", f"/api/node/{u}/kv/mutations") for u in (graph.root, child)}
    assert [(m["Key"], m["UUID"]) for m in told[graph.root]] == [("k", graph.root)] * 2
    assert [m["Key"] for m in told[child]] == ["own"]
    assert graph.info()["MutationID"] == 1_000_000_003


def test_notes_and_logs_of_locked_versions(graph: Graph, admin: Graph):
    graph.call.json("POST", f"/api/node/{graph.root}/log", {"log": ["before"]})
    graph.commit(graph.root, note="as committed", log=["commit"])
    before = graph.hash(graph.root)
    for path, body in (("note", {"note": "later"}), ("log", {"log": ["after"]})):
        with pytest.raises(Locked, match="Cannot do post on locked node"):
            graph.call("POST", f"/api/node/{graph.root}/{path}", body)
        admin.call("POST", f"/api/node/{graph.root}/{path}", body)
    assert graph.call.json("GET", f"/api/node/{graph.root}/note") == {"note": "later"}
    lines = graph.call.json("GET", f"/api/node/{graph.root}/log")["log"]
    assert [line.partition("  ")[2] for line in lines] == ["before", "commit", "after"]
    assert graph.hash(graph.root) == before
    assert read_commit(graph.catalog.nodes, before).note == "as committed"


@pytest.mark.parametrize("mark", ["published", "signed"])
def test_published_and_signed_versions_are_never_amended(graph: Graph, admin: Graph, mark: str):
    graph.commit(graph.root)
    child = graph.child(graph.root)
    graph.commit(child)
    graph.catalog.change_record(graph.root, lambda _: {f"version/{child}/{mark}": True})
    for uuid in (graph.root, child):
        with pytest.raises(Locked, match=f"{child} is {mark}"):
            admin.put(uuid, "k", b"v")
    after = graph.child(child)
    graph.commit(after)
    admin.put(after, "k", b"v")
    assert graph.get(after, "k") == b"v"


def test_new_instances_on_locked_versions(graph: Graph, admin: Graph):
    graph.commit(graph.root)
    path, body = f"/api/repo/{graph.root}/instance", {"typename": "keyvalue", "dataname": "late"}
    with pytest.raises(BadRequest, match="locked node"):
        graph.call("POST", path, body)
    admin.call("POST", path, body)
    admin.put(graph.root, "k", b"v", "late")
    assert graph.get(graph.root, "k", "late") == b"v"


class Model:
    """DVID's reading: what a version wrote, else what its parent shows."""

    def __init__(self, root: str) -> None:
        self.wrote: dict[str, dict[str, bytes | None]] = {root: {}}
        self.parent: dict[str, str] = {}

    def get(self, uuid: str, key: str) -> bytes | None:
        while key not in self.wrote[uuid] and uuid in self.parent:
            uuid = self.parent[uuid]
        return self.wrote[uuid].get(key)


KEYS = ["a", "b", "c"]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "write", "write", "drop", "commit", "child"]),
        st.integers(0, 9),
        st.sampled_from(KEYS),
    ),
    max_size=40,
)


@given(STEPS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_every_version_shows_what_dvid_would(call: Caller, steps):
    graph = Graph(Caller(call.server, admin=True))
    model = Model(graph.root)
    versions = [graph.root]
    for n, (verb, at, key) in enumerate(steps):
        uuid = versions[at % len(versions)]
        locked = graph.version(uuid).locked
        if verb in ("write", "drop"):
            # each value is new: DVID tells a value written again from one that was left alone, and hashes do not
            value = None if verb == "drop" else b"%d" % n
            if verb == "drop" and model.get(uuid, key) is None:
                continue
            graph.put(uuid, key, value)
            model.wrote[uuid][key] = value
        elif verb == "commit" and not locked:
            graph.commit(uuid)
        elif verb == "child" and locked:
            child = graph.child(uuid, f"branch{n}")
            model.parent[child] = uuid
            model.wrote[child] = {}
            versions.append(child)
    for uuid in versions:
        shown = {key: graph.get(uuid, key) for key in KEYS}
        assert shown == {key: model.get(uuid, key) for key in KEYS}
        assert graph.keys(uuid) == [key for key in KEYS if shown[key] is not None]
    assert graph.sound()
