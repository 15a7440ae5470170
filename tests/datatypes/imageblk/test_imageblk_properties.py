"""Settings of image volumes; what they look like to clients is in test_imageblk_routes.py."""

from __future__ import annotations

import pytest

from dagdvid.datatypes.blockdiff import BlockDiffer
from dagdvid.datatypes.extents import of_json
from dagdvid.datatypes.imageblk import UINT8BLK
from dagdvid.errors import BadRequest, Locked
from dagdvid.geometry import Box, Point
from dagdvid.kernels.morton import key_ref


def test_defaults():
    assert UINT8BLK.configure({"typename": "uint8blk", "what": "ever"}) == {
        "Compression": "LZ4 compression, level -1",
        "Checksum": "No checksum",
        "codec": 2,
        "stored": "lz4",
        "BlockSize": [32, 32, 32],
        "VoxelSize": [8, 8, 8],
        "VoxelUnits": ["nanometers", "nanometers", "nanometers"],
        "MinPoint": None,
        "MaxPoint": None,
        "Background": 0,
        "GridStore": "",
        "ScaleLevel": 0,
    }


def test_settings():
    config = UINT8BLK.configure(
        {
            "blocksize": "16, 24,8",
            "voxelsize": "4.5,4,40",
            "voxelunits": "a, b,c",
            "minpoint": "0,-10,20",
            "maxpoint": "99,100,101",
            "background": "255",
            "scalelevel": "2",
        }
    )
    assert config["BlockSize"] == [16, 24, 8]
    assert repr(config["VoxelSize"]) == "[4.5, 4, 40]"
    assert config["VoxelUnits"] == ["a", "b", "c"]
    assert (config["MinPoint"], config["MaxPoint"]) == ([0, -10, 20], [99, 100, 101])
    assert (config["Background"], config["ScaleLevel"]) == (255, 2)
    assert UINT8BLK.content_settings(config) == {"BlockSize": [16, 24, 8]}


@pytest.mark.parametrize(
    ("name", "value"),
    [("blocksize", v) for v in ("64", "a,b,c", "", "32,32", "0,0,0", "-1,1,1", "32_32_32", "2000,2000,2000")]
    + [("voxelsize", v) for v in ("x", "", "1,2,3,4", "nan,1,1")]
    + [("background", v) for v in ("256", "-1", "x", "")]
    + [("scalelevel", v) for v in ("x", "-1", "256")]
    + [("gridstore", "nosuchstore"), ("minpoint", "1,2"), ("maxpoint", ""), ("voxelunits", "a,b,c,d")]
    + [("compression", "jpeg:80"), ("compression", "rar"), ("checksum", "md5")],
)
def test_refused_settings(name, value):
    with pytest.raises(BadRequest, match=f"(?i){name}"):
        UINT8BLK.configure({name: value})


def test_jpeg_is_a_setting_of_the_content():
    config = UINT8BLK.configure({"compression": "JPEG", "blocksize": "64,32,16"})
    assert (config["Compression"], config["codec"]) == ("jpeg compression, level 64", 0)
    assert UINT8BLK.content_settings(config) == {"BlockSize": [64, 32, 16], "Compression": "jpeg"}
    assert UINT8BLK.configure({"compression": "jpeg"})["Compression"] == "jpeg compression, level 32"
    with pytest.raises(BadRequest, match="too large for jpeg"):
        UINT8BLK.configure({"compression": "jpeg", "blocksize": "256,256,256"})


def test_extents_must_not_be_the_wrong_way_round():
    with pytest.raises(BadRequest, match="above"):
        UINT8BLK.configure({"minpoint": "0,0,5", "maxpoint": "9,9,4"})


def test_extents_of_json():
    assert of_json({"MinPoint": [-1, 2, 3], "MaxPoint": [1, 2, 3]}) == Box(Point(-1, 2, 3), Point(3, 1, 1))
    for value in [
        {},
        {"MinPoint": [1, 2, 3]},
        {"MinPoint": [1, 2], "MaxPoint": [3, 4]},
        {"MinPoint": 1, "MaxPoint": 2},
    ]:
        with pytest.raises(BadRequest, match=r"M(in|ax)Point"):
            of_json(value)
    with pytest.raises(BadRequest, match="above"):
        of_json({"MinPoint": [0, 0, 1], "MaxPoint": [0, 0, 0]})


def test_a_differ_names_blocks_and_their_box():
    differ = BlockDiffer(Point(32, 16, 8))
    assert differ.summary() == {}
    assert differ.describe("blocks", key_ref(0, -1, 2)) == {"block": [0, -1, 2], "box": [[0, -16, 16], [31, -1, 23]]}
    assert differ.describe("meta", b"extents") is None
    assert differ.describe("blocks", key_ref(-2, 0, 0, 1))["scale"] == 1
    assert differ.summary() == {"box": [[-64, -16, 0], [31, 15, 23]]}


def test_a_resolution_is_for_all_versions(new_data):
    data = new_data("uint8blk", VoxelSize="4,4,40")
    child = data.child()
    child.post("resolution", b"[4.5, 4, 40.25]")
    for version in (data, child):
        assert version.ask("GET", "info").json["Extended"]["VoxelSize"] == [4.5, 4, 40.25]
        assert [axis["Resolution"] for axis in version.ask("GET", "metadata").json["Axes"]] == [4.5, 4, 40.25]
    with pytest.raises(Locked):
        data.post("resolution", b"[1, 1, 1]")
    for body in (
        b"",
        b"x",
        b"{}",
        b"[1, 2]",
        b"[1, 2, 3, 4]",
        b"[0, 1, 1]",
        b"[1, 1, -1]",
        b'[1, 1, "1"]',
        b"[1, 1, NaN]",
    ):
        with pytest.raises(BadRequest):
            child.post("resolution", body)
    assert child.ask("GET", "info").json["Extended"]["VoxelSize"] == [4.5, 4, 40.25]
