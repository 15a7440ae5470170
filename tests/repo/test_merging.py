"""Merging versions: three-way, by key, refused whole where both sides disagree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dagdvid.errors import BadRequest, UnknownName

KEYS = {"both": b"root", "left": b"root", "right": b"root", "gone": b"root"}


class Fork:
    """A repo whose root has two children, left on master and right on a branch."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.root = call.json("POST", "/api/repos", {"alias": "fork"})["root"]
        for typename, name in (("keyvalue", "kv"), ("keyvalue", "other"), ("uint8blk", "gray")):
            call("POST", f"/api/repo/{self.root}/instance", {"typename": typename, "dataname": name})
        for key, value in KEYS.items():
            self.put(self.root, key, value)
        self.commit(self.root)
        self.left = call.json("POST", f"/api/node/{self.root}/newversion")["child"]
        self.right = call.json("POST", f"/api/node/{self.root}/branch", {"branch": "right"})["child"]

    def put(self, node: str, key: str, value: bytes, data: str = "kv") -> None:
        self.call("POST", f"/api/node/{node}/{data}/key/{key}", value)

    def get(self, node: str, key: str, data: str = "kv") -> bytes:
        return self.call("GET", f"/api/node/{node}/{data}/key/{key}").body

    def keys(self, node: str, data: str = "kv") -> list[str]:
        return self.call.json("GET", f"/api/node/{node}/{data}/keys")

    def commit(self, *nodes: str) -> None:
        for node in nodes:
            self.call("POST", f"/api/node/{node}/commit", {"note": ""})
        self.call.server.upkeep.settle()

    def merge(self, *parents: str) -> str:
        body = {"mergeType": "conflict-free", "parents": list(parents), "note": "together"}
        return self.call.json("POST", f"/api/repo/{self.root}/merge", body)["child"]


@pytest.fixture
def fork(call: Any) -> Fork:
    return Fork(call)


def test_changes_of_both_sides_come_together(fork: Fork) -> None:
    fork.put(fork.left, "left", b"left")
    fork.put(fork.left, "new", b"left")
    fork.put(fork.right, "right", b"right")
    fork.call("DELETE", f"/api/node/{fork.right}/kv/key/gone")
    fork.put(fork.left, "same", b"equal")
    fork.put(fork.right, "same", b"equal")
    fork.commit(fork.left, fork.right)
    merged = fork.merge(fork.left, fork.right)
    assert fork.keys(merged) == ["both", "left", "new", "right", "same"]
    assert fork.get(merged, "left") == b"left"
    assert fork.get(merged, "right") == b"right"
    assert fork.call.json("GET", f"/api/node/{merged}/status") == {"Locked": False}
    assert fork.call.json("GET", f"/api/node/{merged}/note") == {"note": "together"}
    fork.put(merged, "left", b"after")
    fork.commit(merged)
    after = fork.call.json("POST", f"/api/node/{merged}/newversion")["child"]
    assert fork.get(after, "left") == b"after"
    assert fork.call.json("POST", "/api/store/fsck")["ok"]


def test_the_order_of_parents_does_not_change_the_content(fork: Fork) -> None:
    fork.put(fork.left, "left", b"l" * 1000)
    fork.put(fork.right, "right", b"r" * 1000)
    fork.commit(fork.left, fork.right)
    one, two = fork.merge(fork.left, fork.right), fork.merge(fork.right, fork.left)
    assert fork.call.json("GET", f"/api/node/{one}/diff/{two}")["instances"] == []


def test_a_conflict_makes_no_version_and_names_itself(fork: Fork) -> None:
    for node, value in ((fork.left, b"left"), (fork.right, b"right")):
        fork.put(node, "both", value)
        fork.put(node, "new", value)
    fork.commit(fork.left, fork.right)
    before = fork.call.json("GET", f"/api/repo/{fork.root}/info")["DAG"]
    with pytest.raises(BadRequest, match=r"2 conflicts, the first: key 'both' of 'kv'"):
        fork.merge(fork.left, fork.right)
    assert fork.call.json("GET", f"/api/repo/{fork.root}/info")["DAG"] == before


def test_resolve_lets_the_first_parent_win_and_keeps_what_only_the_other_changed(fork: Fork) -> None:
    for node, value in ((fork.left, b"left"), (fork.right, b"right")):
        fork.put(node, "both", value)
    fork.put(fork.left, "left", b"left only")
    fork.commit(fork.left, fork.right)
    body = {"data": ["kv"], "parents": [fork.right, fork.left], "note": "right first"}
    merged = fork.call.json("POST", f"/api/repo/{fork.root}/resolve", body)["child"]
    assert fork.get(merged, "both") == b"right"
    assert fork.get(merged, "left") == b"left only"


