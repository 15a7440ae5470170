"""Sparse volumes: bytes as DVID sends and takes them."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagdvid.errors import BadRequest
from dagdvid.interchange import sparsevols

coordinate = st.integers(-(2**31), 2**31 - 1)
lengths = st.integers(1, 1000)
tables = st.lists(st.tuples(st.integers(-(2**31), 2**31 - 1000), coordinate, coordinate, lengths)).map(
    lambda rows: np.array(rows, np.int64).reshape(-1, 4)
)


def test_golden():
    runs = np.array([[-1, 2, 3, 4], [64, 2, 3, 1]])
    spans = "ffffffff02000000030000000400000040000000020000000300000001000000"
    assert sparsevols.write_srles(runs).hex() == spans
    assert sparsevols.write_rles(runs).hex() == "000300000000000002000000" + spans
    assert sparsevols.write_coarse(7, runs).hex() == "070000000000000002000000" + spans


@given(tables)
def test_runs_come_back(runs):
    assert sparsevols.read_rles(sparsevols.write_rles(runs)).tolist() == runs.tolist()


def rles(*runs, payload=0, dimensions=3, along=0, count=None):
    spans = b"".join(struct.pack("<4i", *run) for run in runs)
    return struct.pack("<BBBBII", payload, dimensions, along, 0, 99, len(runs) if count is None else count) + spans


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "0 bytes are too few"),
        (rles(payload=1), "payload 1"),
        (rles(dimensions=2), "2 dimensions"),
        (rles(along=2), "runs along 2"),
        (rles((0, 0, 0, 1), count=2), "16 bytes for 2 runs"),
        (rles((0, 0, 0, 1)) + b"x", "17 bytes for 1 runs"),
        (rles((0, 0, 0, 0)), "no run"),
        (rles((0, 0, 0, -5)), "no run"),
        (rles((2**31 - 3, 0, 0, 4)), "no run"),
    ],
)
def test_refusals(data, reason):
    with pytest.raises(BadRequest, match=reason):
        sparsevols.read_rles(data)


def test_the_count_of_voxels_is_not_looked_at():
    assert sparsevols.read_rles(rles((1, 2, 3, 4))).tolist() == [[1, 2, 3, 4]]


def test_golden_binary_blocks():
    mask = np.zeros((16, 16, 16), bool)
    corner = struct.pack("<3i", -16, 0, 32)
    assert sparsevols.binary_block(mask, (-16, 0, 32)) == corner + b"\0"
    mask[:8, :8, 8:] = True
    mask[8, 9, 2] = True
    part = bytearray(64)
    part[1] = 1 << 2
    assert sparsevols.binary_block(mask, (-16, 0, 32)) == corner + b"\2\0\1\0\0\0\0\2" + part + b"\0"
    mask[:] = True
    assert sparsevols.binary_block(mask, (-16, 0, 32)) == corner + b"\1"
    assert sparsevols.binary_head((16, 24, 32), 5) == struct.pack("<3IQ", 4, 3, 2, 5)
