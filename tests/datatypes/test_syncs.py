"""POST sync, on datatypes of a plug-in: one follows keyvalue, one could follow but takes nobody."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from calling import Caller

from dagdvid import registry
from dagdvid.config import Config
from dagdvid.errors import BadRequest, Locked, UnknownName
from dagdvid.server import Server

PLUGIN = """
from dagdvid.datatypes.keyvalue import KeyValue

class Follower(KeyValue):
    name = "follower"
    syncs_with = frozenset({"keyvalue", "follower"})

class Loner(KeyValue):
    name = "loner"
    syncs_with = frozenset()

FOLLOWER, LONER = Follower(), Loner()
"""


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A server with the plug-in installed."""
    site = tmp_path / "site"
    info = site / "followers-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "dagdvid_followers.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: followers\nVersion: 1.0\n")
    names = [f"{name.lower()} = dagdvid_followers:{name}" for name in ("FOLLOWER", "LONER")]
    (info / "entry_points.txt").write_text("\n".join([f"[{registry.GROUP}]", *names, ""]))
    monkeypatch.syspath_prepend(str(site))
    registry._entry_points.cache_clear()
    server = Server.open(Config(data=tmp_path / "data"))
    yield Caller(server)
    server.close()
    monkeypatch.undo()
    sys.modules.pop("dagdvid_followers", None)
    registry._entry_points.cache_clear()
    registry.datatype.cache_clear()


@pytest.fixture
def root(call: Caller) -> str:
    root = call.json("POST", "/api/repos", {})["root"]
    for name, typename in (("a", "keyvalue"), ("b", "keyvalue"), ("f", "follower"), ("l", "loner")):
        call.json("POST", f"/api/repo/{root}/instance", {"typename": typename, "dataname": name, "sync": ""})
    return root


def syncs(call: Caller, root: str) -> list[str]:
    return call.json("GET", f"/api/node/{root}/f/info")["Base"]["Syncs"]


def follow(call: Caller, root: str, names: object, data: str = "f", **query: str) -> None:
    call("POST", f"/api/node/{root}/{data}/sync", {"sync": names}, **query)


def test_syncs_are_added_replaced_and_cleared(call: Caller, root: str):
    assert syncs(call, root) == []
    follow(call, root, "a")
    follow(call, root, "b")
    assert syncs(call, root) == ["a", "b"]
    assert call.json("GET", f"/api/repo/{root}/info")["Log"][-1].endswith('Data instance "f" set to sync with b')
    follow(call, root, "")
    assert syncs(call, root) == ["a", "b"]
    follow(call, root, "f", replace="true")
    assert syncs(call, root) == ["f"]
    follow(call, root, "a,b", replace="true")
    assert syncs(call, root) == ["a", "b"]
    call("DELETE", f"/api/repo/{root}/a", imsure="true")
    assert syncs(call, root) == ["b", "undefined"]
    follow(call, root, "", replace="true")
    assert syncs(call, root) == []


def test_refusals(call: Caller, root: str):
    for names, data, error, words in (
        ("nothing", "f", UnknownName, "invalid data instance name"),
        ("a,nothing", "f", UnknownName, "invalid data instance name"),
        ("a, b", "f", UnknownName, "invalid data instance name"),
        ("l", "f", BadRequest, "Can't create syncs"),
        ("a", "l", BadRequest, "Can't create syncs"),
        ("b", "a", UnknownName, "Bad API call"),
        (["a"], "f", BadRequest, "'sync' is missing"),
    ):
        with pytest.raises(error, match=words):
            follow(call, root, names, data)
    for body in (b"", b"{}", b'{"other": "a"}'):
        with pytest.raises(BadRequest, match="'sync' is missing"):
            call("POST", f"/api/node/{root}/f/sync", body)
    with pytest.raises(UnknownName, match="Bad API call"):
        call("GET", f"/api/node/{root}/f/sync")
    assert syncs(call, root) == []
    call.json("POST", f"/api/node/{root}/commit", {})
    with pytest.raises(Locked):
        follow(call, root, "a")
