"""Diffs of versions and instances against brute force: committed and open, along and across branches."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagdvid.errors import BadRequest, UnknownName
from dagdvid.interchange.keyvalues import keyvalue_chunks
from dagdvid.routes import Request


class Tree:
    """A repo with two keyvalue instances and a volume, and what should be in each version."""

    def __init__(self, call) -> None:
        self.call = call
        self.root = call.json("POST", "/api/repos", {})["root"]
        for name, typename in (("kv", "keyvalue"), ("kw", "keyvalue"), ("gray", "uint8blk")):
            body = {"typename": typename, "dataname": name}
            call.json(
                "POST", f"/api/repo/{self.root}/instance", body | ({"BlockSize": "8,8,8"} if name == "gray" else {})
            )
        self.model: dict[str, dict[str, dict[str, bytes]]] = {self.root: {"kv": {}, "kw": {}}}

    def put(self, uuid: str, key: str, value: bytes | None, name: str = "kv") -> None:
        if value is None:
            self.call("DELETE", f"/api/node/{uuid}/{name}/key/{key}")
            self.model[uuid][name].pop(key, None)
        else:
            self.call("POST", f"/api/node/{uuid}/{name}/key/{key}", value)
            self.model[uuid][name][key] = value

    def commit(self, uuid: str) -> None:
        self.call.json("POST", f"/api/node/{uuid}/commit", {})

    def child(self, uuid: str, branch: str = "") -> str:
        what, body = ("branch", {"branch": branch}) if branch else ("newversion", {})
        child = self.call.json("POST", f"/api/node/{uuid}/{what}", body)["child"]
        self.model[child] = {name: dict(keys) for name, keys in self.model[uuid].items()}
        return child

    def versions(self, a: str, b: str) -> dict[str, Any]:
        answer = self.call("GET", f"/api/node/{a}/diff/{b}")
        assert answer.content_type == "application/json"
        return json.loads(answer.body)

    def instance(self, a: str, b: str, name: str = "kv") -> dict[str, Any]:
        return self.call.json("GET", f"/api/node/{a}/{name}/diff/{b}")

    def check(self, a: str, b: str) -> None:
        """Both diffs say what a comparison of the models says."""
        listed = {entry["name"]: entry for entry in self.versions(a, b)["instances"]}
        for name in ("kv", "kw"):
            old, new = self.model[a][name], self.model[b][name]
            expected = [
                {"change": "added" if key not in old else "removed" if key not in new else "changed", "key": key}
                for key in sorted({*old, *new}, key=str.encode)
                if old.get(key) != new.get(key)
            ]
            answer = self.instance(a, b, name)
            assert answer["changes"] == expected
            counts = {k: sum(c["change"] == k for c in expected) for k in ("added", "removed", "changed")}
            assert {k: answer[k] for k in counts} == counts
            assert (name in listed) == bool(expected)
            if expected:
                assert {k: listed[name][k] for k in counts} == counts
                kind = "added" if not old else "removed" if not new else "changed"
                assert (listed[name]["change"], listed[name]["type"]) == (kind, "keyvalue")


@pytest.fixture
def tree(call) -> Tree:
    return Tree(call)


def test_each_kind_of_change(tree: Tree):
    for key in ("a", "b", "c"):
        tree.put(tree.root, key, b"0")
    tree.commit(tree.root)
    one = tree.child(tree.root)
    tree.put(one, "a", b"1")
    tree.put(one, "b", None)
    tree.put(one, "d", b"x" * 1000)
    tree.put(one, "c", b"0")  # staged, but not changed
    tree.put(one, "never", None)
    assert tree.instance(tree.root, one) == {
        "data": "kv",
        "type": "keyvalue",
        "changes": [
            {"change": "changed", "key": "a"},
            {"change": "removed", "key": "b"},
            {"change": "added", "key": "d"},
        ],
        "added": 1,
        "removed": 1,
        "changed": 1,
    }
    found = tree.versions(tree.root, one)
    assert (found["a"], found["b"]) == (tree.root, one)
    (entry,) = found["instances"]
    assert (entry["name"], entry["change"]) == ("kv", "changed")
    for a in (tree.root, one):
        for b in (tree.root, one):
            tree.check(a, b)
    tree.commit(one)
    tree.check(tree.root, one)
    tree.check(one, tree.root)


def test_instances_that_did_not_change_are_absent(tree: Tree):
    tree.put(tree.root, "k", b"v", "kw")
    tree.commit(tree.root)
    one = tree.child(tree.root)
    assert tree.versions(tree.root, one)["instances"] == []
    tree.put(one, "k", b"w")
    tree.put(one, "k", None)
    assert tree.versions(tree.root, one)["instances"] == []
    tree.put(one, "k", None, "kw")
    (entry,) = tree.versions(tree.root, one)["instances"]
    assert (entry["name"], entry["change"]) == ("kw", "removed")
    (entry,) = tree.versions(one, tree.root)["instances"]
    assert (entry["name"], entry["change"]) == ("kw", "added")


def test_unversioned_instances_never_differ(tree: Tree):
    body = {"typename": "keyvalue", "dataname": "free", "versioned": "false"}
    tree.call.json("POST", f"/api/repo/{tree.root}/instance", body)
    tree.commit(tree.root)
    one = tree.child(tree.root)
    tree.call("POST", f"/api/node/{one}/free/key/k", b"v")
    assert tree.versions(tree.root, one)["instances"] == []
    assert tree.instance(tree.root, one, "free")["changes"] == []


def test_blocks_and_boxes(tree: Tree):
    def post(uuid: str, at: str, value: int) -> None:
        tree.call("POST", f"/api/node/{uuid}/gray/raw/0_1_2/8_8_8/{at}", bytes([value]) * 512)

    post(tree.root, "0_0_0", 1)
    post(tree.root, "8_0_0", 1)
    tree.commit(tree.root)
    one = tree.child(tree.root)
    post(one, "8_0_0", 2)
    post(one, "0_0_0", 1)  # as it was
    post(one, "-8_16_-80", 3)
    found = tree.instance(tree.root, one, "gray")
    assert {tuple(change["block"]): change["change"] for change in found["changes"]} == {
        (1, 0, 0): "changed",
        (-1, 2, -10): "added",
    }
    boxes = {tuple(change["block"]): change["box"] for change in found["changes"]}
    assert boxes[1, 0, 0] == [[8, 0, 0], [15, 7, 7]]
    assert boxes[-1, 2, -10] == [[-8, 16, -80], [-1, 23, -73]]
    assert found["box"] == [[-8, 0, -80], [15, 23, 7]]
    (entry,) = tree.versions(tree.root, one)["instances"]
    assert (entry["name"], entry["added"], entry["changed"]) == ("gray", 1, 1)


def test_refusals(tree: Tree):
    tree.commit(tree.root)
    other = tree.call.json("POST", "/api/repos", {})["root"]
    with pytest.raises(BadRequest, match="another repo"):
        tree.versions(tree.root, other)
    with pytest.raises(BadRequest, match="another repo"):
        tree.instance(tree.root, other)
    with pytest.raises(UnknownName):
        tree.versions(tree.root, "ffff")
    with pytest.raises(UnknownName, match="invalid data instance name"):
        tree.instance(tree.root, tree.root, "nosuch")
    assert tree.instance(tree.root, f"{tree.root}:master")["changes"] == []


def test_a_long_answer_is_streamed_and_parses(tree: Tree):
    body = b"".join(part for i in range(5000) for part in keyvalue_chunks(b"key \xc3\xa9 %05d" % i, b"v"))
    tree.commit(tree.root)
    one = tree.child(tree.root)
    tree.call("POST", f"/api/node/{one}/kv/keyvalues", body)
    server = tree.call.server
    path = f"/api/node/{tree.root}/kv/diff/{one}"
    reply = server.handle(server.find("GET", path), Request("GET", path))
    pieces = list(reply.body)
    assert len(pieces) > 2
    answer = json.loads(b"".join(pieces))
    assert (answer["added"], len(answer["changes"])) == (5000, 5000)
    assert answer["changes"][7] == {"change": "added", "key": "key \u00e9 00007"}


keys = st.sampled_from(["a", "b", "c", "d", "e"])
values = st.sampled_from([None, b"1", b"2", b"x" * 600])
changes = st.lists(st.tuples(st.sampled_from(["kv", "kw"]), keys, values), max_size=6)
steps = st.lists(st.tuples(changes, st.booleans(), st.integers(0, 5)), min_size=1, max_size=7)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(steps)
def test_any_two_versions(call, history):
    tree = Tree(call)
    everything = [tree.root]
    locked: list[str] = []
    at = tree.root
    for i, (change, last, pick) in enumerate(history):
        for name, key, value in change:
            tree.put(at, key, value, name)
        if last and i:
            continue
        tree.commit(at)
        locked.append(at)
        parent = locked[pick % len(locked)]
        at = tree.child(parent, f"b{i}")
        everything.append(at)
    for a in everything:
        for b in everything:
            tree.check(a, b)
