"""Equal entries, equal roots, whatever edits led there (SPEC 5.3), on trees of three levels."""

from __future__ import annotations

import random

import naive_tree
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tree_tools import Tree, edited, keys_by_hash, random_edits, sample

from dagdvid.objects.tree import edit
from dagdvid.objects.tree.check import Place, check_node, check_place, places, shape
from dagdvid.objects.tree.node import BLOB, Ref
from dagdvid.objects.tree.nodes import EMPTY, NodeWriter
from dagdvid.objects.tree.read import Stats, stats

BASE = sample(300_000)
KEYS = list(BASE)


@pytest.fixture(scope="module")
def tree() -> Tree:
    return Tree()


@pytest.fixture(scope="module")
def base(tree) -> bytes:
    return tree.build(BASE)


def test_bulk_build_equals_the_naive_tree(tree, base):
    """Every node of three levels, byte by byte."""
    nodes: dict[bytes, bytes] = {}
    assert naive_tree.build(BASE, nodes) == base
    assert stats(tree.nodes, base).levels == 3
    assert {name: tree.nodes.read(name).data for name in nodes} == nodes


def test_every_node_is_canonical_and_what_its_parent_says(tree, base):
    front = [(base, Place())]
    for name, place in front:
        node = tree.nodes.read(name)
        check_node(node, last=place.last)
        check_place(shape(node), place)
        if node.level:
            front += zip(node.ids, places(node, place), strict=True)
    assert len(front) > 1000


def test_counts_and_sizes(tree, base):
    assert stats(tree.nodes, base) == Stats(len(BASE), sum(len(k) + len(v) for k, v in BASE.items()), 3)


@pytest.mark.parametrize("n", [0, 1, 2, 127, 128, 129, 511, 512, 513, 600, 5000])
def test_small_trees_equal_the_naive_tree(n):
    entries = dict(list(BASE.items())[:n])
    assert Tree().build(entries) == naive_tree.build(entries)


def test_values_of_all_kinds_equal_the_naive_tree():
    rng = random.Random(5)
    entries: dict = {}
    for i in range(3000):
        key = rng.randbytes(rng.choice([1, 8, 8, 256, 257, 1024])) + i.to_bytes(2, "big")
        ref = Ref(BLOB, rng.randbytes(32), rng.randrange(513, 2**22))
        entries[key[-1024:]] = rng.choice([b"", rng.randbytes(128), ref])
    assert Tree().build(entries) == naive_tree.build(entries)


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 25), batches=st.integers(1, 4))
def test_edits_lead_to_the_tree_of_the_entries(tree, base, seed, n, batches):
    """Edits at leaf ends, first and last keys, of runs; in one batch or in several, in an order of their own."""
    rng = random.Random(seed)
    edits = random_edits(rng, KEYS, tree.leaf_ends(base), n)
    entries = edited(BASE, edits)
    expected = tree.build(entries)
    assert stats(tree.nodes, expected).entries == len(entries)
    parts: list[dict] = [{} for _ in range(batches)]
    for key, value in edits.items():
        parts[rng.randrange(batches)][key] = value
    root = base
    for part in parts:
        root = tree.apply(root, part)
    assert root == expected
    back = {key: BASE.get(key) for key in edits}
    assert tree.apply(root, back) == base


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32))
def test_edits_of_small_trees_equal_the_naive_tree(seed):
    """From entries to other entries, across one, two and no levels."""
    rng = random.Random(seed)
    tree, entries, root = Tree(), {}, EMPTY
    for _ in range(6):
        keys = rng.sample(range(3000), rng.randrange(2500))
        keep = rng.random()
        edits = {b"%05d" % key: None if rng.random() > keep else rng.randbytes(3) for key in keys}
        entries = edited(entries, edits)
        root = tree.apply(root, edits)
        assert root == naive_tree.build(entries)


def test_every_leaf_end(tree, base):
    """Each end of a leaf removed, updated and followed by a new key, all at once."""
    for change in (None, b"updated"):
        edits = dict.fromkeys(tree.leaf_ends(base), change)
        assert tree.apply(base, edits) == tree.build(edited(BASE, edits))
    edits = {key + b"\0": b"after" for key in tree.leaf_ends(base)}
    assert tree.apply(base, edits) == tree.build(edited(BASE, edits))


def test_updates_never_move_a_boundary(tree, base):
    edits = dict.fromkeys(KEYS[::1000], b"x" * 512)
    assert tree.leaf_ends(tree.apply(base, edits)) == tree.leaf_ends(base)


def test_what_changes_nothing(tree, base):
    same = {key: BASE[key] for key in KEYS[::5000]}
    absent = {key + b"?": None for key in KEYS[::5000]}
    for edits in ({}, same, absent, {**same, **absent, b"\xff": None}):
        writer = NodeWriter(tree.nodes)
        assert edit.apply(writer, base, sorted(edits.items())) == base
        assert writer.written == 0


