"""The messages Keys and KeyValues."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagdvid.errors import BadRequest
from dagdvid.interchange.keyvalues import KeyPart, keys_message, keyvalue_chunks, read_keys, read_keyvalues
from dagdvid.interchange.protowire import delimited, varint_field

uint64 = st.integers(0, 2**64 - 1)
names = st.binary(max_size=200)  # any bytes: they need not be UTF-8
pairs = st.lists(st.tuples(names, st.binary(max_size=300)), max_size=20)


def message(entries):
    return b"".join(chunk for key, value in entries for chunk in keyvalue_chunks(key, value))


@given(pairs)
def test_pairs_come_back_as_written(entries):
    assert read_keyvalues(message(entries)) == entries


def test_golden_keyvalues():
    recorded = b'\n\x0e\n\x02a1\x12\x08{"n": 1}\n\x08\n\x06absent'  # an answer of DVID's
    assert message([(b"a1", b'{"n": 1}'), (b"absent", b"")]) == recorded
    assert read_keyvalues(recorded) == [(b"a1", b'{"n": 1}'), (b"absent", b"")]


@given(st.lists(names, max_size=10), st.lists(st.tuples(names, st.tuples(uint64, uint64)), max_size=10))
def test_keys_come_before_ranges(keys, ranges):
    parts = [KeyPart(key) for key in keys] + [KeyPart(key, span) for key, span in ranges]
    assert read_keys(keys_message(parts)) == parts
    assert read_keys(keys_message(parts[::-1])) == [KeyPart(k) for k in keys[::-1]] + [
        KeyPart(k, span) for k, span in ranges[::-1]
    ]


def test_golden_keys():
    sent = b"\n\x03num\x12\t\n\x03abc\x10\x01\x18\x03\x12\n\n\x06absent\x18\x01"
    parts = [KeyPart(b"num"), KeyPart(b"abc", (1, 3)), KeyPart(b"absent", (0, 1))]
    assert read_keys(sent) == parts
    assert keys_message(parts) == sent


def test_unknown_fields_are_skipped():
    more = varint_field(9, 77) + delimited(10, b"new") + b"\x5d\0\0\0\0" + b"\x61" + bytes(8)
    assert read_keyvalues(more + delimited(1, delimited(1, b"k") + more + delimited(2, b"v")) + more) == [(b"k", b"v")]
    assert read_keys(more + delimited(2, delimited(1, b"k") + more)) == [KeyPart(b"k", (0, 0))]


@pytest.mark.parametrize(
    "sent", [varint_field(1, 5), delimited(1, varint_field(1, 5)), delimited(1, varint_field(2, 5))]
)
def test_fields_of_another_type_are_refused(sent):
    with pytest.raises(BadRequest, match="wire type"):
        read_keyvalues(sent)


@pytest.mark.parametrize("sent", [varint_field(1, 5), varint_field(2, 5), delimited(2, delimited(2, b"x"))])
def test_ranges_of_another_type_are_refused(sent):
    with pytest.raises(BadRequest, match="wire type"):
        read_keys(sent)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(sent):
    for read in (read_keyvalues, read_keys):
        try:
            found = read(sent)
        except BadRequest:
            continue
        assert len(found) <= len(sent)


@given(pairs.filter(bool), st.data())
def test_every_cut_is_refused_or_reads_fewer_pairs(entries, data):
    whole = message(entries)
    cut = data.draw(st.integers(0, len(whole) - 1))
    try:
        found = read_keyvalues(whole[:cut])
    except BadRequest:
        return
    assert found == entries[: len(found)]
    assert len(found) < len(entries)
