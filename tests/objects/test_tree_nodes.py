"""The bytes of tree nodes (SPEC 5.2), what makes them canonical (SPEC 5.5), and the cache that holds them."""

from __future__ import annotations

import random
import struct
import threading
from contextlib import suppress

import naive_tree
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagdvid.errors import Corrupt, MissingObject
from dagdvid.objects.ids import ObjectType
from dagdvid.objects.memory import MemoryStore
from dagdvid.objects.store import prepare
from dagdvid.objects.tree.check import Place, check_node, check_place, places, shape
from dagdvid.objects.tree.node import BLOB, BLOB_LIST, Child, Node, Ref, encode_inner, encode_leaf, inline_limit
from dagdvid.objects.tree.nodes import EMPTY, NodeCache, Nodes

KEYS = st.sets(st.binary(min_size=1, max_size=12) | st.binary(min_size=250, max_size=1024), min_size=1, max_size=40)
REFS = st.builds(Ref, st.just(BLOB), st.binary(min_size=32, max_size=32), st.integers(513, 2**22)) | st.builds(
    Ref, st.just(BLOB_LIST), st.binary(min_size=32, max_size=32), st.integers(2**22 + 1, 2**34)
)
VALUES = st.binary(max_size=128) | REFS
CHILDREN = st.builds(Child, st.binary(min_size=32, max_size=32), st.integers(0, 2**50), st.integers(0, 2**50))


@st.composite
def leaves(draw):
    keys = sorted(draw(KEYS))
    prefix = draw(st.binary(max_size=20))
    keys = [(prefix + key)[:1024] for key in keys]
    keys = sorted(set(keys))
    return keys, [draw(VALUES) for _ in keys]


@given(leaves())
def test_leaf_round_trip(leaf):
    keys, values = leaf
    data = encode_leaf(keys, values)
    assert data == naive_tree.leaf(list(zip(keys, values, strict=True)))
    node = Node(data)
    assert (node.level, node.n, node.keys, node.values) == (0, len(keys), keys, values)
    assert [node.value(i) for i in range(node.n)] == values
    assert node.refs() == [v for v in values if isinstance(v, Ref)]
    size = sum(map(len, keys)) + sum(v.size if isinstance(v, Ref) else len(v) for v in values)
    assert node.totals() == (len(keys), size)
    check_node(node, last=True)


@given(KEYS, st.data(), st.integers(1, 255))
def test_inner_round_trip(keys, draw, level):
    keys = sorted(keys)
    children = [draw.draw(CHILDREN) for _ in keys]
    data = encode_inner(level, keys, children)
    assert data == naive_tree.inner(level, [(k, *c) for k, c in zip(keys, children, strict=True)])
    node = Node(data)
    assert (node.level, node.keys, node.children, node.type) == (level, keys, children, ObjectType.NODE)
    assert node.ids == [child.id for child in children]
    assert node.totals() == (sum(c.entries for c in children), sum(c.size for c in children))
    check_node(node, last=True)


def touch(data: bytes) -> None:
    """Use every part of a node."""
    node = Node(data)
    assert len(node.keys) == node.n
    if node.level:
        assert len(node.children) == node.n
    else:
        assert len(node.values) == node.n
        for i in range(node.n):
            node.value(i)
        node.refs()
    node.totals()
    node.find(b"m")
    check_node(node, last=True)


@given(leaves(), st.data())
def test_other_bytes_are_corrupt_or_canonical(leaf, draw):
    """Damage never raises anything but Corrupt; what still passes the check is the canonical form of other entries."""
    keys, values = leaf
    data = bytearray(encode_leaf(keys, values))
    for _ in range(draw.draw(st.integers(1, 3))):
        at = draw.draw(st.integers(0, min(len(data), 200) - 1))
        data[at] = draw.draw(st.integers(0, 255))
    end = draw.draw(st.sampled_from([len(data), len(data), len(data) - 1, 17, 15, 0]))
    try:
        touch(bytes(data[:end]))
    except Corrupt:
        return
    node = Node(bytes(data))
    if node.level:
        assert encode_inner(node.level, node.keys, node.children) == bytes(data)
    else:
        assert encode_leaf(node.keys, node.values) == bytes(data)


