"""Three-way merges that keep their conflicts: listed, resolved one by one or by policy, and not committed before."""

from __future__ import annotations

from typing import Any

import pytest
from calling import Caller
from graphs import Graph

from dagdvid.errors import BadRequest, Locked, UnknownName
from dagdvid.repo import manage

BIG = bytes(range(256)) * 40


class Merge(Graph):
    """A merge of two versions that disagree about the keys k0 .. k4: k0 and k1 written, k2 deleted here, k3 there."""

    def __init__(self, call: Caller) -> None:
        super().__init__(call)
        self.instance("other")
        self.call("POST", f"/api/node/{self.root}/kv/blobstore", b"belongs to no instance")
        for i in range(6):
            self.put(self.root, f"k{i}", b"base%d" % i)
        self.commit(self.root)
        self.left, self.right = self.child(self.root), self.child(self.root, "right")
        for uuid, side in ((self.left, b"left"), (self.right, b"right")):
            for i in range(5):
                self.put(uuid, f"k{i}", None if (i, side) in ((2, b"left"), (3, b"right")) else side + b"%d" % i)
            self.put(uuid, side.decode(), side)
            self.put(uuid, "o", side, "other")
        self.put(self.left, "k4", b"same")
        self.put(self.right, "k4", b"same")
        self.commit(self.left)
        self.commit(self.right)

    def merge(self, kind: str = "three-way", **more: Any) -> Any:
        body = {"mergeType": kind, "parents": [self.left, self.right], "note": "together", **more}
        return self.call.json("POST", f"/api/repo/{self.root}/merge", body)

    def conflicts(self, uuid: str, **query: str) -> Any:
        return self.call.json("GET", f"/api/node/{uuid}/conflicts", **query)

    def resolve(self, uuid: str, take: str, **body: Any) -> Any:
        return self.call.json("POST", f"/api/node/{uuid}/conflicts", {"take": take, **body})


@pytest.fixture
def merge(call: Caller) -> Merge:
    return Merge(call)


def test_a_conflict_free_merge_with_conflicts_makes_no_version(merge: Merge):
    before = len(merge.repo.versions)
    with pytest.raises(BadRequest, match=r"^5 conflicts, the first: key '\w+' of '\w+' changed on both sides$"):
        merge.merge("conflict-free")
    assert len(merge.repo.versions) == before
    with pytest.raises(BadRequest, match="two parents"):
        merge.merge(parents=[merge.left, merge.right, merge.root])
    with pytest.raises(BadRequest, match="mergeType"):
        merge.merge("by magic")


def test_conflicts_are_listed_with_what_each_side_has(merge: Merge):
    made = merge.merge()
    assert made["conflicts"] == 5
    found = merge.conflicts(made["child"])
    assert found["open"] == 5
    by_key = {(c["data"], c["key"]): c for c in found["conflicts"]}
    assert set(by_key) == {("kv", "k0"), ("kv", "k1"), ("kv", "k2"), ("kv", "k3"), ("other", "o")}

    def text(data: str, key: str) -> list[str | None]:
        return [(by_key[data, key][s] or {}).get("text") for s in ("ours", "theirs", "base", "now")]

    assert text("kv", "k0") == ["left0", "right0", "base0", "left0"]
    assert text("kv", "k2") == [None, "right2", "base2", None]
    assert text("kv", "k3") == ["left3", None, "base3", "left3"]
    assert text("other", "o") == ["left", "right", None, "left"]
    assert [c["data"] for c in merge.conflicts(made["child"], data="other")["conflicts"]] == ["other"]
    ids = [c["id"] for c in found["conflicts"]]
    pages = [merge.conflicts(made["child"], max="2", after=str(after)) for after in (0, ids[1], ids[3], ids[4])]
    assert [c["id"] for page in pages for c in page["conflicts"]] == ids
    assert merge.conflicts(merge.root) == {"open": 0, "conflicts": []}
    for query in ({"max": "x"}, {"after": "-1"}):
        with pytest.raises(BadRequest, match="must be a number"):
            merge.conflicts(made["child"], **query)


def test_values_that_are_no_short_text_are_shown_by_their_size(merge: Merge):
    left, right = merge.child(merge.left), merge.child(merge.right)
    merge.put(left, "big", BIG)
    merge.put(right, "big", b"\xff\xfe")
    merge.commit(left)
    merge.commit(right)
    made = merge.merge(parents=[left, right])
    shown = next(c for c in merge.conflicts(made["child"])["conflicts"] if c["key"] == "big")
    assert (shown["ours"], shown["theirs"], shown["base"]) == ({"bytes": len(BIG)}, {"bytes": 2}, None)


