"""Diff against the difference of sets, merge against a merge of dictionaries; what both may read."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tree_tools import Tree, edited, random_edits, sample

from dagdvid.objects.tree.diff import diff
from dagdvid.objects.tree.merge import merge
from dagdvid.objects.tree.node import BLOB, Ref
from dagdvid.objects.tree.nodes import EMPTY
from dagdvid.objects.tree.read import stats

BASE = sample(120_000)
KEYS = list(BASE)


@pytest.fixture(scope="module")
def tree() -> Tree:
    return Tree()


@pytest.fixture(scope="module")
def base(tree) -> bytes:
    root = tree.build(BASE)
    assert stats(tree.nodes, root).levels == 3
    return root


@pytest.fixture(scope="module")
def ends(tree, base) -> list[bytes]:
    return tree.leaf_ends(base)


def model_diff(a: dict, b: dict) -> list:
    return [(key, a.get(key), b.get(key)) for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key)]


def model_merge(base: dict, ours: dict, theirs: dict, resolve) -> dict:
    """Key by key, in order, over all keys."""
    merged = {}
    for key in sorted(base.keys() | ours.keys() | theirs.keys()):
        x, p, q = base.get(key), ours.get(key), theirs.get(key)
        merged[key] = p if q in (p, x) else q if p == x else resolve(key, x, p, q)
    return {key: value for key, value in merged.items() if value is not None}


class Resolver:
    """Takes now ours, now theirs, now neither, now something else; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list = []

    def __call__(self, key, base, ours, theirs):
        self.asked.append((key, base, ours, theirs))
        return [ours, theirs, None, b"resolved"][sum(key) % 4]


def check_merge(tree: Tree, base: bytes, ours: dict, theirs: dict) -> None:
    """Merge two sets of edits of BASE. What neither names stays: the model looks at the rest only."""
    real, model = Resolver(), Resolver()
    touched = ours.keys() | theirs.keys()
    near = {key: BASE[key] for key in touched if key in BASE}
    merged = model_merge(near, edited(near, ours), edited(near, theirs), model)
    expected = tree.apply(base, {key: merged.get(key) for key in touched})
    assert tree.flushed(merge(tree.writer, base, tree.apply(base, ours), tree.apply(base, theirs), real)) == expected
    assert real.asked == model.asked


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 20), m=st.integers(0, 20))
def test_diff(tree, base, ends, seed, n, m):
    rng = random.Random(seed)
    first = random_edits(rng, KEYS, ends, m) if m else {}
    second = random_edits(rng, KEYS, ends, n)
    near = {key: BASE[key] for key in first.keys() | second.keys() if key in BASE}
    a = edited(near, first)
    b = edited(a, second)
    x = tree.apply(base, first)
    y = tree.apply(x, second)
    assert list(diff(tree.nodes, x, y)) == model_diff(a, b)
    assert list(diff(tree.nodes, y, x)) == model_diff(b, a)


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.integers(0, 3000), st.integers(0, 3000))
def test_diff_of_unlike_trees(seed, n, m):
    """Few common entries, different numbers of levels."""
    rng = random.Random(seed)
    tree = Tree()
    a = {b"%04d" % i: b"a" for i in rng.sample(range(4000), n)}
    b = {b"%04d" % i: rng.choice([b"a", b"b"]) for i in rng.sample(range(4000), m)}
    assert list(diff(tree.nodes, tree.build(a), tree.build(b))) == model_diff(a, b)


def test_diff_from_and_to_nothing(tree, base):
    assert [(k, new) for k, _, new in diff(tree.nodes, EMPTY, base)] == list(BASE.items())
    assert [(k, old) for k, old, _ in diff(tree.nodes, base, EMPTY)] == list(BASE.items())
    assert list(diff(tree.nodes, base, base)) == []


def test_diff_tells_references_apart():
    tree = Tree()
    refs = [Ref(BLOB, bytes([i]) * 32, 1000) for i in range(2)]
    a, b = tree.build({b"k": refs[0], b"l": b""}), tree.build({b"k": refs[1], b"l": b""})
    assert list(diff(tree.nodes, a, b)) == [(b"k", *refs)]


def test_a_diff_reads_what_differs(tree, base):
    for edits in ({KEYS[60_000]: b"x"}, {KEYS[60_000]: None}, {KEYS[60_000] + b"!": b"x"}, {KEYS[0]: None}):
        root = tree.apply(base, edits)
        assert len(list(diff(tree.cold(), base, root))) == 1
        assert len(tree.store.read) <= 2 * (3 + 2)
    run = tree.apply(base, {KEYS[60_000] + b"%06d" % i: b"run" for i in range(30_000)})
    assert sum(1 for _ in diff(tree.cold(), base, run)) == 30_000
    assert len(tree.store.read) <= 30_000 / 283 * 1.3 + 20