def test_resolve_covers_only_the_instances_named(fork: Fork) -> None:
    for node, value in ((fork.left, b"left"), (fork.right, b"right")):
        fork.put(node, "key", value, "other")
    fork.commit(fork.left, fork.right)
    body = {"data": ["kv"], "parents": [fork.right, fork.left]}
    with pytest.raises(BadRequest, match="'other'"):
        fork.call("POST", f"/api/repo/{fork.root}/resolve", body)
    with pytest.raises(UnknownName):
        fork.call("POST", f"/api/repo/{fork.root}/resolve", body | {"data": ["nosuch"]})


def test_extents_grow_around_both_sides(fork: Fork) -> None:
    block = np.full((32, 32, 32), 7, np.uint8).tobytes()
    fork.call("POST", f"/api/node/{fork.left}/gray/raw/0_1_2/32_32_32/0_0_0", block)
    fork.call("POST", f"/api/node/{fork.right}/gray/raw/0_1_2/32_32_32/64_-32_0", block)
    fork.commit(fork.left, fork.right)
    merged = fork.merge(fork.left, fork.right)
    extents = fork.call.json("GET", f"/api/node/{merged}/gray/info")["Extents"]
    assert extents == {"MinPoint": [0, -32, 0], "MaxPoint": [95, 31, 31]}
    assert fork.call("GET", f"/api/node/{merged}/gray/raw/0_1_2/32_32_32/64_-32_0").body == block


def test_three_parents_fold_from_the_left(fork: Fork) -> None:
    third = fork.call.json("POST", f"/api/node/{fork.root}/branch", {"branch": "third"})["child"]
    for node, key in ((fork.left, "a"), (fork.right, "b"), (third, "c")):
        fork.put(node, key, key.encode())
    fork.commit(fork.left, fork.right, third)
    assert {"a", "b", "c"} <= set(fork.keys(fork.merge(fork.left, fork.right, third)))


def test_merging_again_takes_only_what_is_new(fork: Fork) -> None:
    """The second merge has the first one's parents behind it: what was settled then is no conflict now."""
    fork.put(fork.left, "both", b"left")
    fork.commit(fork.left, fork.right)
    merged = fork.merge(fork.left, fork.right)
    fork.put(merged, "both", b"settled")
    fork.commit(merged)
    onwards = fork.call.json("POST", f"/api/node/{fork.right}/newversion")["child"]
    fork.put(onwards, "right", b"later")
    fork.commit(onwards)
    again = fork.merge(merged, onwards)
    assert fork.get(again, "both") == b"settled"
    assert fork.get(again, "right") == b"later"


@pytest.mark.parametrize(
    "change",
    [
        {"mergeType": "by magic"},
        {"parents": []},
        {"parents": "x"},
        {"parents": ["f" * 32] * 2},
    ],
)
def test_refusals(fork: Fork, change: dict[str, Any]) -> None:
    fork.commit(fork.left, fork.right)
    body = {"mergeType": "conflict-free", "parents": [fork.left, fork.right]} | change
    with pytest.raises((BadRequest, UnknownName)):
        fork.call("POST", f"/api/repo/{fork.root}/merge", body)


def test_open_parents_and_single_ones_are_refused(fork: Fork) -> None:
    with pytest.raises(BadRequest, match="open"):
        fork.merge(fork.left, fork.right)
    fork.commit(fork.left)
    with pytest.raises(BadRequest, match="two different"):
        fork.merge(fork.left, fork.left)


def test_a_tag_is_a_committed_child_with_its_own_name(fork: Fork) -> None:
    assert fork.call.json("POST", f"/api/node/{fork.root}/tag", {"tag": "v1.0"}) == {"child": "v1.0"}
    assert fork.get("v1.0", "both") == b"root"
    assert fork.call.json("GET", "/api/node/v1.0/status") == {"Locked": True}
    assert fork.call.json("GET", "/api/node/v1.0/note")["note"] == f'Tag of version {fork.root} with "v1.0"'
    for name in ("v1.0", "", "a/b", " "):
        with pytest.raises(BadRequest):
            fork.call("POST", f"/api/node/{fork.root}/tag", {"tag": name})
    with pytest.raises(BadRequest, match="unlocked"):
        fork.call("POST", f"/api/node/{fork.left}/tag", {"tag": "early"})
