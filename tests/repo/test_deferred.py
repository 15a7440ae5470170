"""Values that are put off are there for every reader, and stored by the background, by commits and by merges."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest

from dagdvid.config import Config
from dagdvid.datatypes.labelmap import LABELMAP
from dagdvid.errors import Locked
from dagdvid.kernels.downres import downres_ref
from dagdvid.repo.snapshot import VersionSnapshot
from dagdvid.repo.upkeep import _compute
from dagdvid.routes import Request
from dagdvid.server import Server

EDGE = 16
SIZE = f"{EDGE}_{EDGE}_{EDGE}"


class Seg:
    """A labelmap of blocks of 16^3 with two coarser scales, in versions of a repo."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.root = self.ask("POST", "/api/repos", b"{}")["root"]
        self.new("seg", MaxDownresLevel="2")

    def new(self, name: str, **settings: str) -> None:
        asked = {"typename": "labelmap", "dataname": name, "BlockSize": "16,16,16", **settings}
        self.ask("POST", f"/api/repo/{self.root}/instance", json.dumps(asked).encode())

    def ask(self, method: str, path: str, body: bytes = b"", **query: str):
        found = self.server.find(method, path)
        request = Request(method, path, found.args, query, {}, body, local=True, admin=True)
        reply = self.server.handle(found, request)
        data = reply.body if isinstance(reply.body, bytes) else b"".join(reply.body)
        return json.loads(data) if reply.content_type == "application/json" else data

    def put(self, version: str, x: int, seed: int, name: str = "seg") -> None:
        self.ask("POST", f"/api/node/{version}/{name}/raw/0_1_2/{SIZE}/{EDGE * x}_0_0", block(seed).tobytes())

    def at(self, version: str, scale: int, name: str = "seg") -> bytes:
        return self.ask("GET", f"/api/node/{version}/{name}/raw/0_1_2/{SIZE}/0_0_0", scale=str(scale))

    def commit(self, version: str) -> None:
        self.ask("POST", f"/api/node/{version}/commit", b"{}")
        self.server.catalog.upkeep.settle()

    def branch(self, version: str, name: str) -> str:
        return self.ask("POST", f"/api/node/{version}/branch", json.dumps({"branch": name}).encode())["child"]

    def view(self, version: str, name: str = "seg") -> VersionSnapshot:
        repo, found = self.server.catalog.find(version)
        return self.server.catalog.snapshot(repo, found, repo.instance(name))

    def empty(self, version: str, name: str = "seg") -> int:
        return sum(value == b"" for _, value in self.view(version, name).items("blocks"))


def block(seed: int) -> np.ndarray:
    """Noise of labels that no other seed has."""
    return np.random.default_rng(seed).integers(10 * seed, 10 * seed + 9, (EDGE, EDGE, EDGE)).astype(np.uint64)


def shown(seeds: dict[int, int], scale: int) -> bytes:
    """The first block of a scale, where blocks of noise lie along x."""
    world = np.zeros((4 * EDGE,) * 3, np.uint64)
    for x, seed in seeds.items():
        world[:EDGE, :EDGE, EDGE * x : EDGE * (x + 1)] = block(seed)
    for _ in range(scale):
        world = downres_ref(world)
    return world[:EDGE, :EDGE, :EDGE].tobytes()


@pytest.fixture
def seg(tmp_path):
    server = Server.open(Config(data=tmp_path / "data"))
    yield Seg(server)
    server.close()


def check(seg: Seg, version: str, seeds: dict[int, int], name: str = "seg") -> None:
    for scale in (1, 2):
        assert seg.at(version, scale, name) == shown(seeds, scale)


def test_commits_have_them(seg):
    seg.put(seg.root, 0, 1)
    seg.put(seg.root, 3, 2)
    assert seg.empty(seg.root) == 3
    check(seg, seg.root, {0: 1, 3: 2})
    seg.commit(seg.root)
    assert seg.empty(seg.root) == 0
    check(seg, seg.root, {0: 1, 3: 2})


