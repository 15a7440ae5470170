"""How route tables answer over HTTP: paths, methods, bodies, errors, headers."""

from __future__ import annotations

import asyncio
import logging

import pytest

from dagdvid.api.bind import create_app
from dagdvid.api.pool import THREADS, WAITING

NODE = "/api/node/0123:master"


async def test_handlers_see_the_request(client):
    answer = await client.request(
        "GET", "/api/echo?u=ann&u=bob&empty=&plus=a+b%20c&admintoken=secret", content=b"x" * 10
    )
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json() == {
        "method": "GET",
        "path": "/api/echo",
        "query": {"u": "bob", "empty": "", "plus": "a b c", "admintoken": "secret"},
        "size": 10,
        "admin": True,
        "local": True,
        "type": None,
    }


@pytest.mark.parametrize("token", ["?admintoken=Secret", "?admintoken=", "", "?admintoken=%ff"])
async def test_a_wrong_token_is_no_admin(client, small, token):
    await client.get("/api/echo" + token)
    assert small.seen.admin is False


async def test_without_a_token_nobody_is_admin(client, small):
    small.config = type(small.config)(small.config.data, host="0.0.0.0")
    said = (await client.get("/api/echo?admintoken=")).json()
    assert (said["admin"], said["local"]) == (False, False)


async def test_form_types_are_no_forms(client, small):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await client.post("/api/echo", content=b"a=b&c", headers=headers)).json()["size"] == 5
    assert small.seen.body == b"a=b&c"
    assert small.seen.headers["content-type"] == headers["Content-Type"]


@pytest.mark.parametrize(
    ("sent", "key"),
    [
        ("plain", "plain"),
        ("with%20space", "with space"),
        ("a%2Fb", "a"),  # split after decoding, as DVID
        ("l%0Aine", "l\nine"),
        ("%C3%A9", "é"),
        ("%FF%FE", "\udcff\udcfe"),
        ("percent%25", "percent%"),
        ("q%3Fa%23", "q?a#"),
        ("%00", "\0"),
        ("k/extra/segments", "k"),
        ("k/", "k"),
    ],
)
async def test_keys_are_any_bytes(client, small, sent, key):
    assert (await client.post(f"{NODE}/kv/key/{sent}", content=b"v")).status_code == 200
    assert small.values == {key: b"v"}
    assert (await client.get(f"{NODE}/kv/key/{sent}")).content == b"v"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *[("GET", "/"), ("GET", "/api"), ("GET", "/api/nosuch"), ("GET", "/api/echo/"), ("GET", "/api//echo")],
        *[("DELETE", "/api/echo"), ("PUT", "/api/repos"), ("GET", "/api/repos"), ("GET", "/api/node/0123/status/")],
        *[("POST", "/api/node/0123/status"), ("GET", "/api/node/0123"), ("GET", "/api/node/0123/kv")],
        *[("GET", "/api/node/0123/kv/nosuch"), ("OPTIONS", "/api/nosuch"), ("OPTIONS", "/api/node/0/kv/nosuch")],
        *[("PATCH", "/api/echo"), ("GET", "/api/numbers/"), ("POST", "/api/help"), ("GET", "/api/help/keyvalue/x")],
    ],
)
async def test_unrouted(client, method, path):
    answer = await client.request(method, path)
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.text == "404 page not found\n"


async def test_instance_paths_may_end_in_a_slash(client):
    assert (await client.get(f"{NODE}/kv/keys/")).status_code == 200


async def test_errors_have_dvids_form(client):
    answer = await client.get("/api/fail/locked")
    assert answer.status_code == 400
    assert answer.text == "cannot do that on locked node (/api/fail/locked).\n"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Dagdvid-Error"] == "locked"
    assert answer.headers["Cache-Control"] == "no-store"
    answer = await client.get(f"{NODE}/kv/key/none%ff")
    assert answer.status_code == 404
    assert "not found" in answer.text


async def test_bugs_are_logged_and_not_shown(client, caplog):
    with caplog.at_level(logging.ERROR, "dagdvid.api"):
        answer = await client.get("/api/fail/bug")
    assert answer.status_code == 500
    said = answer.text
    assert said.startswith("internal error, logged as request ")
    assert "bug" not in said
    assert said.split()[-1] in caplog.text
    assert "ZeroDivisionError: a bug" in caplog.text


