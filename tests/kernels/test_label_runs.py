"""Runs of voxels beside sets of voxels."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagdvid.kernels import labelblocks, runs, runs_ref, twins


@pytest.fixture(scope="module", autouse=True)
def compiled():
    twins.load()


small = st.integers(-6, 6)
tables = st.lists(st.tuples(small, small, small, st.integers(0, 9)), max_size=30).map(
    lambda rows: np.array(rows, np.int64).reshape(-1, 4)
)
seeds = st.integers(0, 2**32)


def voxels(table):
    return {(x + i, y, z) for x, y, z, length in table.tolist() for i in range(length)}


def longest(table):
    """Whether no two runs touch, and all are in the order of z, y, x."""
    rows = [(z, y, x, length) for x, y, z, length in table.tolist()]
    gaps = pairwise(rows)
    return all(a[:2] < b[:2] or (a[:2] == b[:2] and a[2] + a[3] < b[2]) for a, b in gaps) and all(
        r[3] > 0 for r in rows
    )


@given(
    st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5) | st.sampled_from([8, 16, 40])),
    seeds,
    st.sampled_from([0, 0.1, 0.6, 0.95, 1]),
)
def test_runs_of_a_mask(shape, seed, share):
    mask = np.random.default_rng(seed).random(shape) < share
    found = runs.of_mask(mask, (10, -20, 30))
    assert found.tolist() == runs_ref.of_mask_ref(mask, (10, -20, 30)).tolist()
    assert voxels(found) == {(x + 10, y - 20, z + 30) for z, y, x in np.argwhere(mask).tolist()}
    assert longest(found)
    back = found - np.array([10, -20, 30, 0])
    assert (runs.paint(back, shape) == mask).all()
    assert (runs_ref.paint_ref(back, shape) == mask).all()


@given(tables)
def test_joined_runs_have_the_same_voxels(table):
    joined = runs.join(table[table[:, 3] > 0])
    assert voxels(joined) == voxels(table)
    assert longest(joined)


@given(tables, st.tuples(*[st.none() | small] * 6))
def test_clipped_runs(table, bounds):
    first, last = bounds[:3], bounds[3:]
    inside = {
        voxel
        for voxel in voxels(table)
        if all(low is None or low <= at for low, at in zip(first, voxel, strict=True))
        and all(high is None or at <= high for high, at in zip(last, voxel, strict=True))
    }
    clipped = runs.clip(table, first, last)
    assert voxels(clipped) == inside
    assert (clipped[:, 3] > 0).all()


@given(tables, st.tuples(*[st.integers(1, 5)] * 3))
def test_runs_by_block(table, size):
    found, blocks = set(), []
    for (z, y, x), cut in runs.by_block(table, size):
        blocks.append((z, y, x))
        inside = voxels(cut)
        assert inside
        assert all(0 <= at < edge for voxel in inside for at, edge in zip(voxel, size, strict=True))
        found |= {(a + x * size[0], b + y * size[1], c + z * size[2]) for a, b, c in inside}
    assert found == voxels(table)
    assert blocks == sorted(set(blocks))


@pytest.mark.parametrize("few", [1, 3, 40, 5000])
@given(seed=seeds)
def test_runs_in_a_label_block(few, seed):
    random = np.random.default_rng(seed)
    block = random.integers(0, few, (16, 24, 32)).astype(np.uint64).repeat(2, 2)
    wanted = np.unique(random.integers(0, few, 5)).astype(np.uint64)
    found = runs.in_block(labelblocks.encode(block), wanted, (64, -64, 0))
    assert found.tolist() == runs.of_mask(np.isin(block, wanted), (64, -64, 0)).tolist()


@given(st.sets(st.integers(-3, 4), min_size=1), seeds)
def test_runs_in_a_row_of_blocks(places, seed):
    random = np.random.default_rng(seed)
    volume = np.zeros((16, 16, 8 * 24), np.uint64)
    row = []
    for place in sorted(places):
        block = random.integers(0, 2, (4, 4, 3)).astype(np.uint64).repeat(4, 0).repeat(4, 1).repeat(8, 2)
        volume[:, :, 24 * (place + 3) : 24 * (place + 4)] = block
        row.append((place, labelblocks.encode(block)))
    found = runs.in_row(row, np.array([1], np.uint64), (100, 200, 300))
    assert found.tolist() == runs.of_mask(volume == 1, (100 - 72, 200, 300)).tolist()


@given(st.tuples(*[st.sampled_from([8, 16, 24])] * 3), seeds, st.sampled_from([0, 0.001, 0.5, 1]))
def test_bits_of_a_mask(shape, seed, share):
    mask = np.random.default_rng(seed).random(shape) < share
    mask[:8, :8, :8] = share > 0
    assert runs.bits(mask) == runs_ref.bits_ref(mask)
    assert runs.bits(mask[::-1]) == runs_ref.bits_ref(mask[::-1])