def test_a_diff_is_a_stream(tree, base):
    root = tree.apply(base, dict.fromkeys(KEYS[::100], b"x"))
    changes = diff(tree.cold(), base, root)
    assert next(changes) == (KEYS[0], BASE[KEYS[0]], b"x")
    assert len(tree.store.read) <= 6


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 20), m=st.integers(1, 20), shared=st.integers(0, 3))
def test_merge(tree, base, ends, seed, n, m, shared):
    """Both sides changed keys, runs, ends of leaves: some of them alike, some against each other."""
    rng = random.Random(seed)
    both = random_edits(rng, KEYS, ends, shared) if shared else {}
    ours = {**random_edits(rng, KEYS, ends, n), **both}
    theirs = {**random_edits(rng, KEYS, ends, m), **both}
    check_merge(tree, base, ours, theirs)


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.integers(0, 2500), st.integers(0, 2500), st.integers(0, 2500))
def test_merge_of_unlike_trees(seed, n, m, k):
    rng = random.Random(seed)
    parts = [
        {b"%04d" % i: rng.choice([b"a", b"b"]) for i in rng.sample(range(start, start + 3000), size)}
        for start, size in ((0, n), (rng.randrange(3000), m), (rng.randrange(3000), k))
    ]
    real, model, tree = Resolver(), Resolver(), Tree()
    expected = tree.build(model_merge(*parts, model))
    assert tree.flushed(merge(tree.writer, *map(tree.build, parts), real)) == expected
    assert real.asked == model.asked


def runs(at: int, n: int, value: bytes = b"run") -> dict:
    return {KEYS[at] + b"%06d" % i: value for i in range(n)}


def gone(lo: int, hi: int) -> dict:
    return dict.fromkeys(KEYS[lo:hi])


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (runs(50_000, 40_000), runs(90_000, 40_000)),
        (runs(50_000, 40_000), runs(50_000, 40_000)),
        (runs(50_000, 40_000), runs(50_000, 40_000, b"other")),
        (runs(50_000, 40_000), runs(50_001, 40_000)),
        (gone(10_000, 60_000), gone(80_000, 110_000)),
        (gone(10_000, 60_000), gone(30_000, 90_000)),
        (gone(10_000, 60_000), runs(30_000, 40_000)),
        (gone(10_000, 60_000), {KEYS[30_000]: b"changed"}),
        (gone(0, 120_000), {KEYS[30_000]: b"changed"}),
        (gone(0, 120_000), gone(0, 119_999)),
        (gone(0, 60_000), gone(60_000, 120_000)),
        (runs(119_999, 40_000), gone(119_000, 120_000)),
        ({b"\0": b"first"}, runs(119_999, 50_000)),
        (dict.fromkeys(KEYS[::2], b"even"), dict.fromkeys(KEYS[1::2], b"odd")),
        (dict.fromkeys(KEYS, b"ours"), dict.fromkeys(KEYS, b"theirs")),
    ],
    ids=range(15),
)
def test_merge_of_runs(tree, base, ours, theirs):
    check_merge(tree, base, ours, theirs)
    check_merge(tree, base, theirs, ours)


def never(*args):
    raise AssertionError(args)


def test_merge_of_one_side_is_that_side(tree, base):
    other = tree.apply(base, runs(7, 100))
    assert merge(tree.writer, base, base, other, never) == other
    assert merge(tree.writer, base, other, base, never) == other
    assert merge(tree.writer, base, other, other, never) == other


@pytest.mark.parametrize(
    ("ours", "theirs", "most"),
    [
        ({KEYS[20_000]: b"x"}, {KEYS[90_000]: b"y"}, 20),
        (runs(20_000, 60_000), runs(90_000, 60_000), 40),
        (gone(20_000, 50_000), gone(70_000, 100_000), 40),
        (gone(20_000, 50_000), runs(70_000, 60_000), 40),
        ({k + b"!": b"" for k in KEYS[20_000:40_000]}, {k + b"!": b"" for k in KEYS[70_000:90_000]}, 40),
    ],
    ids=["keys", "inserted runs", "removed runs", "removed and inserted", "insertions between"],
)
def test_a_merge_splices(tree, base, ours, theirs, most):
    """Where one side alone changed, its nodes are taken over unread, however many they are."""
    a, b = tree.apply(base, ours), tree.apply(base, theirs)
    expected = tree.apply(a, theirs)
    cold = tree.cold()
    merged = merge(cold, base, a, b, never)
    assert merged == expected
    assert len(tree.store.read) <= most
    assert cold.written <= most


def test_a_refused_merge_stores_nothing(tree, base):
    a, b = tree.apply(base, {KEYS[5]: b"ours"}), tree.apply(base, {KEYS[5]: b"theirs"})
    before = len(tree.store)
    with pytest.raises(AssertionError):
        merge(tree.cold(), base, a, b, never)
    assert len(tree.store) == before
