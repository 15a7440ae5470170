"""Keys and values as JSON, tar and protobuf, read back by other people's readers."""

from __future__ import annotations

import io
import json
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagdvid.datatypes.keyvalue.ops import Entry, as_json, as_protobuf, as_tar, key_list, part
from dagdvid.errors import BadRequest
from dagdvid.interchange.keyvalues import read_keyvalues

names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=200)
entries = st.lists(st.tuples(names, st.binary(max_size=1500)), max_size=8)


@given(st.lists(st.binary(min_size=1, max_size=8), max_size=20))
def test_a_list_of_keys_is_json(keys):
    assert json.loads(b"".join(key_list(keys))) == [key.decode("utf-8", "replace") for key in keys]


@pytest.mark.parametrize("count", [4095, 4096, 4097, 10_000])
def test_long_lists_come_in_batches(count):
    keys = [b"%05d" % i for i in range(count)]
    chunks = list(key_list(keys))
    assert json.loads(b"".join(chunks)) == [key.decode() for key in keys]
    assert len(chunks) == -(-count // 4096) + 1


@given(entries)
def test_tar_members_are_keys_and_values_in_order(pairs):
    body = b"".join(as_tar(Entry(name.encode(), value) for name, value in pairs))
    assert len(body) % 512 == 0
    with tarfile.open(fileobj=io.BytesIO(body), encoding="utf-8", errors="surrogateescape") as tar:
        members = [(m.name, tar.extractfile(m).read(), m.mode, m.mtime) for m in tar]
    assert members == [(name.rstrip("/") or name, value, 0o755, 0) for name, value in pairs]


def test_a_tar_member_may_have_a_name_that_is_not_utf8():
    body = b"".join(as_tar([Entry(b"\xff\xfe", b"v")]))
    with tarfile.open(fileobj=io.BytesIO(body), encoding="utf-8", errors="surrogateescape") as tar:
        (member,) = tar.getmembers()
        assert member.name.encode("utf-8", "surrogateescape") == b"\xff\xfe"
        assert tar.extractfile(member).read() == b"v"


def test_a_small_tar_has_the_size_of_dvids():
    body = b"".join(as_tar(Entry(k, b"root-" + k) for k in (b"a", b"b", b"c", b"d")))
    assert len(body) == 5120


@given(st.dictionaries(names, st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=4), max_size=6))
def test_json_holds_the_values_as_they_are(values):
    stored = [Entry(name.encode(), json.dumps(value).encode()) for name, value in values.items()]
    assert json.loads(b"".join(as_json(stored, check=True))) == values


def test_an_empty_value_is_an_empty_object():
    assert b"".join(as_json([Entry(b"a", b""), Entry(b'q"', b"[1]")], check=True)) == b'{"a":{},"q\\"":[1]}'
    assert b"".join(as_json([], check=True)) == b"{}"


@pytest.mark.parametrize("value", [b"{", b"\xff", b"NaN", b"cde", b"[1,]", b"1 2", b"[" * 100_000])
def test_what_is_not_json_is_refused_if_asked_for(value):
    with pytest.raises(BadRequest, match="not JSON"):
        list(as_json([Entry(b"k", value)], check=True))
    with pytest.raises(BadRequest, match="part of the value"):
        list(as_json([Entry(b"k", value, partial=True)], check=False))
    assert b"".join(as_json([Entry(b"k", value)], check=False)) == b'{"k":' + value + b"}"


def test_numbers_of_any_length_are_json():
    value = b"9" * 10_000
    assert value in b"".join(as_json([Entry(b"k", value)], check=True))


@given(entries)
def test_protobuf_holds_keys_and_values_in_order(pairs):
    stored = [Entry(name.encode(), value) for name, value in pairs]
    assert read_keyvalues(b"".join(as_protobuf(stored))) == [(key, value) for key, value, _ in stored]


def test_parts_of_values():
    assert part(b"k", b"abcdef", (0, 0)) == b"a"
    assert part(b"k", b"abcdef", (2, 5)) == b"cdef"
    assert part(b"k", b"abcdef", None) == b"abcdef"
    for span in [(0, 6), (6, 6)]:
        with pytest.raises(BadRequest, match="6 bytes"):
            part(b"k", b"abcdef", span)
