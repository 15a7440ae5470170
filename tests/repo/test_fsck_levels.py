"""fsck at its levels: what each finds, and how it names the place."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from calling import Caller
from click.testing import CliRunner

from dagdvid.cli import main
from dagdvid.config import Config
from dagdvid.datatypes.grid import extent_of_keys
from dagdvid.errors import BadRequest
from dagdvid.kernels.morton import decode_keys, encode_keys
from dagdvid.objects.tree.node import Ref
from dagdvid.repo.commits import read_commit
from dagdvid.repo.verify import LEVELS
from dagdvid.server import Server

VOXELS = np.random.default_rng(1).integers(0, 255, (64, 64, 64), np.uint8)


@pytest.fixture
def server(config: Config):
    server = Server.open(config)
    call = Caller(server, admin=True)
    root = call.json("POST", "/api/repos", {"root": "ab" * 16})["root"]
    for name, kind in (("kv", "keyvalue"), ("gray", "uint8blk")):
        call("POST", f"/api/repo/{root}/instance", {"typename": kind, "dataname": name})
    for i in range(40):
        call("POST", f"/api/node/{root}/kv/key/k{i:02d}", random.Random(i).randbytes(3000))
    call("POST", f"/api/node/{root}/gray/raw/0_1_2/64_64_64/32_0_64", VOXELS.tobytes())
    call("POST", f"/api/node/{root}/commit", {})
    server.upkeep.settle()
    yield server
    server.close()


def damage(server: Server, name: bytes) -> None:
    """Flip a bit of an object where it lies."""
    no, offset, stored = server.store.packs.locate([name])[name]
    path = server.store.packs.path(server.store.database.rows("SELECT name FROM packs WHERE no = ?", (no,))[0][0])
    with path.open("r+b") as file:
        file.seek(offset + 24 + stored // 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    server.catalog.nodes.cache.clear()


def value(server: Server, name: str, space: str, key: bytes) -> bytes:
    repo = server.catalog.repos()["ab" * 16]
    found = server.catalog.snapshot(repo, repo.versions[repo.root], repo.instances[name]).locate(space, [key])[0]
    assert isinstance(found, Ref)
    return found.id


def root_of(server: Server, name: str, space: str) -> bytes:
    repo = server.catalog.repos()["ab" * 16]
    return server.catalog.base(repo, repo.versions[repo.root], repo.instances[name]).roots[space]


def fsck(server: Server, **query: str) -> dict[str, Any]:
    found: dict[str, Any] = Caller(server).json("POST", "/api/store/fsck", **query)
    return found


def test_each_level_reads_more(server: Server) -> None:
    read = [fsck(server, level=level) for level in LEVELS]
    assert all(report["ok"] for report in read)
    sizes = [report["bytes"] for report in read]
    assert sizes[0] < sizes[1] <= sizes[2] < sizes[3]
    assert read[2]["objects"] == read[3]["objects"]
    some = fsck(server, sample="0.3")
    assert some["ok"]
    assert sizes[2] < some["bytes"] < sizes[3]
    assert some["objects"] == read[3]["objects"]
    for query in ({"level": "x"}, {"sample": "0"}, {"sample": "x"}, {"sample": "nan"}):
        with pytest.raises(BadRequest):
            fsck(server, **query)


def test_a_damaged_value_is_named_by_its_key(server: Server) -> None:
    damage(server, value(server, "kv", "keys", b"k07"))
    for level in LEVELS[:-1]:
        assert fsck(server, level=level)["ok"]
    (found,) = fsck(server)["problems"]
    assert found["keys"] == ["k07", "k07"]
    assert (found["instance"], found["version"]) == ("kv", "ab" * 16)


def test_a_damaged_block_is_named_by_its_box(server: Server) -> None:
    (key,) = encode_keys(np.array([[2, 1, 3]]))
    damage(server, value(server, "gray", "blocks", key))
    (found,) = fsck(server)["problems"]
    assert found["blocks"] == {"scale": 0, "first": [2, 1, 3], "size": [1, 1, 1]}
    assert found["instance"] == "gray"


def test_a_damaged_node_is_found_from_the_second_level_on(server: Server, config: Config) -> None:
    damage(server, root_of(server, "gray", "blocks"))
    assert fsck(server, level="refs")["ok"]
    report = fsck(server, level="trees")
    (found,) = report["problems"]
    assert found["instance"] == "gray"
    assert "dagdvid repair" in report["advice"]
    server.close()
    told = CliRunner().invoke(main, ["fsck", "--data", str(config.data), "--level", "trees", "--sample", "50"])
    assert told.exit_code == 1
    assert "dagdvid repair" in told.output


def test_a_damaged_commit_is_found_at_once(server: Server) -> None:
    repo = server.catalog.repos()["ab" * 16]
    commit = repo.versions[repo.root].commit
    assert commit is not None
    assert read_commit(server.catalog.nodes, commit).uuid == repo.root
    damage(server, commit)
    assert not fsck(server, level="refs")["ok"]


def test_the_box_of_a_range_of_keys_holds_all_of_them() -> None:
    rng = np.random.default_rng(2)
    for size in (1, 5, 40):
        keys = sorted(encode_keys(rng.integers(-size, size + 1, (30, 3)), 1))
        for first, last in pairwise(keys):
            found = extent_of_keys(first, last)["blocks"]
            low, count = np.array(found["first"]), np.array(found["size"])
            inside = [key for key in keys if first < key <= last] or [first]
            at = decode_keys(inside)[1]
            assert (at >= low).all()
            assert (at < low + count).all()
            assert found["scale"] == 1
    assert extent_of_keys(b"a", b"b") == {"keys": ["a", "b"]}
