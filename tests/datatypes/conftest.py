"""Instances on a real server, asked without HTTP between."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest

from dagdvid.routes import Request
from dagdvid.server import Server


class Answer(NamedTuple):
    status: int
    content_type: str
    headers: Mapping[str, str]
    body: bytes
    streamed: bool

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Data:
    """One instance at one version. `ask` raises what the handler raises."""

    def __init__(self, server: Server, uuid: str, name: str) -> None:
        self.server, self.uuid, self.name = server, uuid, name

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None, **query: str
    ) -> Answer:
        return ask(self.server, method, f"/api/node/{self.uuid}/{self.name}/{path}", body, headers, **query)

    def get(self, path: str, body: bytes = b"", **query: str) -> bytes:
        return self.ask("GET", path, body, **query).body

    def post(self, path: str, body: bytes = b"", **query: str) -> None:
        answer = self.ask("POST", path, body, **query)
        assert (answer.status, answer.body) == (200, b"")

    def api(self, method: str, path: str, body: bytes = b"", **query: str) -> Answer:
        """A request that is not about this instance."""
        return ask(self.server, method, path, body, None, **query)

    def at(self, uuid: str, name: str = "") -> Data:
        """The same instance, or another one, at another version."""
        return Data(self.server, uuid, name or self.name)

    def beside(self, typename: str, name: str, **settings: str) -> Data:
        """A new instance in the same repo."""
        asked = json.dumps({"typename": typename, "dataname": name, **settings}).encode()
        assert self.api("POST", f"/api/repo/{self.uuid}/instance", asked).status == 200
        return self.at(self.uuid, name)

    def child(self) -> Data:
        """The same instance in a new version, once this one is committed."""
        ask(self.server, "POST", f"/api/node/{self.uuid}/commit", b'{"note": "done"}')
        answer = ask(self.server, "POST", f"/api/node/{self.uuid}/newversion", b"{}")
        return Data(self.server, answer.json["child"], self.name)


def ask(
    server: Server, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None, **query: str
) -> Answer:
    found = server.find(method, path)
    assert found is not None, f"{method} {path} is not routed"
    request = Request(method, path, found.args, query, headers or {}, body, local=True)
    reply = server.handle(found, request)
    streamed = not isinstance(reply.body, bytes)
    whole = b"".join(reply.body) if streamed else reply.body
    return Answer(reply.status, reply.content_type, reply.headers, whole, streamed)


@pytest.fixture
def new_data(server: Server) -> Callable[..., Data]:
    """Makes instances, each in a repo of its own: `new_data("keyvalue", Compression="gzip")`."""

    def make(typename: str, **settings: str) -> Data:
        root = ask(server, "POST", "/api/repos", b'{"alias": "test"}').json["root"]
        asked = json.dumps({"typename": typename, "dataname": "data", **settings}).encode()
        assert ask(server, "POST", f"/api/repo/{root}/instance", asked).status == 200
        return Data(server, root, "data")

    return make
