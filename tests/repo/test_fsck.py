"""fsck: a clean store is clean; damage is named by repo, version and instance; all else is served."""

from __future__ import annotations

import json
import random

import pytest

from dagdvid.errors import Corrupt, DagdvidError, DamageError
from dagdvid.objects.blobs import blob_list_chunks
from dagdvid.objects.ids import ObjectType
from dagdvid.objects.local.pack import ENTRY_SIZE
from dagdvid.objects.tree.node import BLOB_LIST, Ref
from dagdvid.repo.commits import read_commit
from dagdvid.server import Server

BIG = random.Random(2).randbytes(9 * 2**20)


class Shop:
    """A repo with values of all sizes: committed, sealed by a child, staged, and unversioned."""

    def __init__(self, call) -> None:
        self.call = call
        self.root = call.json("POST", "/api/repos", {})["root"]
        for name, versioned in (("kv", True), ("kw", True), ("free", False)):
            body = {"typename": "keyvalue", "dataname": name, "versioned": versioned}
            call.json("POST", f"/api/repo/{self.root}/instance", body)
        for name in ("kv", "kw"):
            for i in range(600):
                self.put(self.root, name, f"{name}{i:04}", f"value {i} of {name}".encode() * (1 + 50 * (i % 7 == 0)))
        self.put(self.root, "kv", "big", BIG)
        call.json("POST", f"/api/node/{self.root}/commit", {})
        call.server.upkeep.settle()
        self.child = call.json("POST", f"/api/node/{self.root}/newversion")["child"]
        self.put(self.child, "kv", "staged", b"s" * 3000)
        self.put(self.child, "free", "f", b"f" * 3000)

    def put(self, uuid: str, name: str, key: str, value: bytes) -> None:
        self.call("POST", f"/api/node/{uuid}/{name}/key/{key}", value)

    def get(self, uuid: str, name: str, key: str) -> bytes:
        return self.call("GET", f"/api/node/{uuid}/{name}/key/{key}").body

    def fsck(self):
        return self.call.json("POST", "/api/store/fsck")

    def value(self, uuid: str, name: str, key: str) -> Ref:
        catalog = self.call.server.catalog
        repo = catalog.repos()[self.root]
        view = catalog.snapshot(repo, repo.versions[uuid], repo.instances[name])
        return view.locate("keys", [key.encode()])[0]

    def roots(self, name: str) -> dict[str, bytes]:
        catalog = self.call.server.catalog
        repo = catalog.repos()[self.root]
        return dict(catalog.base(repo, repo.versions[self.root], repo.instances[name]).roots)

    def damage(self, name: bytes) -> None:
        """Flip a byte in the middle of an object's payload, in its pack."""
        packs = self.call.server.store.packs
        number, offset, stored = packs.locate([name])[name]
        ((pack,),) = packs.database.rows("SELECT name FROM packs WHERE no = ?", (number,))
        with packs.path(pack).open("r+b") as file:
            at = offset + ENTRY_SIZE + stored // 2
            file.seek(at)
            (old,) = file.read(1)
            file.seek(at)
            file.write(bytes([old ^ 0x10]))
        self.call.server.catalog.nodes.cache.clear()


@pytest.fixture
def shop(call) -> Shop:
    return Shop(call)


def test_a_clean_store(shop: Shop, server, config):
    report = shop.fsck()
    assert (report["ok"], report["problems"], report["versions"]) == (True, [], 2)
    assert report["objects"] > 100
    assert report["bytes"] > len(BIG)
    lines = shop.call("POST", "/api/store/fsck", progress="true").body.splitlines()
    assert json.loads(lines[-1])["result"] == report
    server.close()
    again = Server.open(config)
    try:
        shop.call.server = again
        assert shop.fsck() == report
    finally:
        again.close()


def test_an_empty_store(call):
    report = call.json("POST", "/api/store/fsck")
    assert report == {
        "ok": True,
        "versions": 0,
        "objects": 0,
        "bytes": 0,
        "lost": 0,
        "problems": [],
        "promised": 0,
        "unsure": "",
        "level": "content",
        "sample": 1.0,
        "advice": "",
    }


