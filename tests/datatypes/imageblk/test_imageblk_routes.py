"""uint8blk through the server: what the recorded contract does not say, and what it says in few examples."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dagdvid.errors import BadRequest, Locked
from dagdvid.geometry import Box, Point


@pytest.fixture
def gray(new_data):
    return new_data("uint8blk")


def noise(size, seed=0):
    """A volume of random voxels, [z, y, x]."""
    return np.random.default_rng(seed).integers(0, 256, tuple(size)[::-1], np.uint8)


def raw(size, offset, shape="0_1_2"):
    return f"raw/{shape}/{size}/{offset}"


def test_a_volume_comes_back(gray):
    volume = noise((64, 32, 96))
    gray.post(raw("64_32_96", "-32_32_0"), volume.tobytes())
    answer = gray.ask("GET", raw("64_32_96", "-32_32_0"))
    assert (answer.status, answer.content_type) == (200, "application/octet-stream")
    assert answer.body == volume.tobytes()
    for path in (
        raw("64_32_96", "-32_32_0", "vol"),
        raw("64_32_96", "-32_32_0") + "/raw",
        raw("64_32_96", "-32_32_0") + "/",
    ):
        assert gray.get(path) == volume.tobytes()
    assert gray.get("isotropic/0_1_2/64_32_96/-32_32_0") == volume.tobytes()


@pytest.mark.parametrize("block", ["8,16,4", "32,32,32", "5,7,3"])
@pytest.mark.parametrize("compression", ["lz4", "none", "gzip"])
def test_reads_anywhere_agree_with_an_array(new_data, block, compression):
    data = new_data("uint8blk", BlockSize=block, Compression=compression)
    edge = Point(*map(int, block.split(",")))
    rng = np.random.default_rng(len(block))
    world = Box(Point(-96, -96, -96), Point(192, 192, 192))
    model = np.zeros(world.shape, np.uint8)
    for seed in range(6):
        span = Box(Point(*rng.integers(-2, 2, 3).tolist()), Point(*rng.integers(1, 3, 3).tolist()))
        box = span.voxels(edge)
        volume = noise(box.size, seed)
        data.post(raw(box.size, box.offset), volume.tobytes())
        model[box.slices(world.offset)] = volume
        for _ in range(4):
            wanted = Box(Point(*rng.integers(-80, 60, 3).tolist()), Point(*rng.integers(1, 30, 3).tolist()))
            assert data.get(raw(wanted.size, wanted.offset)) == model[wanted.slices(world.offset)].tobytes()


def test_a_large_read_is_streamed(gray):
    volume = noise((192, 160, 128))
    gray.post(raw("192_160_128", "0_0_0"), volume.tobytes())
    answer = gray.ask("GET", raw("190_158_126", "1_1_1"))
    assert answer.streamed
    assert answer.body == volume[1:127, 1:159, 1:191].tobytes()


def test_a_thin_read_of_many_blocks(gray):
    gray.post(raw("32_32_32", "0_0_0"), bytes([7]) * 32768)
    body = gray.get(raw("6000_3000_1", "-100_-100_31"))
    assert len(body) == 18_000_000
    assert np.frombuffer(body, np.uint8).reshape(3000, 6000)[100:132, 100:132].min() == 7
    assert sum(body) == 32 * 32 * 7


@pytest.mark.parametrize("offset", ["2147483000_0_0", "-2147483648_-2147483648_-2147483648", "33554400_0_0"])
def test_where_nothing_can_be_stored_is_0(gray, offset):
    assert gray.get(raw("40_3_2", offset)) == bytes(240)


@pytest.mark.parametrize("offset", ["33554432_0_0", "0_-33554464_0"])
def test_beyond_the_last_block_nothing_is_stored(gray, offset):
    with pytest.raises(BadRequest, match="block coordinates"):
        gray.post(raw("32_32_32", offset), bytes(32768))
    assert gray.ask("GET", "info").json["Extents"] == {"MinPoint": None, "MaxPoint": None}


def test_the_last_blocks_of_all(gray):
    for offset in ("33554400_33554400_33554400", "-33554432_-33554432_-33554432"):
        gray.post(raw("32_32_32", offset), bytes([9]) * 32768)
        assert gray.get(raw("32_32_32", offset)) == bytes([9]) * 32768


@pytest.mark.parametrize(
    ("path", "size", "says"),
    [
        (raw("32_32_32", "16_0_0"), 32768, "whole blocks"),
        (raw("32_32_31", "0_0_0"), 31744, "whole blocks"),
        (raw("32_32_32", "0_0_0"), 32767, "32767 bytes"),
        (raw("32_32_32", "0_0_0"), 32769, "32769 bytes"),
        (raw("32_32_32", "0_0_0"), 0, "0 bytes"),
        (raw("32_32", "0_0_0", "xy"), 1024, "2-d"),
        (raw("32_32_32", "0_0"), 32768, "offset"),
        (raw("0_32_32", "0_0_0"), 0, "empty"),
        (raw("32_32_32", "0_0_0", "0_1_2_3"), 32768, "shape"),
    ],
)
def test_refused_writes_change_nothing(gray, path, size, says):
    gray.post(raw("32_32_32", "0_0_0"), bytes([3]) * 32768)
    before = gray.get("info")
    with pytest.raises(BadRequest, match=says):
        gray.post(path, bytes(size))
    assert gray.get("info") == before
    assert gray.get(raw("64_64_64", "-16_-16_-16")).count(3) == 32768


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (raw("0_10_10", "0_0_0"), "empty"),
        (raw("10_10", "0_0_0"), "size"),
        (raw("a_b_c", "0_0_0"), "size"),
        (raw("5000_5000_5000", "0_0_0"), "too large"),
        (raw("10_10_10", "0_0_2147483640"), "32-bit"),
        (raw("10_10_10", "0_0_0", "xz"), "size of a plane"),
        (raw("10_0", "0_0_0", "xz"), "empty"),
        (raw("10_10", "0_0", "xz"), "offset"),
        (raw("10_10", "0_0_2147483647", "xz"), "32-bit"),
        (raw("100000_100000", "0_0_0", "xy"), "too large"),
        (raw("10_10", "0_0_0", "zx"), "shape"),
        (raw("10_10", "0_0_0", "xy") + "/gif", "gif"),
        (raw("10_10", "0_0_0", "xy") + "/png:best", "quality"),
        (raw("10_300_300", "0_0_0") + "/jpg", "65535"),
    ],
)
def test_refused_reads(gray, path, says):
    with pytest.raises(BadRequest, match=says):
        gray.get(path)


def extents(data):
    info = data.ask("GET", "info").json
    for name in ("MinPoint", "MaxPoint"):
        assert info["Extended"][name] == info["Extents"][name]
    return info["Extents"]["MinPoint"], info["Extents"]["MaxPoint"]


def test_extents_grow_with_writes_in_each_version_alone(gray):
    assert extents(gray) == (None, None)
    gray.post(raw("32_32_64", "32_0_-64"), bytes(65536))
    assert extents(gray) == ([32, 0, -64], [63, 31, -1])
    child = gray.child()
    child.post(raw("32_32_32", "-32_64_0"), bytes(32768))
    assert extents(child) == ([-32, 0, -64], [63, 95, 31])
    assert extents(gray) == ([32, 0, -64], [63, 31, -1])
    assert child.ask("GET", "info").json["Extended"]["MinIndex"] == [-1, 0, -2]
    assert child.ask("GET", "info").json["Extended"]["MaxIndex"] == [1, 2, 0]


def test_extents_can_be_set_narrower(gray):
    gray.post(raw("32_32_32", "0_0_0"), bytes(32768))
    gray.post("extents", json.dumps({"MinPoint": [1, 2, 3], "MaxPoint": [4, 5, 6]}).encode())
    assert extents(gray) == ([1, 2, 3], [4, 5, 6])
    for body in (
        b"not json",
        b"[1, 2, 3]",
        b'{"MinPoint": [1, 2, 3]}',
        b'{"MinPoint": [9, 2, 3], "MaxPoint": [4, 5, 6]}',
    ):
        with pytest.raises(BadRequest):
            gray.post("extents", body)
    assert extents(gray) == ([1, 2, 3], [4, 5, 6])


def test_extents_of_the_settings_hold_until_something_is_written(new_data):
    data = new_data("uint8blk", MinPoint="0,-10,20", MaxPoint="99,100,101")
    assert extents(data) == ([0, -10, 20], [99, 100, 101])
    data.post(raw("32_32_32", "96_0_0"), bytes(32768))
    assert extents(data) == ([0, -10, 0], [127, 100, 101])


def test_metadata(new_data):
    data = new_data("uint8blk", VoxelSize="4.5", VoxelUnits="microns", BlockSize="16,16,16")
    answer = data.ask("GET", "metadata")
    assert answer.content_type == "application/vnd.dvid-nd-data+json"
    assert [(axis["Size"], axis["Offset"], axis["Resolution"]) for axis in answer.json["Axes"]] == [(0, 0, 4.5)] * 3
    data.post(raw("32_16_48", "-16_0_16"), bytes(32 * 16 * 48))
    axes = data.ask("GET", "metadata").json["Axes"]
    assert [(axis["Label"], axis["Size"], axis["Offset"]) for axis in axes] == [
        ("X", 32, -16),
        ("Y", 16, 0),
        ("Z", 48, 16),
    ]
    assert {axis["Units"] for axis in axes} == {"microns"}
    assert data.ask("GET", "metadata").json["Properties"] == data.ask("GET", "info").json["Extended"]


def test_committed_volumes_are_not_written(gray):
    gray.post(raw("32_32_32", "0_0_0"), bytes([1]) * 32768)
    child = gray.child()
    child.post(raw("32_32_32", "0_0_0"), bytes([2]) * 32768)
    with pytest.raises(Locked):
        gray.post(raw("32_32_32", "0_0_0"), bytes(32768))
    assert gray.get(raw("1_1_1", "31_31_31")) == b"\x01"
    assert child.get(raw("1_1_1", "31_31_31")) == b"\x02"
