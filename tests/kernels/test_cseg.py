"""Compressed segmentation: what DVID sent, what comes back, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagdvid.errors import BadRequest
from dagdvid.kernels import cseg, twins
from dagdvid.kernels.cseg_ref import decode_ref, encode_ref


@pytest.fixture(scope="module", autouse=True)
def compiled():
    twins.load()


def words(*numbers):
    return np.array(numbers, "<u4").tobytes()


def test_golden_solid():
    assert cseg.encode(np.full((8, 8, 8), 2**32 + 7, np.uint64)) == words(1, 2, 2, 7, 1)


def test_golden_shared_table():
    """Two blocks with the same two labels: 16 words of voxels, the table, 16 words of voxels."""
    voxels = np.zeros((8, 8, 16), np.uint64)
    voxels[:, :, ::4] = 9
    data = cseg.encode(voxels)
    one = (0b11101110_11101110_11101110_11101110,) * 16
    assert data == words(1, 20 | 1 << 24, 4, 20 | 1 << 24, 24, *one, 9, 0, 0, 0, *one)


@st.composite
def volumes(draw, step=8):
    shape = tuple(step * edge for edge in draw(st.tuples(*[st.integers(1, 24 // step)] * 3)))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    few = draw(st.sampled_from([1, 2, 3, 4, 5, 16, 17, 300, 5000]))
    labels = random.integers(0, 2**64, few, np.uint64, endpoint=False)
    voxels = labels[random.integers(0, few, shape)]
    voxels[: draw(st.sampled_from([0, 5, 8]))] = 0
    return voxels


@given(volumes())
def test_volumes_come_back(voxels):
    data = cseg.encode(voxels)
    assert data == encode_ref(voxels)
    assert (cseg.decode(data, voxels.shape) == voxels).all()
    assert (decode_ref(data, voxels.shape, (8, 8, 8), 2) == voxels).all()


def test_blocks_that_stick_out():
    """Of 4 x 2 x 8 voxels (z, y, x), labels of 32 bits."""
    data = words(1, 6 | 1 << 24, 4, 8, 9, 0xFFFF_0000, 0x0000_FFFF, 5, 6, 7)
    expected = np.full((3, 2, 9), 7)
    expected[:, :, :8] = np.array([5, 6, 6, 5])[np.arange(4)[:3, None, None]]
    assert cseg.decode(data, (3, 2, 9), (4, 2, 8), np.uint32).tolist() == expected.tolist()


def test_edges_that_are_not_whole_blocks():
    with pytest.raises(BadRequest, match="multiples of 8"):
        cseg.encode(np.zeros((8, 12, 8), np.uint64))


@given(volumes(), st.integers(0, 2**32))
def test_damage_is_refused_or_decoded_alike(voxels, seed):
    random = np.random.default_rng(seed)
    data = bytearray(cseg.encode(voxels))
    for _ in range(2):
        data[random.integers(min(len(data), 60))] = random.integers(256)
    sent = bytes(data[: random.integers(len(data))] if random.integers(3) == 0 else data)
    try:
        expected = decode_ref(sent, voxels.shape, (8, 8, 8), 2)
    except BadRequest as error:
        with pytest.raises(BadRequest) as refusal:
            cseg.decode(sent, voxels.shape)
        assert str(refusal.value) == str(error)
        return
    assert (cseg.decode(sent, voxels.shape) == expected).all()
