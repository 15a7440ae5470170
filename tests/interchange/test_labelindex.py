"""Messages of label indices and mappings: bytes that DVID sent, and every message back again."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagdvid.errors import BadRequest
from dagdvid.interchange import labelindex
from dagdvid.interchange.labelindex import LabelIndex, MappingOp
from dagdvid.kernels import twins

# GET indices of [5, 7], after 300000 was merged into 5; blocks of 16^3 at negative coordinates; 7 is no body
SENT = bytes.fromhex(
    "0a83010a10088280c082804012070a0508051080200a10088180c082804012070a0508051080080a19088280c08180c001120f0a0708e0a712"
    "108020108594ebdc030a19088180c08180c001120f0a0708e0a712108020108594ebdc031005188594ebdc032214323032362d31312d323254"
    "32313a32343a30395a2a03796f753204746861740a021007"
)
ROWS = {
    ((-2, -2, 0), 5, 4096),
    ((-1, -2, 0), 5, 1024),
    ((-2, -1, 1), 300000, 4096),
    ((-1, -1, 1), 300000, 4096),
}


def rows(index):
    triples = zip(index.blocks.tolist(), index.supervoxels.tolist(), index.counts.tolist(), strict=True)
    return [(tuple(block), supervoxel, count) for block, supervoxel, count in triples]


def facts(index):
    return index.label, index.mutation, index.time, index.user, index.app


def test_indices_of_dvid():
    body, absent = labelindex.read_indices(SENT)
    assert facts(body) == (5, 1000000005, "2026-11-22T21:24:09Z", "you", "that")
    assert len(rows(body)) == 4
    assert set(rows(body)) == ROWS
    assert facts(absent) == (7, 0, "", "", "")
    assert rows(absent) == []
    assert labelindex.write_index(absent) == SENT[-2:]
    assert labelindex.write_indices([LabelIndex(7)]) == SENT[-4:]


def test_golden_index():
    """What DVID sends, but for its last mutation of the surface, and in a fixed order."""
    body = labelindex.read_indices(SENT)[0]
    assert labelindex.write_index(body) == bytes.fromhex(
        """0a10 088180c0828040 12070a050805108008
        0a10 088280c0828040 12070a050805108020
        0a13 088180c08180c001 12090a0708e0a712108020
        0a13 088280c08180c001 12090a0708e0a712108020
        1005 188594ebdc03 2214323032362d31312d32325432313a32343a30395a 2a03796f75 320474686174"""
    )


@pytest.fixture(scope="module", autouse=True)
def compiled():
    twins.load()


coordinate = st.integers(-(2**20) + 1, 2**20 - 1)
label = st.integers(0, 2**64 - 1)


@given(st.lists(st.tuples(coordinate, coordinate, coordinate)))
def test_keys_of_blocks(blocks):
    array = np.array(blocks, np.int64).reshape(-1, 3)
    keys = labelindex.block_keys(array)
    expected = [sum(abs(v) << 21 * axis | (v < 0) << 21 * axis + 20 for axis, v in enumerate(row)) for row in blocks]
    assert keys.tolist() == expected
    assert labelindex.block_coords(keys).tolist() == array.tolist()


near = st.sampled_from([(0, 0, 0), (1, 0, 0), (-1, 5, 0), (2**20 - 1, 1 - 2**20, 7)])
triples = st.dictionaries(st.tuples(near, label | st.integers(0, 3)), st.integers(1, 2**32 - 1))


def built(body, table, *rest):
    return LabelIndex(
        body,
        np.array([block for block, _ in table], np.int64).reshape(-1, 3),
        np.array([supervoxel for _, supervoxel in table], np.uint64),
        np.array(list(table.values()), np.int64),
        *rest,
    )


@given(label, triples, st.tuples(label, st.text(), st.text(), st.text()))
def test_an_index_comes_back(body, table, rest):
    index = built(body, table, *rest)
    message = labelindex.write_index(index)
    found = labelindex.read_index(message)
    assert facts(found) == facts(index)
    assert sorted(rows(found)) == sorted(rows(index))
    assert labelindex.write_index(found) == message
    again = labelindex.read_indices(labelindex.write_indices([index, found]))
    assert [labelindex.write_index(one) for one in again] == [message, message]


@given(st.lists(st.tuples(label, label, st.lists(label))))
def test_mappings_come_back(operations):
    sent = [MappingOp(mutation, body, np.array(svs, np.uint64)) for mutation, body, svs in operations]
    found = labelindex.read_mappings(labelindex.write_mappings(sent))
    assert [(op.mutation, op.body, op.supervoxels.tolist()) for op in found] == operations


def test_mappings_one_by_one():
    """Field 3 packed, and not."""
    message = bytes.fromhex("0a0a0801100518071a020908")
    (op,) = labelindex.read_mappings(message)
    assert (op.mutation, op.body, op.supervoxels.tolist()) == (1, 5, [7, 9, 8])


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("1205", "field 2 has wire type 2|cut short"),
        ("0805", "field 1 has wire type 0"),
        ("0a02", "cut short"),
        ("2202ffff", "not UTF-8"),
        ("0a08080012040a020805", None),
        ("0a0e0800120a0a0208050a0408051001", "twice in a block"),
        ("0a0e0800120a0a080805108080808010", "more than 32 bits"),
    ],
)
def test_refusals(message, reason):
    if reason is None:
        assert rows(labelindex.read_index(bytes.fromhex(message))) == []
        return
    with pytest.raises(BadRequest, match=reason):
        labelindex.read_index(bytes.fromhex(message))


@pytest.mark.parametrize("packed", ["80", "ffffffffffffffffff02", "8080808080808080808001"])
def test_packed_numbers_that_are_none(packed):
    with pytest.raises(BadRequest, match="malformed protobuf"):
        labelindex.read_mappings(bytes([10, 2 + len(packed) // 2, 0x1A, len(packed) // 2]) + bytes.fromhex(packed))


columns = st.lists(st.tuples(label | st.integers(0, 3), label | st.integers(0, 3), st.integers(0, 2**32)))


@given(columns)
def test_fast_and_plain_entries_agree(rows):
    table = np.array(sorted(rows), np.uint64).reshape(-1, 3)
    keys, labels, counts = (np.ascontiguousarray(column) for column in table.T)
    plain = labelindex.write_blocks_ref(keys, labels, counts.astype(np.int64))
    assert labelindex._write_blocks(keys, labels, counts.astype(np.int64)) == plain
    for read in (labelindex._read_blocks, labelindex.read_blocks_ref):
        found = read(plain)
        assert [column.tolist() for column in found[:3]] == table.T.tolist()
        assert found[3] == b""


@given(columns, st.integers(0, 2**32))
def test_fast_and_plain_agree_on_damage(rows, seed):
    random = np.random.default_rng(seed)
    table = np.array(sorted(rows), np.uint64).reshape(-1, 3)
    keys, labels, counts = (np.ascontiguousarray(column) for column in table.T)
    message = labelindex.write_index(built(5, {}, 7, "time", "user", "app"))
    data = bytearray(labelindex.write_blocks_ref(keys, labels, counts.astype(np.int64)) + message)
    for _ in range(random.integers(1, 3)):
        data[random.integers(len(data))] = random.choice([0, 1, 8, 10, 18, 127, 128, 255, random.integers(256)])
    sent = bytes(data[: random.integers(len(data) + 1)] if random.integers(3) == 0 else data)
    fast = labelindex._read_blocks(sent)
    try:
        plain = labelindex.read_blocks_ref(sent)
    except BadRequest:
        assert fast is None
        return
    if fast is not None:
        assert [column.tolist() for column in fast[:3]] == [column.tolist() for column in plain[:3]]
        with suppress(BadRequest):
            labelindex.read_index(sent)
