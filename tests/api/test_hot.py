"""The short way in front of Quart gives the answers that Quart gives, takes what it should, and no more."""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import replace

import pytest

from dagdvid.api.bind import create_app
from dagdvid.api.dispatch import AT_ONCE, Dispatch
from dagdvid.api.hot import Hot
from dagdvid.config import Config
from dagdvid.routes import Request, json_reply
from dagdvid.server import Server

SIZES = {"empty": 0, "one": 1, "inline": 512, "blob": 513, "most": AT_ONCE, "above": AT_ONCE + 1, "big": 2_500_000}


def value(size):
    return (bytes(range(251)) * (size // 251 + 1))[:size]


async def ask(app, method, path, query=b"", headers=(), body=b"", gone=False):
    """An ASGI application's answer: status, headers in lower case, body; None if there is none."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": path.decode("utf-8", "replace"),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": [(b"host", b"x"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    pieces = [body[i : i + 1000] for i in range(0, len(body), 1000)]
    events = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    events.append({"type": "http.disconnect"} if gone else {"type": "http.request", "body": b"", "more_body": False})
    events.reverse()
    sent = []

    async def receive():
        if not events:
            await asyncio.Event().wait()
        return events.pop()

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    if not sent:
        return None
    assert [message["type"] for message in sent] == ["http.response.start"] + ["http.response.body"] * (len(sent) - 1)
    assert [bool(message.get("more_body")) for message in sent[1:]] == [True] * (len(sent) - 2) + [False]
    got = sorted((bytes(name).lower(), bytes(text)) for name, text in sent[0]["headers"])
    return sent[0]["status"], got, b"".join(message["body"] for message in sent[1:])


class Site:
    """A server with a locked version and an open one, and both ways to it."""

    def __init__(self, server):
        self.dispatch = Dispatch(server)
        self.quart = create_app(server, self.dispatch)
        self.hot = Hot(self.dispatch, self.quart)
        self.alone = Hot(self.dispatch, self.refuse)
        self.server = server
        self.passed_on = 0

    async def refuse(self, scope, receive, send):
        """Stands where Quart would."""
        self.passed_on += 1

    async def fill(self):
        made = await self.post("/api/repos", b"{}", b"admintoken=secret")
        self.root = made.split(b'"')[3].decode()
        await self.post(f"/api/repo/{self.root}/instance", b'{"typename": "keyvalue", "dataname": "kv"}')
        self.key = f"/api/node/{self.root}/kv/key"
        for name, size in SIZES.items():
            await self.post(f"{self.key}/{name}", value(size))
        await self.post(f"{self.key}/%FF%0A%20", b"odd")
        await self.post(f"/api/repo/{self.root}/instance", b'{"typename": "uint8blk", "dataname": "gray"}')
        await self.post(f"/api/node/{self.root}/gray/raw/0_1_2/32_32_32/0_0_0", value(32768))
        await self.post(f"/api/node/{self.root}/commit", b'{"note": "n"}')
        made = await self.post(f"/api/node/{self.root}/newversion", b'{"note": ""}')
        self.child = made.split(b'"')[3].decode()

    async def post(self, path, body, query=b""):
        status, _, said = await ask(self.quart, "POST", path.encode(), query, body=body)
        assert status == 200, said
        return said

    def path(self, text):
        return text.replace("ROOT", self.root).replace("CHILD", self.child).encode("latin-1")


OPEN = {"cors_domains": ("https://a.example",)}
CONFIGS = {"plain": {}, "far": {"host": "0.0.0.0", "admin_token": "secret"}, "cors": OPEN, "readonly": {}}


@pytest.fixture(params=CONFIGS)
async def site(tmp_path, request):
    server = Server.open(Config(data=tmp_path / "data", **CONFIGS[request.param]))
    made = Site(server)
    async with made.quart.test_app():
        await made.fill()
        if request.param == "readonly":
            server.config = replace(server.config, readonly=True)
        yield made
    server.close()


NODE = "/api/node/ROOT/kv/key"
GRAY = "/api/node/ROOT/gray/raw/0_1_2"
HEADERS = {
    "none": [],
    "range": [(b"range", b"bytes=1-3")],
    "range-twice": [(b"range", b"bytes=0-0"), (b"range", b"bytes=1-1")],
    "range-beyond": [(b"Range", b"bytes=9999999-")],
    "range-suffix": [(b"range", b"bytes=-2")],
    "origin": [(b"origin", b"https://a.example")],
    "stranger": [(b"origin", b"https://b.example")],
    "length": [(b"content-length", b"5"), (b"content-type", b"application/x-www-form-urlencoded")],
    "no-length": [(b"transfer-encoding", b"chunked")],
    "expect": [(b"expect", b"100-continue"), (b"content-length", b"5")],
    "too-long": [(b"content-length", b"99999999999")],
}
QUERIES = [
    *(
        b"",
        b"u=ann&app=x",
        b"byte_start=0&byte_end=0",
        b"byte_start=1",
        b"byte_start=1&byte_end=99999999",
        b"%ff=%ff",
        b"throttle=on",
    ),
    *(b"admintoken=wrong", b"admintoken=secret", b"&&=&x"),
]
PATHS = [
    *(f"{NODE}/{name}" for name in SIZES),
    *(f"{NODE}/absent", f"{NODE}/", NODE, f"{NODE}/one/surplus", f"{NODE}/one/", f"{NODE}//one"),
    *(f"{NODE}/%6f%6E%65", f"{NODE}/%FF%0A%20", f"{NODE}/%FF%0A%20%2F%25", f"{NODE}/%zz", f"{NODE}/%"),
    *(f"{NODE}/\xff", f"{NODE}/" + "x" * 1024, f"{NODE}/" + "x" * 1025, f"{NODE}/a%00b"),
    *("/api/node/CHILD/kv/key/one", "/api/node/CHILD/kv/key/absent", "/api/node/:master/kv/key/one"),
    *("/api/node/:master~1/kv/key/one", "/api/node/:none/kv/key/one", "/api/node/:master~9/kv/key/one"),
    *("/api/node/ffffffffffffffffffffffffffffffff/kv/key/one", "/api/node//kv/key/one", "/api/node/ROOT//key/one"),
    *("/api/node/ROOT/none/key/one", "/api/node/ROOT/kv/nosuch/one", "/api/node/ROOT/kv/keyone", "/api/node/ROOT/kv"),
    *("http://host/api/node/ROOT/kv/key/one", "//api/node/ROOT/kv/key/one", "/API/node/ROOT/kv/key/one", "*", "/"),
    *(f"{GRAY}/{box}" for box in ("8_8_8/1_2_3", "64_64_64/0_0_0", "160_128_64/-9_0_0", "0_1_1/0_0_0", "1_1/0_0_0")),
    *(f"{GRAY}/5_4_3/0_0_0/jpg", "/api/node/ROOT/gray/raw/xz/9_7/0_1_2/png", "/api/node/ROOT/gray/raw/zx/9_7/0_1_2"),
    *("/api/help", "/api/node/ROOT/kv/keys", "/api/node/ROOT/kv/info", "/api/node/ROOT/status"),
]


async def same(site, method, path, *rest, **more):
    """What both ways say, which must be one thing."""
    one, other = [await ask(app, method, site.path(path), *rest, **more) for app in (site.quart, site.hot)]
    assert one == other, (method, path, rest)
    return other


async def test_both_ways_agree_on_paths_and_methods(site):
    seen = set()
    for path in PATHS:
        for method in ("GET", "HEAD", "OPTIONS", "PATCH", "PUT"):
            seen.add((await same(site, method, path))[0])
    assert {200, 400, 404} <= seen


async def test_both_ways_agree_on_queries(site):
    seen = set()
    for query in QUERIES:
        for path in (f"{NODE}/inline", f"{NODE}/big", f"{NODE}/absent", f"{NODE}/empty"):
            for method in ("GET", "HEAD"):
                seen.add((await same(site, method, path, query))[0])
    assert seen == {200, 400, 404}


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
async def test_both_ways_agree_on_headers(site, headers):
    body = b"12345" if b"content-length" in dict(headers) or b"transfer-encoding" in dict(headers) else b""
    for path in (f"{NODE}/one", f"{NODE}/blob", f"{NODE}/big", f"{NODE}/absent", "/api/node/CHILD/kv/key/one"):
        for method in ("GET", "HEAD", "POST"):
            status, _, _ = await same(site, method, path, b"", headers, body)
            assert status in (200, 206, 400, 404, 413, 416)


async def test_both_ways_agree_on_writes(site):
    for path in ("CHILD/kv/key/new", "ROOT/kv/key/one", "CHILD/kv/key/", "none/kv/key/x", "CHILD/kv/key/" + "x" * 1025):
        for body in (b"", b"x", value(3000), value(70_000)):
            status, _, _ = await same(site, "POST", f"/api/node/{path}", b"u=ann", body=body)
            if status == 200:
                assert (await same(site, "GET", f"/api/node/{path}"))[2] == body
        await same(site, "DELETE", f"/api/node/{path}")
        await same(site, "GET", f"/api/node/{path}")


async def test_hot_routes_do_without_quart(site):
    writable = not site.server.config.readonly
    for method, path, status in (
        ("GET", f"{NODE}/inline", 200),
        ("GET", f"{NODE}/big", 200),
        ("HEAD", f"{NODE}/big", 200),
        ("GET", f"{NODE}/absent", 404),
        ("POST", "/api/node/CHILD/kv/key/one", 200 if writable else 400),
        ("POST", f"{NODE}/one", 400),
    ):
        assert (await ask(site.alone, method, site.path(path), body=b"x" if method == "POST" else b""))[0] == status
    assert site.passed_on == 0
    for method, path in (
        ("GET", "/api/node/ROOT/kv/keys"),
        ("DELETE", f"{NODE}/one"),
        ("GET", "/api/node/none/kv/key/a"),
    ):
        assert await ask(site.alone, method, site.path(path)) is None
    assert site.passed_on == 3


async def test_a_client_that_leaves_writes_nothing(site):
    path = site.path("/api/node/CHILD/kv/key/half")
    assert await ask(site.alone, "POST", path, body=value(1500), gone=True) is None
    assert (await ask(site.hot, "GET", path))[0] == 404


async def test_what_is_read_at_once_is_small(site):
    for name, size in SIZES.items():
        path = site.path(f"{NODE}/{name}").decode()
        found = site.server.find("GET", path)
        request = Request("GET", path, found.args)
        assert site.server.read_at_once(found, request, size).body == value(size)
        if size > 512:  # in the tree itself up to there
            assert site.server.read_at_once(found, request, size - 1) is None
    for method, path in (("POST", f"{NODE}/one"), ("GET", "/api/node/ROOT/kv/info"), ("GET", "/api/repos/info")):
        found = site.server.find(method, site.path(path).decode())
        assert site.server.read_at_once(found, Request(method, "", found.args), 1 << 30) is None


async def test_only_small_reads_run_on_the_event_loop(small):
    threads = []
    route = next(route for _, _, table in small.tables() for route in table if "HEAD" in route.methods and route.hot)
    small.values.update(small=b"x", large=bytes(AT_ONCE + 1))
    get = route.handler

    def watched(request):
        threads.append(threading.current_thread() is threading.main_thread())
        return get(request)

    object.__setattr__(route, "handler", watched)
    hot = Hot(Dispatch(small), None)
    assert (await ask(hot, "GET", b"/api/node/0/kv/key/small"))[2] == b"x"
    assert threads == [True]
    assert len((await ask(hot, "GET", b"/api/node/0/kv/key/large"))[2]) == AT_ONCE + 1
    assert threads[-1] is False
    assert (await ask(hot, "GET", b"/api/node/0/kv/key/small", headers=[(b"content-length", b"1")], body=b"y"))[
        0
    ] == 200
    assert threads[-1] is False


async def test_bugs_in_hot_routes_are_logged(small, caplog):
    route = next(route for _, _, table in small.tables() for route in table if "POST" in route.methods and route.hot)
    object.__setattr__(route, "handler", lambda request: json_reply({}[request.method]))
    with caplog.at_level(logging.ERROR, "dagdvid.api"):
        status, _, said = await ask(Hot(Dispatch(small), None), "POST", b"/api/node/0/kv/key/k", body=b"x")
    assert status == 500
    assert said.split()[-1].decode() in caplog.text
    assert "KeyError: 'POST'" in caplog.text
