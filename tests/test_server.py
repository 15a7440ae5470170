"""The facade: opening and closing a directory, finding routes, rights, the read-only switch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dagdvid.config import Config
from dagdvid.errors import DagdvidError, Forbidden, InUse, Locked, ReadOnly, UnknownName
from dagdvid.registry import datatype
from dagdvid.routes import Request, Right
from dagdvid.server import Server


def ask(server: Server, method: str, path: str, body: bytes = b"", **request):
    found = server.find(method, path)
    assert found is not None, path
    return server.handle(found, Request(method, path, body=body, **request))


@pytest.fixture
def root(call) -> str:
    root = call.json("POST", "/api/repos", {})["root"]
    call.json("POST", f"/api/repo/{root}/instance", {"typename": "keyvalue", "dataname": "kv"})
    call("POST", f"/api/node/{root}/kv/key/k", b"v")
    return root


def test_a_directory_has_one_server(config: Config, server: Server):
    with pytest.raises(InUse, match="in use by process"):
        Server.open(config)
    server.close()
    Server.open(config).close()


def test_read_only_beside_the_writer(config: Config, server: Server, root: str):
    reader = Server.open(replace(config, readonly=True))
    try:
        assert ask(reader, "GET", f"/api/node/{root}/kv/key/k").body == b"v"
        assert ask(reader, "POST", "/api/store/fsck").status == 200
        ask(server, "POST", f"/api/node/{root}/kv/key/k", b"new")
        assert ask(reader, "GET", f"/api/node/{root}/kv/key/k").body == b"new"
        words = "Server in read-only mode and will only accept GET and HEAD requests"
        for method, path, body in (
            ("POST", f"/api/node/{root}/kv/key/k", b"x"),
            ("DELETE", f"/api/node/{root}/kv/key/k", b""),
            ("POST", f"/api/node/{root}/commit", b"{}"),
            ("POST", f"/api/node/{root}/note", b'{"note": ""}'),
            ("POST", f"/api/repo/{root}/info", b"{}"),
            ("POST", f"/api/repo/{root}/log", b'{"log": []}'),
            ("POST", "/api/repos", b"{}"),
            ("POST", "/api/sync/objects", b""),
            ("POST", "/api/repos/clone", b"{}"),
        ):
            with pytest.raises(ReadOnly, match=words):
                ask(reader, method, path, body, local=True, admin=True)
    finally:
        reader.close()


def test_read_only_without_a_directory(tmp_path: Path):
    with pytest.raises(DagdvidError, match="no dagdvid data"):
        Server.open(Config(data=tmp_path / "nothing", readonly=True))
    assert not (tmp_path / "nothing").exists()


def test_paths_without_a_route(server: Server, root: str):
    for method, path in (
        ("GET", "/"),
        ("GET", "/api"),
        ("GET", "/other/repos/info"),
        ("GET", "/api/nothing"),
        ("PUT", f"/api/repo/{root}"),
        ("GET", "/api/repos"),
        ("POST", "/api/repos/info"),
        ("GET", f"/api/node/{root}"),
        ("GET", f"/api/node/{root}/"),
        ("GET", f"/api/repo/{root}/info/more"),
        ("GET", f"/api/node/{root}/status/"),
    ):
        assert server.find(method, path) is None, (method, path)


def test_paths_under_an_instance(server: Server, root: str):
    for path in ("kv/keys", "kv/keys/", "kv/keys/and/more", "kv/help", "kv/info", "kv/tags"):
        found = server.find("GET", f"/api/node/{root}/{path}")
        assert found.scope == "data"
    with pytest.raises(UnknownName, match="Bad API call"):
        server.find("GET", f"/api/node/{root}/kv/nosuch")
    with pytest.raises(UnknownName, match="invalid data instance name"):
        server.find("GET", f"/api/node/{root}/nosuch/keys")
    with pytest.raises(UnknownName, match="could not find UUID"):
        server.find("GET", "/api/node/ffff/kv/keys")
    args = server.find("GET", f"/api/node/{root}/kv/keyrange/a/b").args
    assert (args["uuid"], args["data"], args["key1"], args["key2"]) == (root, "kv", "a", "b")


def test_rights(server: Server, root: str):
    for path, body in (
        ("/api/repos", b"{}"),
        ("/api/repos/clone", b'{"url": 5}'),
        (f"/api/repo/{root}/remotes", b'{"name": "a", "url": "http://127.0.0.1:1"}'),
        (f"/api/repo/{root}/push", b'{"remote": 1}'),
        (f"/api/repo/{root}/pull", b'{"remote": 1}'),
        ("/api/sync/objects", b""),
        ("/api/sync/have", b""),
        ("/api/sync/bundle", b""),
    ):
        with pytest.raises(Forbidden, match="admin token"):
            ask(server, "POST", path, body)
        for who in ({"admin": True}, {"local": True}):
            try:
                ask(server, "POST", path, body, **who)
            except Forbidden:
                pytest.fail(f"{path} refused {who}")
            except DagdvidError as error:
                assert error.code in ("bad-request", "unknown-name", "unverified")
    with pytest.raises(Forbidden):
        ask(server, "GET", "/api/server/config", local=True)
    assert ask(server, "GET", "/api/server/config", admin=True).status == 200


def test_what_changes_data_says_so(server: Server):
    """Handlers with transactions are marked, and no route that needs no right to write can change anything."""
    for scope, prefix, table in server.tables():
        for route in table:
            if route.mutates:
                assert scope == "data", prefix
                assert route.right is not Right.READ, (prefix, route.pattern)
                assert not {"GET", "HEAD"} & set(route.methods), (prefix, route.pattern)


def test_tables_cover_all_that_is_found(server: Server, root: str):
    prefixes = {prefix for _, prefix, _ in server.tables()}
    assert prefixes >= {"/api/", "/api/repo/{uuid}/", "/api/node/{uuid}/", "/api/node/{uuid}/{data}/"}


def test_repos_info_is_json(server: Server, root: str):
    assert json.loads(ask(server, "GET", "/api/repos/info").body).keys() == {root}


def test_small_writes_need_not_be_waited_for(server: Server, root: str):
    path = f"/api/node/{root}/kv/key/at-once"
    prepared = server.prepare(Request("POST", path, body=b"small"), 1000)
    assert prepared is not None
    assert prepared.reply.status == 200
    prepared.submit().result(10)
    assert ask(server, "GET", path).body == b"small"
    for method, other in (("GET", path), ("POST", f"/api/node/{root}/kv/info"), ("POST", f"/api/node/{root}/log")):
        assert server.prepare(Request(method, other, body=b"{}"), 1000) is None
    ask(server, "POST", f"/api/node/{root}/commit", b"{}")
    for admin in (True, False):  # an amendment, or an error: `handle` knows
        assert server.prepare(Request("POST", path, body=b"late", admin=admin), 1000) is None
    assert ask(server, "GET", path).body == b"small"


def test_small_writes_to_a_version_that_is_committed_meanwhile(server: Server, root: str, monkeypatch):
    path = f"/api/node/{root}/kv/key/k"
    found = server.find("POST", path)
    ask(server, "POST", f"/api/node/{root}/commit", b"{}")
    monkeypatch.setattr(server, "find", lambda *_: found)  # as if the commit came just after
    prepared = server.prepare(Request("POST", path, found.args, body=b"late"), 1000)
    with pytest.raises(Locked):
        prepared.submit().result(10)
    monkeypatch.undo()
    assert ask(server, "GET", path).body == b"v"


def test_what_takes_get_takes_head_whatever_its_datatype(call):
    root = call.json("POST", "/api/repos", {})["root"]
    for typename in ("keyvalue", "labelmap", "uint8blk", "roi"):
        call.json("POST", f"/api/repo/{root}/instance", {"typename": typename, "dataname": typename})
        for route in datatype(typename).routes:
            if "GET" in route.methods and "{" not in route.pattern:
                found = call.server.find("HEAD", f"/api/node/{root}/{typename}/{route.pattern}")
                assert found is not None
                assert found.route.segments[0] == route.segments[0]
