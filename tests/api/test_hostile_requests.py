"""Clients that mean no good, or do not know better: too much, too slow, out of bounds. Others are still served."""

from __future__ import annotations

import asyncio
import os
import zlib
from dataclasses import replace
from functools import cache

import httpx
import lz4.block
import pytest
from test_lanes import http, parsed, served, talk

from dagdvid.api.incoming import Room
from dagdvid.config import Config, Limits
from dagdvid.errors import Busy
from dagdvid.server import Server

LANES = ["connection", "hypercorn"]
KEY = "/api/node/0/kv/key/k"


@pytest.fixture(params=LANES)
def lane(request):
    return request.param


def limited(small, **limits):
    small.config = replace(small.config, limits=Limits(**limits))
    return small


async def status(port, data):
    return int(parsed(await talk(port, data))[0])


@pytest.mark.parametrize("path", ["/api/take", KEY])
async def test_a_body_that_drips(small, lane, path):
    """One byte at a time keeps no connection open for ever."""
    async with served(limited(small, seconds=1), lane) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(http("POST", path, "Content-Length: 1000"))
        answer = asyncio.ensure_future(reader.read(100))
        for _ in range(100):
            writer.write(b"x")
            await asyncio.wait([answer], timeout=0.05)
            if answer.done():
                break
        assert (await answer).startswith(b"HTTP/1.1 400 ")
        writer.close()
        assert await status(port, http("GET", "/api/echo", "Connection: close")) == 200
    assert small.values == {}


async def test_a_steady_body_may_take_longer(small, lane, monkeypatch):
    monkeypatch.setattr("dagdvid.api.incoming.SLOWEST", 100)
    async with served(limited(small, seconds=1), lane) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(http("POST", "/api/take", "Content-Length: 1500"))
        for _ in range(15):
            writer.write(b"x" * 100)
            await asyncio.sleep(0.1)
        assert (await reader.read(100)).startswith(b"HTTP/1.1 200 ")
        writer.close()


@pytest.mark.parametrize("path", ["/api/numbers/100000?width=100000", "/api/node/0/kv/numbers/100000?width=100000"])
async def test_a_client_that_never_reads_is_left(small, lane, path, monkeypatch):
    monkeypatch.setattr("dagdvid.api.servers.IDLE", 0.2)
    async with served(limited(small, seconds=1), lane) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(http("GET", path))
        for _ in range(200):
            await asyncio.sleep(0.05)
            if small.closed_streams:
                break
        assert small.closed_streams == 1
        writer.close()


async def test_so_many_requests_at_once(small, lane):
    async with (
        served(limited(small, requests=3), lane) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client,
    ):
        waiting = [asyncio.ensure_future(client.get("/api/wait")) for _ in range(3)]
        while small.meters.totals()["work"] < 3:
            await asyncio.sleep(0.01)
        answer = await client.get("/api/echo")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.headers["X-Dagdvid-Error"] == "busy"
        for path in ("/api/heartbeat", "/api/load", "/metrics", "/healthz", "/readyz"):
            assert (await client.get(path)).status_code != 503
        small.gate.set()
        assert [(await each).text for each in waiting] == ["done"] * 3
        assert (await client.get("/api/echo")).status_code == 200
        assert small.meters.totals()["refused"] == 1
    assert small.meters.totals()["work"] == 0


async def test_bodies_share_the_memory(small, lane):
    """A second large body is told to come back while the first one comes; small ones go on."""
    async with served(limited(small, body_memory=2), lane) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        size = 3 << 20
        writer.write(http("POST", "/api/take", f"Content-Length: {size}") + bytes(size - 1))
        await writer.drain()
        await asyncio.sleep(0.3)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            answer = await client.post("/api/take", content=bytes(1 << 20))
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
            writer.write(b"x")
            assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).startswith(b"HTTP/1.1 200 ")
            writer.close()
            assert (await client.post("/api/take", content=bytes(1 << 20))).status_code == 200


