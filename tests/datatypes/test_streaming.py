"""Whole and streamed answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagdvid.datatypes.streaming import WHOLE, streamed


def test_a_small_answer_is_whole():
    assert streamed(iter([b"a", b"", b"bc"]), "text/plain").body == b"abc"
    assert streamed(iter([]), "text/plain").body == b""


@given(st.lists(st.sampled_from([0, 1, 1000, 70_000, WHOLE, WHOLE + 1]), max_size=12))
def test_a_large_answer_streams_the_same_bytes(sizes):
    chunks = [bytes([i]) * size for i, size in enumerate(sizes)]
    body = streamed(iter(chunks), "x/y").body
    assert isinstance(body, bytes) == (sum(sizes) <= WHOLE)
    assert (body if isinstance(body, bytes) else b"".join(body)) == b"".join(chunks)


def test_a_large_answer_is_not_made_before_it_is_sent():
    made = []

    def chunks():
        for i in range(10):
            made.append(i)
            yield bytes(WHOLE)

    body = streamed(chunks(), "x/y").body
    assert len(made) == 2
    assert sum(map(len, body)) == 10 * WHOLE


def test_an_error_before_the_first_megabyte_has_its_own_status():
    def chunks():
        yield bytes(WHOLE)
        raise KeyError("here")

    with pytest.raises(KeyError):
        streamed(chunks(), "x/y")