def test_it_is_resolved_one_by_one_and_cannot_be_committed_before(merge: Merge):
    child = merge.merge()["child"]
    ids = {c["key"]: c["id"] for c in merge.conflicts(child)["conflicts"]}
    with pytest.raises(BadRequest, match=r"^5 conflicts of the merge are open"):
        merge.commit(child)
    assert not merge.version(child).locked
    assert merge.resolve(child, "theirs", ids=[ids["k0"], ids["k3"]]) == {"resolved": 2, "open": 3}
    assert merge.resolve(child, "base", ids=[ids["k2"]]) == {"resolved": 1, "open": 2}
    merge.put(child, "k1", b"by hand")
    assert merge.resolve(child, "now", ids=[ids["k1"]]) == {"resolved": 1, "open": 1}
    with pytest.raises(BadRequest, match=r"^1 conflicts"):
        merge.commit(child)
    assert merge.resolve(child, "ours", data=["other"]) == {"resolved": 1, "open": 0}
    values = {"k0": b"right0", "k1": b"by hand", "k2": b"base2", "k3": None, "k4": b"same", "left": b"left"}
    assert {key: merge.get(child, key) for key in values} == values
    assert merge.get(child, "o", "other") == b"left"
    merge.commit(child)
    assert {key: merge.get(child, key) for key in values} == values
    assert merge.sound()


@pytest.mark.parametrize("take", ["ours", "theirs", "base"])
def test_a_policy_decides_all_also_over_what_was_written_since(merge: Merge, take: str):
    child = merge.merge()["child"]
    merge.put(child, "k0", b"written since")
    assert merge.resolve(child, take) == {"resolved": 5, "open": 0}
    source = {"ours": merge.left, "theirs": merge.right, "base": merge.root}[take]
    for key in ("k0", "k1", "k2", "k3"):
        assert merge.get(child, key) == merge.get(source, key)
    assert (merge.get(child, "left"), merge.get(child, "right")) == (b"left", b"right")
    merge.commit(child)
    with pytest.raises(Locked):
        merge.resolve(child, take)


def test_refusals_change_nothing(merge: Merge):
    child = merge.merge()["child"]
    ids = [c["id"] for c in merge.conflicts(child)["conflicts"]]
    for body, error in (
        ({}, BadRequest),
        ({"take": "mine"}, BadRequest),
        ({"take": "now", "ids": [10**6]}, UnknownName),
        ({"take": "ours", "ids": []}, BadRequest),
        ({"take": "ours", "ids": ["1"]}, BadRequest),
        ({"take": "ours", "ids": [ids[0], 10**6]}, UnknownName),
        ({"take": "ours", "data": []}, BadRequest),
        ({"take": "ours", "data": ["nothing"]}, UnknownName),
        ({"take": "ours", "keys": ["k0"]}, BadRequest),
    ):
        with pytest.raises(error):
            merge.call("POST", f"/api/node/{child}/conflicts", body)
        assert merge.conflicts(child)["open"] == 5


def test_a_three_way_merge_without_conflicts_is_an_ordinary_one(merge: Merge):
    made = merge.merge(parents=[merge.left, merge.root])
    assert made["conflicts"] == 0
    merge.commit(made["child"])


def test_they_go_with_their_instance_or_repo(merge: Merge):
    child = merge.merge()["child"]
    merge.call("POST", f"/api/node/{child}/kv/blobstore", b"of no instance")
    manage.delete_instance(merge.catalog, merge.repo, "other")
    left = merge.conflicts(child)
    assert (left["open"], {conflict["data"] for conflict in left["conflicts"]}) == (4, {"kv"})
    manage.delete_repo(merge.catalog, merge.repo)
    assert merge.catalog.store.database.rows("SELECT count(*) FROM conflicts") == [(0,)]


def test_types_whose_entries_hang_together_keep_no_conflicts(call: Caller):
    merge = Merge(call)
    left, right = merge.child(merge.left), merge.child(merge.right)
    body = {"typename": "uint8blk", "dataname": "gray", "BlockSize": "32,32,32"}
    call.json("POST", f"/api/repo/{left}/instance", body)
    for uuid, value in ((left, b"\x01"), (right, b"\x02")):
        call("POST", f"/api/node/{uuid}/gray/raw/0_1_2/32_32_32/0_0_0", value * 32**3)
        merge.commit(uuid)
    with pytest.raises(BadRequest, match=r"^1 conflicts, the first: .*'gray'"):
        merge.merge(parents=[left, right])
