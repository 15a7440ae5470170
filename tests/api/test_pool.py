"""The pool of handler threads: its bound, and what becomes of jobs and iterators that nobody waits for."""

from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing

import pytest

from dagdvid.api.pool import Pool
from dagdvid.errors import BadRequest, Busy


@pytest.fixture
def pool():
    pool = Pool(threads=2, waiting=1)
    yield pool
    pool.close()


async def test_results_and_errors_come_back(pool):
    def fail():
        raise BadRequest("no")

    assert await pool.run(lambda: threading.current_thread() is threading.main_thread()) is False
    with pytest.raises(BadRequest, match="no"):
        await pool.run(fail)


async def test_the_queue_is_bounded(pool):
    gate = threading.Event()
    jobs = [asyncio.ensure_future(pool.run(gate.wait)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Busy, match="too many requests"):
        await pool.run(gate.wait)
    gate.set()
    assert await asyncio.gather(*jobs) == [True, True, True]
    assert await pool.run(lambda: 5) == 5


async def test_an_abandoned_result_is_handed_over(pool):
    gate, got = threading.Event(), []
    job = asyncio.ensure_future(pool.run(lambda: gate.wait() and "result", got.append))
    await asyncio.sleep(0.05)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert got == []
    gate.set()
    await pool.run(lambda: None)
    for _ in range(200):
        if got:
            break
        await asyncio.sleep(0.01)
    assert got == ["result"]


async def test_a_job_that_has_not_begun_is_dropped(pool):
    gate, ran = threading.Event(), []
    busy = [asyncio.ensure_future(pool.run(gate.wait)) for _ in range(2)]
    await asyncio.sleep(0)
    late = asyncio.ensure_future(pool.run(lambda: ran.append(1)))
    await asyncio.sleep(0)
    late.cancel()
    await asyncio.wait([late])
    gate.set()
    await asyncio.gather(*busy)
    assert await pool.run(lambda: ran) == []


class Numbers:
    """An iterator that knows whether it is open, and may be held up."""

    def __init__(self, n, gate=None, fail=None):
        self.left, self.gate, self.fail, self.closed, self.running = n, gate, fail, 0, False

    def __iter__(self):
        return self

    def __next__(self):
        self.running = True
        if self.gate is not None:
            self.gate.wait(10)
        self.running = False
        if self.left == 0:
            if self.fail:
                raise self.fail
            raise StopIteration
        self.left -= 1
        return b"%d" % self.left

    def close(self):
        assert not self.running
        self.closed += 1


async def test_iterators_are_followed_to_their_end(pool):
    numbers = Numbers(3)
    assert [item async for item in pool.iterate(numbers)] == [b"2", b"1", b"0"]
    assert numbers.closed == 1
    assert [item async for item in pool.iterate(iter([b"a", b""]))] == [b"a", b""]


async def test_iterators_are_closed_when_left_early(pool):
    numbers = Numbers(3)
    async with aclosing(pool.iterate(numbers)) as items:
        async for _ in items:
            break
    assert (numbers.closed, numbers.left) == (1, 2)


async def test_iterators_are_closed_when_they_fail(pool):
    numbers = Numbers(1, fail=BadRequest("torn"))
    items = pool.iterate(numbers)
    assert await anext(items) == b"0"
    with pytest.raises(BadRequest, match="torn"):
        await anext(items)
    assert numbers.closed == 1


async def test_a_running_step_ends_before_the_close(pool):
    gate = threading.Event()
    numbers = Numbers(3, gate)

    async def take():
        async for _ in pool.iterate(numbers):
            pass

    task = asyncio.ensure_future(take())
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.sleep(0.05)
    assert (numbers.closed, task.done()) == (0, False)
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (numbers.closed, numbers.left) == (1, 2)