def test_a_damaged_value_is_named_and_hides_no_other(shop: Shop):
    bad = [shop.value(shop.root, "kv", "kv0007"), shop.value(shop.root, "kw", "kw0014")]
    for ref in bad:
        shop.damage(ref.id)
    report = shop.fsck()
    assert not report["ok"]
    assert {(p["object"], p["instance"]) for p in report["problems"]} == {
        (bad[0].id.hex(), "kv"),
        (bad[1].id.hex(), "kw"),
    }
    for problem in report["problems"]:
        assert (problem["repo"], problem["version"], problem["space"]) == (shop.root, shop.root, "keys")
        assert problem["code"] == "corrupt"
    for uuid in (shop.root, shop.child):
        with pytest.raises(Corrupt):
            shop.get(uuid, "kv", "kv0007")
        assert shop.get(uuid, "kv", "kv0021").startswith(b"value 21")
    assert len(shop.call.json("GET", f"/api/node/{shop.child}/kv/keys")) == 602


def test_a_damaged_tree_node_hides_only_its_keys(shop: Shop):
    nodes = shop.call.server.catalog.nodes
    root = nodes.read(shop.roots("kv")["keys"])
    assert root.level == 1
    assert root.n > 1
    shop.damage(root.ids[0])
    report = shop.fsck()
    assert [(p["object"], p["instance"]) for p in report["problems"]] == [(root.ids[0].hex(), "kv")]
    with pytest.raises(DamageError):
        shop.get(shop.root, "kv", "kv0000")
    assert shop.get(shop.root, "kv", "kv0599").startswith(b"value 599")
    assert shop.get(shop.child, "kv", "staged") == b"s" * 3000
    assert shop.get(shop.root, "kw", "kw0000").startswith(b"value 0")
    assert shop.call("GET", "/api/repos/info").status == 200


def test_a_damaged_version_root(shop: Shop):
    catalog = shop.call.server.catalog
    commit = catalog.repos()[shop.root].versions[shop.root].commit
    root = read_commit(catalog.nodes, commit).root
    shop.damage(root)
    (problem,) = shop.fsck()["problems"]
    assert (problem["object"], problem["version"]) == (root.hex(), shop.root)
    catalog._roots.clear()
    with pytest.raises(DamageError):
        shop.get(shop.root, "kw", "kw0000")
    assert shop.get(shop.child, "free", "f") == b"f" * 3000
    assert shop.call.json("GET", "/api/repos/info").keys() == {shop.root}


def test_damaged_chunks_and_lists(shop: Shop):
    ref = shop.value(shop.root, "kv", "big")
    assert ref.kind == BLOB_LIST
    chunk = blob_list_chunks(shop.call.server.store, ref)[1][0]
    shop.damage(chunk)
    assert [p["object"] for p in shop.fsck()["problems"]] == [chunk.hex()]
    shop.damage(ref.id)
    assert ref.id.hex() in {p["object"] for p in shop.fsck()["problems"]}


def test_what_is_only_staged_is_checked_too(shop: Shop):
    staged, free = shop.value(shop.child, "kv", "staged"), shop.value(shop.child, "free", "f")
    shop.damage(staged.id)
    shop.damage(free.id)
    found = {p["object"]: p for p in shop.fsck()["problems"]}
    assert found.keys() == {staged.id.hex(), free.id.hex()}
    assert found[staged.id.hex()]["version"] == shop.child
    assert (found[staged.id.hex()]["instance"], found[free.id.hex()]["instance"]) == ("kv", "free")


