"""Keys as text and bytes, lists of them, byte ranges."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagdvid.datatype import MAX_KEY
from dagdvid.datatypes.keyvalue.keys import checked_key, key_of_path, parts_of_json, shown, span_of_text
from dagdvid.errors import BadRequest, TooLarge
from dagdvid.interchange.keyvalues import KeyPart


@given(st.binary(max_size=60))
def test_any_bytes_pass_through_a_path(key):
    assert key_of_path(key.decode("utf-8", "surrogateescape")) == key


def test_lengths():
    assert checked_key(b"k" * MAX_KEY)
    with pytest.raises(TooLarge, match="1025"):
        checked_key(b"k" * (MAX_KEY + 1))
    with pytest.raises(BadRequest, match="at least one"):
        checked_key(b"")


@given(st.binary(max_size=60))
def test_a_shown_key_is_always_unicode(key):
    assert json.loads(json.dumps(shown(key), ensure_ascii=False).encode()) == key.decode("utf-8", "replace")


def test_lists_of_keys_and_parts():
    body = b'["a", {"key": "b"}, {"key": "caf\xc3\xa9", "byte_start": 2, "byte_end": 4}, "a"]'
    assert parts_of_json(body) == [KeyPart(b"a"), KeyPart(b"b"), KeyPart("café".encode(), (2, 4)), KeyPart(b"a")]
    assert parts_of_json(b"[]") == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"\xff",
        b"{}",
        b'"a"',
        b"[1]",
        b"[null]",
        b'[{"byte_start": 1}]',
        b'[{"key": 1}]',
        b'[{"key": "a", "byte_start": 2}]',
        b'[{"key": "a", "byte_end": 2}]',
        b'[{"key": "a", "byte_start": -1, "byte_end": 2}]',
        b'[{"key": "a", "byte_start": 1.5, "byte_end": 2}]',
        b'[{"key": "a", "byte_start": true, "byte_end": 2}]',
        b'[{"key": "a", "byte_start": 3, "byte_end": 2}]',
        b'["\\ud800"]',
        b"[" * 100_000,
    ],
)
def test_other_bodies_are_refused(body):
    with pytest.raises(BadRequest):
        parts_of_json(body)


def test_spans():
    assert span_of_text(None, None) is None
    assert span_of_text("3", "9") == (3, 9)
    for first, last in [("3", None), (None, "3"), ("x", "4"), ("-1", "4"), ("5", "4"), ("1" * 5000, "4"), ("", "")]:
        with pytest.raises(BadRequest, match="byte_"):
            span_of_text(first, last)
