"""Label blocks: bytes that DVID made, the canonical form, what is refused, and the fast code beside the plain one."""

from __future__ import annotations

import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dagdvid.errors import BadRequest
from dagdvid.kernels import labelblocks, twins
from dagdvid.kernels import labelblocks_ref as plain
from dagdvid.kernels.downres_ref import downres_ref


@pytest.fixture(scope="module", autouse=True)
def compiled():
    twins.load()


GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "label-blocks.zip"
HIGH = 2**63 + 1


def posted():
    """The voxels that were posted to DVID for the blocks in GOLDEN."""
    z, y, x = np.indices((16, 32, 48), np.uint64)
    mixed = np.zeros((16, 16, 16), np.uint64)
    mixed[:8, :8, :8] = 5
    mixed[8:, 3:9] = HIGH
    mixed[2, 2, 2] = 9
    return {
        "solid": np.full((16, 16, 16), 77, np.uint64),
        "mixed": mixed,
        "many": np.arange(1, 4097, dtype=np.uint64).reshape(16, 16, 16) * np.uint64(3),
        "odd": (x * x + np.uint64(3) * y + np.uint64(5) * z * y) % np.uint64(11),
    }


@pytest.fixture(scope="module")
def golden():
    with zipfile.ZipFile(GOLDEN) as file:
        return {name: file.read(f"{name}.block") for name in posted()}


@pytest.mark.parametrize("name", ["solid", "mixed", "many", "odd"])
def test_blocks_of_dvid(golden, name):
    data, voxels = golden[name], posted()[name]
    assert (labelblocks.decode(data) == voxels).all()
    labelblocks.check(data)
    assert labelblocks.shape(data) == voxels.shape
    ours = labelblocks.encode(voxels)
    assert len(ours) == len(data)
    assert labelblocks.canonical(data).data == ours
    assert set(labelblocks.labels_in(data).tolist()) == set(np.unique(voxels).tolist())


def test_canonical_bytes():
    """Labels by first appearance: SPEC, labels."""
    data = labelblocks.encode(posted()["mixed"])
    assert data[:48].hex() == (
        "020000000200000002000000040000000500000000000000090000000000000000000000000000000100000000000080"
    )
    numbers = np.frombuffer(data, "<u2", 8, 48)
    assert numbers.tolist() == [2, 1, 1, 1, 2, 2, 2, 2]
    assert np.frombuffer(data, "<u4", 13, 64).tolist() == [0, 1, 2, 2, 2, 2, 3, 2, 3, 3, 2, 3, 2]
    assert len(data) == 64 + 4 * 13 + 5 * 64
    assert data[116:180] == bytes(18) + b"\x20" + bytes(45)  # voxel 2, 2, 2 is the 147th


