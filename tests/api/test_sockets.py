"""The service on a real socket: bodies in both directions, clients that leave, and stopping."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import httpx
import pytest

from dagdvid.api.serve import listen, serve_until
from dagdvid.config import HTTP_SERVERS, Config
from dagdvid.errors import UnavailableError

STREAMS = ["/api/numbers", "/api/node/0/kv/numbers"]
"""By Quart, and by the short way in front of it."""


class Service:
    def __init__(self, port, stop, task):
        self.port, self.stop, self.task = port, stop, task
        self.url = f"http://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def connection(self):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.close()
            await writer.wait_closed()


@pytest.fixture(params=HTTP_SERVERS)
async def service(small, request):
    small.config = replace(small.config, http_server=request.param)
    with listen(Config(data=small.config.data, port=0)) as sock:
        port, stop = sock.getsockname()[1], asyncio.Event()
        task = asyncio.ensure_future(serve_until(stop, small, sock))
        yield Service(port, stop, task)
        small.gate.set()
        stop.set()
        await asyncio.wait_for(task, 20)


@pytest.fixture
async def client(service):
    async with httpx.AsyncClient(base_url=service.url, timeout=20) as client:
        yield client


async def until(condition):
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come about within 10 s")


async def read_head(reader):
    return (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode()


async def test_expect_100_continue(service):
    async with service.connection() as (reader, writer):
        writer.write(b"POST /api/take HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert (await read_head(reader)).startswith("HTTP/1.1 100 ")
        writer.write(b"12345")
        head = await read_head(reader)
        assert head.startswith("HTTP/1.1 200 ")
        assert await reader.readexactly(1) == b"5"


async def test_a_get_with_a_body(client):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await client.request("GET", "/api/echo", content=b"[1, 2]", headers=headers)
    assert answer.json()["size"] == 6


async def test_a_body_too_large_is_refused_before_it_comes(service, small):
    async with service.connection() as (reader, writer):
        writer.write(b"POST /api/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n")
        assert (await read_head(reader)).startswith("HTTP/1.1 413 ")
        assert (await reader.readline()).endswith(b"here it may have 1000 (/api/echo).\n")
    assert small.seen is None


async def test_a_client_that_sends_too_much_all_the_same_gets_the_answer(client):
    answer = await client.post("/api/echo", content=bytes(300_000))
    assert answer.status_code == 413
    assert (await client.get("/api/echo")).status_code == 200


async def test_large_bodies_both_ways(client):
    assert (await client.post("/api/take", content=bytes(40_000_000))).text == "40000000"

    async def chunks():
        for _ in range(100):
            yield bytes(100_000)

    assert (await client.post("/api/take", content=chunks())).text == "10000000"
    assert len((await client.get("/api/big/40000000")).content) == 40_000_000


@pytest.mark.parametrize("path", STREAMS)
async def test_a_slow_reader_holds_the_stream_up(service, small, path):
    async with service.connection() as (reader, writer):
        writer.write(f"GET {path}/2000?width=100000 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await read_head(reader)
        await until(lambda: small.sent_pieces > 3)
        before = -1
        while before != small.sent_pieces:
            before = small.sent_pieces
            await asyncio.sleep(0.3)
        assert small.sent_pieces < 300  # what the sockets' buffers hold
        assert small.closed_streams == 0
    await until(lambda: small.closed_streams == 1)  # the client is gone
    assert small.sent_pieces < 300


@pytest.mark.parametrize("path", STREAMS)
async def test_a_stream_that_breaks_is_not_ended(client, small, caplog, path):
    with caplog.at_level(logging.INFO), pytest.raises(httpx.RemoteProtocolError):
        await client.get(f"{path}/5?fail=3")
    assert [record.getMessage() for record in caplog.records if record.name == "dagdvid.api"] == [
        f"answer to '{path}/5' broken off: torn"
    ]
    assert not [record for record in caplog.records if "corn" in record.name and record.levelno > logging.INFO]
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get(f"{path}/5?fail=3&how=bug")
    assert "ZeroDivisionError" in caplog.text
    assert small.closed_streams == 2


async def test_running_requests_are_finished_at_the_stop(service, client, small):
    idle = await asyncio.open_connection("127.0.0.1", service.port)
    waiting = asyncio.ensure_future(client.get("/api/wait"))
    await asyncio.to_thread(small.entered.wait, 10)
    service.stop.set()
    await asyncio.sleep(0.3)
    assert not service.task.done()
    with pytest.raises(httpx.ConnectError):
        async with httpx.AsyncClient() as other:
            await other.get(f"{service.url}/api/echo")
    small.gate.set()
    assert (await waiting).text == "done"
    await asyncio.wait_for(service.task, 5)
    assert await idle[0].read() == b""
    idle[1].close()


async def test_the_access_log_has_no_token(client, caplog):
    with caplog.at_level(logging.INFO, "dagdvid.access"):
        await client.get("/api/echo?u=ann&admintoken=secret&app=test")
        await client.get("/api/nosuch%0Apath")
    lines = [record.getMessage() for record in caplog.records if record.name == "dagdvid.access"]
    assert lines[0].startswith("127.0.0.1 GET /api/echo?u=ann&app=test 200 ")
    assert lines[1].startswith("127.0.0.1 GET /api/nosuch%0Apath 404 ")


async def test_long_addresses(client, small):
    answer = await client.get("/api/echo?blocks=" + "1,2,3," * 10_000)
    assert answer.status_code == 200
    assert len(small.seen.query["blocks"]) == 60_000


async def test_many_requests_on_one_connection(service):
    async with service.connection() as (reader, writer):
        for _ in range(1200):
            writer.write(b"GET /api/big/1 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert "connection: close" not in (await read_head(reader)).lower()
            await reader.readexactly(1)


async def test_heads_without_end_end_the_connection(service, small):
    with suppress(ConnectionError):
        async with service.connection() as (reader, writer):
            writer.write(b"GET /api/echo HTTP/1.1\r\nHost: x\r\n")
            for _ in range(40):
                writer.write(b"X-More: " + b"y" * 50_000 + b"\r\n")
                await writer.drain()
            await asyncio.wait_for(reader.read(), 10)
    assert small.seen is None


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr("dagdvid.api.servers.IDLE", 0.2)


async def test_connections_without_a_request_are_closed(impatient, service):
    async with service.connection() as (reader, writer):
        writer.write(b"GET /api/echo HTTP/1.1\r\n")
        assert await asyncio.wait_for(reader.read(), 10) == b""


async def test_upgrades_are_not_taken(service):
    async with service.connection() as (reader, writer):
        writer.write(
            b"GET /api/echo HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        status = (await read_head(reader)).split()[1]
    assert status in ("200", "403")  # ignored, or refused


def test_a_taken_address():
    with listen(Config(data=None, port=0)) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(UnavailableError, match=f"cannot listen on 127.0.0.1:{port}: .*in use; choose another"):
            listen(Config(data=None, port=port))


def test_an_unknown_host():
    with pytest.raises(UnavailableError, match=r"cannot listen on 192\.0\.2\.1:1: "):
        listen(Config(data=None, host="192.0.2.1", port=1))


@pytest.mark.parametrize("host", ["", "localhost", "127.0.0.1"])
def test_hosts_that_can_be_listened_on(host):
    with listen(Config(data=None, host=host, port=0)) as sock:
        assert sock.getsockname()[1] > 0
