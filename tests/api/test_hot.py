"""The short way in front of Quart gives the answers that Quart gives, takes what it should, and no more."""

from __future__ import annotations

import threading

import pytest

from dagdvid.api.bind import create_app
from dagdvid.api.dispatch import AT_ONCE, Dispatch
from dagdvid.api.hot import Hot, create_service
from dagdvid.config import Config
from dagdvid.routes import Request
from dagdvid.server import Server

SIZES = {"empty": 0, "one": 1, "inline": 512, "blob": 513, "most": AT_ONCE, "above": AT_ONCE + 1, "big": 2_500_000}


def value(size):
    return bytes(i % 251 for i in range(size))


async def ask(app, method, path, *, query=b"", headers=(), body=b"", gone=False):
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
    events = [{"type": "http.request", "body": body[i : i + 100], "more_body": True} for i in range(0, len(body), 100)]
    if not gone:
        events.append({"type": "http.request", "body": b"", "more_body": False})
    events.append({"type": "http.disconnect"})
    sent = []
    over = threading.Event()

    async def receive():
        if len(events) == 1 and not gone:
            await never(over)
        return events.pop(0) if len(events) > 1 else events[0]

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    if not sent:
        return None
    assert [message["type"] for message in sent] == ["http.response.start"] + ["http.response.body"] * (len(sent) - 1)
    assert [bool(message.get("more_body")) for message in sent[1:]] == [True] * (len(sent) - 2) + [False]
    got = sorted((bytes(name).lower(), bytes(text)) for name, text in sent[0]["headers"])
    return sent[0]["status"], got, b"".join(message["body"] for message in sent[1:])


async def never(over):
    import asyncio

    await asyncio.sleep(60)
    over.set()
