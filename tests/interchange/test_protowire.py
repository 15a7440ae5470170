"""The protobuf wire format."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagdvid.errors import BadRequest
from dagdvid.interchange.protowire import FIXED32, FIXED64, LEN, VARINT, delimited, fields, varint, varint_field

numbers = st.integers(1, 2**29 - 1)
uint64 = st.integers(0, 2**64 - 1)


def written(field):
    number, wire_type, value = field
    if wire_type == VARINT:
        return varint_field(number, value)
    if wire_type == LEN:
        return delimited(number, value)
    return varint(number << 3 | wire_type) + value


any_field = st.one_of(
    st.tuples(numbers, st.just(VARINT), uint64),
    st.tuples(numbers, st.just(LEN), st.binary(max_size=300)),
    st.tuples(numbers, st.just(FIXED64), st.binary(min_size=8, max_size=8)),
    st.tuples(numbers, st.just(FIXED32), st.binary(min_size=4, max_size=4)),
)


@given(st.lists(any_field, max_size=20))
def test_fields_come_back_as_written(message):
    found = list(fields(b"".join(map(written, message))))
    assert [(n, t, v if isinstance(v, int) else bytes(v)) for n, t, v in found] == message


@pytest.mark.parametrize(
    ("value", "encoded"),
    [(0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (300, "ac02"), (2**64 - 1, "ffffffffffffffffff01")],
)
def test_golden_varints(value, encoded):
    assert varint(value) == bytes.fromhex(encoded)


@pytest.mark.parametrize(
    "message",
    [
        b"\x0a\x50short",
        b"\x0a",
        b"\x08",
        b"\x08\x80",
        b"\x00\x01",  # field number 0
        b"\x0b",  # start of a group
        b"\x0e\x00",  # wire type 6
        b"\x09\x01\x02",
        b"\x0d\x01",
        b"\x08" + b"\xff" * 10 + b"\x01",
        b"\x08" + b"\xff" * 9 + b"\x02",  # 65 bits
        b"\x0a" + b"\xff" * 9 + b"\x01",  # longer than anything
        varint(2**29 << 3) + b"\x00",
    ],
)
def test_malformed_messages_are_refused(message):
    with pytest.raises(BadRequest, match="malformed protobuf"):
        list(fields(message))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(message):
    try:
        found = list(fields(message))
    except BadRequest:
        return
    assert all(number >= 1 for number, _, _ in found)
