"""Codecs of pack entries (SPEC 4.3)."""

from __future__ import annotations

import gzip
from contextlib import suppress

import lz4.block
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from dagdvid.errors import Corrupt
from dagdvid.objects.codecs import MAX_OBJECT, Codec, decode, encode

DATA = st.one_of(
    st.binary(max_size=300), st.builds(lambda part, n: part * n, st.binary(max_size=20), st.integers(0, 500))
)


@given(DATA, st.sampled_from([None, *Codec]))
def test_round_trip(data, codec):
    used, payload = encode(data, codec)
    assert decode(used, len(data), payload) == data
    assert codec is None or used in (codec, Codec.RAW)
    assert used == Codec.GZIP or len(payload) <= len(data)


@given(DATA, st.sampled_from(Codec), st.integers(-20, 20))
def test_another_size_is_corrupt(data, codec, by):
    used, payload = encode(data, codec)
    if by and len(data) + by >= 0:
        with pytest.raises(Corrupt):
            decode(used, len(data) + by, payload)


@given(st.one_of(st.sampled_from(Codec), st.integers(0, 255)), st.integers(0, 2**32 - 1), st.binary(max_size=200))
def test_any_bytes_decode_or_are_corrupt(codec, size, payload):
    with suppress(Corrupt):
        assert len(decode(codec, size, payload)) == size


@given(DATA.filter(len), st.sampled_from([Codec.ZSTD, Codec.LZ4, Codec.GZIP]), st.data())
def test_damaged_payloads_decode_to_the_size_or_are_corrupt(data, codec, draw):
    used, payload = encode(data, codec)
    damaged = bytearray(payload)
    damaged[draw.draw(st.integers(0, len(damaged) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    with suppress(Corrupt):
        assert len(decode(used, len(data), bytes(damaged))) == len(data)


@pytest.mark.parametrize("size", [MAX_OBJECT, 100 * 2**20])
def test_bombs_expand_no_further_than_their_size(size):
    zeros = bytes(size)
    for codec, payload in (
        (Codec.ZSTD, zstandard.compress(zeros)),
        (Codec.LZ4, lz4.block.compress(zeros, store_size=False)),
        (Codec.GZIP, gzip.compress(zeros, 1)),
    ):
        for claimed in (100, size - 1):
            with pytest.raises(Corrupt):
                decode(codec, claimed, payload)
        if size > MAX_OBJECT:
            with pytest.raises(Corrupt, match="limit"):
                decode(codec, size, payload)


@pytest.mark.parametrize("codec", [Codec.ZSTD, Codec.GZIP])
def test_nothing_may_follow_the_stream(codec):
    used, payload = encode(b"stream" * 100, codec)
    for tail in (b"\0", payload):
        with pytest.raises(Corrupt):
            decode(used, 600, payload + tail)


def test_gzip_is_a_stream_that_clients_can_take_as_it_is():
    assert gzip.decompress(encode(b"voxels" * 100, Codec.GZIP)[1]) == b"voxels" * 100


def test_unknown_codec_is_refused():
    with pytest.raises(ValueError, match="unknown codec"):
        encode(b"x" * 100, 15)
