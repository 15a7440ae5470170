"""Planes: along the axes, scaled to isotropic pixels, and of any orientation."""

from __future__ import annotations

import io
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dagdvid.datatypes.imageblk.arbitrary import _distinct
from dagdvid.datatypes.planes import isotropic_size, plane_box, scaled
from dagdvid.errors import BadRequest
from dagdvid.geometry import Box, Point


def picture(data):
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.fixture
def gray(new_data):
    """64^3 voxels of noise from (0, 0, 0) on; 10 units are 4 voxels in z, 1 in y, 2 in x."""
    data = new_data("uint8blk", VoxelSize="5,10,2.5", BlockSize="16,32,8")
    data.post("raw/0_1_2/64_64_64/0_0_0", volume().tobytes())
    return data


def volume(shape=(64, 64, 64)):
    z, y, x = np.mgrid[tuple(slice(0, n) for n in shape)]
    return ((7 * x + 11 * y + 13 * z) % 251).astype(np.uint8)


@pytest.mark.parametrize(
    ("dims", "index"),
    [
        ("xy", (20, slice(10, 35), slice(30, 60))),
        ("0_1", (20, slice(10, 35), slice(30, 60))),
        ("xz", (slice(20, 45), 10, slice(30, 60))),
        ("0,2", (slice(20, 45), 10, slice(30, 60))),
        ("YZ", (slice(20, 45), slice(10, 40), 30)),
    ],
)
def test_planes_are_the_volume_cut(gray, dims, index):
    answer = gray.ask("GET", f"raw/{dims}/30_25/30_10_20")
    assert answer.content_type == "image/png"
    assert (picture(answer.body) == volume()[index]).all()


def test_planes_reach_beyond_what_is_stored(gray):
    seen = picture(gray.get("raw/xz/100_90/-20_5_-15/tiff"))
    assert (seen[15:79, 20:84] == volume()[:, 5]).all()
    assert seen.sum() == volume()[:, 5].astype(int).sum()
    assert picture(gray.get("raw/xy/3_2/0_0_9999999")).sum() == 0


def test_a_volume_as_one_jpeg(gray):
    tall = picture(gray.get("raw/0_1_2/16_10_6/3_4_5/jpeg"))
    assert tall.shape == (60, 16)
    assert gray.ask("GET", "raw/0_1_2/16_10_6/3_4_5/jpg").content_type == "image/jpeg"
    for other in ("jpg:50", "JPG", "png", "whatever"):
        assert gray.get(f"raw/0_1_2/16_10_6/3_4_5/{other}") == volume()[5:11, 4:14, 3:19].tobytes()


def test_planes_are_not_stored(gray):
    with pytest.raises(BadRequest, match="2-d"):
        gray.post("raw/xy/16_32/0_0_0", bytes(512))


@pytest.mark.parametrize(("dims", "read"), [("xy", (20, 40)), ("xz", (20, 10)), ("yz", (20, 5))])
def test_isotropic_planes_read_less_of_the_coarser_axis(gray, dims, read):
    """Along x a voxel is 5 wide, along y 10, along z 2.5; 20 wide and 40 high are asked for."""
    axes = {"xy": (0, 1), "xz": (0, 2), "yz": (1, 2)}[dims]
    asked = plane_box(axes, "20_40", "1_2_3")
    found = isotropic_size(axes, asked, [5, 10, 2.5])
    width, height = {"xy": (20, 20), "xz": (10, 40), "yz": (5, 40)}[dims]
    assert [found.size.as_list()[axis] for axis in axes] == [width, height]
    seen = picture(gray.get(f"isotropic/{dims}/20_40/1_2_3"))
    plane = picture(gray.get(f"raw/{dims}/{width}_{height}/1_2_3"))
    assert (seen == scaled_ref(plane, 40, 20)).all()


def test_isotropic_rounding_is_that_of_32_bits():
    box = Box(Point(0, 0, 0), Point(7, 9, 1))
    assert isotropic_size((0, 1), box, [4.0, 4.0, 40.0]) == box
    assert isotropic_size((0, 1), box, [1.0, 2.0, 1.0]).size == Point(7, 5, 1)
    assert isotropic_size((0, 1), box, [2.0, 1.0, 1.0]).size == Point(4, 9, 1)
    with pytest.raises(BadRequest, match="too small"):
        isotropic_size((0, 1), box, [1.0, 100.0, 1.0])
    with pytest.raises(BadRequest, match="resolution"):
        isotropic_size((0, 1), box, [0.0, 1.0, 1.0])


