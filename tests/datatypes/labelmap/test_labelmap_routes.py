"""What labelmap answers and refuses about voxels; what is refused changes nothing."""

from __future__ import annotations

import gzip
import io
import json
import struct

import numpy as np
import pytest
from PIL import Image

from dagdvid.errors import BadRequest, Locked
from dagdvid.kernels import labelblocks
from dagdvid.kernels.downres import downres_ref

EDGE = 32
SIZE = f"{EDGE}_{EDGE}_{EDGE}"


def cube(seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 9, (4, 4, 4)).astype(np.uint64).repeat(8, 0).repeat(8, 1).repeat(8, 2)


def piece(labels: np.ndarray, place: tuple[int, int, int] = (0, 0, 0), data: bytes | None = None) -> bytes:
    packed = gzip.compress(labelblocks.encode(labels) if data is None else data, 1)
    return struct.pack("<4i", *place, len(packed)) + packed


@pytest.fixture
def seg(new_data):
    data = new_data("labelmap", BlockSize=f"{EDGE},{EDGE},{EDGE}", MaxDownresLevel="1", VoxelSize="8,8,16")
    data.post(f"raw/0_1_2/{SIZE}/0_0_0", cube().tobytes())
    return data


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_planes(seg):
    labels = cube()
    image = seg.ask("GET", "raw/xz/32_20/0_5_3")
    assert image.content_type == "image/png"
    size, depth, colour = struct.unpack_from(">8sBB", image.body, 16)
    assert (struct.unpack(">2I", size), depth, colour) == ((32, 20), 16, 6)
    expected = labels[3:23, 5, :]
    colours = pixels(seg.get("pseudocolor/xz/32_20/0_5_3"))
    assert colours.shape == (20, 32, 3)
    pairs = {(int(a), tuple(map(int, b))) for a, b in zip(expected.ravel(), colours.reshape(-1, 3), strict=True)}
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
    assert pixels(seg.get("isotropic/xz/32_20/0_5_3")).shape[:2] == (20, 32)
    assert pixels(seg.get("raw/xy/7_9/0_0_0/jpg")).shape[:2] == (9, 7)


def test_metadata_extents_and_resolution(seg):
    told = json.loads(seg.get("metadata"))
    assert [axis["Size"] for axis in told["Axes"]] == [EDGE] * 3
    assert told["Properties"]["Interpolable"] is False
    seg.post("extents", b'{"MinPoint": [0,0,0], "MaxPoint": [99,9,9]}')
    seg.post("resolution", b"[4, 4, 4.5]")
    extended = json.loads(seg.get("info"))["Extended"]
    assert (extended["MaxPoint"], extended["VoxelSize"]) == ([99, 9, 9], [4, 4, 4.5])
    assert (extended["MaxRepoLabel"], extended["MaxDownresLevel"]) == (8, 1)


def test_settings_change_over_info(seg):
    answer = seg.ask("POST", "info", b'{"MaxDownresLevel": "2"}')
    assert answer.status == 200
    assert answer.body
    assert json.loads(seg.get("info"))["Extended"]["MaxDownresLevel"] == 2
    for body in (b"x", b'{"MaxDownresLevel": 2}', b'{"maxdownreslevel": "-1"}', b'{"MaxDownresLevel": "22"}'):
        with pytest.raises(BadRequest):
            seg.ask("POST", "info", body)
    seg.post("raw/0_1_2/32_32_32/0_0_0", cube(2).tobytes())
    twice = downres_ref(downres_ref(cube(2)))
    assert seg.get("raw/0_1_2/8_8_8/0_0_0", scale="2") == twice.tobytes()


def test_ingested_blocks_are_voxels_and_nothing_else(new_data):
    data = new_data("labelmap", BlockSize=f"{EDGE},{EDGE},{EDGE}", MaxDownresLevel="1")
    labels = cube(3)
    data.post("ingest-supervoxels", piece(labels, (-1, 2, 0)))
    assert data.get(f"raw/0_1_2/{SIZE}/-32_64_0") == labels.tobytes()
    assert not any(data.get("raw/0_1_2/16_16_16/-16_32_0", scale="1"))
    extended = json.loads(data.get("info"))["Extended"]
    assert (extended["MinPoint"], extended["MaxRepoLabel"]) == (None, 0)
    data.post("ingest-supervoxels", piece(labels, (-1, 1, 0)), scale="1")
    assert data.get(f"raw/0_1_2/{SIZE}/-32_32_0", scale="1") == labels.tobytes()


