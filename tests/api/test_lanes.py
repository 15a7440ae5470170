"""All ways to a hot route give one answer: straight from the connection, as an ASGI application, Quart, Hypercorn."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import asynccontextmanager

import pytest

from dagdvid.api.bind import create_app
from dagdvid.api.dispatch import AT_ONCE
from dagdvid.api.hot import create_service
from dagdvid.api.serve import listen
from dagdvid.api.servers import SERVERS
from dagdvid.config import Config
from dagdvid.interchange.keyvalues import KeyPart, keys_message, keyvalue_chunks
from dagdvid.repo.activity import activity
from dagdvid.routes import Reply, Request
from dagdvid.server import Server


def asgi_alone(server):
    """The service without its door for connections that write by themselves."""
    service = create_service(server)

    async def app(scope, receive, send):
        await service(scope, receive, send)

    return app


LANES = {
    "connection": ("uvicorn", create_service),
    "asgi": ("uvicorn", asgi_alone),
    "quart": ("uvicorn", create_app),
    "hypercorn": ("hypercorn", create_service),
}


@asynccontextmanager
async def served(server, lane):
    """A port where a server is served in one of the ways."""
    name, app = LANES[lane]
    stop = asyncio.Event()
    with listen(Config(data=None, port=0)) as sock:
        port = sock.getsockname()[1]
        task = asyncio.ensure_future(SERVERS[name](app(server), sock, stop, server.config))
        try:
            yield port
        finally:
            stop.set()
            await asyncio.wait_for(task, 20)


async def talk(port, data):
    """All that comes back for some bytes, until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.read(), 20)
    finally:
        writer.close()
        await writer.wait_closed()


