"""Content-defined chunks of large values (SPEC 2.4)."""

from __future__ import annotations

import random

import numpy as np
import pytest

from dagdvid.objects.chunking import MAX, MIN, NORMAL, chunks, chunks_ref

RANDOM = random.Random(4).randbytes(12 * 2**20)
EDGES = (0, 1, 31, 32, 33, MIN - 1, MIN, MIN + 1, NORMAL - 1, NORMAL, NORMAL + 1, MAX - 1, MAX, MAX + 1, 2 * MAX + 5)


def lengths(data):
    return [end - start for start, end in chunks(data)]


@pytest.mark.parametrize("size", EDGES)
@pytest.mark.parametrize("fill", ["zeros", "random"])
def test_edges(size, fill):
    data = bytes(size) if fill == "zeros" else RANDOM[:size]
    found = chunks(data)
    assert b"".join(data[a:b] for a, b in found) == data
    assert [a for a, _ in found] == [0, *[b for _, b in found]][: len(found)]
    assert all(MIN <= b - a <= MAX for a, b in found[:-1])
    assert all(0 < b - a <= MAX for a, b in found)


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_reference(seed):
    rng = random.Random(seed)
    size = rng.randrange(2 * 2**20, 3 * 2**20)
    assert chunks(RANDOM[seed : seed + size]) == chunks_ref(RANDOM[seed : seed + size])


def test_equals_the_reference_on_few_byte_values():
    data = np.random.default_rng(3).integers(0, 2, 2 * 2**20, np.uint8).tobytes()
    assert chunks(data) == chunks_ref(data)


def test_an_edit_changes_few_chunks():
    rng = random.Random(9)
    before = {RANDOM[a:b] for a, b in chunks(RANDOM)}
    assert len(before) >= 6
    for _ in range(6):
        at = rng.randrange(len(RANDOM))
        edited = RANDOM[:at] + rng.randbytes(rng.randrange(1, 100)) + RANDOM[at + rng.randrange(100) :]
        after = {edited[a:b] for a, b in chunks(edited)}
        assert len(after - before) <= 4, "the chunk of the edit, and those until the boundaries fall together again"


def test_boundaries_do_not_depend_on_what_stands_long_before():
    """A prefix moves all boundaries alike, once they have fallen together."""
    shifted = RANDOM[:1000] + RANDOM
    ends = {end for _, end in chunks(RANDOM)}
    assert len(ends & {end - 1000 for _, end in chunks(shifted)}) >= len(ends) - 3
