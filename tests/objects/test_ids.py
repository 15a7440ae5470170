"""Object identity (SPEC 1)."""

from __future__ import annotations

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from dagdvid.errors import BadRequest
from dagdvid.objects.ids import ObjectType, from_hex, object_id


@given(st.sampled_from(ObjectType), st.binary(max_size=300))
def test_id_is_blake3_of_tag_type_and_bytes(kind, data):
    assert object_id(kind, data) == blake3(b"dagdvid" + bytes([kind]) + data).digest()


@given(st.binary(min_size=32, max_size=32))
def test_hex(name):
    assert from_hex(name.hex()) == from_hex(name.hex().upper()) == name


@pytest.mark.parametrize(
    "text", ["", "00", "0" * 63, "0" * 65, "g" * 64, " " + "0" * 63, "00 " * 31 + "00", "\u0660" * 64]
)
def test_no_hash(text):
    with pytest.raises(BadRequest):
        from_hex(text)
