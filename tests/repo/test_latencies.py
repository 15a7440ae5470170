"""Heartbeats with a name are noted, for every process alike; not without one, or where nothing can be written."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import pytest
from calling import Caller

from dagdvid.errors import BadRequest, Forbidden
from dagdvid.repo import latencies
from dagdvid.server import Server

UNKNOWN = {"User": "", "LastPing": "", "LastLatency": 0, "MinLatency": 0, "MaxLatency": 0}


def of(call: Caller, user: str):
    return call.json("GET", "/api/user-latencies", u=user)


def test_users_are_told_apart(call: Caller):
    assert call.json("GET", "/api/user-latencies") == {}
    call("GET", "/api/heartbeat")
    for user in ("a", "b", "a"):
        assert call("GET", "/api/heartbeat", u=user).body == b"OK"
    assert set(call.json("GET", "/api/user-latencies")) == {"a", "b"}
    assert of(call, "a")["User"] == "a"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", of(call, "a")["LastPing"])
    assert of(call, "nobody") == UNKNOWN


def test_the_least_and_the_most_are_kept(call: Caller):
    now = time.time()
    for ago in (5, 60, 20):
        latencies.ping(call.server.catalog, "a", now - ago)
    found = of(call, "a")
    assert found["MinLatency"] // 1000 == 5
    assert found["MaxLatency"] // 1000 == 60
    assert found["LastLatency"] // 1000 == 20


def test_it_does_not_grow_without_end(call: Caller, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(latencies, "_MOST_USERS", 3)
    for i in range(6):
        latencies.ping(call.server.catalog, f"user{i}", time.time() - 100 + i)
    assert set(call.json("GET", "/api/user-latencies")) == {"user3", "user4", "user5"}
    with pytest.raises(BadRequest, match="longer than"):
        call("GET", "/api/heartbeat", u="x" * 257)


def test_a_server_that_only_reads_keeps_no_note(call: Caller):
    reader = Server.open(replace(call.server.config, readonly=True))
    try:
        assert Caller(reader)("GET", "/api/heartbeat", u="a").body == b"OK"
        assert of(Caller(reader), "a") == UNKNOWN
    finally:
        reader.close()


def test_what_operators_may_ask(call: Caller):
    admin = Caller(call.server, admin=True)
    assert "store" in admin.json("GET", "/api/storage")
    with pytest.raises(Forbidden, match="admin token"):
        call("GET", "/api/storage")
    for path in ("/api/server/reload-auth", "/api/server/reload-blocklist"):
        with pytest.raises(Forbidden, match="admin token"):
            call("POST", path)
        with pytest.raises(BadRequest, match="nothing to load again"):
            admin("POST", path)
