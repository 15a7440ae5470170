"""A repo reduced to some versions, in a directory of its own: the same data under the same UUIDs, and nothing else."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from typing import Any

import pytest
from calling import Caller
from graphs import Graph

from dagdvid.config import Config
from dagdvid.errors import BadRequest, Corrupt, RequestError, UnknownName
from dagdvid.repo import manage
from dagdvid.server import Server

BIG = bytes(range(256)) * 40


class Long(Graph):
    """root - a - b - c on master, root - x (side); a merge m of c and x; values in each, an unversioned instance."""

    def __init__(self, call: Caller) -> None:
        super().__init__(call, alias="long", description="before")
        self.instance("other")
        self.instance("flat", versioned="false")
        self.put(self.root, "k", b"root" + BIG)
        self.put(self.root, "f", b"flat" + BIG, "flat")
        self.put(self.root, "o", b"other", "other")
        blob = self.call.json("POST", f"/api/node/{self.root}/kv/blobstore", b"a blob" + BIG)
        self.blob: str = blob["reference"]
        self.commit(self.root, note="the root")
        self.v = {"root": self.root}
        for parent, name, branch in (("root", "a", ""), ("a", "b", ""), ("b", "c", ""), ("root", "x", "side")):
            self.v[name] = self.child(self.v[parent], branch)
            self.put(self.v[name], name, name.encode() + BIG)
            self.put(self.v[name], "k", None if name == "b" else b"k of " + name.encode())
            self.commit(self.v[name], note=f"note {name}", log=[f"log {name}"])
        tip = self.child(self.v["x"])
        self.put(tip, "k", b"k of c")
        self.put(tip, "m", b"m" * 6 * 2**20)
        self.commit(tip)
        body = {"mergeType": "conflict-free", "parents": [self.v["c"], tip], "note": "merged"}
        self.v["m"] = self.call.json("POST", f"/api/repo/{self.root}/merge", body)["child"]
        self.commit(self.v["m"])

    def contents(self, uuid: str, data: str = "kv") -> dict[str, bytes | None]:
        return {key: self.get(uuid, key, data) for key in self.keys(uuid, data)}

    def flatten(self, folder: Path, *names: str, **config: Any) -> str:
        body = {"Versions": [self.v[name] for name in names], "DstStore": {"Path": str(folder)}, **config}
        stdin = base64.b64encode(json.dumps(body).encode()).decode()
        words = {"words": ["repo", self.root, "flatten-metadata"], "stdin": stdin}
        return self.call("POST", "/api/server/command", words).body.decode()


@pytest.fixture
def long(call: Caller) -> Long:
    return Long(call)


def opened(folder: Path, long: Long, root: str) -> tuple[Server, Long]:
    server = Server.open(Config(data=folder))
    other = object.__new__(Long)
    other.call, other.catalog, other.root, other.v = Caller(server), server.catalog, root, long.v
    return server, other


def test_versions_keep_their_data_under_other_parents(long: Long, tmp_path: Path):
    said = long.flatten(tmp_path / "small", "a", "c", "m", Exclusions=["other"])
    assert said == f"Made {tmp_path / 'small'} with 3 versions of the repo, the root is {long.v['a']}\n"
    expected = {name: long.contents(long.v[name]) for name in ("a", "c", "m")}
    server, small = opened(tmp_path / "small", long, long.v["a"])
    try:
        nodes = small.info()["DAG"]["Nodes"]
        assert set(nodes) == {long.v[name] for name in ("a", "c", "m")}
        ids = {name: nodes[long.v[name]]["VersionID"] for name in ("a", "c", "m")}
        assert {name: nodes[long.v[name]]["Parents"] for name in ids} == {
            "a": [],
            "c": [ids["a"]],
            "m": [ids["c"]],
        }
        assert all(node["Locked"] for node in nodes.values())
        assert {name: small.contents(long.v[name]) for name in expected} == expected
        assert small.contents(long.v["c"], "flat") == {"f": b"flat" + BIG}
        assert set(small.info()["DataInstances"]) == {"kv", "flat"}
        assert small.call("GET", f"/api/node/{long.v['a']}/kv/blobstore/{long.blob}").body == b"a blob" + BIG
        assert (small.info()["Alias"], small.info()["Description"]) == ("long", "before")
        assert small.info()["DataInstances"]["kv"]["Base"]["RepoUUID"] == long.v["a"]
        assert small.info()["MutationID"] > long.info()["MutationID"]  # a range of its own: both may live on
        assert nodes[long.v["c"]]["Note"] == "note c"
        child = small.child(long.v["m"])
        small.put(child, "on", b"goes on")
        small.commit(child)
        assert small.sound()
    finally:
        server.close()


def test_texts_and_branches_may_be_others(long: Long, tmp_path: Path):
    meta = [{"Version": long.v["x"][:12], "NodeNote": "new note", "NodeLog": ["new line"], "Branch": "renamed"}]
    more = {"Alias": "small", "Description": "after", "RepoLog": ["made small"], "VersionsMeta": meta}
    long.flatten(tmp_path / "small", "root", "x", **more)
    server, small = opened(tmp_path / "small", long, long.root)
    try:
        info = small.info()
        assert (info["Alias"], info["Description"]) == ("small", "after")
        assert small.log() == ["made small"]
        node = info["DAG"]["Nodes"][long.v["x"]]
        assert (node["Note"], node["Log"], node["Branch"]) == ("new note", ["new line"], "renamed")
        assert info["DAG"]["Nodes"][long.root]["Note"] == "the root"
    finally:
        server.close()


def test_no_versions_named_are_all_that_are_shown(long: Long, tmp_path: Path):
    manage.hide_branch(long.catalog, long.repo, "side")
    manage.delete_instance(long.catalog, long.repo, "other")
    long.flatten(tmp_path / "small")
    server, small = opened(tmp_path / "small", long, long.root)
    try:
        assert set(small.info()["DAG"]["Nodes"]) == {long.v[n] for n in ("root", "a", "b", "c", "m")}
        assert set(small.info()["DataInstances"]) == {"kv", "flat"}
        assert small.sound()
    finally:
        server.close()


def test_refusals_leave_no_directory(long: Long, tmp_path: Path):
    there = tmp_path / "there"
    there.mkdir()
    late = long.child(long.v["m"])
    long.v["open"] = late
    for names, config, error, words in (
        (("b", "x"), {}, BadRequest, "no version before them"),
        (("root", "open"), {}, BadRequest, "is open"),
        (("root",), {"Exclusions": ["nothing"]}, UnknownName, "'nothing'"),
        (("root",), {"Exclusions": "kv"}, BadRequest, "must be JSON"),
        (("root",), {"DstStore": {"Path": str(there)}}, BadRequest, "is there already"),
        (("root",), {"DstStore": {}}, BadRequest, "is there already"),
        (("root",), {"DstStore": None}, BadRequest, "must be JSON"),
        (("root",), {"VersionsMeta": [{"Version": 1}]}, BadRequest, "must be JSON"),
    ):
        with pytest.raises(error, match=words):
            long.flatten(tmp_path / "small", *names, **config)
        assert not (tmp_path / "small").exists()
    other = Graph(long.call)
    other.commit(other.root)
    long.v["other"] = other.root
    with pytest.raises(RequestError, match="another repo"):
        long.flatten(tmp_path / "small", "root", "other")


def test_damage_is_not_copied(config: Config, tmp_path: Path):
    server = Server.open(config)
    long = Long(Caller(server))
    noise = random.Random(1).randbytes(5000)  # stored as it is
    last = long.child(long.v["m"])
    long.put(last, "noise", noise)
    long.commit(last)
    long.v["last"] = last
    long.hash(last)
    server.close()
    pack = next(path for path in (config.data / "packs").iterdir() if noise in path.read_bytes())
    pack.write_bytes(pack.read_bytes().replace(noise, noise[:-1] + bytes([noise[-1] ^ 1])))
    server = Server.open(config)
    long.call, long.catalog = Caller(server), server.catalog
    with pytest.raises(Corrupt, match="run dagdvid fsck"):
        long.flatten(tmp_path / "small", "root", "last")
    assert not (tmp_path / "small").exists()
    server.close()
