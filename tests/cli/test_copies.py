"""backup and restore on the command line, of a server that is written to meanwhile."""

from __future__ import annotations

import json
import random
import threading

import httpx
import pytest
from calling import Caller

from dagdvid.cli.child import ServerProcess
from dagdvid.config import Config
from dagdvid.errors import DagdvidError, RemoteError
from dagdvid.server import Server, backup


def test_a_server_that_is_written_to(tmp_path, monkeypatch, run):
    """Over HTTP, with a client that writes all the time; then a restore of all, and of one version."""
    monkeypatch.setenv("DVID_ADMIN_TOKEN", "secret")
    stop = threading.Event()
    done: list[tuple[str, bytes]] = []
    with ServerProcess(tmp_path / "data", "127.0.0.1:0") as server, httpx.Client(base_url=server.url) as client:
        root = client.post("/api/repos", json={"alias": "shop"}, params={"admintoken": "secret"}).json()["root"]
        client.post(f"/api/repo/{root}/instance", json={"typename": "keyvalue", "dataname": "kv"})
        client.post(f"/api/node/{root}/kv/key/first", content=b"1")
        client.post(f"/api/node/{root}/commit", json={})
        child = client.post(f"/api/node/{root}/newversion").json()["child"]

        def write() -> None:
            n = 0
            while not stop.is_set():
                value = random.Random(n).randbytes(3000)
                assert client.post(f"/api/node/{child}/kv/key/{n}", content=value).status_code == 200
                done.append((str(n), value))
                n += 1

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _ in range(3):
                before = list(done)
                said = json.loads(run("backup", server.url, str(tmp_path / "kept"), "--json").stdout)
                assert said["bytes"] > 0
        finally:
            stop.set()
            writer.join()
        assert client.get("/api/store/copy/info").status_code == 400
        assert client.get("/api/store/copy/database").status_code == 400
        token = {"admintoken": "secret"}
        assert (
            client.get(f"/api/store/copy/pack/{'0' * 32}", params={"start": "0", "end": "9"} | token).status_code == 409
        )
        assert client.get("/api/store/copy/pack/..?start=0&end=9", params=token).status_code in (400, 404)
        monkeypatch.delenv("DVID_ADMIN_TOKEN")
        with pytest.raises(RemoteError, match="refused"):
            list(backup(server.url, tmp_path / "kept"))
    assert "holds what" in run("restore", str(tmp_path / "kept"), str(tmp_path / "again")).stdout
    opened = Server.open(Config(data=tmp_path / "again"))
    try:
        call = Caller(opened)
        assert call.json("POST", "/api/store/fsck")["ok"]
        for key, value in before:
            assert call("GET", f"/api/node/{child}/kv/key/{key}").body == value
    finally:
        opened.close()
    run("restore", str(tmp_path / "kept"), str(tmp_path / "one"), "--version", root)
    opened = Server.open(Config(data=tmp_path / "one"))
    try:
        call = Caller(opened)
        assert call("GET", f"/api/node/{root}/kv/key/first").body == b"1"
        with pytest.raises(DagdvidError):
            call("GET", f"/api/node/{child}/kv/key/first")
    finally:
        opened.close()
    assert "name a new folder" in run("restore", str(tmp_path / "kept"), str(tmp_path / "one"), status=1).output


def test_a_database_that_is_lost(tmp_path, run):
    data = tmp_path / "data"
    opened = Server.open(Config(data=data))
    Caller(opened).json("POST", "/api/repos", {"alias": "shop"})
    opened.close()
    (data / "dagdvid.sqlite").write_bytes(b"no database at all" * 1000)
    assert "dagdvid repair --rebuild-database" in run("repair", "--data", data, status=1).output
    assert "1 repos" in run("repair", "--data", data, "--rebuild-database").output
    assert "all is well" in run("fsck", "--data", data).output