@st.composite
def blocks(draw):
    """Blocks of 0 to thousands of labels, in lumps or scattered, all edges different."""
    shape = tuple(draw(st.permutations([16, 24, 32])))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    few = draw(st.sampled_from([1, 2, 3, 4, 5, 9, 200, 70_000]))
    lump = draw(st.sampled_from([1, 2, 8]))
    labels = random.integers(0, 2**64, few, np.uint64, endpoint=False)
    labels[: draw(st.integers(0, 2))] = 0
    coarse = labels[random.integers(0, few, [edge // lump for edge in shape])]
    return np.ascontiguousarray(coarse.repeat(lump, 0).repeat(lump, 1).repeat(lump, 2))


@given(blocks())
def test_fast_and_plain_agree(block):
    data = labelblocks.encode(block)
    assert data == plain.encode_ref(block).data
    assert (labelblocks.decode(data) == block).all()
    assert (plain.decode_ref(data) == block).all()
    assert labelblocks.check(data)
    assert plain.check_ref(data)
    wanted = np.unique(block)[::2]
    masks = np.zeros((2, *block.shape[:2], block.shape[2] + 11), bool)
    labelblocks.mask_into(data, wanted, masks[0], 5)
    plain.mask_into_ref(data, wanted, masks[1], 5)
    assert (masks[0] == masks[1]).all()
    assert (labelblocks.mask(data, wanted) == np.isin(block, wanted)).all()
    random = np.random.default_rng(len(data))
    points = np.stack([random.integers(0, edge, 20) for edge in block.shape[::-1]], axis=1)
    x, y, z = points.T
    assert labelblocks.at(data, points).tolist() == plain.at_ref(data, points).tolist() == block[z, y, x].tolist()
    first = tuple(random.integers(0, edge) for edge in block.shape)
    size = tuple(random.integers(0, edge - low + 1) for edge, low in zip(block.shape, first, strict=True))
    for into in (labelblocks.decode_into, plain.decode_into_ref):
        volume = np.full((40, 41, 42), 17, np.uint64)
        expected = volume.copy()
        into(data, volume, (3, 2, 1), first, size)
        there = tuple(slice(low, low + edge) for low, edge in zip(first, size, strict=True))
        expected[3 : 3 + size[0], 2 : 2 + size[1], 1 : 1 + size[2]] = block[there]
        assert (volume == expected).all()
    for into in (labelblocks.downres_into, plain.downres_into_ref):
        volume = np.full((40, 41, 42), 17, np.uint64)
        expected = volume.copy()
        into(data, volume, (3, 2, 1))
        z, y, x = (edge // 2 for edge in block.shape)
        expected[3 : 3 + z, 2 : 2 + y, 1 : 1 + x] = downres_ref(block)
        assert (volume == expected).all()
    view = np.flip(np.zeros((32, *block.shape), np.uint64), 0)[3]
    view[:] = block
    assert labelblocks.encode(np.asfortranarray(view)) == data
    assert labelblocks.labels_in(data).tolist() == list(dict.fromkeys(labelblocks_order(block)))
    labels, counts = plain.count_ref(block)
    for counted in (
        labelblocks.counts(block),
        labelblocks.counts(data),
        labelblocks.canonical(data)[1:],
        labelblocks.encode_counted(block)[1:],
        plain.canonical_ref(data)[1:],
        plain.counts_ref(data),
    ):
        assert counted[0].tolist() == labels.tolist()
        assert counted[1].tolist() == counts.tolist()


def labelblocks_order(block):
    """The voxels of a block, sub-block by sub-block."""
    gz, gy, gx = (edge // 8 for edge in block.shape)
    for z, y, x in np.ndindex(gz, gy, gx):
        yield from block[8 * z : 8 * z + 8, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8].reshape(-1).tolist()


def shuffled(data, random):
    """The same voxels as a client may send them: labels and places in another order, listed twice, or never used."""
    table = labelblocks.labels_in(data)
    order = random.permutation(2 * len(table) + 1)
    labels = np.concatenate([table, table, np.array([12345], np.uint64)]).astype("<u8")[order]
    where = np.argsort(order)
    at = 16 + 8 * len(table)
    gz, gy, gx = (edge // 8 for edge in labelblocks.shape(data))
    subs = gz * gy * gx
    head = data[:12] + len(labels).to_bytes(4, "little") + labels.tobytes()
    if len(table) == 1:
        return head + np.ones(subs, "<u2").tobytes() + where[random.integers(0, 2, subs)].astype("<u4").tobytes()
    places = np.frombuffer(data, "<u4", int(np.frombuffer(data, "<u2", subs, at).sum()), at + 2 * subs)
    moved = where[places + len(table) * random.integers(0, 2, len(places))].astype("<u4").tobytes()
    return head + data[at : at + 2 * subs] + moved + data[at + 2 * subs + len(moved) :]


@given(blocks(), st.integers(0, 2**32))
def test_every_form_of_a_block_has_one_canonical_form(block, seed):
    sent = shuffled(labelblocks.encode(block), np.random.default_rng(seed))
    assert (labelblocks.decode(sent) == block).all()
    assert labelblocks.check(sent) == plain.check_ref(sent) == (sent == plain.encode_ref(block).data)
    wanted = np.unique(block)[::2]
    assert (labelblocks.mask(sent, wanted) == np.isin(block, wanted)).all()
    data, labels, counts = labelblocks.canonical(sent)
    assert [part.tolist() for part in labelblocks.counts(sent)] == [labels.tolist(), counts.tolist()]
    assert data == plain.encode_ref(block).data
    assert [labels.tolist(), counts.tolist()] == [part.tolist() for part in plain.count_ref(block)]


def test_sub_blocks_without_labels_are_zero():
    """As DVID has it, for blocks that were not filled."""
    head = np.array([2, 2, 2, 2], "<u4").tobytes() + np.array([4, 6], "<u8").tobytes()
    data = head + np.array([0, 1, 0, 0, 0, 0, 0, 1], "<u2").tobytes() + np.array([1, 0], "<u4").tobytes()
    expected = np.zeros((16, 16, 16), np.uint64)
    expected[:8, :8, 8:] = 6
    expected[8:, 8:, 8:] = 4
    assert (labelblocks.decode(data) == expected).all()
    assert labelblocks.canonical(data).data == plain.encode_ref(expected).data


@given(blocks(), st.integers(0, 2**32))
def test_malformed_blocks_are_refused_or_decoded_alike(block, seed):
    """Bytes changed, cut or appended: fast and plain agree on what is malformed, and neither reads outside."""
    random = np.random.default_rng(seed)
    data = bytearray(labelblocks.encode(block))
    for _ in range(3):
        at = random.integers(0, len(data) if random.integers(2) else min(len(data), 400))
        data[at] = random.integers(256)
    cut = bytes(data[: random.integers(len(data))] if random.integers(3) == 0 else data)
    sent = cut + bytes(random.integers(0, 2) * random.integers(0, 3))
    assume(len(sent) < 24 or np.frombuffer(sent, "<u4", 3).astype(float).prod() < 2**12)
    try:
        expected = plain.decode_ref(sent)
    except BadRequest as error:
        for refused in (labelblocks.decode, labelblocks.check, labelblocks.canonical, labelblocks.counts):
            with pytest.raises(BadRequest, match="malformed label block") as refusal:
                refused(sent)
            assert str(refusal.value) == str(error)
        for lenient in (labelblocks.mask, labelblocks.at):  # they need not look at every voxel
            with suppress(BadRequest):
                lenient(sent, np.zeros(3, np.uint64) if lenient is labelblocks.mask else np.zeros((2, 3), np.int64))
        return
    assert (labelblocks.decode(sent) == expected).all()
    assert labelblocks.check(sent) == (plain.encode_ref(expected).data == sent)
    assert labelblocks.canonical(sent).data == plain.encode_ref(expected).data


HEAD = np.array([2, 2, 2], "<u4").tobytes()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "0 bytes are too few"),
        (HEAD + bytes(4), "16 bytes are too few"),
        (HEAD + bytes(12), "0 labels"),
        (np.array([2, 1, 2, 1, 0, 0], "<u4").tobytes(), "2 x 1 x 2 sub-blocks"),
        (np.array([2, 129, 2, 1, 0, 0], "<u4").tobytes(), "2 x 129 x 2 sub-blocks"),
        (HEAD + b"\2\0\0\0" + bytes(8), "2 labels in 24 bytes"),
        (HEAD + b"\xff\xff\xff\xff" + bytes(8), "4294967295 labels in 24 bytes"),
        (HEAD + b"\1\0\0\0" + bytes(9), "1 bytes after its one label"),
        (HEAD + b"\2\0\0\0" + bytes(17), "the numbers of labels"),
        (HEAD + b"\2\0\0\0" + bytes(16) + b"\1\2" + bytes(14), "a sub-block of 513 labels"),
        (HEAD + b"\2\0\0\0" + bytes(16) + b"\1\0" + bytes(14), "the places of labels"),
        (HEAD + b"\2\0\0\0" + bytes(16) + b"\1\0" + bytes(14) + b"\2\0\0\0", "place 2 among 2 labels"),
        (HEAD + b"\2\0\0\0" + bytes(16) + b"\2\0" + bytes(14) + bytes(8) + bytes(63), "63 bytes of voxels, not 64"),
        (HEAD + b"\3\0\0\0" + bytes(24) + b"\3\0" + bytes(14) + bytes(12) + b"\3" + bytes(127), "beyond the labels"),
    ],
)
def test_refusals(data, reason):
    for refused in (labelblocks.decode, labelblocks.check, labelblocks.canonical, labelblocks.counts, plain.decode_ref):
        with pytest.raises(BadRequest, match=reason):
            refused(data)


@given(blocks(), st.integers(0, 2**32))
def test_relabelling_changes_the_table_alone(block, seed):
    random = np.random.default_rng(seed)
    present = np.unique(block)
    keys = np.unique(np.concatenate([present[random.integers(0, 2, len(present)) > 0], np.array([17], np.uint64)]))
    values = random.integers(0, 3, len(keys)).astype(np.uint64)
    data = labelblocks.encode(block)
    mapped = labelblocks.relabel(data, (keys, values))
    become = dict(zip(keys.tolist(), values.tolist(), strict=True))
    expected = np.array([become.get(label, label) for label in block.reshape(-1).tolist()], np.uint64)
    assert (labelblocks.decode(mapped).reshape(-1) == expected).all()
    assert len(mapped) == len(data)
    assert labelblocks.relabel(data, (keys[:0], values[:0])) == data


@pytest.mark.parametrize("label", [0, 1, 2**64 - 1])
def test_solid_blocks(label):
    data = labelblocks.solid(label, (16, 24, 32))
    assert data == labelblocks.encode(np.full((16, 24, 32), label, np.uint64))
    assert labelblocks.counts(data)[1].tolist() == ([16 * 24 * 32] if label else [])
