"""A store whose database is lost: commits and records tell what there was, whatever state the packs are in."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from calling import Caller
from graphs import Graph

from dagdvid.config import Config
from dagdvid.errors import BadRequest, Corrupt, InUse
from dagdvid.repo import manage
from dagdvid.repo.fold import fold_unversioned
from dagdvid.server import Server, rebuild


class Lives:
    """Two repos with all kinds of versions, and one that has no commit yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        server = Server.open(Config(data=folder))
        self.call = call = Caller(server)
        self.roots = [call.json("POST", "/api/repos", {"alias": f"repo{i}"})["root"] for i in range(3)]
        for root in self.roots:
            for name, versioned in (("kv", True), ("free", False)):
                body = {"typename": "keyvalue", "dataname": name, "versioned": versioned}
                call.json("POST", f"/api/repo/{root}/instance", body)
        for root in self.roots[:2]:
            self.put(root, "kv", 300, 1)
            self.put(root, "free", 20, 2)
            call.json("POST", f"/api/node/{root}/commit", {"note": "first", "log": ["a line"]})
            left = call.json("POST", f"/api/node/{root}/branch", {"branch": "left"})["child"]
            right = call.json("POST", f"/api/node/{root}/newversion", {"note": "right"})["child"]
            self.put(left, "kv", 30, 3)
            for uuid in (left, right):
                call.json("POST", f"/api/node/{uuid}/commit", {})
            call.json("POST", f"/api/node/{right}/tag", {"tag": f"tag-{root[:4]}"})
            body = {"mergeType": "conflict-free", "parents": [left, right]}
            merged = call.json("POST", f"/api/repo/{root}/merge", body)
            call.json("POST", f"/api/node/{merged['child']}/commit", {})
            child = call.json("POST", f"/api/node/{merged['child']}/newversion")["child"]
            self.put(child, "kv", 10, 4)
        self.fold_free(server)
        server.upkeep.settle()
        self.before = self.look(server)
        repos = server.catalog.repos()
        self.next_id = {root: server.catalog.mutation_id(repos[root]) for root in self.roots[:2]}
        server.close()

    def put(self, uuid: str, name: str, n: int, seed: int) -> None:
        rng = random.Random(seed)
        for i in range(n):
            self.call("POST", f"/api/node/{uuid}/{name}/key/{i:04}", rng.randbytes(rng.choice([20, 900])))

    def fold_free(self, server: Server) -> None:
        """Unversioned instances are staged until somebody asks for their ref."""
        for repo in server.catalog.repos().values():
            fold_unversioned(server.catalog, repo, repo.instances["free"])

    def look(self, server: Server) -> dict:
        """All committed versions: their commits, texts, and every value."""
        call = Caller(server)
        found = {}
        for root, repo in server.catalog.repos().items():
            found[root] = (repo.texts["alias"], repo.log, sorted(repo.instances), repo.record)
            for uuid, version in repo.versions.items():
                if version.commit is None:
                    continue
                keys = call.json("GET", f"/api/node/{uuid}/kv/keys")
                values = [call("GET", f"/api/node/{uuid}/{name}/key/{key}").body for name in ("kv",) for key in keys]
                free = call.json("GET", f"/api/node/{uuid}/free/keys")
                values += [call("GET", f"/api/node/{uuid}/free/key/{key}").body for key in free]
                texts = (version.note, version.log, version.parents, version.branch)
                found[uuid] = (version.commit, texts, keys, free, values)
        return found


