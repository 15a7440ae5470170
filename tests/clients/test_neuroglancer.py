"""What Neuroglancer's dvid:// source asks of a server, and what it checks in the answers before it shows anything.

Its rules (its src/datasource/dvid) are written down here anew: one repo or instance that breaks them takes the whole
page away, or is not offered.
"""

from __future__ import annotations

import io
import json
import math
import struct
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image

from dagdvid.cli.child import ServerProcess

ORIGIN = {"Origin": "https://neuroglancer-demo.appspot.com"}
APP = {"app": "Neuroglancer"}


@pytest.fixture(scope="module")
def http(tmp_path_factory: Any) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("neuroglancer")
    with ServerProcess(folder / "data", "127.0.0.1:0") as process, httpx.Client(base_url=process.url) as client:
        yield client


def post(http: httpx.Client, path: str, body: Any) -> Any:
    answer = http.post(path, content=body if isinstance(body, bytes) else json.dumps(body))
    assert answer.status_code == 200, answer.text
    return answer.json() if answer.content else None


@pytest.fixture(scope="module")
def root(http: httpx.Client) -> str:
    """A repo with a volume of two scales, meshes and skeletons, and three versions."""
    root = str(post(http, "/api/repos", {"alias": "shown"})["root"])
    post(http, "/api/repos", {})  # an empty repo must not harm the page
    for name, typename in (("gray", "uint8blk"), ("gray_1", "uint8blk"), ("gray_meshes", "keyvalue")):
        settings = {"typename": typename, "dataname": name}
        post(http, f"/api/repo/{root}/instance", settings | ({"BlockSize": "64,64,64"} if "blk" in typename else {}))
    post(http, f"/api/repo/{root}/instance", {"typename": "uint8blk", "dataname": "empty"})
    settings = {"typename": "uint8blk", "dataname": "photo", "BlockSize": "64,64,64", "Compression": "jpeg"}
    post(http, f"/api/repo/{root}/instance", settings)
    post(http, f"/api/node/{root}/photo/raw/0_1_2/64_64_64/0_64_-64", bytes([128]) * 64**3)
    post(http, f"/api/node/{root}/gray/raw/0_1_2/128_64_64/-64_0_64", bytes(range(256)) * (128 * 64 * 64 // 256))
    post(http, f"/api/node/{root}/gray_1/raw/0_1_2/64_64_64/-64_0_0", bytes(64**3))
    mesh = struct.pack("<I9f3I", 3, *range(9), 0, 1, 2)
    post(http, f"/api/node/{root}/gray_meshes/key/100.ngmesh", mesh)
    post(http, f"/api/node/{root}/commit", {})
    post(http, f"/api/node/{root}/newversion", {})
    post(http, f"/api/node/{root}/branch", {"branch": "side"})
    return root


def offered(repo: dict[str, Any]) -> dict[str, str]:
    """Data types of the volumes that it would offer. A failed check is what takes the page away."""
    assert isinstance(repo["Alias"], str)
    assert isinstance(repo["Description"], str)
    assert isinstance(repo["DAG"]["Nodes"], dict)
    found = {}
    for name, instance in repo["DataInstances"].items():
        assert isinstance(instance["Base"]["TypeName"], str)
        extended = instance["Extended"]
        if instance["Base"]["TypeName"] != "uint8blk" or extended["MinPoint"] is None:
            continue
        assert isinstance(instance["Base"]["Compression"], str)
        for sizes in (extended["VoxelSize"], extended["BlockSize"]):
            assert len(sizes) == 3
            assert all(math.isfinite(size) and size > 0 for size in sizes)
        for point in (extended["MinPoint"], extended["MaxPoint"]):
            assert len(point) == 3
            assert all(isinstance(x, int) for x in point)
        found[name] = extended["Values"][0]["DataType"]
    return found


def test_the_page_of_all_repos(http: httpx.Client, root: str) -> None:
    answer = http.get("/api/repos/info", headers=ORIGIN)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    repos = answer.json()
    assert {key: offered(repo) for key, repo in repos.items()} == {
        root: {"gray": "uint8", "gray_1": "uint8", "photo": "uint8"},
        next(key for key in repos if key != root): {},
    }
    assert len(repos[root]["DAG"]["Nodes"]) == 3
    assert "jpeg" in repos[root]["DataInstances"]["photo"]["Base"]["Compression"]
    assert "jpeg" not in repos[root]["DataInstances"]["gray"]["Base"]["Compression"]
    volume = repos[root]["DataInstances"]["gray"]["Extended"]
    assert (volume["MinPoint"], volume["MaxPoint"]) == ([-64, 0, 64], [63, 63, 127])


@pytest.mark.parametrize("form", ["{}", "{:.8}", "{:.8}:master", "{}:side"])
def test_versions_in_urls(http: httpx.Client, root: str, form: str) -> None:
    at = f"/api/node/{form.format(root)}"
    mesh = http.get(f"{at}/gray_meshes/key/100.ngmesh", params=APP, headers=ORIGIN)
    assert (mesh.status_code, mesh.content[:4]) == (200, b"\x03\0\0\0")
    assert len(mesh.content) == 4 + 36 + 12
    assert http.get(f"{at}/gray_meshes/key/101.ngmesh", params=APP, headers=ORIGIN).status_code == 404


@pytest.mark.parametrize(("offset", "inside"), [("-64_0_64", True), ("0_0_64", True), ("640_0_0", False)])
def test_raw_chunks(http: httpx.Client, root: str, offset: str, inside: bool) -> None:
    answer = http.get(f"/api/node/{root:.8}/gray/raw/0_1_2/64_64_64/{offset}", params=APP, headers=ORIGIN)
    assert (answer.status_code, len(answer.content)) == (200, 64**3)
    assert any(answer.content) is inside


def chunk(jpeg: bytes) -> Image.Image:
    """A chunk of 64^3 voxels in one picture, slices below each other."""
    image = Image.open(io.BytesIO(jpeg))
    assert (image.format, image.mode, image.size) == ("JPEG", "L", (64, 64 * 64))
    return image


def test_chunks_as_jpeg(http: httpx.Client, root: str) -> None:
    """How it reads volumes that are not stored so."""
    at = f"/api/node/{root:.8}/gray/raw/0_1_2/64_64_64"
    for offset, mean in (("-64_0_64", 127), ("640_0_0", 0)):
        answer = http.get(f"{at}/{offset}/jpeg", params=APP, headers=ORIGIN)
        assert answer.status_code == 200
        pixels = chunk(answer.content).tobytes()
        assert abs(sum(pixels) / len(pixels) - mean) < 32  # half of a row of 0 to 255 repeats


def test_stored_jpeg(http: httpx.Client, root: str) -> None:
    """How it reads volumes that are: a header of 16 bytes, which it cuts off, and the picture."""
    at = f"/api/node/{root:.8}/photo/subvolblocks/64_64_64"
    answer = http.get(f"{at}/0_64_-64", params=APP, headers=ORIGIN)
    assert answer.status_code == 200
    assert struct.unpack_from("<4i", answer.content) == (0, 1, -1, len(answer.content) - 16)
    assert set(chunk(answer.content[16:]).tobytes()) == {128}
    missing = http.get(f"{at}/640_0_0", params=APP, headers=ORIGIN)
    assert (missing.status_code, missing.content) == (200, b"")
