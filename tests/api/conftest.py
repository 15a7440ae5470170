"""A small second implementation of the interface of `dagdvid.server.Server`, with routes that show how it is served."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from dagdvid.api.access import Logged
from dagdvid.api.bind import create_app
from dagdvid.api.dispatch import Dispatch
from dagdvid.api.hot import Hot
from dagdvid.config import Config
from dagdvid.errors import BadRequest, KeyAbsent, Locked
from dagdvid.meters import Meters
from dagdvid.routes import (
    EVERYBODY,
    Cache,
    Reply,
    Request,
    Right,
    Route,
    RouteTable,
    Visitor,
    json_reply,
    text_reply,
)
from dagdvid.sharedfolder import SharedFolder


class Found(NamedTuple):
    route: Route
    args: dict[str, str]
    scope: str


class SmallServer:
    """Keys in a dictionary, streams that can be watched, errors on demand."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.values: dict[str, bytes] = {}
        self.closed_streams = 0
        self.sent_pieces = 0
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.seen: Request | None = None
        self.meters = Meters(SharedFolder(config.data))
        self._tables = (
            (
                "server",
                "/api/",
                RouteTable(
                    [
                        Route(("GET",), "echo", self.echo, "Tells what came.", max_body=5_000_000),
                        Route(("POST",), "echo", self.echo, "Tells what came.", mutates=True, max_body=1000),
                        Route(("GET",), "numbers/{n}", self.numbers, "A stream.", query={"fail": "Where it breaks."}),
                        Route(("GET",), "fail/{how}", self.fail, "An error.", cache=Cache.CONTENT),
                        Route(("GET",), "wait", self.wait, "Waits for the gate."),
                        Route(("GET",), "pause/{seconds}", self.pause, "Sleeps."),
                        Route(("GET",), "big/{n}", self.big, "Bytes.", cache=Cache.IMMUTABLE),
                        Route(("POST",), "take", self.take, "Counts bytes."),
                        Route(("POST",), "repos", self.echo, "Makes one.", right=Right.MANAGE),
                    ]
                ),
            ),
            ("node", "/api/node/{uuid}/", RouteTable([Route(("GET",), "status", self.echo, "Status.")])),
            (
                "data",
                "/api/node/{uuid}/{data}/",
                RouteTable(
                    [
                        Route(("GET", "HEAD"), "key/{key}", self.get, "A value.", cache=Cache.CONTENT, hot=True),
                        Route(("POST",), "key/{key}", self.put, "Sets a value.", mutates=True, hot=True),
                        Route(("GET",), "keys", self.keys, "All keys."),
                        Route(("GET",), "numbers/{n}", self.numbers, "A stream.", hot=True),
                    ],
                    surplus=True,
                ),
            ),
        )

    def tables(self) -> Iterator[tuple[str, str, RouteTable]]:
        return iter(self._tables)

    def find(self, method: str, path: str) -> Found | None:
        segments = path.strip("/").split("/")
        if segments[:1] != ["api"]:
            return None
        if segments[1:2] == ["node"] and len(segments) > 4:
            (match, args) = self._tables[2][2].match(method, segments[4:]) or (None, {})
            return Found(match, {"uuid": segments[2], "data": segments[3], **args}, "data") if match else None
        if path.endswith("/"):
            return None
        skip, (scope, _, table) = (3, self._tables[1]) if segments[1:2] == ["node"] else (1, self._tables[0])
        match, args = table.match(method, segments[skip:]) or (None, {})
        return Found(match, args, scope) if match else None

    def admit(self, request: Request, *, wait: bool = True) -> Visitor:
        return EVERYBODY

    def handle(self, found: Found, request: Request) -> Reply:
        self.seen = request
        return found.route.handler(request)

    def read_at_once(self, found: Found, request: Request, most: int) -> Reply | None:
        reply = self.handle(found, request)
        return reply if isinstance(reply.body, bytes) and len(reply.body) <= most else None

    def prepare(self, request: Request, most: int) -> None:
        return None

    def close(self) -> None:
        self.meters.close()

    def echo(self, request: Request) -> Reply:
        return json_reply(
            {
                "method": request.method,
                "path": request.path,
                "query": request.query,
                "size": len(request.body),
                "admin": request.admin,
                "local": request.local,
                "type": request.headers.get("content-type"),
            }
        )

    def numbers(self, request: Request) -> Reply:
        fail = int(request.query.get("fail", -1))

        def pieces() -> Iterator[bytes]:
            try:
                for i in range(int(request.args["n"])):
                    if i == fail:
                        raise BadRequest("torn") if request.query.get("how") != "bug" else ZeroDivisionError
                    self.sent_pieces += 1
                    yield (b"%d\n" % i).ljust(int(request.query.get("width", 2)), b".")
            finally:
                self.closed_streams += 1

        return Reply(pieces(), "text/plain")

    def fail(self, request: Request) -> Reply:
        raise {"locked": Locked("cannot do that on locked node"), "bug": ZeroDivisionError("a bug")}[
            request.args["how"]
        ]

    def wait(self, request: Request) -> Reply:
        self.entered.set()
        self.gate.wait(20)
        return text_reply("done")

    def pause(self, request: Request) -> Reply:
        time.sleep(float(request.args["seconds"]))
        return text_reply("rested")

    def big(self, request: Request) -> Reply:
        return Reply(bytes(int(request.args["n"])), "application/octet-stream")

    def take(self, request: Request) -> Reply:
        return text_reply(str(len(request.body)))

    def get(self, request: Request) -> Reply:
        if request.args["key"] not in self.values:
            raise KeyAbsent(f"key {request.args['key']!r} not found")
        return Reply(self.values[request.args["key"]], "application/octet-stream")

    def put(self, request: Request) -> Reply:
        self.values[request.args["key"]] = request.body
        return Reply()

    def keys(self, request: Request) -> Reply:
        return json_reply(sorted(self.values))


@pytest.fixture
def config() -> Config:
    return Config(data=Path("unused"), admin_token="secret", cors_domains=("*",))


@pytest.fixture
def small(config, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    small = SmallServer(config)
    yield small
    small.gate.set()
    small.close()


@pytest.fixture(params=["quart", "hot"])
async def client(small, request):
    """A client of the service, without a socket between: of Quart alone, and with the short way in front of it."""
    dispatch = Dispatch(small)
    app = create_app(small, dispatch)
    async with app.test_app():
        service = app if request.param == "quart" else Logged(Hot(dispatch, app), small)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=service), base_url="http://small") as client:
            yield client
