"""Canonical JSON (SPEC 2.1)."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagdvid.errors import Corrupt
from dagdvid.objects.canonical import decode, encode

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | TEXT
VALUES = st.recursive(SCALARS, lambda v: st.lists(v, max_size=4) | st.dictionaries(TEXT, v, max_size=4), max_leaves=20)


@given(VALUES)
def test_round_trip(value):
    data = encode(value)
    assert decode(data) == value
    assert json.loads(data) == value
    assert encode(decode(data)) == data


@given(st.dictionaries(TEXT, SCALARS, max_size=8), st.randoms())
def test_order_of_keys_does_not_matter(value, rng):
    items = list(value.items())
    rng.shuffle(items)
    assert encode(dict(items)) == encode(value)


@given(VALUES, st.integers(0, 200), st.sampled_from([b" ", b"\n", b"0", b",", b"\\u0041", b"\xef\xbb\xbf"]))
def test_one_value_has_one_encoding(value, at, extra):
    """Whatever else decodes to the same value is refused."""
    data = encode(value)
    other = data[:at] + extra + data[at:]
    with suppress(Corrupt):
        assert decode(other) != value or other == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1.0",
        b"1e3",
        b"-0",
        b"NaN",
        b"Infinity",
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b'{"a": 1}',
        b'"\\u0041"',
        b'"\\/"',
        b'"\\u001F"',
        b'"\\ud800"',
        b"\xff",
        b'"\xed\xa0\x80"',
        '"x"'.encode("utf-16"),
        b'\xef\xbb\xbf"x"',
        b"9223372036854775808",
        b"-9223372036854775808",
        b"1" * 5000,
        b"[" * 101 + b"]" * 101,
        b"[" * 100_000,
        b"{}x",
    ],
    ids=lambda data: repr(data[:20]),
)
def test_other_forms_are_corrupt(data):
    with pytest.raises(Corrupt):
        decode(data)


def test_escapes():
    text = "".join(map(chr, range(0x20))) + '"\\/\x7f\u2028é😀'
    short = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r"}
    controls = "".join(short.get(i, f"\\u{i:04x}") for i in range(0x20))
    assert encode(text).decode() == f'"{controls}\\"\\\\/\x7f\u2028é😀"'


def test_levels():
    nested: object = []
    for _ in range(99):
        nested = [nested]
    assert decode(encode(nested)) == nested
    with pytest.raises(ValueError, match="levels"):
        encode([nested])


@pytest.mark.parametrize("value", [1.0, {1: 2}, b"x", {"a": {"b": [object()]}}, {"a": float("nan")}])
def test_what_has_no_form(value):
    with pytest.raises(TypeError):
        encode(value)


@pytest.mark.parametrize("value", [2**63, -(2**63), "\ud800", {"\udfff": 1}], ids=ascii)
def test_what_is_out_of_range(value):
    with pytest.raises(ValueError, match=r"range|surrogates"):
        encode(value)