def test_room_for_bodies():
    room = Room(10)
    room.take(25, 0)  # alone it may be as large as its route allows
    room.take(5, 25)
    for refused in (lambda: room.take(1, 0), lambda: room.check(1)):
        with pytest.raises(Busy):
            refused()
    room.give(30)
    room.check(100)
    room.take(6, 0)
    room.take(4, 0)
    with pytest.raises(Busy):
        room.take(1, 4)


async def test_the_largest_body(small, lane):
    async with served(limited(small, body=100), lane) as port:
        for size, wanted in ((100, 200), (101, 413)):
            body = bytes(size)
            for framing, sent in (
                (f"Content-Length: {size}", body),
                ("Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (size, body)),
            ):
                assert await status(port, http("POST", "/api/take", "Connection: close", framing, body=sent)) == wanted


NO_HTTP = [
    b"POST /api/take HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n123456",
    b"POST /api/take HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    b"POST /api/take HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /api/echo HTTP/1.1\r\nHost: x\r\nA\x00b: c\r\n\r\n",
    b"GET /api/echo HTTP/9.9\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    b"\r\n" * 10 + b"garbage\r\n\r\n",
]


async def test_what_is_no_http(small, lane):
    """It is refused, or the connection ends; nothing of it becomes a second request."""
    async with served(small, lane) as port:
        for head in NO_HTTP:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head)
            writer.write_eof()
            said = await asyncio.wait_for(reader.read(), 10)
            assert not said or said.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4", b"HTTP/1.1 505")), said[:80]
            assert said.count(b"HTTP/1.") <= 1
            writer.close()
        assert not small.entered.is_set()
        assert await status(port, http("GET", "/api/echo", "Connection: close")) == 200


async def test_a_body_of_two_lengths(small, lane):
    """What an honest proxy before us took for one request is one."""
    both = http("POST", "/api/take", "Connection: close", "Content-Length: 30", "Transfer-Encoding: chunked")
    async with served(small, lane) as port:
        said = await talk(port, both + b"0\r\n\r\n" + http("GET", "/api/wait"))
    assert said.count(b"HTTP/1.") == 1
    assert not small.entered.is_set()


@pytest.fixture
async def site(tmp_path, lane):
    """A real server whose data directory has a file beside it, and a page in it."""
    (tmp_path / "secret").write_text("secret")
    web = tmp_path / "web"
    (web / "sub").mkdir(parents=True)
    (web / "index.html").write_text("<p>home</p>")
    (web / "sub" / "a.js").write_bytes(os.urandom(3 << 20))
    (web / "link").symlink_to(tmp_path / "secret")
    (web / "loop").symlink_to(web / "loop")
    config = Config(data=tmp_path / "data", web_client=web)
    server = Server.open(config)
    async with served(server, lane) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        client.port, client.server, client.web = port, server, web
        yield client
    server.close()


OUTSIDE = [
    "/../secret",
    "/%2e%2e/secret",
    "/..%2fsecret",
    "/sub/../../secret",
    "/sub/..%2f..%2fsecret",
    "//etc/passwd",
    "/%2fetc/passwd",
    "/link",
    "/loop",
    "/index.html%00",
    "/%ff%fe",
    "/" + "x" * 5000,
    "/sub",
    "/api/../secret",
    "/api/node/../../secret",
    "/api/store/copy/pack/..%2f..%2fsecret?admintoken=x",
    "/..\\secret",
]


async def test_paths_lead_nowhere_else(site):
    for path in OUTSIDE:
        answer = await talk(site.port, http("GET", path, "Connection: close"))
        assert int(parsed(answer)[0]) in (400, 404), path
        assert b"root:" not in answer, path
        assert not answer.endswith(b"secret"), path