@given(st.binary(max_size=120), st.integers(0, 3), st.integers(0, 3))
def test_any_bytes_are_corrupt_or_a_node(tail, level, n):
    data = struct.pack("<BBHI", 1, level, 0, n) + tail
    with suppress(Corrupt):
        touch(data)


HEAD = struct.Struct("<BBHIII")


@pytest.mark.parametrize(
    "data",
    [
        HEAD.pack(1, 0, 0, 2**32 - 1, 2**32 - 1, 2**32 - 1) + bytes(100),
        HEAD.pack(1, 0, 65535, 1, 0, 0) + bytes(70_000),
        HEAD.pack(1, 1, 0, 0, 0, 0),
        HEAD.pack(2, 0, 0, 0, 0, 0),
        HEAD.pack(1, 0, 1, 0, 0, 0) + b"x",
        HEAD.pack(1, 0, 0, 0, 1, 0) + b"x",
        HEAD.pack(1, 0, 0, 0, 0, 1) + b"x",
        HEAD.pack(1, 0, 0, 0, 0, 0) + b"x",
        HEAD.pack(1, 0, 0, 1, 1, 5) + struct.pack("<I", 1) + b"k\0" + struct.pack("<q", 2**63 - 1) + b"value",
        HEAD.pack(1, 0, 0, 1, 1, 0) + struct.pack("<I", 1) + b"k\1" + struct.pack("<Q", 2**64 - 1) + bytes(32),
        HEAD.pack(1, 0, 0, 1, 1, 0) + struct.pack("<I", 1) + b"k\3" + struct.pack("<Q", 600) + bytes(32),
        HEAD.pack(1, 0, 0, 2, 2, 0) + struct.pack("<II", 2**31, 2) + b"kl\0\0" + bytes(16),
        # sizes of inline values that add up only modulo 2^64
        HEAD.pack(1, 0, 0, 2, 2, 0) + struct.pack("<II", 1, 2) + b"kl\0\0" + struct.pack("<qq", 2**62, -(2**62)),
        HEAD.pack(1, 1, 0, 2, 2, 0)
        + struct.pack("<II", 1, 2)
        + b"kl"
        + bytes(64)
        + struct.pack("<QQ", 2**63, 2**63) * 2,
    ],
    ids=range(14),
)
def test_hostile_nodes_are_corrupt(data):
    with pytest.raises(Corrupt):
        touch(data)


def test_size_of_the_largest_leaf():
    keys = [i.to_bytes(2, "big") * 512 for i in range(512)]
    data = encode_leaf(keys, [bytes(inline_limit(keys[0]))] * 512)
    assert len(data) < 2**20
    assert Node(data).keys == keys


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"", b""),
        (b"k" * 1025, b""),
        (b"k", bytes(513)),
        (b"k" * 257, bytes(129)),
        (b"k", Ref(BLOB, bytes(32), 512)),
        (b"k" * 257, Ref(BLOB, bytes(32), 128)),
        (b"k", Ref(BLOB, bytes(32), 2**22 + 1)),
        (b"k", Ref(BLOB_LIST, bytes(32), 2**22)),
        (b"k", Ref(BLOB_LIST, bytes(32), 2**34 + 1)),
        (b"k", Ref(3, bytes(32), 1000)),
    ],
)
def test_keys_and_values_against_the_rules(key, value):
    with pytest.raises(ValueError, match="key"):
        encode_leaf([key], [value])
    with pytest.raises(Corrupt):
        check_node(Node(naive_tree.leaf([(key, value)])), last=True)


def full_leaf() -> list[bytes]:
    """Keys of one whole leaf: 128 or more, the last of them a boundary."""
    keys = [b"%08d" % i for i in range(2000)]
    return keys[: naive_tree.split(keys, 0)[0]]


