"""Points, boxes, and the ways to write them in a URL."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagdvid.errors import BadRequest
from dagdvid.geometry import Box, Point, parse_axes, parse_box, parse_point, point_of

coordinates = st.integers(-(2**31), 2**31 - 1)
points = st.builds(Point, coordinates, coordinates, coordinates)
small = st.integers(-20, 20)
sizes = st.integers(1, 12)
boxes = st.builds(Box, st.builds(Point, small, small, small), st.builds(Point, sizes, sizes, sizes))
block_sizes = st.builds(Point, st.integers(1, 7), st.integers(1, 7), st.integers(1, 7))


def voxels(box: Box) -> set[tuple[int, int, int]]:
    """Every voxel of a box, one by one."""
    (x0, y0, z0), (x1, y1, z1) = box.offset, box.end
    return {(x, y, z) for x in range(x0, x1) for y in range(y0, y1) for z in range(z0, z1)}


@given(points)
def test_a_point_is_read_as_it_is_written(point):
    assert parse_point(str(point), "offset") == point


@pytest.mark.parametrize(
    "text",
    ["", "1", "1_2", "1_2_3_4", "a_b_c", "1_2_", "1__3", "1.5_2_3", "0x1_2_3", "1,2,3", "1_2_2147483648", "\u0663_1_1"],
)
def test_what_is_no_point_is_refused(text):
    with pytest.raises(BadRequest, match="offset"):
        parse_point(text, "offset")


def test_a_number_of_thousands_of_digits_is_refused_as_any_other():
    with pytest.raises(BadRequest, match="integer"):
        parse_point("9" * 10_000 + "_1_1", "size")


def test_spaces_around_numbers_are_taken_as_dvid_does():
    assert parse_point("13, 14, 15", "BlockSize", ",") == Point(13, 14, 15)


@pytest.mark.parametrize("size", ["0_1_1", "1_-1_1", "1_1_0"])
def test_an_empty_box_is_refused(size):
    with pytest.raises(BadRequest, match="empty"):
        parse_box(size, "0_0_0")


def test_a_box_must_end_within_32_bits():
    assert parse_box("1_1_1", "2147483647_0_0").last.x == 2**31 - 1
    with pytest.raises(BadRequest, match="32-bit"):
        parse_box("2_1_1", "2147483647_0_0")


@pytest.mark.parametrize(
    ("text", "axes"),
    [
        *(("0_1_2", (0, 1, 2)), ("vol", (0, 1, 2)), ("VOL", (0, 1, 2))),
        *(("xy", (0, 1)), ("XZ", (0, 2)), ("yz", (1, 2)), ("0_1", (0, 1)), ("0,1", (0, 1)), ("1_2", (1, 2))),
    ],
)
def test_axes(text, axes):
    assert parse_axes(text) == axes


@pytest.mark.parametrize("text", ["", "zy", "1_0", "0_1_2_3", "xyz", "2", "0_0"])
def test_what_is_no_shape_is_refused(text):
    with pytest.raises(BadRequest, match="shape"):
        parse_axes(text)


@given(boxes, block_sizes)
def test_the_blocks_of_a_box_are_those_of_its_voxels(box, block):
    bx, by, bz = block
    assert voxels(box.blocks(block)) == {(x // bx, y // by, z // bz) for x, y, z in voxels(box)}


@given(boxes, block_sizes)
def test_the_voxels_of_blocks_are_whole_and_aligned(box, block):
    covered = box.voxels(block)
    assert covered.aligned(block)
    assert covered.blocks(block) == box
    assert covered.volume == box.volume * block.product


@given(boxes, block_sizes)
def test_aligned_says_whether_blocks_are_covered_exactly(box, block):
    assert box.aligned(block) == (box.blocks(block).voxels(block) == box)


@given(boxes, boxes)
def test_intersection_is_what_both_cover(one, other):
    shared = one.intersection(other)
    assert (voxels(shared) if shared else set()) == voxels(one) & voxels(other)
    assert one.contains(other) == (voxels(other) <= voxels(one))


@given(boxes)
def test_corners_agree(box):
    assert Box.spanning(box.offset, box.last) == box
    assert box.end - box.offset == box.size


def test_slices_index_arrays_in_z_y_x_order():
    outer, inner = Box(Point(-3, 5, 10), Point(8, 4, 3)), Box(Point(-1, 6, 11), Point(2, 1, 2))
    array = np.zeros(outer.shape)
    array[inner.slices(outer.offset)] = 1
    assert np.argwhere(array).tolist() == [[1, 1, 2], [1, 1, 3], [2, 1, 2], [2, 1, 3]]


def test_negative_coordinates_round_down():
    assert Point(-1, -32, -33) // Point(32, 32, 32) == Point(-1, -1, -2)


@pytest.mark.parametrize("values", [[1, 2], [1, 2, 3, 4], [1, 2, 3.0], [1, 2, True], [1, 2, "3"], [0, 0, 2**31]])
def test_points_of_json_are_three_integers(values):
    with pytest.raises(BadRequest, match="MinPoint"):
        point_of(values, "MinPoint")


def test_an_empty_box_cannot_be_made():
    with pytest.raises(ValueError, match="empty"):
        Box(Point(0, 0, 0), Point(1, 0, 1))