async def test_body_limits(client, small):
    assert (await client.post("/api/echo", content=b"x" * 1000)).status_code == 200
    small.seen = None
    answer = await client.post("/api/echo", content=b"x" * 1001)
    assert answer.status_code == 413
    assert answer.headers["X-Dagdvid-Error"] == "too-large"
    assert "a body of 1001 bytes is too large; here it may have 1000" in answer.text
    assert small.seen is None


async def test_body_limit_of_an_unannounced_length(client, small):
    async def body():
        for _ in range(2):
            yield b"x" * 600

    answer = await client.post("/api/echo", content=body())
    assert answer.status_code == 413
    assert small.seen is None


async def test_head(client, small):
    small.values["k"] = b"12345"
    answer = await client.head(f"{NODE}/kv/key/k")
    assert (answer.status_code, answer.headers["Content-Length"], answer.content) == (200, "5", b"")
    assert small.seen.method == "HEAD"
    answer = await client.head(f"{NODE}/kv/key/none")
    assert (answer.status_code, answer.content) == (404, b"")
    answer = await client.head("/api/echo")  # a route that only says GET
    assert (answer.status_code, answer.content) == (200, b"")
    assert small.seen.method == "HEAD"


async def test_head_of_a_stream_reads_none_of_it(client, small):
    answer = await client.head("/api/numbers/1000")
    assert (answer.status_code, answer.content) == (200, b"")
    assert "Content-Length" not in answer.headers
    assert (small.sent_pieces, small.closed_streams) == (1, 1)


async def test_options(client):
    answer = await client.options("/api/echo")
    assert (answer.status_code, answer.headers["Allow"]) == (200, "GET, HEAD, POST, OPTIONS")
    assert answer.content == b""
    answer = await client.options(f"{NODE}/kv/keys")
    assert (answer.status_code, answer.headers["Allow"]) == (200, "GET, HEAD, OPTIONS")


async def test_preflight(client):
    asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    answer = await client.options("/api/echo", headers={**asked, "Access-Control-Request-Headers": "content-type"})
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Access-Control-Allow-Methods"] == "GET, HEAD, POST, DELETE"
    assert answer.headers["Access-Control-Allow-Headers"] == "content-type"


async def test_cache_classes(client, small):
    small.values["k"] = b"v"
    assert (await client.get(f"{NODE}/kv/key/k")).headers["Cache-Control"] == "no-cache"
    assert (await client.get("/api/big/3")).headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert (await client.get("/api/fail/locked")).headers["Cache-Control"] == "no-store"


async def test_streams(client, small):
    answer = await client.get("/api/numbers/5")
    assert answer.content == b"0\n1\n2\n3\n4\n"
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert "Content-Length" not in answer.headers
    assert small.closed_streams == 1
    assert (await client.get("/api/numbers/0")).content == b""


async def test_an_error_at_the_start_of_a_stream_has_its_status(client, small):
    answer = await client.get("/api/numbers/5?fail=0")
    assert answer.status_code == 400
    assert answer.text == "torn (/api/numbers/5).\n"
    assert small.closed_streams == 1


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 5_000_001])
async def test_large_bodies_come_in_pieces(client, size):
    answer = await client.get(f"/api/big/{size}")
    assert answer.headers["Content-Length"] == str(size)
    assert len(answer.content) == size


async def test_too_much_at_once_is_refused(client, small):
    waiting = [asyncio.ensure_future(client.get("/api/wait")) for _ in range(THREADS + WAITING)]
    await asyncio.to_thread(small.entered.wait, 20)
    await asyncio.sleep(1)
    answer = await client.get("/api/echo")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert answer.headers["X-Dagdvid-Error"] == "busy"
    small.gate.set()
    assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}


async def test_every_table_has_rules(small):
    rules = {rule.rule for rule in create_app(small).url_map.iter_rules()}
    assert {"/api/echo", "/api/numbers/<n>", "/api/node/<uuid>/status", "/api/help", "/api/help/<typename>"} <= rules
