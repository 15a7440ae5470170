"""Neuroglancer shows grayscale through dvid://, pixel by pixel what was posted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from scenes import VOXEL, Scenes, scenes

EDGE = 256
"""Voxels of the finest volume along each axis."""
SLACK = 6
"""How far JPEG, in which Neuroglancer fetches grayscale, may be off."""

SHADER = "void main() { emitGrayscale(toNormalized(getDataValue())); }"
BACKGROUND = 128
"""The gray of a pixel without data, as Neuroglancer draws it."""


def volume(scale: int) -> NDArray[np.uint8]:
    """A volume [z, y, x], smooth, lest JPEG spoils it, and different at each scale, so that they are told apart."""
    z, y, x = np.meshgrid(*(np.arange(EDGE >> scale),) * 3, indexing="ij", sparse=True)
    waves = np.sin(x / (23 - 5 * scale)) + np.sin(y / (11 + 3 * scale)) + np.sin(z / 9 + scale)
    return np.asarray((waves + 3) * 40, np.uint8)


@pytest.fixture(scope="module")
def page(tmp_path_factory: Any) -> Iterator[Scenes]:
    with scenes(tmp_path_factory.mktemp("pixels")) as found:
        yield found


@pytest.fixture(scope="module")
def root(page: Scenes) -> str:
    """A version with a volume of three scales, and the same stored as JPEG."""
    with httpx.Client(base_url=page.url) as http:

        def post(path: str, body: bytes) -> bytes:
            return http.post(path, content=body).raise_for_status().content

        uuid = str(json.loads(post("/api/repos", b"{}"))["root"])
        for name, settings in (("gray", {}), ("photo", {"Compression": "jpeg"})):
            for scale in range(3):
                at = name + (f"_{scale}" if scale else "")
                size = ",".join([str(VOXEL << scale)] * 3)
                kind = {"typename": "uint8blk", "dataname": at, "BlockSize": "64,64,64", "VoxelSize": size}
                post(f"/api/repo/{uuid}/instance", json.dumps(kind | settings).encode())
                edge = "_".join([str(EDGE >> scale)] * 3)
                post(f"/api/node/{uuid}/{at}/raw/0_1_2/{edge}/0_0_0", volume(scale).tobytes())
        return uuid


def expected(scale: int, shape: tuple[int, int], middle: tuple[float, float, float]) -> NDArray[np.int64]:
    """The picture [y, x] of the volume at a scale, at so many of its voxels a pixel that there is one."""
    z = int(middle[2]) >> scale
    lines = []
    for pixels, at in zip(shape, (middle[1], middle[0]), strict=True):
        lines.append(np.floor((at + (np.arange(pixels) + 0.5 - pixels / 2) * 2**scale) / 2**scale).astype(int))
    y, x = np.meshgrid(*lines, indexing="ij")
    edge = EDGE >> scale
    inside = (y >= 0) & (y < edge) & (x >= 0) & (x < edge)
    plane = volume(scale)[z].astype(np.int64)
    return np.where(inside, plane[y.clip(0, edge - 1), x.clip(0, edge - 1)], BACKGROUND)


@pytest.mark.parametrize("name", ["gray", "photo"])
@pytest.mark.parametrize("scale", [0, 1, 2])
def test_what_is_shown_is_what_was_posted(page: Scenes, root: str, name: str, scale: int) -> None:
    layer = {"type": "image", "name": name, "source": f"dvid://{page.url}/{root}/{name}", "shader": SHADER}
    middle = (128.0, 96.0, 100.5)
    pixels = page.shown([layer], middle, 2**scale)
    assert (pixels == pixels[:, :, :1]).all()
    wanted = expected(scale, pixels.shape[:2], middle)
    assert len(np.unique(wanted)) > 50
    assert np.abs(pixels[:, :, 0] - wanted).max() <= SLACK