def http(method, path, *headers, body=b"", version="1.1"):
    lines = [f"{method} {path} HTTP/{version}", "Host: x", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def unchunked(body):
    """A body without its framing; it must have its end."""
    whole = b""
    while True:
        size, _, body = body.partition(b"\r\n")
        n = int(size, 16)
        whole, body = whole + body[:n], body[n:].removeprefix(b"\r\n")
        if n == 0:
            assert body == b""
            return whole


UNLIKE = (b"date", b"transfer-encoding", b"x-request-id")


def parsed(answer):
    """Status, headers and body of an answer that ended its connection.

    The date and the number of the request are left out, and what servers may choose: whether to call for a body that is
    empty, and how an answer of HEAD would be framed.
    """
    head, _, body = answer.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100 "):
        head, _, body = body.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    headers = sorted((n.lower(), v.strip()) for n, _, v in (line.partition(b":") for line in lines))
    if (b"transfer-encoding", b"chunked") in headers and body:
        body = unchunked(body)
    return status.split()[1], [pair for pair in headers if pair[0] not in UNLIKE], body


CONFIGS = {
    "plain": {},
    "far": {"host": "0.0.0.0", "admin_token": "secret"},
    "cors": {"cors_domains": ("https://a.example",)},
    "anyone": {"cors_domains": ("*",)},
    "readonly": {"readonly": True},
}


def fill(folder):
    """A store with a locked version and an open one; the paths of their keys."""
    server = Server.open(Config(data=folder))

    def post(path, body=b"{}"):
        found = server.find("POST", path)
        return server.handle(found, Request("POST", path, found.args, body=body, local=True)).body

    root = json.loads(post("/api/repos"))["root"]
    post(f"/api/repo/{root}/instance", b'{"typename": "keyvalue", "dataname": "kv"}')
    for name, value in (("one", b"1"), ("empty", b""), ("blob", bytes(3000)), ("large", bytes(AT_ONCE + 1))):
        post(f"/api/node/{root}/kv/key/{name}", value)
    post(f"/api/node/{root}/commit")
    child = json.loads(post(f"/api/node/{root}/newversion"))["child"]
    post(f"/api/node/{child}/kv/key/staged", b"staged")
    server.close()
    return f"/api/node/{root}/kv/key", f"/api/node/{child}/kv/key"


def requests(locked, opened):
    """Requests of every hot route, good ones and bad ones; none changes what another one reads."""
    for method in ("GET", "HEAD"):
        for name in ("one", "empty", "blob", "large", "absent", "%6fne", "one/more", "", "x" * 1025, "%FF%00"):
            yield http(method, f"{locked}/{name}", "Connection: close")
        for path in (f"{opened}/one", f"{opened}/staged", "/api/node/none/kv/key/one", f"http://x{locked}/one"):
            yield http(method, path, "Connection: close")
        for query in ("u=ann", "byte_start=0&byte_end=1", "byte_start=5&byte_end=1", "admintoken=secret"):
            yield http(method, f"{locked}/blob?{query}", "Connection: close")
        for header in ("Range: bytes=1-3", "Range: bytes=9999-", "Origin: https://a.example", "Origin: http://b"):
            yield http(method, f"{locked}/blob", "Connection: close", header)
        yield http(method, f"{locked}/one", "Connection: close", "Upgrade: websocket")
        yield http(method, f"{locked}/one", "Connection: close", "Expect: 100-continue")
        yield http(method, f"{locked}/one", "Connection: close", "Content-Length: 3", body=b"abc")
        yield http(method, f"{locked}/one", "Connection: close", "Content-Length: 0")
    yield http("POST", f"{locked}/one", "Connection: close", "Content-Length: 1", body=b"2")
    batch = opened.removesuffix("key") + "keyvalues"
    for names in ([b"one"], [b"blob", b"absent", b"one"], [b"large"] * 3, []):
        body = keys_message([KeyPart(name) for name in names])
        for method in ("GET", "HEAD"):
            yield http(method, batch, "Connection: close", f"Content-Length: {len(body)}", body=body)
    yield http("GET", batch, "Connection: close")
    for body in (b"".join(keyvalue_chunks(b"new", b"value")), b"\xff", b""):
        for path in (batch, locked.removesuffix("key") + "keyvalues"):
            yield http("POST", path, "Connection: close", f"Content-Length: {len(body)}", body=body)
    for size in (0, 1, 5000):
        yield http("POST", f"{opened}/new", "Connection: close", f"Content-Length: {size}", body=bytes(size))
        yield http("GET", f"{opened}/new", "Connection: close")
    for key in (locked, opened):
        node = key.removesuffix("/kv/key")
        for word in ("commit", "newversion", "branch"):
            for body in (b"", b"{", b'{"note": 1}', b'{"branch": "", "uuid": "short", "note": ""}'):
                if word != "commit" or key == locked or b"branch" not in body:  # else it would be done
                    yield http("POST", f"{node}/{word}", "Connection: close", f"Content-Length: {len(body)}", body=body)
        for path in (f"{node}/commit/more", f"{node}/commit/", f"{node}/commit?u=ann", "/api/node/none/commit"):
            for method in ("GET", "HEAD", "OPTIONS"):
                yield http(method, path, "Connection: close")
    yield http("POST", "/api/node/none/commit", "Connection: close", "Content-Length: 2", body=b"{}")
    yield http("OPTIONS", f"{locked}/one", "Connection: close", "Origin: https://a.example")
    yield http("PATCH", f"{locked}/one", "Connection: close")


@pytest.mark.parametrize("config", CONFIGS)
async def test_all_lanes_give_the_same_answers(tmp_path, config):
    wanted = list(requests(*fill(tmp_path / "data")))
    server = Server.open(Config(data=tmp_path / "data", **CONFIGS[config]))
    said = {}
    try:
        for lane in LANES:
            async with served(server, lane) as port:
                said[lane] = [parsed(await talk(port, request)) for request in wanted]
    finally:
        server.close()
    assert {b"200", b"206", b"400", b"404", b"416"} <= {status for status, _, _ in said["quart"]}
    for lane, answers in said.items():
        for request, answer, other in zip(wanted, answers, said["quart"], strict=True):
            assert answer == other, (lane, request)


@pytest.mark.parametrize("durability", ["full", "relaxed"])
async def test_versions_are_committed_and_made_on_every_lane(tmp_path, durability):
    """With the note of who asked, and when many do at once, one alone succeeds."""
    locked, opened = fill(tmp_path / "data")
    server = Server.open(Config(data=tmp_path / "data", durability=durability))
    at = opened.split("/")[3]
    made = []

    async def post(port, word):
        body = b'{"note": "by ann"}'
        head = ("Connection: close", f"Content-Length: {len(body)}")
        status, _, said = parsed(await talk(port, http("POST", f"/api/node/{at}/{word}?u=ann", *head, body=body)))
        return status, json.loads(said) if status == b"200" else said

    try:
        for lane in LANES:
            async with served(server, lane) as port:
                for word in ("commit", "newversion"):
                    answers = await asyncio.gather(*(post(port, word) for _ in range(5)))
                    assert sorted(status for status, _ in answers) == [b"200"] + [b"400"] * 4, (lane, word, answers)
                    made.append((word, at))
                    (good,) = [said for status, said in answers if status == b"200"]
                at = good["child"]
        repo = server.catalog.repos()[locked.split("/")[3]]
        assert list(repo.versions)[-1] == at
        assert all(v.note in ("", "by ann") for v in repo.versions.values())
        noted = [(act["action"], act["version"]) for act in activity(server.catalog, repo) if act.get("user") == "ann"]
        assert noted == made
    finally:
        server.close()


@pytest.fixture(params=[lane for lane in LANES if lane != "hypercorn"])
async def port(small, request):
    small.values.update({f"k{i}": b"%d." % i for i in range(1000)}, large=bytes(60_000))
    async with served(small, request.param) as port:
        yield port


KEY = "/api/node/0/kv/key"


def bodies(data):
    """The bodies of answers one after another."""
    found = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        size = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-l"))
        found.append(data[:size])
        data = data[size:]
    return found


async def test_requests_in_a_pipeline_are_answered_in_order(port):
    paths = [f"{KEY}/k{i}" if i % 7 else "/api/pause/0.01" for i in range(200)]
    last = http("GET", f"{KEY}/k1", "Connection: close")
    said = bodies(await talk(port, b"".join(http("GET", path) for path in paths) + last))
    assert said == [b"%d." % i if i % 7 else b"rested" for i in range(200)] + [b"1."]


async def test_nothing_is_done_after_the_last_request(port, small):
    last = http("GET", f"{KEY}/k1", "Connection: close")
    late = http("POST", f"{KEY}/late", "Content-Length: 4", body=b"late") + http("GET", f"{KEY}/k2")
    assert bodies(await talk(port, last + late)) == [b"1."]
    assert "late" not in small.values


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_old_clients_are_left_after_the_answer(port, version):
    keep = ["Connection: close"] if version == "1.1" else []
    answer = parsed(await talk(port, http("GET", f"{KEY}/k5", *keep, version=version)))
    assert (answer[0], answer[2]) == (b"200", b"5.")
    assert (b"connection", b"close") in answer[1]


async def test_answers_wait_for_a_client_that_does_not_read(port, small):
    asked = 0
    get = small.get

    def counted(request):
        nonlocal asked
        asked += 1
        return get(request)

    route = next(route for _, _, table in small.tables() for route in table if route.hot and "GET" in route.methods)
    object.__setattr__(route, "handler", counted)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    many = 2000
    writer.write(b"".join(http("GET", f"{KEY}/large") for _ in range(many)))
    before = -1
    while asked != before:
        before = asked
        await asyncio.sleep(0.3)
    assert 0 < asked < many / 2  # what the sockets' buffers hold
    small.values["large"] = b"small"
    while (await asyncio.wait_for(reader.read(1 << 20), 10)) and asked < many:
        pass
    assert asked == many
    writer.close()
    await writer.wait_closed()


async def test_a_header_with_a_line_end_is_never_sent(port, small):
    route = next(route for _, _, table in small.tables() for route in table if route.hot and "GET" in route.methods)
    object.__setattr__(route, "handler", lambda _: Reply(b"x", "text/html\r\nSet-Cookie: a=b"))
    said = await talk(port, http("GET", f"{KEY}/k1", "Connection: close"))
    assert b"Set-Cookie" not in said
    assert b" 200 " not in said


async def test_every_lane_writes_the_access_log(port, small, caplog):
    with caplog.at_level(logging.INFO, "dagdvid.access"):
        service = b"".join(http("GET", f"{KEY}/{name}?u=ann&admintoken=secret") for name in ("k1", "none"))
        await talk(port, service + http("GET", f"{KEY}/large", "Connection: close"))
    lines = [record.getMessage() for record in caplog.records if record.name == "dagdvid.access"]
    if lines:  # Quart alone keeps none
        assert [line.rsplit(" ", 3)[0] for line in lines] == [
            f"127.0.0.1 GET {KEY}/k1?u=ann 200",
            f"127.0.0.1 GET {KEY}/none?u=ann 404",
            f"127.0.0.1 GET {KEY}/large 200",
        ]


async def test_a_slow_head_ends_a_connection_that_has_been_of_use(monkeypatch, port):
    monkeypatch.setattr("dagdvid.api.servers.IDLE", 0.3)
    answer = await talk(port, http("GET", f"{KEY}/k1") + b"GET /api/echo HTTP/1.1\r\nHo")
    assert bodies(answer) == [b"1."]


async def test_writes_that_read_what_others_change_are_done_again(tmp_path, monkeypatch):
    """Each adds one to a number: none is lost, whether it was prepared on the event loop or in a thread."""
    _, opened = fill(tmp_path / "data")
    server = Server.open(Config(data=tmp_path / "data"))
    routes = [route for _, _, table in server.tables() for route in table if route.pattern == "key/{key}"]
    post = next(route for route in routes if "POST" in route.methods)
    again = 0

    def add(instance, txn, request):
        nonlocal again
        number = int(txn.get("keys", b"number") or b"0")
        again += 1
        txn.put("keys", b"number", b"%d" % (number + 1))
        return Reply(b"%d" % (number + 1))

    monkeypatch.setattr("dagdvid.api.dispatch.SMALL_WRITE", 10)
    original = post.handler
    object.__setattr__(post, "handler", add)
    try:
        async with served(server, "connection") as port:
            ask = [http("POST", f"{opened}/number", f"Content-Length: {n}", body=b"x" * n) for n in (1, 20)]
            batches = [b"".join(ask * 10) + http("GET", f"{opened}/one", "Connection: close") for _ in range(6)]
            said = await asyncio.gather(*(talk(port, batch) for batch in batches))
            numbers = sorted(int(body) for answer in said for body in bodies(answer)[:-1])
            assert numbers == list(range(1, 121))
    finally:
        object.__setattr__(post, "handler", original)
        server.close()
    assert again > 120
