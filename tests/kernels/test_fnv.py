"""FNV-1 with 128 bits: the quick way equals the plain one, and both equal what Go's hash/fnv gives."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagdvid.kernels.fnv import fnv1_128, fnv1_128_ref

KNOWN = {b"": "6c62272e07bb014262b821756295c58d", b"hello": "f14b584864 83d94f70803879 8c29697f".replace(" ", "")}
"""The second as DVID answered it, in base64; the first is the offset basis of the definition."""


@pytest.mark.parametrize("data", KNOWN)
def test_known_hashes(data: bytes) -> None:
    assert fnv1_128(data).hex() == fnv1_128_ref(data).hex() == KNOWN[data]


@given(st.binary(max_size=600))
def test_as_byte_by_byte(data: bytes) -> None:
    assert fnv1_128(data) == fnv1_128_ref(data)
    assert fnv1_128(memoryview(data)) == fnv1_128_ref(data)


@pytest.mark.parametrize("size", [4095, 4096, 4097, 8192, 2**18 - 1, 2**18, 2**18 + 1, 2**18 + 4096, 700_001])
@pytest.mark.parametrize("kind", ["random", "zeros", "ones"])
def test_across_blocks(size: int, kind: str) -> None:
    data = {"random": random.Random(size).randbytes(size), "zeros": bytes(size), "ones": b"\xff" * size}[kind]
    assert fnv1_128(data) == fnv1_128_ref(data)
