"""Whole blocks over HTTP, in every form in which they can be stored."""

from __future__ import annotations

import gzip
import io
import struct

import lz4.block
import numpy as np
import pytest
from PIL import Image

from dagdvid.errors import BadRequest


def told(stream):
    """The blocks of a stream by coordinate."""
    found, at = {}, 0
    while at < len(stream):
        x, y, z, n = struct.unpack_from("<iiii", stream, at)
        assert (x, y, z) not in found
        found[x, y, z] = stream[at + 16 : at + 16 + n]
        assert len(found[x, y, z]) == n
        at += 16 + n
    return found


def smooth(shape, seed=0):
    z, y, x = np.mgrid[tuple(slice(0, n) for n in shape)]
    return (120 + 60 * np.sin(x / 7 + seed) + 50 * np.cos(y / 9 + z / 5)).astype(np.uint8)


def unlz4(data):
    return lz4.block.decompress(data[4:], uncompressed_size=int.from_bytes(data[:4], "little"))


DECODERS = {
    "lz4": unlz4,
    "gzip": gzip.decompress,
    "none": bytes,
    "snappy": lambda data: data[4 if data[0] < 128 else 5 :],
}


@pytest.mark.parametrize("compression", DECODERS)
@pytest.mark.parametrize("edge", ["16,16,16", "7,5,3"])
def test_stored_blocks_are_those_that_dvid_would_send(new_data, compression, edge):
    data = new_data("uint8blk", Compression=compression, BlockSize=edge)
    x, y, z = map(int, edge.split(","))
    volumes = {0: smooth((z, y, x)), 1: np.random.default_rng(2).integers(0, 256, (z, y, x), np.uint8)}
    for at, volume in volumes.items():
        data.post(f"raw/0_1_2/{x}_{y}_{z}/{at * x}_0_0", volume.tobytes())
    asked = f"subvolblocks/{3 * x}_{y}_{2 * z}/0_0_0"
    plain = told(data.get(asked, compression="uncompressed"))
    assert plain == {(at, 0, 0): volume.tobytes() for at, volume in volumes.items()}
    stored = told(data.get(asked))
    assert {at: DECODERS[compression](block) for at, block in stored.items()} == plain
    listed = told(data.get("specificblocks", blocks="1,0,0,5,5,5,0,0,0"))
    assert listed == stored
    assert list(listed) == [(1, 0, 0), (0, 0, 0)]
    for path, query in ((asked, {"compression": "jpeg"}), (asked, {"compression": "lz4"})):
        with pytest.raises(BadRequest, match=r"JPEG|compression"):
            data.get(path, **query)
    assert data.get("specificblocks", blocks="0,0,0", compression="jpeg") == b""
    assert data.get(f"subvolblocks/{x}_{y}_{z}/{9 * x}_0_0", compression="jpeg") == b""