async def test_web_pages(site):
    home = await site.get("/")
    assert (home.text, home.headers["Content-Type"]) == ("<p>home</p>", "text/html")
    script = await site.get("/sub/a.js")
    assert script.content == (site.web / "sub" / "a.js").read_bytes()
    assert "javascript" in script.headers["Content-Type"]
    head = await site.head("/sub/a.js")
    assert (head.content, head.headers["Content-Length"]) == (b"", str(3 << 20))
    again = await site.get("/", headers={"If-None-Match": home.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert (await site.post("/")).status_code == 404
    assert (await site.get("/api/nosuch")).status_code == 404
    assert (await site.get("/api/help")).status_code == 200
    config = site.server.config
    site.server.config = replace(config, web_default_file="index.html")
    assert (await site.get("/deep/link")).text == "<p>home</p>"
    assert (await site.get("/link")).text == "<p>home</p>"
    assert (await site.get("/api/nosuch")).status_code == 404
    site.server.config = replace(config, web_redirect_path="index.html")
    answer = await site.get("/deep")
    assert (answer.status_code, answer.headers["Location"]) == (308, "/index.html")
    (site.web / "index.html").unlink()
    assert (await site.get("/index.html")).status_code == 404  # not round and round


@cache
def bombs():
    """Bodies that are small as they come and would be large."""
    zeros = bytes(1 << 20)
    packer = zlib.compressobj(9, wbits=31)
    gzip = b"".join(packer.compress(zeros) for _ in range(256)) + packer.flush()
    block = lz4.block.compress(zeros * 64, store_size=False)
    return {
        "gzip": gzip,
        "gzip in gzip": zlib.compress(gzip, 9),
        "lz4": block,
        "lz4 that says it is small": (1 << 16).to_bytes(4, "little") + block,
        "lz4 that says it is huge": (0x7FFFFFFF).to_bytes(4, "little") + block,
    }


async def test_compressed_bombs(site):
    """Neither a Content-Encoding nor a format makes the server unpack more than was asked for."""
    import resource

    root = (await site.post("/api/repos", json={})).json()["root"]
    for typename, name in (("uint8blk", "gray"), ("keyvalue", "kv"), ("labelmap", "labels")):
        await site.post(f"/api/repo/{root}/instance", json={"typename": typename, "dataname": name})
    node = f"/api/node/{root}"
    packed = bombs()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, body in packed.items():
        for path in (
            f"{node}/gray/raw/0_1_2/64_64_64/0_0_0?compression=gzip",
            f"{node}/labels/raw/0_1_2/64_64_64/0_0_0?compression=gzip",
            f"{node}/labels/raw/0_1_2/64_64_64/0_0_0?compression=lz4",
            f"{node}/labels/blocks?compression=blocks",
            "/api/sync/bundle",
            "/api/sync/objects",
        ):
            answer = await site.post(path, content=body, headers={"Content-Encoding": "gzip"})
            assert answer.status_code in (400, 404, 413), (name, path, answer.text[:200])
        kept = await site.post(f"{node}/kv/key/k", content=body, headers={"Content-Encoding": "gzip"})
        assert kept.status_code == 200
        assert (await site.get(f"{node}/kv/key/k")).content == body
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert used < 150_000, f"{used} kB more"


async def test_forged_headers_make_no_admin(site):
    for headers in (
        {"X-DVID-Internal": "true"},
        {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "https"},
        {"Forwarded": "for=127.0.0.1"},
        {"Authorization": "Bearer"},
        {"admintoken": "x", "X-Admintoken": "x"},
        {"X-HTTP-Method-Override": "DELETE"},
        {"X-Original-URL": "/api/server/config", "X-Rewrite-URL": "/api/server/config"},
    ):
        for path in ("/api/server/config", "/api/server/config?admintoken=", "/api/store/copy/info"):
            answer = await site.get(path, headers=headers)
            assert answer.status_code == 400, (path, headers)
            assert "requires admin privileges" in answer.text
