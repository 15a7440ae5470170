"""gc: what nothing refers to goes, everything else stays, at any point at which it is cut off."""

from __future__ import annotations

import random
from typing import Any

import pytest
from calling import Caller
from click.testing import CliRunner

from dagdvid.cli import main
from dagdvid.config import Config
from dagdvid.errors import Corrupt
from dagdvid.objects.ids import ObjectType
from dagdvid.objects.local import sweep as sweeping
from dagdvid.objects.store import prepare
from dagdvid.server import Server


def garbage(n: int) -> list[Any]:
    return [prepare(ObjectType.BLOB, random.Random(i).randbytes(5000)) for i in range(n)]


def result(server: Server, *, dry_run: bool = False) -> dict[str, Any]:
    return list(server.collect(dry_run=dry_run))[-1]["result"]


@pytest.fixture
def filled(config: Config) -> dict[str, bytes]:
    """A directory with committed, staged and unversioned values among garbage; what must stay, by path."""
    server = Server.open(config)
    call = Caller(server)
    root = call.json("POST", "/api/repos", {})["root"]
    for name, versioned in (("kv", "true"), ("un", "false")):
        body = {"typename": "keyvalue", "dataname": name, "versioned": versioned}
        call("POST", f"/api/repo/{root}/instance", body)
    kept: dict[str, bytes] = {}

    def put(path: str, value: bytes) -> None:
        call("POST", path, value)
        kept[path] = value

    for i in range(50):
        put(f"/api/node/{root}/kv/key/k{i:03d}", b"committed %d " % i * 100)
        put(f"/api/node/{root}/un/key/k{i:03d}", b"unversioned %d " % i * 100)
    server.store.put_many(garbage(200))
    call("POST", f"/api/node/{root}/commit", {"note": ""})
    child = call.json("POST", f"/api/node/{root}/newversion")["child"]
    for i in range(50):
        put(f"/api/node/{child}/kv/key/s{i:03d}", b"staged %d " % i * 100)
    put(f"/api/node/{child}/kv/key/large", bytes(range(256)) * 20_000)
    server.close()
    return kept


def served(server: Server, kept: dict[str, bytes]) -> None:
    call = Caller(server)
    for path, value in kept.items():
        assert call("GET", path).body == value
    assert call.json("POST", "/api/store/fsck")["ok"]


def folder_size(config: Config) -> int:
    return sum(path.stat().st_size for path in (config.data / "packs").iterdir())


def test_garbage_goes_and_the_rest_stays(config: Config, filled: dict[str, bytes]) -> None:
    server = Server.open(config)
    before = folder_size(config)
    planned = result(server, dry_run=True)
    assert folder_size(config) == before
    done = result(server)
    assert (done["objects"], done["bytes"]) == (planned["objects"], planned["bytes"])
    assert done["objects"] >= 200
    served(server, filled)
    server.close()
    reopened = Server.open(config)
    served(reopened, filled)
    assert folder_size(config) < before
    assert result(reopened)["objects"] == 0
    reopened.close()


@pytest.mark.parametrize("cut", ["Put", "Retire", "Forget", "Condemn"])
def test_cut_off_anywhere_nothing_is_lost(
    config: Config, filled: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    def dies(*_: object, **__: object) -> Any:
        raise KeyboardInterrupt

    server = Server.open(config)
    with monkeypatch.context() as patched:
        patched.setattr(sweeping, cut, dies)
        with pytest.raises(KeyboardInterrupt):
            result(server)
    served(server, filled)
    server.close()
    reopened = Server.open(config)
    served(reopened, filled)
    result(reopened)
    served(reopened, filled)
    reopened.close()


def test_a_damaged_store_is_left_alone(config: Config, filled: dict[str, bytes]) -> None:
    Server.open(config).close()
    pack = max((config.data / "packs").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(pack.read_bytes())
    data[200] ^= 0xFF
    pack.write_bytes(data)
    names = sorted((config.data / "packs").iterdir())
    server = Server.open(config)
    with pytest.raises(Corrupt, match="fsck"):
        result(server)
    server.close()
    assert set(names) <= set((config.data / "packs").iterdir())


def test_a_command(config: Config, filled: dict[str, bytes]) -> None:
    told = CliRunner().invoke(main, ["gc", "--data", str(config.data)])
    assert told.exit_code == 0, told.output
    assert "gave up" in told.output

    server = Server.open(config)
    busy = CliRunner().invoke(main, ["gc", "--data", str(config.data)])
    assert busy.exit_code == 1
    assert "in use" in busy.output
    server.close()
