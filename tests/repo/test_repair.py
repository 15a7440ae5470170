"""repair: what is intact is saved, what another place has is brought back, what is lost is noted."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from calling import Caller

from dagdvid.config import Config
from dagdvid.errors import BadRequest, Corrupt, DamageError, Lost
from dagdvid.objects.local.salvage import ASIDE
from dagdvid.server import Server

VALUES = {f"{i:04}": random.Random(i).randbytes(20 if i % 3 else 900) for i in range(700)}
BIG = random.Random(2).randbytes(9 * 2**20)


def fill(folder: Path) -> tuple[str, str]:
    """A repo with a committed version and an open one; their UUIDs. All packs are sealed, by a second opening."""
    server = Server.open(Config(data=folder))
    call = Caller(server)
    root = call.json("POST", "/api/repos", {"alias": "shop"})["root"]
    call.json("POST", f"/api/repo/{root}/instance", {"typename": "keyvalue", "dataname": "kv"})
    for key, value in VALUES.items():
        call("POST", f"/api/node/{root}/kv/key/{key}", value)
    call("POST", f"/api/node/{root}/kv/key/big", BIG)
    call.json("POST", f"/api/node/{root}/commit", {})
    child = call.json("POST", f"/api/node/{root}/newversion")["child"]
    call("POST", f"/api/node/{child}/kv/key/staged", b"s" * 3000)
    server.close()
    Server.open(Config(data=folder)).close()
    return root, child


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> tuple[Path, str, str]:
    folder = tmp_path_factory.mktemp("repair") / "data"
    return folder, *fill(folder)


class Damaged:
    """A copy of the filled folder, to be damaged and repaired."""

    def __init__(self, folder: Path, backup: Path, root: str, child: str) -> None:
        self.folder, self.backup, self.root, self.child = folder, backup, root, child

    @property
    def packs(self) -> list[Path]:
        return sorted(self.folder.glob("packs/*.pack"), key=lambda path: path.stat().st_size)

    def repair(self, *places, dry_run=False):
        server = Server.open(Config(data=self.folder))
        try:
            *_, last = server.repair([str(place) for place in places], dry_run=dry_run)
        finally:
            server.close()
        return last["result"]

    def read(self) -> tuple[dict[str, bytes], set[str]]:
        """All values that can be read, and the keys of those that cannot; fsck's report agrees with it."""
        server = Server.open(Config(data=self.folder))
        call = Caller(server)
        found, failed = {}, set()
        try:
            for key in [*VALUES, "big"]:
                try:
                    found[key] = call("GET", f"/api/node/{self.root}/kv/key/{key}").body
                except Lost:
                    failed.add(key)
            try:
                found["staged"] = call("GET", f"/api/node/{self.child}/kv/key/staged").body
            except Lost:
                failed.add("staged")
            report = call.json("POST", "/api/store/fsck")
        finally:
            server.close()
        assert report["ok"], report["problems"]
        assert bool(report["lost"]) >= bool(failed)
        return found, failed


@pytest.fixture
def damaged(filled, tmp_path) -> Damaged:
    backup, root, child = filled
    shutil.copytree(backup, tmp_path / "copy")
    return Damaged(tmp_path / "copy", backup, root, child)


def expected() -> dict[str, bytes]:
    return VALUES | {"big": BIG, "staged": b"s" * 3000}


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def test_nothing_to_repair(damaged):
    before = {path: path.read_bytes() for path in damaged.packs}
    report = damaged.repair(damaged.backup)
    assert (report["ok"], report["packs"], report["lost"]) == (True, [], 0)
    assert all(path.read_bytes() == data for path, data in before.items())
    assert damaged.read() == (expected(), set())


@pytest.mark.parametrize("seed", range(6))
def test_flipped_bytes_cost_what_they_hit_and_nothing_else(damaged, seed):
    rng = random.Random(seed)
    for path in damaged.packs:
        for _ in range(2):
            flip(path, rng.randrange(path.stat().st_size))
    dry = damaged.repair(dry_run=True)
    assert dry["packs"]
    assert not dry["ok"]
    report = damaged.repair()
    assert [pack["pack"] for pack in report["packs"]] == [pack["pack"] for pack in dry["packs"]]
    assert list(damaged.folder.glob(f"packs/*{ASIDE}"))
    found, failed = damaged.read()
    assert found == {key: value for key, value in expected().items() if key not in failed}
    again = damaged.repair(damaged.backup)
    assert again["lost"] == 0
    assert damaged.read() == (expected(), set())


