"""Requests to a server in this process."""

from __future__ import annotations

import json
from typing import Any

from dagdvid.routes import Reply, Request
from dagdvid.server import Server


class Caller:
    """Sends requests to a server in this process, past HTTP but through all of its dispatch."""

    def __init__(self, server: Server, *, admin: bool = False) -> None:
        self.server = server
        self.admin = admin

    def __call__(self, method: str, path: str, body: Any = b"", headers: Any = None, **query: str) -> Reply:
        """A reply with its body as bytes; errors are raised as they are."""
        found = self.server.find(method, path)
        assert found is not None, f"unrouted: {method} {path}"
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = Request(method, path, {}, query, headers or {}, data, admin=self.admin, local=True)
        reply = self.server.handle(found, request)
        whole = reply.body if isinstance(reply.body, bytes) else b"".join(reply.body)
        return Reply(whole, reply.content_type, reply.status, reply.headers)

    def json(self, method: str, path: str, body: Any = b"", **query: str) -> Any:
        """The JSON of an answer; None if it is empty."""
        reply = self(method, path, body, **query)
        return json.loads(reply.body) if reply.body else None  # type: ignore[arg-type]