def test_a_child_of_a_version_that_is_not_folded_yet(seg):
    seg.put(seg.root, 0, 1)
    upkeep, seg.server.catalog.upkeep = seg.server.catalog.upkeep, None
    seg.ask("POST", f"/api/node/{seg.root}/commit", b"{}")
    child = seg.branch(seg.root, "more")
    seg.put(child, 1, 2)
    check(seg, seg.root, {0: 1})
    check(seg, child, {0: 1, 1: 2})
    seg.server.catalog.upkeep = upkeep
    seg.commit(child)
    for version, seeds in ((seg.root, {0: 1}), (child, {0: 1, 1: 2})):
        check(seg, version, seeds)
        assert seg.empty(version) == 0


def test_equal_voxels_have_equal_hashes_whenever_they_were_computed(tmp_path):
    roots = []
    for early in (False, True):
        server = Server.open(Config(data=tmp_path / str(early)))
        try:
            seg = Seg(server)
            seg.put(seg.root, 0, 1)
            if early:
                repo, version = server.catalog.find(seg.root)
                _compute(server.catalog, repo.root, version.uuid, repo.instance("seg").uuid, lambda: None)
                assert seg.empty(seg.root) == 0
            seg.commit(seg.root)
            roots.append(seg.view(seg.root).root("blocks"))
        finally:
            server.close()
    assert roots[0] == roots[1]


def test_what_is_broken_off_is_finished_with_the_same_hash(tmp_path):
    """The background, or a commit, that ends after some of the blocks: by a stop, or a crash."""

    roots = []
    for broken in (False, True):
        server = Server.open(Config(data=tmp_path / str(broken)))
        try:
            seg = Seg(server)
            upkeep, server.catalog.upkeep = server.catalog.upkeep, None
            for x in range(4):
                seg.put(seg.root, x, x + 1)
            seg.ask("POST", f"/api/node/{seg.root}/commit", b"{}")
            if broken:
                repo, version = server.catalog.find(seg.root)
                instance = repo.instance("seg")
                txn = server.catalog.txn(repo, version, instance)
                first = next(key for key, value in txn.items("blocks") if value == b"")
                LABELMAP.compute(instance, txn, "blocks", [first])
                server.catalog.commit_txn(txn, version, sealed=True)
                assert seg.empty(seg.root) == 2
                check(seg, seg.root, {x: x + 1 for x in range(4)})
                with pytest.raises(Locked):
                    server.catalog.commit_txn(txn, version)
            seg.ask("GET", f"/api/node/{seg.root}/hash")
            assert seg.empty(seg.root) == 0
            roots.append(seg.view(seg.root).root("blocks"))
            server.catalog.upkeep = upkeep
        finally:
            server.close()
    assert roots[0] == roots[1]


def test_merges_and_copies_have_them(seg):
    seg.put(seg.root, 0, 1)
    seg.commit(seg.root)
    left, right = seg.branch(seg.root, "left"), seg.branch(seg.root, "right")
    seg.put(left, 1, 2)
    seg.put(right, 2, 3)
    seg.commit(left)
    seg.commit(right)
    asked = json.dumps({"mergeType": "conflict-free", "parents": [left, right], "note": ""}).encode()
    merged = seg.ask("POST", f"/api/repo/{seg.root}/merge", asked)["child"]
    seeds = {0: 1, 1: 2, 2: 3}
    check(seg, merged, seeds)
    seg.commit(merged)
    assert seg.empty(merged) == 0
    check(seg, merged, seeds)


def test_amended_versions_have_them(seg):
    seg.put(seg.root, 0, 1)
    seg.commit(seg.root)
    child = seg.branch(seg.root, "child")
    seg.commit(child)
    seg.put(seg.root, 1, 2)
    for version in (seg.root, child):
        assert seg.empty(version) == 0
        check(seg, version, {0: 1, 1: 2})


def test_unversioned_data_have_them(seg):
    seg.new("loose", MaxDownresLevel="2", Versioned="false")
    seg.put(seg.root, 0, 1, "loose")
    check(seg, seg.root, {0: 1}, "loose")


def test_writers_of_neighbours_do_not_wait_for_each_other(seg):
    """Blocks that share all coarser ones, written at the same time."""

    def write(x: int) -> None:
        for seed in range(4):
            seg.put(seg.root, x, 10 * x + seed)

    threads = [threading.Thread(target=write, args=(x,)) for x in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check(seg, seg.root, {x: 10 * x + 3 for x in range(4)})
    seg.commit(seg.root)
    check(seg, seg.root, {x: 10 * x + 3 for x in range(4)})
