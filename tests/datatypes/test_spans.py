"""Sets of blocks against Python's own sets of coordinates."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagdvid.datatypes.regions import Region, decode_layer, encode_layer, key_of_z, z_of_key
from dagdvid.datatypes.spans import SpanSet, in_order, joined, merged, of_json
from dagdvid.errors import BadRequest, Corrupt
from dagdvid.geometry import COORDINATE_LIMIT, Box, Point

near = st.integers(-3, 3)
spans = st.lists(st.tuples(near, near, st.integers(-6, 6), st.integers(0, 4)), max_size=12).map(
    lambda rows: np.array([[z, y, x, x + n] for z, y, x, n in rows], np.int64).reshape(-1, 4)
)
FAR = COORDINATE_LIMIT - 1


def blocks_of(rows):
    return {(x, y, z) for z, y, x0, x1 in rows.tolist() for x in range(x0, x1 + 1)}


def grid(low, high):
    z, y, x = np.mgrid[low:high, low:high, low:high].reshape(3, -1)
    return np.stack([x, y, z], axis=1).astype(np.int64)


@given(spans)
def test_a_set_holds_what_its_spans_cover(rows):
    found, points = SpanSet(rows), grid(-8, 12)
    model = blocks_of(rows)
    assert len(found) == len(model)
    assert found.holds(points).tolist() == [tuple(point) in model for point in points.tolist()]


@given(spans)
def test_joined_spans_are_the_fewest(rows):
    fewest = joined(rows)
    assert blocks_of(fewest) == blocks_of(rows)
    assert fewest.tolist() == sorted(fewest.tolist())
    ends = {(z, y, x1) for z, y, _, x1 in fewest.tolist()}
    assert not any((z, y, x0 - 1) in ends for z, y, x0, _ in fewest.tolist())


@given(spans, spans, spans)
def test_each_block_is_as_the_side_has_it_that_changed_it(base, ours, theirs):
    b, o, t = blocks_of(base), blocks_of(ours), blocks_of(theirs)
    expected = (o & t) | (o - b) | (t - b)
    assert blocks_of(merged(base, ours, theirs)) == expected
    assert merged(base, base, theirs).tolist() == joined(theirs).tolist()


def test_coordinates_at_both_ends():
    rows = np.array([[-FAR - 1, FAR, -FAR - 1, FAR], [FAR, -FAR - 1, FAR, FAR]], np.int64)
    found = SpanSet(rows)
    asked = [[0, FAR, -FAR - 1], [FAR, FAR, -FAR - 1], [0, -FAR - 1, FAR], [FAR, -FAR - 1, FAR]]
    assert found.holds(np.array(asked, np.int64)).tolist() == [True, True, False, True]
    assert joined(rows).tolist() == rows.tolist()
    assert merged(rows[1:], rows[1:], rows[:0]).tolist() == []
    assert merged(rows[:1], rows[1:], rows[:1]).tolist() == rows[1:].tolist()


@given(spans, st.tuples(near, near, near), st.tuples(*[st.integers(1, 5)] * 3), st.tuples(*[st.integers(1, 4)] * 3))
def test_a_mask_says_of_each_voxel_whether_its_block_is_in(rows, corner, size, edge):
    box, block = Box(Point(*corner), Point(*size)), Point(*edge)
    model = blocks_of(rows)
    mask = Region(block, rows).mask(box)
    assert mask.shape == box.shape
    for z, y, x in np.ndindex(mask.shape):
        assert mask[z, y, x] == (tuple((box.offset + Point(x, y, z)) // block) in model)


@given(spans)
def test_layers_come_back(rows):
    for z in set(rows[:, 0].tolist()):
        layer = in_order(rows[rows[:, 0] == z])
        assert decode_layer(key_of_z(z), encode_layer(layer)).tolist() == layer.tolist()


def test_layers_are_golden():
    """SPEC 9.6."""
    layer = of_json(b"[[-2, 3, -1, 5], [-2, -1, 7, 7]]")
    assert key_of_z(-2).hex() == "7ffffffe"
    assert encode_layer(layer).hex() == "ffffffff0700000007000000" + "03000000ffffffff05000000"
    assert [key_of_z(z) for z in (-COORDINATE_LIMIT, FAR)] == [bytes(4), b"\xff" * 4]


def test_damaged_layers_are_told():
    with pytest.raises(Corrupt):
        z_of_key(b"123")
    for value in (b"", bytes(11)):
        with pytest.raises(Corrupt):
            decode_layer(key_of_z(0), value)


def test_spans_of_json():
    assert of_json(b"[]").shape == (0, 4)
    assert of_json(b"[[1,2,3,4],[0,9,9,9],[1,2,3,4]]").tolist() == [[0, 9, 9, 9], [1, 2, 3, 4]]


@pytest.mark.parametrize(
    "rows",
    [
        "x",
        "{}",
        "3",
        "null",
        "[1]",
        "[[0,0,0]]",
        "[[0,0,0,0,0]]",
        "[[0,0,5,3]]",
        "[[0,0,0,1.5]]",
        '[["0",0,0,0]]',
        "[[0,0,0,true]]",
        json.dumps([[0, 0, 0, FAR + 1]]),
        json.dumps([[-FAR - 2, 0, 0, 0]]),
    ],
)
def test_what_is_no_list_of_spans(rows):
    with pytest.raises(BadRequest):
        of_json(rows.encode())
