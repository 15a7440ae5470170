"""Block keys: the fast code, the plain one, and the properties that the tree relies on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagdvid.errors import BadRequest, Corrupt
from dagdvid.kernels.morton import (
    BIAS,
    decode,
    decode_keys,
    decode_ref,
    encode,
    encode_keys,
    encode_ref,
    key_ref,
    keys_of_box,
)

coordinate = st.integers(-BIAS, BIAS - 1)
block = st.tuples(coordinate, coordinate, coordinate)
blocks = st.lists(block, max_size=50)
scales = st.integers(0, 255)


def array(rows):
    return np.array(rows, np.int64).reshape(-1, 3)


@pytest.mark.parametrize(
    ("coords", "scale", "key"),
    [
        ((0, 0, 0), 0, "007000000000000000"),
        ((-BIAS, -BIAS, -BIAS), 0, "000000000000000000"),
        ((BIAS - 1, BIAS - 1, BIAS - 1), 3, "037fffffffffffffff"),
        ((1, 0, 0), 0, "007000000000000001"),
        ((0, 1, 0), 0, "007000000000000002"),
        ((0, 0, 1), 0, "007000000000000004"),
        ((-1, 0, 0), 0, "006249249249249249"),
        ((5, -3, 1000), 1, "0154924924b6db2cc3"),
    ],
)
def test_golden_keys(coords, scale, key):
    assert encode_keys(array([coords]), scale) == [bytes.fromhex(key)]
    assert key_ref(*coords, scale) == bytes.fromhex(key)


@given(blocks, scales)
def test_fast_and_plain_keys_agree(rows, scale):
    assert encode_keys(array(rows), scale) == [key_ref(*row, scale) for row in rows]
    assert encode(array(rows)).tolist() == [encode_ref(*row) for row in rows]


@given(blocks, scales)
def test_decoding_inverts_encoding(rows, scale):
    found, coords = decode_keys(encode_keys(array(rows), scale))
    assert found.tolist() == [scale] * len(rows)
    assert coords.tolist() == [list(row) for row in rows]


@given(st.lists(st.integers(0, 2**63 - 1), max_size=50))
def test_fast_and_plain_decoding_agree(codes):
    assert [tuple(row) for row in decode(np.array(codes, np.uint64)).tolist()] == [decode_ref(code) for code in codes]


@given(blocks)
def test_the_order_of_keys_is_that_of_codes(rows):
    codes = encode(array(rows))
    assert np.argsort(codes, kind="stable").tolist() == sorted(
        range(len(rows)), key=encode_keys(array(rows)).__getitem__
    )


@given(block, st.integers(0, 2), st.booleans())
def test_coordinates_without_a_key_are_refused(row, axis, above):
    bad = list(row)
    bad[axis] = BIAS if above else -BIAS - 1
    with pytest.raises(BadRequest, match="block coordinates"):
        encode_keys(array([row, bad]))
    with pytest.raises(BadRequest, match="block coordinates"):
        key_ref(*bad)


@pytest.mark.parametrize("key", [b"", b"12345678", b"1234567890", b"\0\x80" + bytes(7)])
def test_keys_that_no_block_has_are_damage(key):
    with pytest.raises(Corrupt):
        decode_keys([key])


near = st.integers(-3, 3)
counts = st.integers(1, 6)


@given(st.tuples(near, near, near), st.tuples(counts, counts, counts), scales, st.sampled_from([0, 1 << 18]))
def test_keys_of_a_box(first, size, scale, far):
    first = tuple(value + far for value in first)
    places, keys = keys_of_box(first, size, scale)
    assert keys == sorted(keys)
    inside = [(x, y, z) for z in range(size[2]) for y in range(size[1]) for x in range(size[0])]
    assert sorted(places) == list(range(len(inside)))
    for place, key in zip(places, keys, strict=True):
        assert key == key_ref(*(a + b for a, b in zip(first, inside[place], strict=True)), scale)


@pytest.mark.parametrize("size", [(1, 1, 1), (5, 5, 5)])
def test_keys_of_a_box_at_the_ends(size):
    last = tuple(BIAS - count for count in size)
    assert keys_of_box(last, size)[1][-1] == key_ref(BIAS - 1, BIAS - 1, BIAS - 1)
    assert keys_of_box((-BIAS,) * 3, size)[1][0] == key_ref(-BIAS, -BIAS, -BIAS)
    for first in ((-BIAS - 1, 0, 0), (0, BIAS - size[1] + 1, 0)):
        with pytest.raises(BadRequest, match="block coordinates"):
            keys_of_box(first, size)
