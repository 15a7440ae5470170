"""What a server tells of itself and does to itself, over HTTP."""

from __future__ import annotations

import json
import re

import httpx
import pytest

from dagdvid.api.bind import create_app
from dagdvid.config import Config
from dagdvid.server import Server


@pytest.fixture(params=[{}, {"host": "0.0.0.0", "admin_token": "secret"}])
def real(tmp_path, request):
    server = Server.open(Config(data=tmp_path / "data", note="a note", toml_text="# text", **request.param))
    yield server
    server.close()


@pytest.fixture
async def web(real):
    async with create_app(real).test_app() as running:
        transport = httpx.ASGITransport(app=running.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://real") as client:
            yield client


async def sample(web):
    root = (await web.post("/api/repos?admintoken=secret", json={"alias": "a"})).json()["root"]
    instance = {"typename": "keyvalue", "dataname": "kv"}
    assert (await web.post(f"/api/repo/{root}/instance", json=instance)).status_code == 200
    assert (await web.post(f"/api/node/{root}/kv/key/k", content=b"v")).status_code == 200
    assert (await web.post(f"/api/node/{root}/commit", json={"note": "n"})).json() == {"committed": root}
    child = (await web.post(f"/api/node/{root}/newversion", json={"note": ""})).json()["child"]
    assert (await web.post(f"/api/node/{child}/kv/key/k", content=b"w")).status_code == 200
    return root, child


async def test_what_the_server_says_of_itself(web):
    info = (await web.get("/api/server/info")).json()
    assert all(isinstance(value, str) for value in info.values())
    # neuclease reads four numbers from it
    assert re.match(r"v\d+[.-]\d+[.-]\d+[.-]\d+", info["DVID Version"])
    assert info["Note"] == (await web.get("/api/server/note")).text == "a note"
    compiled = (await web.get("/api/server/compiled-types")).json()
    assert {"keyvalue", "uint8blk"} <= set(compiled)
    assert (await web.get("/api/server/types")).json() == {}
    await sample(web)
    assert (await web.get("/api/server/types")).json() == {"keyvalue": compiled["keyvalue"]}
    assert all(isinstance(value, int) for value in (await web.get("/api/load")).json().values())
    assert (await web.get("/api/heartbeat")).text == "OK"
    assert set((await web.get("/api/server/groupcache")).json()["MainCache"]) == {"Bytes", "Items"}


async def test_the_configuration_needs_the_token(web, real):
    answer = await web.get("/api/server/config?admintoken=secret")
    assert (
        (answer.status_code, answer.text) == (200, "# text") if real.config.admin_token else answer.status_code == 400
    )
    assert (await web.get("/api/server/config?admintoken=wrong")).status_code == 400
    assert (await web.get("/api/server/config")).status_code == 400


async def test_repos_are_made_by_those_who_may(web, real):
    """Open on loopback; elsewhere with the admin token."""
    assert (await web.post("/api/repos?admintoken=secret", json={})).status_code == 200
    for path in ("/api/repos", "/api/repos?admintoken=wrong"):
        answer = await web.post(path, json={})
        assert answer.status_code == (200 if real.config.loopback_only else 400)
        if not real.config.loopback_only:
            assert answer.headers["X-Dagdvid-Error"] == "forbidden"


async def test_versions_and_what_differs(web):
    root, child = await sample(web)
    digest = (await web.get(f"/api/node/{root}/hash")).json()["hash"]
    assert re.fullmatch("[0-9a-f]{64}", digest)
    assert (await web.get(f"/api/node/{child}/hash")).status_code == 400
    assert (await web.get(f"/api/repo/{root}/branch-versions/master")).json() == [child, root]
    found = (await web.get(f"/api/node/{root}/diff/{child}")).json()
    assert [(each["name"], each["changed"]) for each in found["instances"]] == [("kv", 1)]
    found = (await web.get(f"/api/node/{root}/kv/diff/{child}")).json()
    assert (found["changes"], found["changed"]) == ([{"change": "changed", "key": "k"}], 1)
    answer = await web.post(f"/api/node/{root}/kv/key/k", content=b"x")
    assert (answer.status_code, answer.headers["X-Dagdvid-Error"]) == (400, "locked")
    node = f"/api/node/{child}/kv"
    assert (await web.post(f"{node}/tags", json={"a": "b"})).status_code == 200
    assert "b" in (await web.get(f"{node}/tags")).text


async def test_the_store(web):
    root, _ = await sample(web)
    await web.get(f"/api/node/{root}/hash")  # folded now, if it was not before
    stats = (await web.get("/api/store/stats")).json()
    assert isinstance(stats, dict)
    report = (await web.post("/api/store/fsck")).json()
    assert (report["ok"], report["problems"]) == (True, [])
    answer = await web.post("/api/store/fsck?progress=true")
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert lines[-1]["result"]["objects"] == report["objects"]
    assert all({"progress", "done", "total"} <= set(line) for line in lines[:-1])


GARBAGE = [b"x", b"\0" * 100, b"[]", b"{}", b'{"url": 1, "repo": "none"}', bytes(range(256)) * 40]
SYNC = ["sync/negotiate", "sync/have", "sync/objects", "sync/fetch-objects", "sync/bundle", "sync/fetch"]


@pytest.mark.parametrize("route", [*SYNC, "repos/clone"])
@pytest.mark.parametrize("body", GARBAGE, ids=range(len(GARBAGE)))
async def test_what_servers_ask_each_other_may_be_garbage(web, route, body):
    """It is refused by name, or means nothing; it crashes no handler and changes nothing."""
    await sample(web)
    answer = await web.post(f"/api/{route}?admintoken=secret", content=body)
    assert answer.status_code == 200 or "X-Dagdvid-Error" in answer.headers, answer.text
    report = (await web.post("/api/store/fsck")).json()
    assert (report["ok"], report["problems"]) == (True, [])


@pytest.mark.parametrize("route", ["sync/have", "sync/objects", "sync/bundle", "repos/clone"])
async def test_strangers_send_nothing(web, real, route):
    answer = await web.post(f"/api/{route}", content=b"{}")
    forbidden = answer.headers.get("X-Dagdvid-Error") == "forbidden"
    assert forbidden is not real.config.loopback_only