def test_a_lost_object_is_named_when_read(damaged):
    path = damaged.packs[-1]
    flip(path, path.stat().st_size // 2)
    assert damaged.repair()["lost"] == 1
    assert damaged.read()[1] == {"big"}
    assert damaged.repair()["lost"] == 1  # a second repair knows no more
    server = Server.open(Config(data=damaged.folder))
    try:
        with pytest.raises(Lost, match="was lost with a damaged pack.*dagdvid repair --from"):
            Caller(server)("GET", f"/api/node/{damaged.root}/kv/key/big")
    finally:
        server.close()


@pytest.mark.parametrize("how", ["gone", "empty", "cut", "index"])
def test_packs_that_are_gone_or_cut(damaged, how):
    for path in damaged.packs:
        if how == "gone":
            path.unlink()
        elif how == "empty":
            path.write_bytes(b"")
        elif how == "cut":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        else:
            flip(path, path.stat().st_size - 40)
    report = damaged.repair()
    assert len(report["packs"]) == 2
    if how == "index":
        assert report["lost"] == 0
        assert damaged.read() == (expected(), set())
        return
    assert report["lost"]
    report = damaged.repair(damaged.backup)
    assert (report["lost"], report["problems"]) == (0, [])
    assert report["healed"][str(damaged.backup)] > 0
    assert damaged.read() == (expected(), set())


def test_a_damaged_backup_gives_what_it_has(damaged, tmp_path):
    worse = tmp_path / "worse"
    shutil.copytree(damaged.backup, worse)
    for path in damaged.packs:
        path.unlink()
    blobs = max(worse.glob("packs/*.pack"), key=lambda path: path.stat().st_size)
    flip(blobs, blobs.stat().st_size // 2)
    assert damaged.repair(worse)["lost"] == 1
    assert damaged.read()[1] == {"big"}


def test_a_crash_on_the_way_loses_nothing(damaged, monkeypatch):
    """At each step that the repair makes durable, in turn, the process ends; the next repair finishes the work."""
    for path in damaged.packs:
        flip(path, path.stat().st_size - 40)
    pristine = damaged.folder.with_name("pristine")
    damaged.folder.rename(pristine)

    class Ended(BaseException):
        pass

    for step in range(1, 100):
        shutil.rmtree(damaged.folder, ignore_errors=True)
        shutil.copytree(pristine, damaged.folder)
        server = Server.open(Config(data=damaged.folder))
        server.upkeep.settle()
        left = step
        whole = type(server.store).run

        def run(store, operation, whole=whole):
            nonlocal left
            left -= 1
            if not left:
                raise Ended
            return whole(store, operation)

        monkeypatch.setattr(type(server.store), "run", run)
        try:
            list(server.repair())
        except Ended:
            ended = True
        else:
            ended = False
        monkeypatch.undo()
        server.close()
        assert damaged.repair()["lost"] == 0
        assert damaged.read() == (expected(), set())
        if not ended:
            return
    pytest.fail("it never came to its end")


def test_places_that_cannot_be(damaged, tmp_path):
    with pytest.raises(BadRequest, match="there is no dagdvid data"):
        damaged.repair(tmp_path / "nowhere")
    with pytest.raises(BadRequest, match="name another place"):
        damaged.repair(damaged.folder)


def test_before_a_repair_damage_is_damage(damaged):
    path = damaged.packs[-1]
    flip(path, path.stat().st_size // 2)
    server = Server.open(Config(data=damaged.folder))
    try:
        with pytest.raises(DamageError) as caught:
            Caller(server)("GET", f"/api/node/{damaged.root}/kv/key/big")
    finally:
        server.close()
    assert isinstance(caught.value, Corrupt)
