"""JSON that is read while it arrives."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagdvid.cli.differences import stream_members
from dagdvid.errors import RemoteError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def cut(data, places):
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@given(
    items=st.lists(VALUES, max_size=6),
    before=st.dictionaries(st.text().filter(lambda name: name != "changes"), VALUES, max_size=3),
    after=VALUES,
    places=st.lists(st.integers(0, 10**6), max_size=12),
    style=st.sampled_from([{}, {"indent": 1}, {"ensure_ascii": False}]),
)
def test_any_cut_gives_the_same(items, before, after, places, style):
    value = {**before, "changes": items, **({"end": after} if "end" not in before else {})}
    data = json.dumps(value, **style).encode("utf-8", "surrogatepass")
    try:
        data.decode()
    except UnicodeDecodeError:
        return  # lone surrogates are no UTF-8
    found = list(stream_members(cut(data, places), "changes"))
    expected = [*before.items(), *(("changes", item) for item in items)]
    assert found == expected + ([("end", after)] if "end" not in before else [])


def test_numbers_are_read_to_their_end():
    data = b'{"changes":[-1.5e+108,2E5,0.25,7],"end":1e-3}'
    for at in range(len(data)):
        found = list(stream_members([data[:at], data[at:]], "changes"))
        assert found == [*(("changes", n) for n in (-1.5e108, 2e5, 0.25, 7)), ("end", 1e-3)]


def test_items_come_before_the_end():
    def pieces():
        yield b'{"data":"kv","changes":[{"key":"a"}'
        yield b',{"key":"b"},'
        raise AssertionError("read too far")

    members = stream_members(pieces(), "changes")
    assert [next(members) for _ in range(3)] == [
        ("data", "kv"),
        ("changes", {"key": "a"}),
        ("changes", {"key": "b"}),
    ]


@pytest.mark.parametrize("text", ["", "{", '{"a"', '{"a": 1', '{"changes": [1, 2', '{"changes": [1, 2]', '{"a": "x'])
def test_what_breaks_off_is_told(text):
    with pytest.raises(RemoteError, match="broke off"):
        list(stream_members([text.encode()], "changes"))


@pytest.mark.parametrize("text", ["[]", "404 page not found", '{"a"; 1}', '{"changes": {}}'])
def test_what_is_no_such_object_is_told(text):
    with pytest.raises(RemoteError, match="not the JSON that was expected"):
        list(stream_members([text.encode()], "changes"))