@pytest.mark.parametrize("typename", ["uint8blk", "uint16blk", "rgba8blk"])
def test_stored_jpegs(new_data, typename):
    data = new_data(typename, Compression="jpeg", BlockSize="16,8,4")
    size = {"uint8blk": 1, "uint16blk": 2, "rgba8blk": 4}[typename]
    volume = smooth((4 * size, 8, 32))
    data.post("raw/0_1_2/32_8_4/0_0_0", volume.tobytes())
    streams = [data.get("subvolblocks/32_8_4/0_0_0", compression=form) for form in ("", "jpeg")]
    assert streams[0] == streams[1]
    stored, plain = told(streams[0]), told(data.get("subvolblocks/32_8_4/0_0_0", compression="uncompressed"))
    assert set(stored) == set(plain) == {(0, 0, 0), (1, 0, 0)}
    for at, block in stored.items():
        with Image.open(io.BytesIO(block)) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "L", (16, 32 * size))
            assert np.asarray(image).tobytes() == plain[at]
    row = data.get("blocks/0_0_0/2")
    assert row == plain[0, 0, 0] + plain[1, 0, 0]
    data.post("blocks/4_0_0/1", row[: len(row) // 2])
    again = told(data.get("specificblocks", blocks="4,0,0"))[4, 0, 0]
    assert again[:2] == b"\xff\xd8"
    if size == 1:
        assert (
            np.abs(np.frombuffer(data.get("raw/0_1_2/32_8_4/0_0_0"), "u1").astype(int) - volume.reshape(-1)).mean() < 3
        )


def test_a_stored_jpeg_is_the_value_that_is_hashed(new_data):
    data = new_data("uint8blk", Compression="jpeg", BlockSize="16,16,16")
    data.post("raw/0_1_2/16_16_16/0_0_0", smooth((16, 16, 16)).tobytes())
    repo, version = data.server.catalog.find(data.uuid)
    view = data.server.catalog.snapshot(repo, version, repo.instance("data"))
    ((_, value),) = view.items("blocks")
    assert value == told(data.get("subvolblocks/16_16_16/0_0_0"))[0, 0, 0]


def test_rows_of_blocks(new_data):
    data = new_data("uint16blk", BlockSize="4,4,4", Background="7")
    one, two = (np.random.default_rng(i).integers(0, 9, 64, "<u2").tobytes() for i in (1, 2))
    data.post("blocks/-1_2_-3/2", one + two + b"surplus")
    assert data.get("blocks/-2_2_-3/4") == b"\7" * 128 + one + two + b"\7" * 128
    assert data.get("raw/0_1_2/4_4_4/0_8_-12") == two
    assert data.get("blocks/0_0_0/0") == b""
    assert data.get("blocks/1048575_0_0/3") == b"\7" * 384
    assert data.ask("GET", "info").json["Extents"]["MinPoint"] is None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "blocks/0_0_0/2"),
        ("POST", "blocks/0_0_0/0"),
        ("POST", "blocks/0_0_0/-1"),
        ("POST", "blocks/1048576_0_0/1"),
        ("GET", "blocks/0_0_0/-1"),
        ("GET", "blocks/0_0/1"),
        ("GET", "blocks/0_0_0/x"),
        ("GET", "blocks/0_0_0/99999999"),
        ("GET", "subvolblocks/4_4_5/0_0_0"),
        ("GET", "subvolblocks/4_4_4/0_1_0"),
        ("GET", "subvolblocks/4_4/0_0_0"),
        ("GET", "subvolblocks/4000_4000_4000/0_0_0"),
        ("GET", "subvolblocks/4_4_4"),
    ],
)
def test_refused(new_data, method, path):
    data = new_data("uint8blk", BlockSize="4,4,4")
    with pytest.raises(Exception, match=r".") as refused:
        data.ask(method, path, bytes(64 + 63))
    assert refused.value.code in ("bad-request", "unknown-name")
    assert data.get("specificblocks", blocks="0,0,0,1,0,0") == b""


def test_lists_of_blocks(new_data):
    data = new_data("uint8blk", BlockSize="4,4,4")
    data.post("blocks/0_0_0/1", bytes(64))
    stream = data.get("specificblocks", blocks="0,0,0,0,0,0", compression="uncompressed")
    assert stream == 2 * (struct.pack("<iiii", 0, 0, 0, 64) + bytes(64))
    for empty in ("", "9,9,9", "2000000,0,0,+5,-5,1"):
        assert data.get("specificblocks", blocks=empty) == b""
    assert data.get("specificblocks") == data.get("specificblocks", blocks="0,0,0", prefetch="on") == b""
    for bad in ("1,2", "a,0,0", "0,0,0,", " 1,2,3", "99999999999,0,0"):
        with pytest.raises(BadRequest):
            data.get("specificblocks", blocks=bad)
    with pytest.raises(BadRequest):
        data.get("specificblocks", blocks="0,0,0", compression="zip")
