"""DVID's command words on image volumes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from dagdvid.errors import BadRequest, Locked


def command(data, *words, **query):
    body = json.dumps({"words": ["node", data.uuid, data.name, *words]}).encode()
    return data.api("POST", "/api/server/command", body, **query)


def save(folder, stack, kind="png"):
    for i, plane in enumerate(stack):
        Image.fromarray(plane).save(folder / f"slice-{i:03}.{kind}")
    return str(folder / f"slice-*.{kind}")


@pytest.mark.parametrize(("typename", "kind"), [("uint8blk", "png"), ("uint16blk", "tiff"), ("rgba8blk", "png")])
def test_images_are_loaded_wherever_they_lie(new_data, tmp_path, monkeypatch, typename, kind):
    data = new_data(typename, BlockSize="8,8,8", Background="9")
    voxel = {"uint8blk": "u1", "uint16blk": "<u2", "rgba8blk": "u1"}[typename]
    channels = (4,) if typename == "rgba8blk" else ()
    stack = np.random.default_rng(1).integers(0, 255, (21, 30, 19, *channels), voxel)
    old = np.random.default_rng(2).integers(0, 255, (8, 8, 8, *channels), voxel)
    data.post("raw/0_1_2/8_8_8/8_-8_-8", old.tobytes())
    monkeypatch.setattr("dagdvid.datatypes.imageblk.commands._BAND_BYTES", 1)
    text = command(data, "load", "-3,-5,-7", save(tmp_path, stack, kind)).body.decode()
    assert text.startswith("Loaded 21 images")
    blank = 9 if typename == "uint8blk" else 0
    expected = np.full((24, 32, 32, *channels), blank, voxel)
    expected[:, :, 24:] = 0  # no image reaches these blocks
    expected[0:8, 0:8, 16:24] = old
    expected[1:22, 3:33, 5:24] = stack[:, :29]
    assert data.get("raw/0_1_2/32_32_24/-8_-8_-8") == expected.tobytes()
    assert data.ask("GET", "info").json["Extents"] == {"MinPoint": [-3, -8, -8], "MaxPoint": [15, 24, 13]}


def test_images_of_several_sizes_and_progress(new_data, tmp_path):
    data = new_data("uint8blk", BlockSize="8,8,8")
    stack = [np.full((5 + i, 9 - i), 100 + i, np.uint8) for i in range(3)]
    told = command(data, "load", "0,0,0", save(tmp_path, stack), progress="true").body.splitlines()
    assert [json.loads(line).get("done") for line in told] == [1, None]
    for i, plane in enumerate(stack):
        seen = np.frombuffer(data.get(f"raw/0_1_2/16_8_1/0_0_{i}"), "u1").reshape(8, 16)
        assert (seen[: 5 + i, : 9 - i] == plane).all()
        assert seen.astype(int).sum() == plane.astype(int).sum()


@pytest.mark.parametrize("words", [("0,0,0", "/nosuch/*.png"), ("0,0", "{}"), ("0,0,2147483647", "{}")])
def test_loads_that_are_refused(new_data, tmp_path, words):
    data = new_data("uint8blk", BlockSize="8,8,8")
    files = save(tmp_path, np.zeros((2, 4, 4), np.uint8))
    with pytest.raises(BadRequest):
        command(data, "load", *(word.format(files) for word in words))
    with pytest.raises(BadRequest, match="bytes a pixel"):
        command(data.beside("uint16blk", "deep"), "load", "0,0,0", str(tmp_path / "slice-000.png"))
    (tmp_path / "slice-009.png").write_bytes(b"no image")
    with pytest.raises(BadRequest, match=r"slice-009\.png"):
        command(data, "load", "0,0,0", files)
    assert data.ask("GET", "info").json["Extents"]["MinPoint"] is None


def test_committed_versions_are_not_loaded_into(new_data, tmp_path):
    data = new_data("uint8blk", BlockSize="8,8,8")
    data.child()
    with pytest.raises(Locked):
        command(data, "load", "0,0,0", save(tmp_path, np.zeros((1, 4, 4), np.uint8)))


def test_a_region_of_the_foreground(new_data):
    data = new_data("uint8blk", BlockSize="8,8,8")
    volume = np.zeros((16, 16, 32), np.uint8)
    volume[0, 0, 9] = 7
    volume[15, 15, 20:30] = 255
    volume[8, 0, 0] = 5
    volume[:8, 8:, :8] = 255
    data.post("raw/0_1_2/32_16_16/-16_0_0", volume.tobytes())
    assert "has 2 blocks" in command(data, "roi", "seen", "0,255").body.decode()
    roi = data.at(data.uuid, "seen")
    assert roi.ask("GET", "roi").json == [[0, 0, -1, -1], [1, 0, -2, -2]]
    assert roi.ask("GET", "info").json["Extended"]["BlockSize"] == [8, 8, 8]
    command(data, "roi", "seen", "0")
    assert [0, 1, -2, -2] in roi.ask("GET", "roi").json


def test_regions_that_are_refused(new_data):
    data = new_data("uint8blk", BlockSize="8,8,8")
    data.beside("roi", "coarse")
    for words in (("coarse", "0"), ("data", "0"), ("x", "256"), ("x", "a"), ("diff", "0")):
        with pytest.raises(BadRequest):
            command(data, "roi", *words)
    with pytest.raises(BadRequest, match="8 bits"):
        command(data.beside("uint16blk", "deep"), "roi", "x", "0")
    with pytest.raises(BadRequest, match="load"):
        command(data, "put", "local", "xy", "0,0,0", "x.png")
