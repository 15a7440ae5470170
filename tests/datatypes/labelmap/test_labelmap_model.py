"""Label volumes against a plain array: boxes and blocks written in any way, read in every way, at all scales."""

from __future__ import annotations

import gzip
import json
import struct
from typing import Any

import lz4.block
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagdvid.geometry import Box, Point
from dagdvid.kernels import cseg, labelblocks
from dagdvid.kernels.downres import downres_ref

BLOCK = Point(16, 16, 32)
WORLD = Box(Point(-32, -32, -64), Point(64, 64, 128))
LEVELS = 2

corner = st.tuples(*[st.integers(-2, 1)] * 3).map(lambda c: Point(*c))
spans = st.builds(Box, corner, st.tuples(*[st.integers(1, 2)] * 3).map(lambda c: Point(*c))).filter(
    lambda span: max(span.end) <= 2
)
anywhere = st.builds(
    Box,
    st.tuples(st.integers(-40, 20), st.integers(-40, 20), st.integers(-70, 40)).map(lambda c: Point(*c)),
    st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40)).map(lambda c: Point(*c)),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["raw", "lz4", "gzip", "blocks"]), spans, st.integers(0, 6)),
        st.tuples(st.just("read"), anywhere, st.sampled_from(["", "lz4", "gzip"])),
        st.just(("child",)),
    ),
    max_size=7,
)


def cells(box: Box, seed: int) -> np.ndarray:
    """Labels in clumps, 0 among them, some above 32 bits."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 5 + seed, [edge // 8 for edge in box.shape]).astype(np.uint64)
    coarse[coarse == 4] = 2**40 + 4
    labels = coarse.repeat(8, 0).repeat(8, 1).repeat(8, 2)
    labels[rng.random(labels.shape) < 0.05] = 7
    return labels


def stream_of(box: Box, labels: np.ndarray, block: Point = BLOCK) -> bytes:
    """Whole blocks of a box, as POST blocks takes them."""
    out = []
    span = box.blocks(block)
    for z, y, x in np.ndindex(span.shape):
        place = span.offset + Point(x, y, z)
        part = labels[Box(place * block, block).slices(box.offset)]
        data = gzip.compress(labelblocks.encode(np.ascontiguousarray(part)), 1)
        out.append(struct.pack("<4i", *place, len(data)) + data)
    return b"".join(out)


def blocks_of(data: bytes) -> dict[Point, bytes]:
    found: dict[Point, bytes] = {}
    while data:
        x, y, z, size = struct.unpack_from("<4i", data)
        assert Point(x, y, z) not in found
        found[Point(x, y, z)] = data[16 : 16 + size]
        data = data[16 + size :]
    return found


def part(model: np.ndarray, box: Box, world: Box = WORLD) -> np.ndarray:
    out = np.zeros(box.shape, np.uint64)
    shared = box.intersection(world)
    if shared is not None:
        out[shared.slices(box.offset)] = model[shared.slices(world.offset)]
    return out


def plain(data: bytes, compression: str, size: int) -> bytes:
    if compression == "lz4":
        return lz4.block.decompress(data, uncompressed_size=size)
    return gzip.decompress(data) if compression == "gzip" else data


def coarse(model: np.ndarray) -> np.ndarray:
    return downres_ref(model)


def check(data: Any, model: np.ndarray, seen: set[Point]) -> None:
    """All scales, all blocks, and points, are those of the model."""
    volume, world = model, WORLD
    for scale in range(LEVELS + 1):
        at = f"{world.size}/{world.offset}"
        assert data.get(f"raw/0_1_2/{at}", scale=str(scale)) == volume.tobytes()
        volume = coarse(volume)
        world = Box(world.offset // Point(2, 2, 2), world.size // Point(2, 2, 2))
    at = f"{WORLD.size}/{WORLD.offset}"
    zipped = blocks_of(data.get(f"blocks/{at}", compression="blocks"))
    assert set(zipped) == seen
    for place, block in zipped.items():
        expected = part(model, Box(place * BLOCK, BLOCK))
        assert (labelblocks.decode(gzip.decompress(block)) == expected).all()
    for compression in ("lz4", "gzip", "uncompressed"):
        sent = blocks_of(data.get(f"blocks/{at}", compression=compression))
        assert set(sent) == seen
        size = BLOCK.product * 8
        for place, block in sent.items():
            assert plain(block, compression, size) == part(model, Box(place * BLOCK, BLOCK)).tobytes()
    points = np.random.default_rng(0).integers(-40, 70, (50, 3))
    asked = json.dumps(points.tolist()).encode()
    expected = [int(part(model, Box(Point(*p), Point(1, 1, 1)))[0, 0, 0]) for p in points.tolist()]
    assert json.loads(data.get("labels", asked, supervoxels="true")) == expected
    assert json.loads(data.get("label/{}_{}_{}".format(*points[0]))) == {"Label": expected[0]}


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=steps)
def test_volumes_agree_with_an_array(new_data, steps):
    data = new_data("labelmap", BlockSize=",".join(map(str, BLOCK)), MaxDownresLevel=str(LEVELS))
    model, seen = np.zeros(WORLD.shape, np.uint64), set()
    older = []
    for step in steps:
        if step[0] == "child":
            older.append((data, model.copy(), set(seen)))
            data = data.child()
        elif step[0] == "read":
            box, compression = step[1:]
            query = {"compression": compression} if compression else {}
            answer = data.get(f"raw/0_1_2/{box.size}/{box.offset}", **query)
            assert plain(answer, compression, box.volume * 8) == part(model, box).tobytes()
        else:
            how, span, seed = step
            box = span.voxels(BLOCK)
            labels = cells(box, seed)
            model[box.slices(WORLD.offset)] = labels
            seen |= {span.offset + Point(x, y, z) for z, y, x in np.ndindex(span.shape)}
            at = f"raw/0_1_2/{box.size}/{box.offset}"
            if how == "blocks":
                data.post("blocks", stream_of(box, labels), downres="true")
            elif how == "lz4":
                data.post(at, lz4.block.compress(labels.tobytes(), store_size=False), compression="lz4")
            elif how == "gzip":
                data.post(at, gzip.compress(labels.tobytes(), 1), compression="gzip", mutate="true")
            else:
                data.post(at, labels.tobytes())
    for version in [*older, (data, model, seen)]:
        check(*version)


def test_neuroglancer_is_answered_in_its_own_format(new_data):
    data = new_data("labelmap", BlockSize="32,32,32")
    box = Box(Point(0, 0, 0), Point(64, 32, 32))
    labels = cells(box, 3)
    data.post(f"raw/0_1_2/{box.size}/{box.offset}", labels.tobytes())
    answer = data.ask("GET", "raw/0_1_2/48_16_24/8_8_0", compression="google")
    expected = labels[0:24, 8:24, 8:56]
    assert (cseg.decode(answer.body, expected.shape) == expected).all()
    zipped = data.ask("GET", "raw/0_1_2/48_16_24/8_8_0", compression="googlegzip")
    assert zipped.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(zipped.body) == answer.body


@pytest.mark.parametrize("scale", ["3", "200", "300", "-1"])
def test_a_scale_that_there_is_not_is_empty(new_data, scale):
    data = new_data("labelmap", BlockSize="16,16,16", MaxDownresLevel="1")
    data.post("raw/0_1_2/16_16_16/0_0_0", cells(Box(Point(0, 0, 0), Point(16, 16, 16)), 2).tobytes())
    assert not any(data.get("raw/0_1_2/8_8_8/0_0_0", scale=scale))
    assert data.get("specificblocks", blocks="0,0,0", scale=scale) == b""