def test_the_last_of_two_blocks_at_one_place_counts(seg):
    seg.post("blocks", piece(cube(4)) + piece(cube(5)))
    assert seg.get(f"raw/0_1_2/{SIZE}/0_0_0") == cube(5).tobytes()


def test_any_sound_block_is_stored_in_one_form(new_data):
    """A label table with labels that do not occur, and one twice."""
    data = new_data("labelmap", BlockSize="16,16,16")
    labels = np.full((16, 16, 16), 5, np.uint64)
    table = np.array([9, 5, 5], "<u8").tobytes()
    clumsy = struct.pack("<4I", 2, 2, 2, 3) + table + struct.pack("<8H", *[1] * 8) + struct.pack("<8I", *[1, 2] * 4)
    assert (labelblocks.decode(clumsy) == labels).all()
    data.post("blocks", piece(labels, data=clumsy))
    sent = data.get("specificblocks", blocks="0,0,0")
    assert gzip.decompress(sent[16:]) == labelblocks.solid(5, (16, 16, 16))


WHOLE = piece(cube(7), (1, 0, 0))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (WHOLE + piece(cube())[:-3], "block 0_0_0"),
        (WHOLE + piece(cube())[:9], "inside of a header"),
        (WHOLE + struct.pack("<4i", 0, 1, 0, 0), "block 0_1_0"),
        (WHOLE + struct.pack("<4i", 0, 1, 0, -5), "block 0_1_0"),
        (WHOLE + struct.pack("<4i", 3, 1, 0, 5) + b"plain", "block 3_1_0"),
        (WHOLE + piece(cube(), (1 << 21, 0, 0)), "out of range"),
        (WHOLE + piece(cube(), data=b"short"), "malformed label block"),
        (WHOLE + piece(np.zeros((16, 16, 16), np.uint64)), "16 x 16 x 16 voxels"),
        (WHOLE + piece(cube(), data=labelblocks.encode(cube())[:-1]), "malformed label block"),
        (WHOLE + piece(cube(), data=labelblocks.encode(cube()) + bytes(1 << 20)), "block 0_0_0"),
    ],
)
@pytest.mark.parametrize("path", ["blocks", "ingest-supervoxels"])
def test_a_malformed_block_is_named_and_nothing_is_stored(seg, path, body, why):
    with pytest.raises(BadRequest, match=why):
        seg.post(path, body)
    assert seg.get("specificblocks", blocks="1,0,0,0,1,0") == b""
    assert seg.get(f"raw/0_1_2/{SIZE}/0_0_0") == cube().tobytes()


@pytest.mark.parametrize(
    ("method", "path", "query", "body"),
    [
        ("POST", "blocks", {"compression": "lz4"}, WHOLE),
        ("POST", "blocks", {"downres": "true", "scale": "1"}, WHOLE),
        ("POST", "blocks", {"scale": "256"}, WHOLE),
        ("POST", "blocks", {"scale": "one"}, WHOLE),
        ("POST", f"raw/0_1_2/{SIZE}/1_0_0", {}, cube().tobytes()),
        ("POST", f"raw/0_1_2/{SIZE}/32_0_0", {}, cube().tobytes()[:-8]),
        ("POST", f"raw/0_1_2/{SIZE}/32_0_0", {"compression": "gzip"}, b"no gzip"),
        ("POST", f"raw/0_1_2/{SIZE}/32_0_0", {"compression": "gzip"}, gzip.compress(bytes(2 * EDGE**3 * 8))),
        ("POST", f"raw/0_1_2/{SIZE}/32_0_0", {"compression": "gzip"}, gzip.compress(bytes(EDGE**3 * 8))[:-9]),
        ("POST", f"raw/0_1_2/{SIZE}/32_0_0", {"compression": "lz4"}, b"no lz4"),
        ("POST", f"raw/0_1_2/{SIZE}/32_0_0", {"compression": "snappy"}, cube().tobytes()),
        ("POST", "raw/xy/32_32/0_0_0", {}, bytes(8 * 1024)),
        ("POST", f"raw/0_1_2/{SIZE}/2147483616_0_0", {}, cube().tobytes()),
        ("GET", "raw/0_1_2/17_16_16/0_0_0", {"compression": "google"}, b""),
        ("GET", f"raw/0_1_2/{SIZE}/0_0_0", {"compression": "zip"}, b""),
        ("GET", f"raw/0_1_2/{SIZE}/0_0_0", {"scale": "a"}, b""),
        ("GET", "pseudocolor/0_1_2/8_8_8/0_0_0", {}, b""),
        ("GET", "raw/xy/32_32/0_0_0/gif", {}, b""),
        ("GET", f"blocks/{SIZE}/1_0_0", {}, b""),
        ("GET", f"blocks/{SIZE}/0_0_0", {"compression": "zip"}, b""),
        ("GET", "specificblocks", {"blocks": "0,0"}, b""),
        ("GET", "label/1_2", {}, b""),
        ("GET", "labels", {}, b"[[1,2]]"),
        ("GET", "labels", {}, b"[[1,2,3.5]]"),
        ("GET", "labels", {"hash": "0" * 32}, b"[]"),
    ],
)
def test_what_is_refused_changes_nothing(seg, method, path, query, body):
    with pytest.raises(BadRequest):
        seg.ask(method, path, body, **query)
    assert seg.get("specificblocks", blocks="1,0,0") == b""
    assert seg.get(f"raw/0_1_2/{SIZE}/0_0_0") == cube().tobytes()