@pytest.fixture
def lives(tmp_path) -> Lives:
    return Lives(tmp_path / "data")


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("how", ["gone", "garbage", "torn"])
def test_all_that_was_committed_comes_back(lives, how, sealed):
    if sealed:
        Server.open(Config(data=lives.folder)).close()
    database = lives.folder / "dagdvid.sqlite"
    if how == "gone":
        database.unlink()
        for side in lives.folder.glob("dagdvid.sqlite-*"):
            side.unlink()
    elif how == "garbage":
        database.write_bytes(random.Random(1).randbytes(50_000))
        with pytest.raises(Corrupt, match="--rebuild-database"):
            Server.open(Config(data=lives.folder))
    else:
        data = bytearray(database.read_bytes())
        data[4096:] = bytes(len(data) - 4096)
        database.write_bytes(data)
    found = rebuild(Config(data=lives.folder))
    assert found["repos"] == 3
    server = Server.open(Config(data=lives.folder))
    try:
        assert lives.look(server) == lives.before
        call = Caller(server)
        assert call.json("POST", "/api/store/fsck")["problems"] == []
        for repo in server.catalog.repos().values():
            assert server.catalog.mutation_id(repo) >= lives.next_id.get(repo.root, 0)
        for root in lives.roots[:2]:
            versions = server.catalog.repos()[root].versions.values()
            leaf = next(version for version in versions if len(version.parents) == 2)
            child = call.json("POST", f"/api/node/{leaf.uuid}/newversion")["child"]
            call("POST", f"/api/node/{child}/kv/key/more", b"m")
            call.json("POST", f"/api/node/{child}/commit", {})
        call("POST", f"/api/node/{lives.roots[2]}/kv/key/first", b"f")
    finally:
        server.close()
    assert bool(list(lives.folder.glob("dagdvid.sqlite.damaged-1"))) == (how != "gone")


def test_a_lost_record_costs_names_only(lives):
    server = Server.open(Config(data=lives.folder))
    record = server.catalog.repos()[lives.roots[0]].record
    where = server.store.packs.locate([record])[record]
    ((pack,),) = server.store.database.rows("SELECT name FROM packs WHERE no = ?", (where[0],))
    path = server.store.packs.path(pack)
    server.close()
    data = bytearray(path.read_bytes())
    data[where[1] + 30] ^= 1
    path.write_bytes(data)
    (lives.folder / "dagdvid.sqlite").unlink()
    rebuild(Config(data=lives.folder))
    server = Server.open(Config(data=lives.folder))
    try:
        repo = server.catalog.repos()[lives.roots[0]]
        assert {v.commit for v in repo.versions.values()} >= {
            found[0] for uuid, found in lives.before.items() if uuid in repo.versions and len(found) == 5
        }
        assert lives.roots[1] in server.catalog.repos()
    finally:
        server.close()


def test_what_is_no_data_directory_stays_as_it_is(tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(BadRequest, match="no dagdvid data"):
        rebuild(Config(data=tmp_path / "other"))
    server = Server.open(Config(data=tmp_path / "data"))
    try:
        with pytest.raises(InUse):
            rebuild(Config(data=tmp_path / "data"))
    finally:
        server.close()


def test_amendments_branches_that_changed_places_and_deletions_come_back(tmp_path):
    config = Config(data=tmp_path / "data")
    server = Server.open(config)
    graph = Graph(Caller(server, admin=True))
    graph.instance("gone")
    graph.put(graph.root, "k", b"v")
    graph.commit(graph.root)
    main, side = graph.child(graph.root), graph.child(graph.root, "side")
    for uuid in (main, side):
        graph.commit(uuid)
    for value in (b"amended", b"twice"):
        graph.put(graph.root, "k", value)
    manage.make_master(graph.catalog, graph.repo, graph.version(side), "was")
    manage.delete_instance(graph.catalog, graph.repo, "gone")
    before = {uuid: (graph.hash(uuid), graph.version(uuid).branch) for uuid in (graph.root, main, side)}
    server.close()
    for path in config.data.glob("dagdvid.sqlite*"):
        path.unlink()
    rebuild(config)
    server = Server.open(config)
    graph.call, graph.catalog = Caller(server), server.catalog
    try:
        assert {uuid: (graph.hash(uuid), graph.version(uuid).branch) for uuid in before} == before
        assert [graph.get(uuid, "k") for uuid in before] == [b"twice"] * 3
        assert set(graph.repo.instances) == {"kv"}
        assert graph.sound()
    finally:
        server.close()
