"""Cutting volumes into blocks and putting them together, against a plain twin that goes voxel by voxel."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagdvid.datatypes.grid import bricks, morton_blocks, overlaps, slabs
from dagdvid.datatypes.imageblk.blocks import BlockLayout
from dagdvid.errors import BadRequest, Corrupt
from dagdvid.geometry import Box, Point
from dagdvid.kernels.morton import BIAS, key_ref

edges = st.integers(1, 5)
block_sizes = st.builds(Point, edges, edges, edges)
small = st.integers(-6, 6)
corners = st.builds(Point, small, small, small)
spans = st.builds(Box, corners, st.builds(Point, *[st.integers(1, 3)] * 3))
boxes = st.builds(Box, st.builds(Point, *[st.integers(-20, 20)] * 3), st.builds(Point, *[st.integers(1, 9)] * 3))
voxels = st.sampled_from(["u1", "<u2", "<u8", "V4"]).map(np.dtype)


def units(box):
    (x0, y0, z0), (x1, y1, z1) = box.offset, box.end
    return [Point(x, y, z) for z, y, x in itertools.product(range(z0, z1), range(y0, y1), range(x0, x1))]


def noise(shape, dtype):
    count = int(np.prod(shape)) * dtype.itemsize
    return np.frombuffer(np.random.default_rng(count).bytes(count), dtype).reshape(shape)


def cut_ref(volume, origin, layout, block):
    """The bytes of a block, one voxel after the other."""
    return b"".join(volume[v.z - origin.z, v.y - origin.y, v.x - origin.x].tobytes() for v in units(layout.box(block)))


@given(spans, block_sizes, voxels)
def test_blocks_are_their_voxels_x_fastest(span, block, dtype):
    layout = BlockLayout(block, dtype)
    box = span.voxels(block)
    volume = noise(box.shape, dtype)
    for unit in units(span):
        data = layout.stored(layout.cut(volume, box.offset, unit))
        assert data == cut_ref(volume, box.offset, layout, unit)
        assert len(data) == layout.block_bytes


@given(spans, block_sizes, boxes, voxels, st.data())
def test_any_box_reads_back_what_was_cut(span, block, wanted, dtype, data):
    layout = BlockLayout(block, dtype)
    stored = span.voxels(block)
    volume = noise(stored.shape, dtype)
    absent = data.draw(st.sets(st.sampled_from(units(span)), max_size=2))
    expected = np.zeros(wanted.shape, dtype)
    for v in units(wanted):
        if v // block not in absent and stored.contains(Box(v, Point(1, 1, 1))):
            expected[v.z - wanted.offset.z, v.y - wanted.offset.y, v.x - wanted.offset.x] = volume[
                v.z - stored.offset.z, v.y - stored.offset.y, v.x - stored.offset.x
            ]
    found = np.zeros(wanted.shape, dtype)
    for unit in units(span):
        if unit not in absent:
            if layout.box(unit).intersection(wanted) is None:
                continue
            x, y, z = (line[0] for line in overlaps(block, wanted, Box(unit, Point(1, 1, 1))))
            here, there = (z[0], y[0], x[0]), (z[1], y[1], x[1])
            data_of_block = layout.stored(layout.cut(volume, stored.offset, unit))
            found[here] = layout.voxels(data_of_block)[there]
    assert found.tobytes() == expected.tobytes()


def test_a_stored_block_of_another_size_is_damage():
    layout = BlockLayout(Point(2, 2, 2), np.dtype("u1"))
    with pytest.raises(Corrupt, match="7 bytes, not 8"):
        layout.voxels(bytes(7))
    with pytest.raises(Corrupt, match="JPEG"):
        BlockLayout(Point(2, 2, 2), np.dtype("u1"), jpeg=True).voxels(bytes(8))


@given(boxes, st.integers(1, 40))
def test_bricks_are_a_partition_into_small_pieces(box, most):
    pieces = list(bricks(box, most))
    assert all(piece.volume <= most for piece in pieces)
    covered = [unit for piece in pieces for unit in units(piece)]
    assert sorted(covered) == sorted(units(box))


@given(boxes)
def test_blocks_come_in_the_order_of_their_keys(box):
    blocks, keys = morton_blocks(box)
    assert keys == sorted(keys)
    assert keys == [key_ref(*block) for block in blocks]
    assert sorted(blocks) == sorted(units(box))


def test_blocks_without_a_key_are_refused():
    with pytest.raises(BadRequest, match="block coordinates"):
        morton_blocks(Box(Point(BIAS - 1, 0, 0), Point(2, 1, 1)))


@pytest.mark.parametrize(
    ("size", "offset", "block"),
    [
        (Point(512, 512, 512), Point(0, 0, 0), Point(32, 32, 32)),
        (Point(500, 700, 333), Point(-7, 5, -101), Point(64, 64, 64)),
        (Point(40_000, 40_000, 1), Point(3, 3, 3), Point(32, 32, 32)),
        (Point(1, 1, 3_000_000), Point(0, 0, -1_500_000), Point(16, 24, 8)),
    ],
)
def test_slabs_follow_each_other_on_the_grid_of_blocks(size, offset, block):
    box = Box(offset, size)
    pieces = list(slabs(box, block.z, 16 << 20))
    z = offset.z
    for slab in pieces:
        assert (slab.offset.x, slab.offset.y, slab.size.x, slab.size.y) == (offset.x, offset.y, size.x, size.y)
        assert slab.offset.z == z
        z = slab.end.z
        assert z % block.z == 0 or z == box.end.z
        assert slab.volume <= 16 << 20 or slab.size.z <= block.z
    assert z == box.end.z
