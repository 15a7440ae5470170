"""Image volumes of every voxel type against a plain array: boxes, rows of blocks and regions, in versions."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagdvid.datatypes.imageblk.formats import FORMATS
from dagdvid.geometry import Box, Point

BLOCK = Point(4, 3, 2)
WORLD = Box(Point(-16, -12, -8), Point(36, 27, 18))

corner = st.tuples(st.integers(-3, 2), st.integers(-3, 2), st.integers(-3, 2)).map(lambda c: Point(*c))
extent = st.tuples(*[st.integers(1, 3)] * 3).map(lambda c: Point(*c))
spans = st.builds(Box, corner, extent)
anywhere = st.builds(
    Box,
    st.tuples(st.integers(-16, 12), st.integers(-12, 9), st.integers(-8, 6)).map(lambda c: Point(*c)),
    st.tuples(st.integers(1, 18), st.integers(1, 14), st.integers(1, 9)).map(lambda c: Point(*c)),
)
write = st.tuples(st.just("write"), spans, st.booleans())
row = st.tuples(st.just("row"), corner, st.integers(1, 3))
steps = st.lists(st.one_of(write, row, st.tuples(st.just("read"), anywhere), st.just(("child",))), max_size=12)
REGION = [[z, y, x, x + 1] for z in range(-3, 3) for y in range(-3, 3) for x in (-3, 0) if (x + y + z) % 2]


def noise(box: Box, voxel: np.dtype[Any], seed: int) -> np.ndarray:
    data = np.random.default_rng(seed).bytes(box.volume * voxel.itemsize)
    return np.frombuffer(data, voxel).reshape(box.shape)


def inside(box: Box) -> np.ndarray:
    """Which voxels of a box are in REGION, one after the other."""
    blocks = {(x, y, z) for z, y, x0, x1 in REGION for x in range(x0, x1 + 1)}
    mask = np.zeros(box.shape, bool)
    for z, y, x in np.ndindex(box.shape):
        mask[z, y, x] = tuple((box.offset + Point(x, y, z)) // BLOCK) in blocks
    return mask


def part(model: np.ndarray, box: Box) -> np.ndarray:
    """A box of the world's array; beyond the world nothing is stored."""
    out = np.zeros(box.shape, model.dtype)
    shared = box.intersection(WORLD)
    if shared is not None:
        out[shared.slices(box.offset)] = model[shared.slices(WORLD.offset)]
    return out


@pytest.mark.parametrize("typename", FORMATS)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=steps)
def test_volumes_agree_with_an_array(new_data, typename, steps):
    data = new_data(typename, BlockSize=",".join(map(str, BLOCK)))
    data.beside("roi", "region", BlockSize=",".join(map(str, BLOCK))).post("roi", json.dumps(REGION).encode())
    voxel = FORMATS[typename].voxel
    model = np.zeros(WORLD.shape, voxel)
    grown: Box | None = None
    past = []
    for seed, step in enumerate(steps):
        if step[0] == "write":
            box, masked = step[1].voxels(BLOCK), step[2]
            volume = noise(box, voxel, seed)
            data.post(f"raw/0_1_2/{box.size}/{box.offset}", volume.tobytes(), **({"roi": "region"} if masked else {}))
            at = box.slices(WORLD.offset)
            model[at] = np.where(inside(box), volume, model[at]) if masked else volume
            low = box.offset if grown is None else grown.offset.smallest(box.offset)
            high = box.last if grown is None else grown.last.largest(box.last)
            grown = Box.spanning(low, high)
        elif step[0] == "row":
            first, count = step[1], min(step[2], 3 - step[1].x)
            box = Box(first, Point(count, 1, 1)).voxels(BLOCK)
            volume = noise(box, voxel, seed)
            rows = [volume[:, :, i * BLOCK.x : (i + 1) * BLOCK.x].tobytes() for i in range(count)]
            data.post(f"blocks/{first}/{count}", b"".join(rows))
            assert data.get(f"blocks/{first}/{count}") == b"".join(rows)
            model[box.slices(WORLD.offset)] = volume
        elif step[0] == "read":
            check(data, model, step[1])
        else:
            past.append((data, model.copy()))
            data = data.child()
    box = grown or WORLD
    check(data, model, box)
    shown = data.ask("GET", "info").json["Extents"]
    assert shown == {
        "MinPoint": grown.offset.as_list() if grown else None,
        "MaxPoint": grown.last.as_list() if grown else None,
    }
    for before, kept in past:
        check(before, kept, WORLD)


def check(data: Any, model: np.ndarray, box: Box) -> None:
    assert data.get(f"raw/0_1_2/{box.size}/{box.offset}") == part(model, box).tobytes()
    masked = np.where(inside(box), part(model, box), np.zeros((), model.dtype))
    assert data.get(f"raw/0_1_2/{box.size}/{box.offset}", roi="region") == masked.tobytes()


@pytest.mark.parametrize(("roi_block", "fill"), [("4,3,2", 9), ("2,2,2", 9), ("16,5,7", 9), ("3,3,3", 0)])
def test_a_region_of_any_block_size_masks_voxels(new_data, roi_block, fill):
    """DVID takes the region's blocks for the volume's, whatever their sizes."""
    data = new_data("uint8blk", BlockSize="4,3,2", Background=str(fill))
    edge = Point(*map(int, roi_block.split(",")))
    rows = [[0, 0, 0, 1], [1, 1, -1, 0], [-1, 0, 1, 1]]
    data.beside("roi", "region", BlockSize=roi_block).post("roi", json.dumps(rows).encode())
    blocks = {(x, y, z) for z, y, x0, x1 in rows for x in range(x0, x1 + 1)}
    box = Box(Point(-16, -12, -8), Point(32, 24, 16))
    mask = np.zeros(box.shape, bool)
    for z, y, x in np.ndindex(box.shape):
        mask[z, y, x] = tuple((box.offset + Point(x, y, z)) // edge) in blocks
    old, new = noise(box, np.dtype("u1"), 1), noise(box, np.dtype("u1"), 2)
    path = f"raw/0_1_2/{box.size}/{box.offset}"
    data.post(path, old.tobytes())
    assert data.get(path, roi="region") == np.where(mask, old, fill).astype("u1").tobytes()
    assert data.get(path, roi="region", attenuation="3") == np.where(mask, old, old >> 3).astype("u1").tobytes()
    data.post(path, new.tobytes(), roi="region")
    assert data.get(path) == np.where(mask, new, old).tobytes()
    fresh = data.beside("uint8blk", "fresh", BlockSize="4,3,2", Background=str(fill))
    fresh.post(path, new.tobytes(), roi="region")
    touched = np.zeros_like(mask)
    for z, y, x in {(z // 2 * 2, y // 3 * 3, x // 4 * 4) for z, y, x in np.argwhere(mask).tolist()}:
        touched[z : z + 2, y : y + 3, x : x + 4] = True
    expected = np.where(mask, new, np.where(touched, fill, 0)).astype("u1")
    assert fresh.get(path) == expected.tobytes()
