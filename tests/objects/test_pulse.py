"""The pulse changes with every transaction, for all who look; where it cannot be had, nobody misses it."""

from __future__ import annotations

import sqlite3
import struct

import pytest

from dagdvid.config import Config
from dagdvid.errors import StaleRead
from dagdvid.objects.local.pulse import Pulse
from dagdvid.objects.local.store import LocalStore, hold
from dagdvid.server import Server


class Count:
    """An operation that adds one to a counter, or fails."""

    objects = ()

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def apply(self, conn: sqlite3.Connection) -> None:
        if self.error is not None:
            raise self.error
        conn.execute("INSERT INTO counters VALUES ('n', 1) ON CONFLICT DO UPDATE SET value = value + 1")


def test_it_is_seen_by_others_and_by_the_next_writer(tmp_path):
    pulse, other = Pulse(tmp_path, writing=True), Pulse(tmp_path, writing=False)
    seen = [other.now()]
    for i in range(600):
        if i % 200 == 199:
            pulse.close()
            pulse = Pulse(tmp_path, writing=True)
        pulse.beat()
        assert other.now() == pulse.now()
        seen.append(other.now())
    assert len(set(seen)) == 601
    (tmp_path / "pulse").write_bytes(struct.pack("=Q", 2**64 - 1))
    pulse.beat()
    assert other.now() == bytes(8)


@pytest.mark.parametrize("relaxed", [False, True])
def test_it_beats_before_a_transaction_is_answered(tmp_path, relaxed):
    with hold(tmp_path):
        store = LocalStore(tmp_path, relaxed=relaxed)
        other = Pulse(tmp_path, writing=False)
        for error in (None, StaleRead("moved"), None):
            before = other.now()
            told = []
            future = store.writer.submit(Count(error))
            future.add_done_callback(lambda _, told=told: told.append(other.now()))
            assert (future.exception(10) is None) == (error is None)
            assert error is not None or told[0] != before
        store.close()


def test_without_it_all_is_as_before(tmp_path):
    """A folder that was written before there was one is looked into, and read."""
    server = Server.open(Config(data=tmp_path))
    root = server.catalog.create_repo("a", "")
    server.close()
    (tmp_path / "pulse").unlink()
    look = Server.look(tmp_path)
    assert look.store.pulse.now() is None
    assert list(look.catalog.repos()) == [root]
    server = Server.open(Config(data=tmp_path))
    other = server.catalog.create_repo("b", "")
    assert list(look.catalog.repos()) == [root, other]
    look.close()
    server.close()
