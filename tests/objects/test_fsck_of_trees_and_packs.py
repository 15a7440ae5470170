"""What fsck finds of lying trees and damaged packs, beyond objects that do not match their hashes."""

from __future__ import annotations

import pytest
from tree_tools import keys_by_hash

from dagdvid.objects.blobs import encode_blob_list
from dagdvid.objects.ids import ObjectType
from dagdvid.objects.store import prepare
from dagdvid.objects.tree import edit
from dagdvid.objects.tree.node import BLOB, BLOB_LIST, Child, Node, Ref, encode_inner, encode_leaf
from dagdvid.objects.tree.nodes import NodeWriter
from dagdvid.repo.verify import Walk, verify
from dagdvid.server import Server

KEYS = keys_by_hash([0], 2**60, 2**64, 1300)


def walk(server, root) -> list[str]:
    """What is wrong with a tree and its values."""
    walk = Walk(server.catalog)
    for _ in walk.values(root):
        pass
    return [problem["error"] for problem in walk.problems]


def put(server, kind, data) -> bytes:
    item = prepare(kind, data)
    server.store.put_many([item])
    return item.id


@pytest.fixture
def tree(server) -> Node:
    """A root of three leaves, stored."""
    writer = NodeWriter(server.catalog.nodes)
    root = edit.build(writer, ((key, b"v") for key in KEYS))
    writer.flush()
    assert walk(server, root) == []
    return server.catalog.nodes.read(root)


def test_a_parent_that_lies(server, tree):
    """Of one child: its entries, its size, its last key, its place, its level."""
    first, second, third = tree.children
    lies = [
        (tree.keys, [first._replace(entries=511), second, third]),
        (tree.keys, [first, second._replace(size=1), third]),
        ([tree.keys[0] + b"!", *tree.keys[1:]], [first, second, third]),
        ([*tree.keys[:2], tree.keys[2] + b"!"], [first, second, third]),
        (tree.keys, [second, second, third]),
        (tree.keys[1:], [third, third]),
    ]
    for keys, children in lies:
        assert walk(server, put(server, ObjectType.NODE, encode_inner(1, keys, children)))
    whole = put(server, ObjectType.NODE, tree.data)
    assert walk(server, put(server, ObjectType.NODE, encode_inner(1, tree.keys[2:], [Child(whole, *tree.totals())])))
    assert walk(server, put(server, ObjectType.NODE, encode_inner(2, tree.keys[2:], [Child(whole, *tree.totals())])))


def test_a_short_leaf_that_two_trees_share(server, tree):
    """Right at the end of one tree, wrong in the middle of another, although it was seen before."""
    short, one = encode_leaf(KEYS[:5], [b"v"] * 5), encode_leaf(KEYS[5:6], [b"v"])
    child = Child(put(server, ObjectType.LEAF, short), *Node(short).totals())
    after = Child(put(server, ObjectType.LEAF, one), *Node(one).totals())
    wrong = put(server, ObjectType.NODE, encode_inner(1, [KEYS[4], KEYS[5]], [child, after]))
    found = Walk(server.catalog)
    for root in (child.id, wrong):
        list(found.tree(root))
    assert ["ends before its boundary" in problem["error"] for problem in found.problems] == [True]


def test_values_that_are_not_what_the_tree_says(server):
    blob = put(server, ObjectType.BLOB, bytes(1000))
    leaf = put(server, ObjectType.LEAF, bytes(1000))
    big = put(server, ObjectType.BLOB, bytes(4 * 2**20))
    listed = put(server, ObjectType.BLOB_LIST, encode_blob_list([(big, 4 * 2**20), (blob, 1000)]))
    lying = put(server, ObjectType.BLOB_LIST, encode_blob_list([(big, 4 * 2**20), (blob, 1001)]))
    size = 4 * 2**20 + 1000
    cases = {
        Ref(BLOB, blob, 1000): 0,
        Ref(BLOB, blob, 1001): 1,
        Ref(BLOB, leaf, 1000): 1,
        Ref(BLOB_LIST, listed, size): 0,
        Ref(BLOB_LIST, listed, size + 1): 1,
        Ref(BLOB_LIST, lying, size + 1): 1,
        Ref(BLOB_LIST, big, size): 1,
    }
    for ref, problems in cases.items():
        assert len(walk(server, put(server, ObjectType.LEAF, encode_leaf([b"k"], [ref])))) == problems, ref


def test_a_damaged_pack_is_named(config):
    """Even if all its objects are intact."""
    server = Server.open(config)
    server.store.put_many([prepare(ObjectType.BLOB, b"something")])
    server.close()
    Server.open(config).close()
    path = next((config.data / "packs").iterdir())
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    server = Server.open(config)
    *_, report = verify(server.catalog)
    assert not report["result"]["ok"]
    assert [problem["pack"] for problem in report["result"]["problems"]] == [path.stem]
    server.close()
