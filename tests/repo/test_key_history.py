"""The history of one key, and taking a version's changes back."""

from __future__ import annotations

import pytest
from calling import Caller
from hypothesis import given, settings
from hypothesis import strategies as st

from dagdvid.config import Config
from dagdvid.errors import BadRequest, UnknownName
from dagdvid.server import Server


class Graph:
    """Versions made by a few words."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.call = Caller(server)
        self.root = self.call.json("POST", "/api/repos", {"alias": "x"})["root"]
        self.data("kv")

    def data(self, name, typename="keyvalue", **more):
        body = {"typename": typename, "dataname": name, **more}
        self.call.json("POST", f"/api/repo/{self.root}/instance", body)

    def put(self, uuid, data="kv", **values):
        for key, value in values.items():
            if value is None:
                self.call("DELETE", f"/api/node/{uuid}/{data}/key/{key}")
            else:
                self.call("POST", f"/api/node/{uuid}/{data}/key/{key}", value.encode(), u="ann")

    def commit(self, uuid, note=""):
        self.call.json("POST", f"/api/node/{uuid}/commit", {"note": note, "log": []}, u="bob")

    def child(self, uuid, branch=""):
        word = "branch" if branch else "newversion"
        return self.call.json("POST", f"/api/node/{uuid}/{word}", {"branch": branch, "note": ""})["child"]

    def chain(self, *edits):
        """A version on master for each set of edits; all but the last are committed."""
        uuids = [self.root]
        for i, values in enumerate(edits):
            if i:
                self.commit(uuids[-1], f"note {i}")
                uuids.append(self.child(uuids[-1]))
            self.put(uuids[-1], **values)
        return uuids

    def values(self, uuid, data="kv"):
        keys = self.call.json("GET", f"/api/node/{uuid}/{data}/keys")
        return {key: self.call("GET", f"/api/node/{uuid}/{data}/key/{key}").body.decode() for key in keys}

    def history(self, uuid, key, data="kv", **query):
        return self.call.json("GET", f"/api/node/{uuid}/{data}/key-history/{key}", **query)

    def revert(self, uuid, version, **more):
        return self.call.json("POST", f"/api/node/{uuid}/revert", {"version": version, **more}, u="cat")


@pytest.fixture
def graph(server: Server) -> Graph:
    return Graph(server)


def changes(history):
    return [(entry["version"], entry["change"]) for entry in history]


def test_history_of_a_key(graph):
    a, b, c, d, e = graph.chain({"k": "1"}, {"other": "x"}, {"k": "22"}, {"k": None}, {"k": "1"})
    found = graph.history(e, "k")
    assert changes(found) == [(e, "added"), (d, "removed"), (c, "changed"), (a, "added")]
    assert [entry.get("bytes") for entry in found] == [1, None, 2, 1]
    assert found[0]["hash"] == found[3]["hash"]
    assert "hash" not in found[1]
    assert [entry["locked"] for entry in found] == [False, True, True, True]
    assert (found[2]["note"], found[2]["user"], found[2]["branch"]) == ("note 3", "bob", "")
    assert changes(graph.history(c, "k")) == [(c, "changed"), (a, "added")]
    assert changes(graph.history(e, "k", limit="2")) == [(e, "added"), (d, "removed")]
    assert graph.history(e, "none") == []
    assert changes(graph.history(f"{a}:master", "other")) == [(b, "added")]


def test_history_of_large_values_and_after_reopening(graph, config):
    a, b = graph.chain({"k": "x" * 5000}, {"k": "y" * 5000})
    assert [entry["bytes"] for entry in graph.history(b, "k")] == [5000, 5000]
    before = graph.history(a, "k")
    graph.commit(b)
    assert graph.history(b, "k")[1] == before[0]


def test_history_through_a_merge(graph):
    graph.put(graph.root, k="1")
    graph.commit(graph.root)
    one, two = graph.child(graph.root, "one"), graph.child(graph.root, "two")
    graph.put(one, k="2")
    graph.put(two, z="3")
    graph.commit(one)
    graph.commit(two)
    body = {"mergeType": "conflict-free", "parents": [one, two], "note": ""}
    merged = graph.call.json("POST", f"/api/repo/{graph.root}/merge", body)["child"]
    assert changes(graph.history(merged, "k")) == [(one, "changed"), (graph.root, "added")]
    graph.put(merged, k="4")
    assert changes(graph.history(merged, "k"))[0] == (merged, "changed")


def test_history_of_a_block(graph):
    graph.data("gray", "uint8blk", BlockSize="4,4,4")
    box = f"/api/node/{graph.root}/gray/raw/0_1_2/8_4_4/-4_0_0"
    graph.call("POST", box, bytes(range(128)))
    found = graph.history(graph.root, "-1,0,0", "gray")
    assert (changes(found), found[0]["bytes"]) == ([(graph.root, "added")], 64)
    assert graph.history(graph.root, "1,0,0", "gray") == []
    with pytest.raises(BadRequest, match="a block must be three integers"):
        graph.history(graph.root, "1,0", "gray")


def test_history_that_cannot_be(graph):
    graph.data("one", versioned="false")
    with pytest.raises(BadRequest, match="unversioned"):
        graph.history(graph.root, "k", "one")
    with pytest.raises(UnknownName):
        graph.history(graph.root, "k", "nosuch")
    with pytest.raises(BadRequest, match="'limit'"):
        graph.history(graph.root, "k", limit="x")


def test_revert_in_a_new_child(graph):
    a, b, c = graph.chain({"k": "1", "gone": "g"}, {"k": "2", "new": "n", "gone": None}, {"far": "f"})
    graph.commit(c)
    found = graph.revert(c, b)
    child = found["version"]
    assert found["reverted"] == {"kv": {"added": 1, "removed": 1, "changed": 1}}
    assert graph.values(child) == {"k": "1", "gone": "g", "far": "f"}
    assert graph.values(c) == {"k": "2", "new": "n", "far": "f"}
    node = graph.call.json("GET", f"/api/repo/{a}/info")["DAG"]["Nodes"][child]
    assert (node["Note"], node["Branch"], node["Locked"]) == (f"Reverts version {b}", "", False)
    mutations = graph.call.json("GET", f"/api/node/{child}/kv/mutations")
    assert {(each["Action"], each["Key"], each["User"]) for each in mutations} == {
        ("postkv", "k", "cat"),
        ("postkv", "gone", "cat"),
        ("delete", "new", "cat"),
    }
    graph.commit(child)
    graph.put(graph.child(child), more="m")
    assert graph.call.json("POST", "/api/store/fsck")["ok"]


def test_revert_in_an_open_version_and_of_itself(graph):
    a, b = graph.chain({"k": "1"}, {"k": "2"})
    assert graph.revert(b, b)["version"] == b
    assert graph.values(b) == {"k": "1"}
    assert graph.revert(b, b)["reverted"] == {}
    graph.revert(b, a)
    assert graph.values(b) == {}


def test_a_key_that_was_changed_again_is_a_conflict_and_nothing_changes(graph):
    a, b, c = graph.chain({"k": "1", "m": "1"}, {"k": "2", "m": "2"}, {"k": "3"})
    with pytest.raises(BadRequest, match="1 conflicts, so that nothing was changed.*key 'k' of 'kv'"):
        graph.revert(c, b)
    assert graph.values(c) == {"k": "3", "m": "2"}
    graph.commit(c)
    with pytest.raises(BadRequest, match="1 conflicts"):
        graph.revert(c, b)
    assert len(graph.call.json("GET", f"/api/repo/{a}/info")["DAG"]["Nodes"]) == 3
    told = graph.revert(c, b, dry_run=True)
    assert (told["conflicts"], len(told["first"]), told["version"]) == (1, 1, c)
    found = graph.revert(c, b, keys=["l", "n"], data=["kv"], note="half")
    assert graph.values(found["version"]) == {"k": "3", "m": "1"}


def test_what_is_back_already_is_no_conflict(graph):
    _, b, c = graph.chain({"k": "1"}, {"k": "2", "m": "2"}, {"k": "1"})
    assert graph.revert(c, b)["reverted"] == {"kv": {"added": 0, "removed": 1, "changed": 0}}
    assert graph.values(c) == {"k": "1"}


def test_only_some_instances(graph):
    graph.data("other")
    graph.put(graph.root, k="1")
    graph.put(graph.root, "other", k="1")
    graph.commit(graph.root)
    child = graph.child(graph.root)
    graph.put(child, k="2")
    graph.put(child, "other", k="2")
    assert list(graph.revert(child, child, dry_run=True)["reverted"]) == ["kv", "other"]
    assert graph.values(child) == {"k": "2"}
    graph.revert(child, child, data=["other"])
    assert (graph.values(child), graph.values(child, "other")) == ({"k": "2"}, {"k": "1"})


def test_a_box_of_blocks(graph):
    graph.data("gray", "uint8blk", BlockSize="4,4,4")
    where = "/gray/raw/0_1_2/16_4_4/0_0_0"
    graph.call("POST", f"/api/node/{graph.root}{where}", b"\1" * 256)
    graph.commit(graph.root)
    child = graph.child(graph.root)
    graph.call("POST", f"/api/node/{child}{where}", b"\2" * 256)
    found = graph.revert(child, child, data=["gray"], keys=["1,0,0", "2,5,5"])
    assert found["reverted"] == {"gray": {"added": 0, "removed": 0, "changed": 2}}
    row = graph.call("GET", f"/api/node/{child}/gray/raw/0_1_2/16_1_1/0_0_0").body
    assert row == b"\2" * 4 + b"\1" * 8 + b"\2" * 4


def test_reverts_that_cannot_be(graph):
    graph.data("one", versioned="false")
    a, b = graph.chain({"k": "1"}, {"k": "2"})
    side = graph.child(a, "side")
    with pytest.raises(BadRequest, match="is not before"):
        graph.revert(side, b)
    with pytest.raises(BadRequest, match="unversioned"):
        graph.revert(b, b, data=["one"])
    with pytest.raises(UnknownName):
        graph.revert(b, b, data=["nosuch"])
    with pytest.raises(BadRequest, match="another repo"):
        graph.revert(b, Graph(graph.server).root)
    with pytest.raises(BadRequest, match="has a child on it"):
        graph.revert(a, a)
    for wrong in ({"data": "kv"}, {"keys": ["a"]}, {"keys": "ab"}, {"note": 1}, {"dry_run": "x"}):
        with pytest.raises(BadRequest):
            graph.revert(b, b, **wrong)
    with pytest.raises(BadRequest, match="'version'"):
        graph.call.json("POST", f"/api/node/{b}/revert", {})


edits = st.dictionaries(st.sampled_from("abcde"), st.none() | st.sampled_from("123"), max_size=4)


@settings(max_examples=25)
@given(st.lists(edits, min_size=2, max_size=5), st.data())
def test_reverting_all_from_the_last_back_gives_what_was_before(tmp_path_factory, versions, data):
    with_server = Server.open(Config(data=tmp_path_factory.mktemp("revert")))
    try:
        graph = Graph(with_server)
        uuids = graph.chain(*versions)
        states = [graph.values(uuid) for uuid in uuids]
        keep = data.draw(st.integers(0, len(uuids) - 1))
        for uuid in reversed(uuids[keep + 1 :]):
            graph.revert(uuids[-1], uuid)
        assert graph.values(uuids[-1]) == states[keep]
        for key in "abcde":
            told = {entry["version"] for entry in graph.history(uuids[-2], key)}
            changed = {
                uuid
                for i, uuid in enumerate(uuids[:-1])
                if states[i].get(key) != (states[i - 1].get(key) if i else None)
            }
            assert told == changed
    finally:
        with_server.close()
