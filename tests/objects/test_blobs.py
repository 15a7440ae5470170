"""Values as objects (SPEC 2.2, 2.3)."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagdvid.errors import Corrupt, MissingObject
from dagdvid.objects.blobs import (
    blob_list_chunks,
    decode_blob_list,
    encode_blob_list,
    make_value,
    read_value,
    read_values,
)
from dagdvid.objects.chunking import MAX, MIN, chunks
from dagdvid.objects.ids import ObjectType
from dagdvid.objects.memory import MemoryStore
from dagdvid.objects.store import MAX_OBJECT, prepare
from dagdvid.objects.tree.node import BLOB, BLOB_LIST, Ref, check_value

LARGE = random.Random(2).randbytes(3 * MAX_OBJECT)
ITEMS = st.lists(st.tuples(st.binary(min_size=32, max_size=32), st.integers(MIN, MAX)), min_size=17, max_size=40)


@pytest.mark.parametrize("key", [b"k", b"k" * 256, b"k" * 257, b"k" * 1024], ids=len)
@pytest.mark.parametrize("size", [0, 1, 128, 129, 512, 513, MAX_OBJECT, MAX_OBJECT + 1, 2 * MAX_OBJECT])
def test_values_of_every_size(key, size):
    store = MemoryStore()
    value, objects = make_value(key, LARGE[:size])
    check_value(key, value)
    store.put_many(objects)
    assert read_value(store, value) == LARGE[:size]
    inline = 512 if len(key) <= 256 else 128
    kind = "inline" if size <= inline else "blob" if size <= MAX_OBJECT else "list"
    assert (kind == "inline") == isinstance(value, bytes)
    assert (kind == "blob") == (isinstance(value, Ref) and value.kind == BLOB and len(objects) == 1)
    assert (kind == "list") == (isinstance(value, Ref) and value.kind == BLOB_LIST)


def test_list_holds_the_chunks():
    value, objects = make_value(b"k", LARGE)
    store = MemoryStore()
    store.put_many(objects)
    assert [size for _, size in blob_list_chunks(store, value)] == [b - a for a, b in chunks(LARGE)]
    assert [item.type for item in objects][-1] == ObjectType.BLOB_LIST


def test_equal_chunks_are_stored_once():
    value, objects = make_value(b"k", bytes(5 * MAX))
    assert len(objects) == 2
    store = MemoryStore()
    store.put_many(objects)
    assert read_value(store, value) == bytes(5 * MAX)


def test_many_values_in_order():
    store = MemoryStore()
    datas = [LARGE[:100], LARGE[:5000], LARGE[: MAX_OBJECT + 9], b"", LARGE[:5000], LARGE[7:900]]
    values = []
    for data in datas:
        value, objects = make_value(b"key", data)
        store.put_many(objects)
        values.append(value)
    assert read_values(store, values) == datas


@given(ITEMS)
def test_list_round_trip(items):
    assert decode_blob_list(encode_blob_list(items)) == items


@pytest.mark.parametrize(
    "items",
    [
        [],
        [(bytes(32), MAX)],
        [(bytes(32), MIN), (bytes(32), MIN)],
        [(bytes(32), MAX), (bytes(32), 0)],
        [(bytes(32), MAX), (bytes(32), MAX + 1)],
        [(bytes(32), MIN - 1), (bytes(32), MAX), (bytes(32), MAX)],
    ],
    ids=lambda items: str([size for _, size in items]),
)
def test_lists_that_no_value_has(items):
    with pytest.raises(Corrupt):
        decode_blob_list(encode_blob_list(items))


@given(ITEMS, st.data())
def test_other_bytes_are_corrupt_or_another_list(items, draw):
    data = bytearray(encode_blob_list(items))
    at = draw.draw(st.integers(0, 7))
    data[at] ^= 1 << draw.draw(st.integers(0, 7))
    with pytest.raises(Corrupt):
        decode_blob_list(bytes(data))
    with pytest.raises(Corrupt):
        decode_blob_list(encode_blob_list(items)[: draw.draw(st.integers(0, len(data) - 1))])


def test_sizes_that_do_not_match_are_corrupt():
    store = MemoryStore()
    value, objects = make_value(b"k", LARGE[:2000])
    store.put_many(objects)
    assert isinstance(value, Ref)
    with pytest.raises(Corrupt, match=value.id.hex()):
        read_value(store, value._replace(size=2001))
    listed, more = make_value(b"k", LARGE)
    store.put_many(more)
    assert isinstance(listed, Ref)
    with pytest.raises(Corrupt, match=listed.id.hex()):
        read_value(store, listed._replace(size=listed.size + 1))
    lies = [(name, size - 1) for name, size in blob_list_chunks(store, listed)]
    wrong = prepare(ObjectType.BLOB_LIST, encode_blob_list(lies))
    store.put_many([wrong])
    with pytest.raises(Corrupt):
        read_value(store, Ref(BLOB_LIST, wrong.id, sum(size for _, size in lies)))


def test_missing_chunk_is_named():
    value, objects = make_value(b"k", LARGE)
    store = MemoryStore()
    store.put_many(objects[1:])
    with pytest.raises(MissingObject, match=objects[0].id.hex()):
        read_value(store, value)
