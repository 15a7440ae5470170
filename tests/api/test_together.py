"""Writes of several clients go together; one client's never wait."""

from __future__ import annotations

import asyncio

import pytest

from dagdvid.api import together
from dagdvid.api.together import Together


class Disk:
    """Notes which writes came while nobody else had his turn."""

    def __init__(self):
        self.groups = []
        self._flush = None

    async def write(self, name):
        if self._flush is None:
            self.groups.append([])
            self._flush = asyncio.ensure_future(asyncio.sleep(0.002))
            self._flush.add_done_callback(lambda _: setattr(self, "_flush", None))
        self.groups[-1].append(name)
        await asyncio.shield(self._flush)


async def client(gate, disk, name, times):
    for _ in range(times):
        async with gate:
            await disk.write(name)


@pytest.fixture
def slow(monkeypatch):
    """Long enough that no write goes because its patience ends."""
    monkeypatch.setattr(together, "PATIENCE", 60)


async def test_a_client_alone_never_waits(slow):
    disk, gate = Disk(), Together()
    await asyncio.wait_for(client(gate, disk, "a", 20), 10)
    assert disk.groups == [["a"]] * 20


async def test_clients_share_a_flush(monkeypatch):
    monkeypatch.setattr(together, "PATIENCE", 0.5)
    disk, gate = Disk(), Together()
    await asyncio.wait_for(asyncio.gather(*(client(gate, disk, i, 20) for i in range(8))), 20)
    assert sum(map(len, disk.groups)) == 160
    assert sum(len(group) == 8 for group in disk.groups) >= 15


async def test_those_who_stay_do_not_wait_for_those_who_left():
    disk, gate = Disk(), Together()
    times = [1, 1, 1, 1, 1, 10, 10]
    await asyncio.wait_for(asyncio.gather(*(client(gate, disk, i, n) for i, n in enumerate(times))), 10)
    assert sum(map(len, disk.groups)) == sum(times)


async def test_a_write_that_is_given_up_while_it_waits_is_not_counted(slow):
    disk, gate = Disk(), Together()
    gate._expected = 3
    first, second = [asyncio.ensure_future(client(gate, disk, name, 1)) for name in "ab"]
    await asyncio.sleep(0.01)
    assert disk.groups == []
    first.cancel()
    await asyncio.wait([first])
    third, fourth = [asyncio.ensure_future(client(gate, disk, name, 1)) for name in "cd"]
    await asyncio.wait_for(asyncio.gather(second, third, fourth), 10)
    assert [sorted(group) for group in disk.groups] == [["b", "c", "d"]]
