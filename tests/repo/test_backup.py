"""backup and restore: of folders and of servers, while they are written to; incremental; never half."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from calling import Caller

from dagdvid.config import Config
from dagdvid.errors import BadRequest, Corrupt, PackGone, ReadOnly
from dagdvid.objects.local import backup as module
from dagdvid.objects.local.backup import FolderOrigin, copy_store
from dagdvid.server import Server, backup, restore


class Life:
    """A store with a repo, whose server is in this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.values: dict[str, bytes] = {}
        self.open()
        self.root = self.node = self.call.json("POST", "/api/repos", {"alias": "shop"})["root"]
        self.call.json("POST", f"/api/repo/{self.root}/instance", {"typename": "keyvalue", "dataname": "kv"})

    def open(self) -> None:
        self.server = Server.open(Config(data=self.folder))
        self.call = Caller(self.server)

    def restart(self) -> None:
        self.server.close()
        self.open()

    def put(self, n: int, seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(n):
            key, value = f"{rng.randrange(500):03}", rng.randbytes(rng.choice([20, 2000]))
            self.call("POST", f"/api/node/{self.node}/kv/key/{key}", value)
            self.values[key] = value

    def commit(self) -> None:
        self.call.json("POST", f"/api/node/{self.node}/commit", {})
        self.node = self.call.json("POST", f"/api/node/{self.node}/newversion")["child"]


@pytest.fixture
def life(tmp_path):
    life = Life(tmp_path / "data")
    yield life
    life.server.close()


def result(steps):
    *_, last = steps
    return last["result"]


def same(folder: Path, life: Life) -> None:
    """The folder is sound and answers as the life does."""
    server = Server.open(Config(data=folder))
    try:
        call = Caller(server)
        assert call.json("POST", "/api/store/fsck")["ok"]
        keys = call.json("GET", f"/api/node/{life.node}/kv/keys")
        assert {key: call("GET", f"/api/node/{life.node}/kv/key/{key}").body for key in keys} == life.values
        assert call.json("GET", "/api/repos/info").keys() == {life.root}
        call("POST", f"/api/node/{life.node}/kv/key/more", b"m")
    finally:
        server.close()


def test_backups_of_a_store_in_use(life, tmp_path):
    """Each holds what was there at its time, and takes only what is new since the last."""
    kept = tmp_path / "kept"
    for round_ in range(4):
        life.put(150, round_)
        if round_ == 1:
            life.commit()
        if round_ == 2:
            life.restart()  # its packs are sealed now
        report = result(backup(str(life.folder), kept))
        assert report["copied"] < report["bytes"] * 0.8 or round_ == 0
        target = tmp_path / f"restored{round_}"
        result(restore(kept, target))
        same(target, life)
    assert result(backup(str(life.folder), kept))["copied"] == 0


def test_a_backup_goes_on_where_packs_were_given_up(life, tmp_path):
    life.put(200, 1)
    kept = tmp_path / "kept"
    result(backup(str(life.folder), kept))
    life.call.json("POST", f"/api/repo/{life.root}/instance", {"typename": "keyvalue", "dataname": "other"})
    for i in range(100):
        life.call("POST", f"/api/node/{life.node}/other/key/{i}", random.Random(i).randbytes(5000))
        life.call("DELETE", f"/api/node/{life.node}/other/key/{i}")
    life.restart()
    result(backup(str(life.folder), kept))
    before = sum(path.stat().st_size for path in kept.glob("packs/*"))
    *_, last = life.server.collect()
    assert last["result"]["packs"]
    life.restart()
    report = result(backup(str(life.folder), kept))
    assert sum(path.stat().st_size for path in kept.glob("packs/*")) == report["bytes"] < before
    result(restore(kept, tmp_path / "restored"))
    same(tmp_path / "restored", life)


def test_a_pack_that_goes_while_it_is_copied(life, tmp_path):
    life.put(50, 1)

    class Restless(FolderOrigin):
        gone = 3

        def pack(self, name, start, end):
            self.gone -= 1
            if self.gone >= 0:
                raise PackGone(name)
            return super().pack(name, start, end)

    result(copy_store(Restless(life.folder), tmp_path / "kept", backup=True))
    result(restore(tmp_path / "kept", tmp_path / "restored"))
    same(tmp_path / "restored", life)


def test_a_backup_that_breaks_off_leaves_the_one_before(life, tmp_path, monkeypatch):
    life.put(150, 1)
    kept = tmp_path / "kept"
    result(backup(str(life.folder), kept))
    old = dict(life.values)
    life.restart()
    life.put(150, 2)

    class Ended(BaseException):
        pass

    class Short(module.Files):
        left = 0

        def __getattribute__(self, name):
            if name in ("create", "open", "write", "truncate", "sync", "sync_folder", "rename", "remove"):
                Short.left -= 1
                if not Short.left:
                    raise Ended
            return super().__getattribute__(name)

    for step in range(1, 200):
        Short.left = step
        monkeypatch.setattr(module, "Files", Short)
        copy = tmp_path / f"copy{step}"
        shutil.copytree(kept, copy)
        try:
            list(backup(str(life.folder), copy))
        except Ended:
            ended = True
        else:
            ended = False
        monkeypatch.undo()
        result(restore(copy, tmp_path / f"restored{step}"))
        server = Server.open(Config(data=tmp_path / f"restored{step}"))
        call = Caller(server)
        try:
            assert call.json("POST", "/api/store/fsck")["ok"]
            keys = call.json("GET", f"/api/node/{life.node}/kv/keys")
            found = {key: call("GET", f"/api/node/{life.node}/kv/key/{key}").body for key in keys}
            assert found in (old, life.values)
        finally:
            server.close()
        result(backup(str(life.folder), copy))
        if not ended:
            assert step > 10
            return
    pytest.fail("it never came to its end")


def test_damage_does_not_spread(life, tmp_path):
    life.put(100, 1)
    life.restart()
    pack = max(life.folder.glob("packs/*.pack"), key=lambda path: path.stat().st_size)
    with pack.open("r+b") as file:  # in place, for the server has it mapped
        at = pack.stat().st_size // 3
        file.seek(at)
        (old,) = file.read(1)
        file.seek(at)
        file.write(bytes([old ^ 1]))
    with pytest.raises(Corrupt):
        list(backup(str(life.folder), tmp_path / "kept"))
    assert not (tmp_path / "kept" / "dagdvid.sqlite").exists()


def test_folders_that_will_not_do(life, tmp_path):
    life.put(5, 1)
    kept = tmp_path / "kept"
    result(backup(str(life.folder), kept))
    with pytest.raises(ReadOnly, match=r"is a backup.*dagdvid restore"):
        Server.open(Config(data=kept))
    other = tmp_path / "other"
    Server.open(Config(data=other)).close()
    with pytest.raises(BadRequest, match="is a backup of another store"):
        list(backup(str(other), kept))
    with pytest.raises(BadRequest, match="holds data that is no backup"):
        list(backup(str(life.folder), other))
    with pytest.raises(BadRequest, match="holds data that is no backup"):
        list(restore(kept, other))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("x")
    with pytest.raises(BadRequest, match=r"holds other things \(thesis.txt\)"):
        list(restore(kept, tmp_path / "full"))
    with pytest.raises(BadRequest, match="there is no dagdvid data"):
        backup(str(tmp_path / "nowhere"), tmp_path / "x")