def scaled_ref(plane, height, width):
    """Each source pixel magnified to height x width equal parts, then boxes of these averaged and rounded down."""
    big = np.repeat(np.repeat(plane.astype(np.uint64), height, axis=0), width, axis=1)
    rows, columns = plane.shape[:2]
    boxes = big.reshape(height, rows, width, columns, *plane.shape[2:])
    return (boxes.sum(axis=(1, 3)) // (rows * columns)).astype(plane.dtype)


small = st.integers(1, 7)


@given(small, small, small, small, st.sampled_from(["u1", "<u2", "<u4"]), st.booleans())
def test_scaling(rows, columns, height, width, dtype, colour):
    shape = (rows, columns, 4) if colour else (rows, columns)
    plane = np.random.default_rng(rows * columns).integers(0, np.iinfo(dtype).max, shape, dtype)
    assert (scaled(plane, height, width) == scaled_ref(plane, height, width)).all()


@given(small, small, small, small)
def test_scaling_of_floats_and_64_bits(rows, columns, height, width):
    plane = np.random.default_rng(rows + columns).normal(0, 100, (rows, columns)).astype("<f4")
    seen = scaled(plane, height, width)
    big = np.repeat(np.repeat(plane.astype(float), height, axis=0), width, axis=1)
    means = big.reshape(height, rows, width, columns).mean(axis=(1, 3))
    assert np.allclose(seen, means, rtol=1e-4, atol=1e-3)
    labels = plane.view("<u4").astype("<u8") << 20
    assert set(scaled(labels, height, width).reshape(-1).tolist()) <= set(labels.reshape(-1).tolist())


def trilinear(at, array, background=0):
    """The value at a point in voxels (x, y, z), corner by corner."""
    total = 0.0
    for corner in itertools.product((0, 1), repeat=3):
        weight, index = 1.0, []
        for value, side in zip(at, corner, strict=True):
            low = math.floor(value)
            weight *= value - low if side else 1 - (value - low)
            index.append(low + side)
        x, y, z = index
        inside = 0 <= x < array.shape[2] and 0 <= y < array.shape[1] and 0 <= z < array.shape[0]
        if weight:
            total += weight * float(array[z, y, x] if inside else background)
    return total


TYPES = {"uint8blk": "u1", "uint16blk": "<u2", "uint32blk": "<u4", "float32blk": "<f4"}


@pytest.mark.parametrize("typename", TYPES)
def test_planes_of_any_orientation(new_data, typename):
    dtype = np.dtype(TYPES[typename])
    data = new_data(typename, VoxelSize="4,5,10", BlockSize="8,8,8", Background="200")
    array = volume((16, 16, 24)).astype(dtype)
    data.post("raw/0_1_2/24_16_16/0_0_0", array.tobytes())
    top_left, top_right, bottom_left, pixel = (10.5, 20.0, 30.0), (80.0, 50.0, 90.0), (-12.0, 60.0, 120.5), 7.5
    corners = ["_".join(map(str, corner)) for corner in (top_left, top_right, bottom_left)]
    data_of_file = data.get(f"arb/{'/'.join(corners)}/{pixel}/tiff")
    width, height = (1 + int(math.dist(top_left, end) / pixel) for end in (top_right, bottom_left))
    with Image.open(io.BytesIO(data_of_file)) as image:
        assert image.size == (width, height)
        seen = np.asarray(image)
    numbers = seen if seen.ndim == 2 else np.ascontiguousarray(seen).view(dtype)[..., 0]
    background = 200 if dtype.itemsize == 1 else 0
    for row, column in itertools.product(range(height), range(width)):
        at = [
            (a + (b - a) * column / (width - 1) + (c - a) * row / (height - 1)) / edge
            for a, b, c, edge in zip(top_left, top_right, bottom_left, (4, 5, 10), strict=True)
        ]
        assert abs(float(numbers[row, column]) - trilinear(at, array, background)) <= (
            0.51 if dtype.kind == "u" else 0.01
        )


def test_colours_of_slanted_planes_are_those_of_dvid(new_data):
    """It counts bytes where it should count voxels: a pixel on a voxel shows four bytes from there on."""
    data = new_data("rgba8blk", VoxelSize="1,1,1", BlockSize="8,8,8")
    colours = np.random.default_rng(1).integers(0, 255, (8, 8, 8, 4), np.uint8)
    data.post("raw/0_1_2/8_8_8/0_0_0", colours.tobytes())
    seen = picture(data.get("arb/2_3_4/5_3_4/2_6_4/1"))
    flat = colours.reshape(-1)
    for row, column in itertools.product(range(4), range(4)):
        start = (4 * 8 + 3 + row) * 8 + 2 + column
        assert seen[row, column].tolist() == flat[start : start + 4].tolist()


def test_a_far_and_coarse_plane_is_read_in_parts(new_data, monkeypatch):
    data = new_data("uint8blk", BlockSize="8,8,8", Background="3")
    data.post("raw/0_1_2/8_8_8/800_0_0", bytes([77]) * 512)
    monkeypatch.setattr("dagdvid.datatypes.imageblk.ops._BATCH_BLOCKS", 5)
    seen = picture(data.get("arb/0_0_0/16000_0_0/0_800_0/160"))
    assert seen.shape == (6, 101)
    assert (seen[0, 40], seen.sum() - 77) == (77, 3 * (seen.size - 1))
    assert picture(data.get("arb/1e18_0_0/1.1e18_0_0/1e18_9_0/1e16")).tolist() == [[3] * 11]


@pytest.mark.parametrize(
    "path",
    [
        "arb/0_0_0/80_0_0/0_80_0/0",
        "arb/0_0_0/80_0_0/0_80_0/-1",
        "arb/0_0_0/80_0_0/0_80_0/nan",
        "arb/0_0_0/inf_0_0/0_80_0/8",
        "arb/0_0_0/80_0/0_80_0/8",
        "arb/0_0_0/80_0_0/0_80_0/1e-9",
        "arb/0_0_0/80000_0_0/0_80000_0/1",
        "arb/0_0_0/1e300_0_0/0_80_0/1",
        "arb/0_0_0/80_0_0/0_80_0/8/gif",
    ],
)
def test_refused_slants(gray, path):
    with pytest.raises(BadRequest):
        gray.get(path)


def test_64_bits_do_not_interpolate(new_data):
    with pytest.raises(BadRequest, match="64 bits"):
        new_data("uint64blk").get("arb/0_0_0/80_0_0/0_80_0/8")


@pytest.mark.parametrize("far", [3, 10**4, 2**40], ids=["by a table", "by numbers", "by rows"])
def test_blocks_are_told_apart_however_far_they_lie(far):
    blocks = np.random.default_rng(far).integers(-far, far, (200, 3))
    blocks[100:] = blocks[:100]
    found, which = _distinct(blocks)
    assert (found[which] == blocks).all()
    assert len({tuple(row) for row in found.tolist()}) == len(found) == len(np.unique(blocks, axis=0))
