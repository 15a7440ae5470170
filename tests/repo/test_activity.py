"""Who did what, with which program: noted before the answer, kept with the repo."""

from __future__ import annotations

import re
from typing import Any

import pytest
from calling import Caller

from dagdvid.config import Config
from dagdvid.errors import BadRequest, DagdvidError
from dagdvid.server import Server

WHO = {"u": "ann", "app": "test \u00e9"}


@pytest.fixture
def root(call: Any) -> str:
    return str(call.json("POST", "/api/repos", {"alias": "a"}, **WHO)["root"])


def done(call: Any, root: str, **query: str) -> list[dict[str, Any]]:
    acts = call.json("GET", f"/api/repo/{root}/activity", **query)
    for act in acts:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", act.pop("time"))
    return acts  # type: ignore[no-any-return]


def test_everything_that_changes_is_noted(call: Any, root: str) -> None:
    def post(path: str, body: Any) -> Any:
        return call.json("POST", path, body, **WHO)

    post(f"/api/repo/{root}/instance", {"typename": "keyvalue", "dataname": "kv"})
    post(f"/api/repo/{root}/info", {"alias": "b"})
    post(f"/api/repo/{root}/log", {"log": ["of the repo"]})
    post(f"/api/node/{root}/note", {"note": "n"})
    post(f"/api/node/{root}/log", {"log": ["of the node"]})
    post(f"/api/node/{root}/kv/tags", {"a": "b"})
    post(f"/api/node/{root}/kv/blobstore", b"blob")
    post(f"/api/node/{root}/commit", {"note": "c"})
    child = post(f"/api/node/{root}/newversion", {})["child"]
    side = post(f"/api/node/{root}/branch", {"branch": "side"})["child"]
    post(f"/api/node/{root}/tag", {"tag": "v1"})
    for version in (child, side):
        post(f"/api/node/{version}/commit", {})
    merged = post(f"/api/repo/{root}/merge", {"mergeType": "conflict-free", "parents": [child, side]})["child"]
    who = {"user": "ann", "app": "test \u00e9"}
    at = who | {"version": root}
    assert done(call, root) == [
        {"action": "repos", **who},
        {"action": "instance", "data": "kv", **who},
        {"action": "info", **who},
        {"action": "log", **who},
        {"action": "note", **at},
        {"action": "log", **at},
        {"action": "tags", "data": "kv", **at},
        {"action": "blobstore", "data": "kv", **at},
        {"action": "commit", **at},
        {"action": "newversion", "child": child, **at},
        {"action": "branch", "child": side, **at},
        {"action": "tag", "child": "v1", **at},
        {"action": "commit", "version": child, **who},
        {"action": "commit", "version": side, **who},
        {"action": "merge", "child": merged, **who},
    ]
    assert [act["action"] for act in done(call, root, limit="2")] == ["commit", "merge"]
    assert done(call, root, limit="0") == []


def test_only_who_says_so_and_what_was_done(call: Any, root: str) -> None:
    before = done(call, root)
    call("POST", f"/api/node/{root}/note", {"note": "by nobody"})
    call("GET", f"/api/repo/{root}/info", **WHO)
    for path, body in ((f"/api/repo/{root}/instance", {"typename": "nosuch"}), (f"/api/node/{root}/tag", {})):
        with pytest.raises(DagdvidError):
            call("POST", path, body, **WHO)
    assert done(call, root) == before
    call("POST", f"/api/node/{root}/note", {"note": "by a program"}, app="robot")
    assert done(call, root)[-1] == {"action": "note", "app": "robot", "version": root}
    with pytest.raises(BadRequest, match="limit"):
        done(call, root, limit="-1")


def test_it_is_kept_with_the_repo(config: Config) -> None:
    server = Server.open(config)
    call = Caller(server)
    root = str(call.json("POST", "/api/repos", {}, **WHO)["root"])
    for i in range(20):
        call("POST", f"/api/node/{root}/log", {"log": [str(i)]}, u=f"user {i}")
    server.close()
    server = Server.open(config)
    try:
        list(server.collect())
        call = Caller(server)
        assert [act["user"] for act in done(call, root)] == ["ann", *(f"user {i}" for i in range(20))]
        assert call.json("POST", "/api/store/fsck")["ok"]
        other = str(call.json("POST", "/api/repos", {})["root"])
        assert done(call, other) == []
    finally:
        server.close()