def test_boundaries_are_checked():
    keys = full_leaf()
    check_node(Node(naive_tree.leaf([(k, b"") for k in keys])), last=False)
    with pytest.raises(Corrupt, match="before its boundary"):
        check_node(Node(naive_tree.leaf([(k, b"") for k in keys[:-1]])), last=False)
    with pytest.raises(Corrupt, match="beyond a boundary"):
        check_node(Node(naive_tree.leaf([(k, b"") for k in [*keys, b"9"]])), last=True)


@pytest.mark.parametrize("keys", [[b"b", b"a"], [b"a", b"a"], [b"ab", b"aa", b"ac"]])
def test_order_is_checked(keys):
    with pytest.raises(Corrupt, match="order"):
        check_node(Node(naive_tree.leaf([(k, b"") for k in keys])), last=True)


def test_place():
    """A parent that says anything else of its child is found out."""
    keys = full_leaf()
    child = Node(encode_leaf(keys, [b"v"] * len(keys)))
    parent = Node(encode_inner(1, [keys[-1], b"9"], [Child(bytes(32), *child.totals()), Child(bytes(32), 1, 1)]))
    first, second = places(parent, Place())
    assert (first.last, second.last, second.after) == (False, True, keys[-1])
    check_place(shape(child), first)
    check_place(shape(parent), Place())
    lies = [
        {"level": 1},
        {"after": keys[0]},
        {"key": keys[-2]},
        {"key": b"9"},
        {"child": first.child._replace(entries=1)},
        {"child": first.child._replace(size=1)},
    ]
    for lie in lies:
        with pytest.raises(Corrupt):
            check_place(shape(child), first._replace(**lie))
    short = Node(encode_leaf(keys[:-1], [b"v"] * (len(keys) - 1)))
    place = first._replace(key=keys[-2], child=Child(bytes(32), *short.totals()))
    check_place(shape(short), place._replace(last=True))
    with pytest.raises(Corrupt):
        check_place(shape(short), place)
    with pytest.raises(Corrupt):
        check_place(shape(Node(encode_leaf([], []))), place._replace(last=True))
    with pytest.raises(Corrupt, match="single child"):
        check_place(shape(Node(encode_inner(1, [b"k"], [Child(bytes(32), 1, 1)]))), Place())


def test_reading_nodes():
    store = MemoryStore()
    leaf = prepare(ObjectType.LEAF, encode_leaf([b"a"], [b"1"]))
    disguised = prepare(ObjectType.NODE, leaf.data())
    blob = prepare(ObjectType.BLOB, leaf.data())
    store.put_many([leaf, disguised, blob])
    nodes = Nodes(store)
    assert [node.n for node in nodes.read_many([leaf.id, EMPTY, leaf.id])] == [1, 0, 1]
    for wrong in (disguised.id, blob.id):
        with pytest.raises(Corrupt, match=wrong.hex()):
            nodes.read(wrong)
    with pytest.raises(MissingObject, match="00" * 32):
        nodes.read(bytes(32))
    for _ in range(2):  # from the store, then from the cache
        assert nodes.read(leaf.id, 0).n == 1
        with pytest.raises(Corrupt, match="level"):
            nodes.read(leaf.id, 1)


def test_cache_drops_what_was_unused_for_longest():
    node = Node(encode_leaf([b"a" * 100], [b"1"]))
    cache = NodeCache(limit=10 * 4 * len(node.data))
    for i in range(10):
        cache.put(bytes([i]), node)
    assert cache.get(b"\0") is node
    cache.put(b"x", node)
    assert cache.get(b"\0") is node
    assert cache.get(b"\1") is None
    cache.clear()
    assert cache.get(b"\0") is None


def test_cache_is_for_threads():
    node = Node(encode_leaf([b"a" * 100], [b"1"]))
    cache = NodeCache(limit=50 * 4 * len(node.data))
    errors = []

    def use(seed):
        rng = random.Random(seed)
        try:
            for _ in range(10_000):
                name = bytes([rng.randrange(100)])
                if cache.get(name) is None:
                    cache.put(name, node)
        except Exception as error:  # noqa: BLE001  raised below
            errors.append(error)

    threads = [threading.Thread(target=use, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert 40 <= sum(cache.get(bytes([i])) is not None for i in range(100)) <= 50