def test_committed_voxels_stay(seg):
    child = seg.child()
    for path, body in (
        ("blocks", WHOLE),
        ("ingest-supervoxels", WHOLE),
        (f"raw/0_1_2/{SIZE}/0_0_0", cube(9).tobytes()),
    ):
        with pytest.raises(Locked):
            seg.post(path, body)
        child.post(path, body)
    assert seg.get(f"raw/0_1_2/{SIZE}/0_0_0") == cube().tobytes()
    assert child.get(f"raw/0_1_2/{SIZE}/0_0_0") == cube(9).tobytes()


def test_a_region_masks_voxels(seg):
    region = seg.beside("roi", "zone", BlockSize="16,16,16")
    region.post("roi", b"[[0,0,0,0],[1,1,1,1],[0,0,2,3]]")
    inside = np.zeros((EDGE, EDGE, EDGE), bool)
    inside[:16, :16, :16] = inside[16:, 16:, 16:] = True
    masked = np.where(inside, cube(), 0).astype(np.uint64)
    assert seg.get(f"raw/0_1_2/{SIZE}/0_0_0", roi="zone") == masked.tobytes()
    seg.post(f"raw/0_1_2/{SIZE}/0_0_0", cube(8).tobytes(), roi="zone")
    assert seg.get(f"raw/0_1_2/{SIZE}/0_0_0") == np.where(inside, cube(8), cube()).tobytes()
    seg.post(f"raw/0_1_2/{SIZE}/64_0_0", cube(8).tobytes(), roi="zone")
    assert seg.get("specificblocks", blocks="2,0,0") == b""


@pytest.mark.parametrize(
    "wrong",
    [{"BlockSize": "60,64,64"}, {"BlockSize": "2048,16,16"}, {"MaxDownresLevel": "x"}, {"IndexedLabels": "maybe"}],
)
def test_settings_that_make_no_sense_are_refused(seg, wrong):
    asked = json.dumps({"typename": "labelmap", "dataname": "odd", **wrong}).encode()
    with pytest.raises(BadRequest):
        seg.api("POST", f"/api/repo/{seg.uuid}/instance", asked)


@pytest.mark.parametrize(
    "path", ["sparsevol/1", "sparsevol-coarse/1", "sparsevol-by-point/1_1_1", "maxlabel", "nextlabel"]
)
def test_bodies_are_unknown_where_there_is_no_index(new_data, path):
    data = new_data("labelmap", BlockSize=f"{EDGE},{EDGE},{EDGE}", IndexedLabels="false")
    data.post(f"raw/0_1_2/{SIZE}/0_0_0", cube().tobytes())
    assert data.get(f"raw/0_1_2/{SIZE}/0_0_0") == cube().tobytes()
    assert json.loads(data.get("existing-labels")) == []
    for method, at in (("GET", path), ("POST", "merge"), ("POST", "cleave/1")):
        with pytest.raises(BadRequest, match="IndexedLabels"):
            data.ask(method, at, b"[1,2]")


def test_other_compressions_take_voxels_but_no_blocks(new_data):
    data = new_data("labelmap", BlockSize=f"{EDGE},{EDGE},{EDGE}", Compression="lz4")
    data.post(f"raw/0_1_2/{SIZE}/0_0_0", cube().tobytes())
    with pytest.raises(BadRequest, match="gzip"):
        data.post("blocks", WHOLE)
    sent = data.get(f"blocks/{SIZE}/0_0_0", compression="blocks")
    assert (labelblocks.decode(gzip.decompress(sent[16:])) == cube()).all()
