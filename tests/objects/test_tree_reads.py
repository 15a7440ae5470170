"""Reading a tree of three levels against a dictionary and a sorted list."""

from __future__ import annotations

import random
from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tree_tools import Tree, sample

from dagdvid.errors import Corrupt
from dagdvid.objects.ids import ObjectType
from dagdvid.objects.store import prepare
from dagdvid.objects.tree.node import Child, Node, encode_inner
from dagdvid.objects.tree.nodes import EMPTY
from dagdvid.objects.tree.read import Range, count, get, get_many, last_before, scan, scan_ranges, stats

ENTRIES = sample(300_000)
KEYS = list(ENTRIES)


@pytest.fixture(scope="module")
def tree() -> Tree:
    return Tree()


@pytest.fixture(scope="module")
def root(tree) -> bytes:
    return tree.build(ENTRIES)


@st.composite
def some_key(draw):
    """A key of the tree, a neighbour of one, or anything."""
    key = KEYS[draw(st.integers(0, len(KEYS) - 1))]
    return draw(st.sampled_from([key, key, key + b"\0", key[:-1], key[:4], b"", b"\xff", KEYS[0], KEYS[-1]]))


@given(some_key())
def test_get(tree, root, key):
    assert get(tree.nodes, root, key) == ENTRIES.get(key)


@given(st.lists(some_key(), max_size=60))
def test_get_many(tree, root, keys):
    keys = sorted(keys)
    assert get_many(tree.nodes, root, keys) == [ENTRIES.get(key) for key in keys]


def test_get_very_many(tree, root):
    keys = sorted([*KEYS[::11], *(key + b"?" for key in KEYS[::13]), KEYS[5], KEYS[5]])
    assert get_many(tree.nodes, root, keys) == [ENTRIES.get(key) for key in keys]


@given(some_key(), st.none() | some_key())
def test_scan_and_count(tree, root, lo, hi):
    if hi is None or hi > lo:  # not all of 300,000 entries, fifty times
        hi = min(hi or b"\xff", KEYS[min(bisect_left(KEYS, lo) + 3000, len(KEYS) - 1)])
    expected = KEYS[bisect_left(KEYS, lo) : bisect_left(KEYS, hi)]
    parts = list(scan(tree.nodes, root, lo, hi))
    assert [key for keys, _ in parts for key in keys] == expected
    assert [value for _, values in parts for value in values] == [ENTRIES[key] for key in expected]
    assert all(keys for keys, _ in parts)
    assert count(tree.nodes, root, lo, hi) == len(expected)


@given(some_key())
def test_count_to_the_end(tree, root, key):
    assert count(tree.nodes, root, key) == len(KEYS) - bisect_left(KEYS, key)


def test_whole_scan(tree, root):
    assert dict(pair for part in scan(tree.nodes, root) for pair in zip(*part, strict=True)) == ENTRIES
    assert count(tree.nodes, root) == len(ENTRIES)


@given(st.lists(st.integers(0, len(KEYS) - 1), min_size=2, max_size=40, unique=True), st.booleans())
def test_scan_ranges(tree, root, at, to_the_end):
    at = sorted(at)
    ranges = [Range(KEYS[i], KEYS[min(j, i + 800)]) for i, j in zip(at[::2], at[1::2], strict=False)]
    if to_the_end:
        ranges.append(Range(max(KEYS[-5], ranges[-1].hi), None))
    expected = [key for r in ranges for key in KEYS[bisect_left(KEYS, r.lo) :][:900] if r.hi is None or key < r.hi]
    assert [key for keys, _ in scan_ranges(tree.nodes, root, ranges) for key in keys] == expected


def test_empty_tree(tree):
    assert get(tree.nodes, EMPTY, b"k") is None
    assert get_many(tree.nodes, EMPTY, [b"a", b"b"]) == [None, None]
    assert get_many(tree.nodes, EMPTY, []) == []
    assert list(scan(tree.nodes, EMPTY)) == []
    assert list(scan_ranges(tree.nodes, EMPTY, [])) == []
    assert count(tree.nodes, EMPTY) == count(tree.nodes, EMPTY, b"a", b"b") == 0
    assert stats(tree.nodes, EMPTY) == (0, 0, 1)


def test_what_is_read(tree, root):
    """A node a level for a key, the edges alone for a count, the leaves of a range for a scan."""
    cold = tree.cold()
    assert get(cold.nodes, root, KEYS[1234]) == ENTRIES[KEYS[1234]]
    assert len(tree.store.read) == 3
    cold = tree.cold()
    assert count(cold.nodes, root, KEYS[10_000], KEYS[290_000]) == 280_000
    assert len(tree.store.read) <= 5
    cold = tree.cold()
    got = sum(len(keys) for keys, _ in scan(cold.nodes, root, KEYS[10_000], KEYS[20_000]))
    assert got == 10_000
    assert len(tree.store.read) <= 10_000 / 200
    cold = tree.cold()
    next(scan(cold.nodes, root))
    assert len(tree.store.read) <= 3 + 3 * 32
    assert len(set(tree.store.read)) == len(tree.store.read)
    cold = tree.cold()
    stats(cold.nodes, root)
    assert tree.store.read == [root]


def test_a_child_of_the_wrong_level_is_corrupt(tree, root):
    """Whatever way a reader takes: a node that points back up would else lead it astray."""
    node = tree.nodes.read(root)
    wrong = prepare(
        ObjectType.NODE,
        encode_inner(1, node.keys, [Child(name, 1, 1) for name in node.ids]),
    )
    tree.store.put_many([wrong])
    assert Node(wrong.data()).level == tree.nodes.read(node.ids[0]).level
    ways = [
        lambda: get(tree.nodes, wrong.id, KEYS[0]),
        lambda: get_many(tree.nodes, wrong.id, KEYS[:1]),
        lambda: list(scan(tree.nodes, wrong.id)),
        lambda: count(tree.nodes, wrong.id, KEYS[7]),
        lambda: tree.apply(wrong.id, {KEYS[0]: None}),
    ]
    for way in ways:
        with pytest.raises(Corrupt, match="level"):
            way()


def test_random_ranks(tree, root):
    rng = random.Random(1)
    for i in rng.sample(range(len(KEYS)), 200):
        assert count(tree.nodes, root, b"", KEYS[i]) == i


@given(some_key())
def test_the_last_key_before_another(tree, root, key):
    i = bisect_left(KEYS, key)
    assert last_before(tree.nodes, root, key) == (KEYS[i - 1] if i else None)


def test_nothing_comes_before_in_an_empty_tree(tree):
    assert last_before(tree.nodes, EMPTY, b"x") is None