def test_one_edit_writes_about_one_node_a_level(tree, base):
    rng = random.Random(6)
    written = []
    for _ in range(100):
        writer = NodeWriter(tree.nodes)
        edit.apply(writer, base, [(rng.choice(KEYS) + b"!", b"new")])
        written.append(writer.written)
    assert sum(written) / 100 < 3.5
    assert max(written) < 12


def test_down_to_empty_and_up_again(tree, base):
    rng = random.Random(7)
    order = rng.sample(KEYS, len(KEYS))
    sizes = [0, 150_000, 100_000, 40_000, 9000, 800, 150, 49, 1]
    assert sum(sizes) == len(KEYS)
    entries, root, at = dict(BASE), base, 0
    for size in sizes:
        gone = order[at : at + size]
        at += size
        for key in gone:
            del entries[key]
        root = tree.apply(root, dict.fromkeys(gone))
        assert root == tree.build(entries)
    assert root == EMPTY
    for size in reversed(sizes):
        back = order[at - size : at]
        at -= size
        root = tree.apply(root, {key: BASE[key] for key in back})
    assert root == base


def test_from_both_ends_to_the_middle(tree, base):
    """Whole subtrees go, from the left, the right, and both at once."""
    for lo, hi in ((0, 1), (299_999, 300_000), (0, 299_999), (150_000, 150_001), (100_000, 100_900), (0, 90_000)):
        kept = dict(list(BASE.items())[lo:hi])
        assert tree.apply(base, {key: None for key in KEYS if key not in kept}) == tree.build(kept)


def test_a_short_end_of_every_level_becomes_the_root():
    """What is left is the last node of its level, with a single child that has a single child: the leaf is the root."""
    tree = Tree()
    keys = keys_by_hash([0, 1], 2**60, 2**64, 512 * 512 + 5)
    root = tree.build(dict.fromkeys(keys, b"v"))
    top = tree.nodes.read(root)
    assert [tree.nodes.read(name).n for name in top.ids] == [512, 1]
    gone = dict.fromkeys(keys[: 512 * 512])
    rest = tree.build(dict.fromkeys(keys[512 * 512 :], b"v"))
    assert tree.apply(root, gone) == rest
    assert stats(tree.nodes, rest) == Stats(5, 30, 1)
    two = tree.apply(root, dict.fromkeys(keys[: 512 * 511]))
    assert two == tree.build(dict.fromkeys(keys[512 * 511 :], b"v"))


def test_forced_cuts():
    """Keys at which no hash ever cuts: all nodes of two levels are full, and each edit moves every end after it."""
    tree = Tree()
    keys = keys_by_hash([0, 1], 2**60, 2**64, 512 * 512 + 700)
    entries = dict.fromkeys(keys, b"v")
    root = tree.build(entries)
    assert tree.leaf_ends(root)[:-1] == keys[511::512]
    for key in (keys[0], keys[511], keys[512], keys[512 * 512 - 1], keys[-1]):
        assert tree.apply(root, {key: None}) == tree.build({k: v for k, v in entries.items() if k != key})
        assert tree.apply(root, {key + b"\0": b"new"}) == tree.build(edited(entries, {key + b"\0": b"new"}))
    extra = [key for key in keys_by_hash([0], 2**60, 2**64, 60_000) if key not in entries]
    assert tree.apply(root, dict.fromkeys(extra, b"v")) == tree.build(edited(entries, dict.fromkeys(extra, b"v")))


def test_shortest_nodes():
    keys = keys_by_hash([0], 0, 2**55, 1000)
    tree = Tree()
    root = tree.build(dict.fromkeys(keys, b"v"))
    assert tree.leaf_ends(root)[:-1] == keys[127::128]
    assert tree.apply(root, {keys[3]: None}) == naive_tree.build(dict.fromkeys(keys[:3] + keys[4:], b"v"))


def test_a_stream_of_edits(tree, base):
    """Edits are taken as they come, in batches of any size."""
    edits = {key: None if i % 3 else b"new" for i, key in enumerate(KEYS[::7])}
    root = tree.flushed(edit.apply(tree.writer, base, (item for item in edits.items())))
    assert root == tree.build(edited(BASE, edits))


@pytest.mark.parametrize(
    "edits",
    [
        [(b"b", b""), (b"a", b"")],
        [(b"a", b""), (b"a", None)],
        [(b"", b"")],
        [(b"k" * 1025, b"")],
        [(b"k", bytes(513))],
        [(b"k", Ref(BLOB, bytes(32), 3))],
        [(b"%05d" % i, b"") for i in range(8192)] + [(b"08191", b"")],
    ],
    ids=range(7),
)
def test_edits_against_the_rules(edits):
    tree = Tree()
    with pytest.raises(ValueError, match=r"key|order"):
        edit.apply(tree.writer, EMPTY, edits)
    with pytest.raises(ValueError, match=r"key|order"):
        edit.apply(tree.writer, tree.build({b"A": b""}), edits)
