"""Slots for heavy requests, across threads and processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
from pathlib import Path

import pytest

from dagdvid.errors import BadRequest, Busy, Forbidden, UnavailableError
from dagdvid.routes import Request
from dagdvid.throttle import Held, Throttle


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_as_many_as_may(tmp_path):
    mine, theirs = Throttle(tmp_path / "data"), Throttle(tmp_path / "data")
    assert mine.limit == 1
    leave = mine.enter()
    with pytest.raises(Busy, match="already running 1"):
        theirs.enter()
    Throttle(tmp_path / "other").enter()()
    theirs.set_limit(3)
    leaves = [mine.enter(), theirs.enter()]
    with pytest.raises(Busy):
        mine.enter()
    leave()
    leaves.append(theirs.enter())
    mine.set_limit(0)
    for each in leaves:
        each()
    with pytest.raises(Busy):
        theirs.enter()
    mine.reset()
    theirs.enter()()


def test_limits_that_cannot_be(tmp_path):
    for limit in (-1, 10_001):
        with pytest.raises(BadRequest):
            Throttle(tmp_path).set_limit(limit)


def hold_one(data: Path, entered, temp: str) -> None:
    import tempfile

    tempfile.tempdir = temp
    Throttle(data).enter()
    entered.set()
    threading.Event().wait(60)


def test_who_dies_lets_go(tmp_path):
    context = multiprocessing.get_context("spawn")
    entered = context.Event()
    process = context.Process(target=hold_one, args=(tmp_path / "data", entered, str(tmp_path)))
    process.start()
    assert entered.wait(30)
    with pytest.raises(Busy):
        Throttle(tmp_path / "data").enter()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    Throttle(tmp_path / "data").enter()()


def test_a_folder_of_somebody_else_is_not_used(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"dagdvid-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnavailableError, match="somebody else"):
        Throttle(tmp_path / "data").enter()


def test_a_slot_is_held_until_the_answer_is_read():
    for end in ("read", "closed", "dropped", "failed"):
        left = []

        def body(fail=end == "failed"):
            yield b"a"
            if fail:
                raise OSError("broken")

        held = Held(body(), lambda left=left: left.append(1))
        assert next(held) == b"a"
        assert not left
        if end == "read":
            assert list(held) == []
        elif end == "closed":
            held.close()
            assert list(held._body) == []
        elif end == "failed":
            with pytest.raises(OSError, match="broken"):
                next(held)
        else:
            del held
        assert left == [1]


@pytest.fixture
def gray(call):
    root = call.json("POST", "/api/repos", {})["root"]
    call("POST", f"/api/repo/{root}/instance", {"typename": "uint8blk", "dataname": "gray"})
    return f"/api/node/{root}/gray"


def set_to(server, limit):
    path = "/api/server/settings"
    body = json.dumps({"throttle": limit}).encode()
    found = server.find("POST", path)
    return server.handle(found, Request("POST", path, {}, {}, {}, body, admin=True)).body


def test_what_is_throttled(server, call, gray):
    assert set_to(server, "0") == b"Maximum throttled ops set to 0 from 1\n"
    box, slow = "/raw/0_1_2/32_32_32/0_0_0", {"throttle": "on"}
    for path in (box, "/isotropic/0_1_2/8_8_8/0_0_0", "/subvolblocks/32_32_32/0_0_0", "/arb/0_0_0/8_0_0/0_8_0/8"):
        with pytest.raises(Busy):
            call("GET", gray + path, throttle="true")
        assert call("GET", gray + path, throttle="false").status == 200
    with pytest.raises(Busy):
        call("POST", gray + box, bytes([3]) * 32768, **slow)
    assert call("GET", gray + box).body == bytes(32768)
    for path in ("/raw/xy/8_8/0_0_0", "/isotropic/xz/8_8/0_0_0", "/blocks/0_0_0/1", "/metadata"):
        assert call("GET", gray + path, **slow).status == 200
    set_to(server, "1")
    for _ in range(3):
        assert call("GET", gray + box, **slow).status == 200
    with pytest.raises(BadRequest):
        call("GET", gray + "/raw/0_1_2/8_8_0/0_0_0", **slow)
    assert call("GET", gray + box, **slow).status == 200


def test_a_streamed_answer_keeps_others_out(server, call, gray):
    path = f"{gray}/raw/0_1_2/256_256_64/0_0_0"
    found = server.find("GET", path)
    reply = server.handle(found, Request("GET", path, {}, {"throttle": "true"}))
    next(reply.body)
    with pytest.raises(Busy):
        call("GET", path, throttle="true")
    reply.body.close()
    assert len(call("GET", path, throttle="true").body) == 256 * 256 * 64


@pytest.mark.parametrize("limit", ["x", "-1", 3, None, "1.5", "99999999"])
def test_settings_that_are_refused(server, limit):
    with pytest.raises(BadRequest):
        set_to(server, limit)
    assert server.throttle.limit == 1


def test_settings_are_for_the_admin(server, call):
    with pytest.raises(Forbidden):
        call("POST", "/api/server/settings", {"throttle": "5"})
    path = "/api/server/settings"
    request = Request("POST", path, {}, {}, {}, b'{"GC": "400"}', admin=True)
    assert b"gc" in server.handle(server.find("POST", path), request).body