def test_a_damaged_repo_record(shop: Shop, config):
    """The repo says what is wrong, another repo is served, a restart comes up."""
    other = Shop(shop.call)
    catalog = shop.call.server.catalog
    record = catalog.repos()[shop.root].record
    shop.damage(record)
    shop.call.server.close()
    again = Server.open(config)
    try:
        shop.call.server = again
        (problem,) = shop.fsck()["problems"]
        assert (problem["repo"], problem["ref"], problem["object"]) == (shop.root, "record", record.hex())
        with pytest.raises(Corrupt, match=f"record of repo {shop.root} cannot be read"):
            shop.get(shop.root, "kv", "kv0000")
        with pytest.raises(DamageError):
            shop.call.json("POST", f"/api/repo/{shop.root}/info", {"alias": "x"})
        with pytest.raises(DamageError):
            shop.call.json("POST", f"/api/node/{shop.child}/commit", {})
        assert other.get(other.root, "kv", "kv0001") == b"value 1 of kv"
        other.put(other.child, "kv", "more", b"w")
        assert set(shop.call.json("GET", "/api/repos/info")) == {shop.root, other.root}
        repo = again.catalog.repos()[shop.root]
        assert repo.versions[shop.child].state in ("open", "sealed")
    finally:
        again.close()
    Server.open(config).close()


def test_damage_at_random_never_passes_unnoticed(shop: Shop):
    """Whatever byte of a pack is flipped: fsck finds it, or every value is read as it was."""
    packs = shop.call.server.store.packs
    values = {
        (uuid, name, key): shop.get(uuid, name, key)
        for uuid, name, key in [
            *((shop.root, "kv", f"kv{i:04}") for i in range(0, 600, 37)),
            (shop.child, "kv", "staged"),
            (shop.child, "free", "f"),
        ]
    }
    rng = random.Random(11)
    rows = packs.database.rows("SELECT name, length FROM packs")
    for _ in range(40):
        name, length = rng.choice(rows)
        at = rng.randrange(32, length)
        with packs.path(name).open("r+b") as file:
            file.seek(at)
            old = file.read(1)
            file.seek(at)
            file.write(bytes([old[0] ^ 1]))
        shop.call.server.catalog.nodes.cache.clear()
        clean = shop.fsck()["ok"]
        for place, value in values.items():
            try:
                assert shop.get(*place) == value
            except DagdvidError:
                assert not clean
        with packs.path(name).open("r+b") as file:
            file.seek(at)
            file.write(old)
    shop.call.server.catalog.nodes.cache.clear()
    assert shop.fsck()["ok"]


def test_every_type_of_object_is_walked(shop: Shop):
    """Each object that the refs reach is damaged in turn, at least one of each type: none escapes."""
    store = shop.call.server.store
    names = [row[0] for row in store.database.rows("SELECT id FROM entries")]
    kinds = {item.type for item in store.get_many(names)}
    assert kinds >= {ObjectType.BLOB, ObjectType.BLOB_LIST, ObjectType.LEAF, ObjectType.NODE, ObjectType.COMMIT}
    by_kind: dict[int, list[bytes]] = {}
    for name in names:
        by_kind.setdefault(store.get_many([name])[0].type, []).append(name)
    commit = by_kind[ObjectType.COMMIT]
    shop.damage(commit[0])
    assert commit[0].hex() in {p["object"] for p in shop.fsck()["problems"]}
    record = by_kind[ObjectType.RECORD][0]  # the oldest: history of the repo record
    shop.damage(record)
    assert record.hex() in {p["object"] for p in shop.fsck()["problems"]}


def test_a_missing_pack(shop: Shop, config):
    """The file of all blobs is gone: what lies in trees is served, what lay in blobs is named."""
    packs = shop.call.server.store.packs
    ref = shop.value(shop.root, "kv", "kv0007")
    number = packs.locate([ref.id])[ref.id][0]
    ((name,),) = packs.database.rows("SELECT name FROM packs WHERE no = ?", (number,))
    file = packs.path(name)
    shop.call.server.close()
    file.unlink()
    again = Server.open(config)
    try:
        shop.call.server = again
        assert shop.get(shop.root, "kv", "kv0001") == b"value 1 of kv"
        with pytest.raises(DamageError):
            shop.get(shop.root, "kv", "kv0007")
        report = shop.fsck()
        assert not report["ok"]
        assert ref.id.hex() in {p.get("object") for p in report["problems"]}
        assert {p["instance"] for p in report["problems"] if "instance" in p} == {"kv", "kw", "free"}
        shop.put(shop.child, "kv", "kv0007", b"again" * 200)
        assert shop.get(shop.child, "kv", "kv0007") == b"again" * 200
    finally:
        again.close()
