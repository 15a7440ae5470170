"""Mutation logs as files ([mutations] jsonstore): always a beginning of the log, and at the answer all of it."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from calling import Caller
from fault_files import FaultFiles

from dagdvid.config import Config
from dagdvid.errors import ReadOnly
from dagdvid.interchange.keyvalues import keyvalue_chunks
from dagdvid.interchange.protolog import JSON, encode, read_records
from dagdvid.objects.local.files import Files
from dagdvid.repo.journal import Journal
from dagdvid.server import Server

FAULTS = 25
CALLS = 5 + 4 * 3
"""File calls that five posts make: the first one makes the file, each opens, writes and flushes it."""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(data=tmp_path / "data", jsonstore=tmp_path / "logs" / "json")


@pytest.fixture
def logs(config: Config) -> Path:
    assert config.jsonstore is not None
    return config.jsonstore


@pytest.fixture
def root(call: Caller) -> str:
    root = str(call.json("POST", "/api/repos", {})["root"])
    call("POST", f"/api/repo/{root}/instance", {"typename": "keyvalue", "dataname": "kv"})
    return root


def batch(*keys: str) -> bytes:
    return b"".join(b"".join(keyvalue_chunks(key.encode(), b"some value")) for key in keys)


def in_file(path: Path) -> list[dict[str, Any]]:
    """What a file says; it has nothing but whole records."""
    data = path.read_bytes()
    records = list(read_records(lambda at, n: data[at : at + n]))
    assert sum(10 + len(record.payload) for record in records) == len(data)
    assert {record.type for record in records} <= {JSON}
    return [json.loads(record.payload) for record in records]


def check(call: Caller, logs: Path, version: str, data: str = "kv") -> int:
    """The file of an instance at a version says what the server says; how many records that are."""
    uuid = call.json("GET", f"/api/node/{version}/{data}/info")["Base"]["DataUUID"]
    said = call.json("GET", f"/api/node/{version}/{data}/mutations")
    path = logs / f"{uuid}-{version}.plog"
    found = in_file(path) if path.exists() else []
    ids = [record.pop("MutationID") for record in found]
    assert found == said
    assert ids == sorted(ids)
    return len(said)


def the_file(logs: Path) -> Path:
    (path,) = logs.iterdir()
    return path


def test_each_version_has_its_file(call: Caller, root: str, logs: Path) -> None:
    assert list(logs.iterdir()) == []
    call("POST", f"/api/node/{root}/kv/key/a", b"1234", u="ann", app="test")
    assert in_file(the_file(logs))[0].items() >= {"Action": "postkv", "Key": "a", "User": "ann", "Bytes": 4}.items()
    call("POST", f"/api/node/{root}/kv/keyvalues", batch("b", "\u00e9", "c"))
    call("DELETE", f"/api/node/{root}/kv/key/b")
    assert check(call, logs, root) == 5
    ids = [record["MutationID"] for record in in_file(the_file(logs))]
    assert ids == [10**9, *[10**9 + 1] * 3, 10**9 + 2]
    call("POST", f"/api/node/{root}/commit", {})
    child = call.json("POST", f"/api/node/{root}/newversion")["child"]
    call("POST", f"/api/node/{child}/kv/key/a", b"")
    assert (check(call, logs, root), check(call, logs, child)) == (5, 1)
    assert len(list(logs.iterdir())) == 2


def test_an_unversioned_instance_has_one(call: Caller, root: str, logs: Path) -> None:
    call("POST", f"/api/repo/{root}/instance", {"typename": "keyvalue", "dataname": "un", "versioned": "false"})
    call("POST", f"/api/node/{root}/un/key/a", b"1")
    call("POST", f"/api/node/{root}/commit", {})
    child = call.json("POST", f"/api/node/{root}/newversion")["child"]
    call("POST", f"/api/node/{child}/un/key/b", b"2")
    assert check(call, logs, root, "un") == 2
    assert the_file(logs).name.endswith(f"-{root}.plog")


def test_amendments(call: Caller, root: str, logs: Path) -> None:
    call("POST", f"/api/node/{root}/kv/key/a", b"1")
    call("POST", f"/api/node/{root}/commit", {})
    child = call.json("POST", f"/api/node/{root}/newversion")["child"]
    call("POST", f"/api/node/{child}/kv/key/b", b"2")
    Caller(call.server, admin=True)("POST", f"/api/node/{root}/kv/key/c", b"3")
    assert (check(call, logs, root), check(call, logs, child)) == (2, 1)


def test_nothing_but_logs_makes_files(call: Caller, root: str, logs: Path) -> None:
    call("POST", f"/api/repo/{root}/instance", {"typename": "uint8blk", "dataname": "gray", "BlockSize": "8,8,8"})
    call("POST", f"/api/node/{root}/gray/raw/0_1_2/8_8_8/0_0_0", bytes(512))
    call("POST", f"/api/node/{root}/kv/blobstore", b"blob")
    assert list(logs.iterdir()) == []


def test_threads(call: Caller, root: str, logs: Path) -> None:
    def work(n: int) -> None:
        for i in range(15):
            call("POST", f"/api/node/{root}/kv/key/{n}-{i}", b"x")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert check(call, logs, root) == 60


HARMS = {
    "write": ["gone", "torn", "inside a batch", "empty"],
    "start": ["gone", "torn", "inside a batch", "empty", "damaged"],
    "start, committed": ["gone", "torn", "empty"],
}
"""What is made good by what: only a start reads open versions' files whole again, of others just their ends."""


@pytest.mark.parametrize(("after", "harm"), [(after, harm) for after, harms in HARMS.items() for harm in harms])
def test_what_a_file_lacks_comes_with_the_next_write_or_start(config: Config, harm: str, after: str) -> None:
    assert config.jsonstore is not None
    server = Server.open(config)
    call = Caller(server)
    root = str(call.json("POST", "/api/repos", {})["root"])
    call("POST", f"/api/repo/{root}/instance", {"typename": "keyvalue", "dataname": "kv"})
    call("POST", f"/api/node/{root}/kv/key/a", b"1")
    call("POST", f"/api/node/{root}/kv/keyvalues", batch("b", "c", "d"))
    path = the_file(config.jsonstore)
    data = path.read_bytes()
    ends = [record.end for record in read_records(lambda at, n: data[at : at + n])]
    if harm == "gone":
        path.unlink()
    else:
        left = {"torn": data[:-7], "inside a batch": data[: ends[2]], "empty": b""}
        path.write_bytes(left.get(harm, data[: ends[1] + 15] + b"\0\0\0" + data[ends[1] + 18 :]))
    if after == "write":
        call("POST", f"/api/node/{root}/kv/key/e", b"2")
    else:
        if "committed" in after:
            call("POST", f"/api/node/{root}/commit", {})
        server.close()
        server = Server.open(config)
        call = Caller(server)
    try:
        assert check(call, config.jsonstore, root) == (5 if after == "write" else 4)
    finally:
        server.close()


def test_records_of_dvid_stay(call: Caller, root: str, logs: Path) -> None:
    """A store that moves from DVID to here keeps its UUIDs, and the files its records."""
    uuid = call.json("GET", f"/api/node/{root}/kv/info")["Base"]["DataUUID"]
    path = logs / f"{uuid}-{root}.plog"
    before = encode(b'{"Action":"postkv","Key":"old"}') + encode(b"\x08\x01", 3)
    path.write_bytes(before + b"torn")
    call("POST", f"/api/node/{root}/kv/key/a", b"1")
    data = path.read_bytes()
    assert data.startswith(before)
    assert [record.payload[:30] for record in read_records(lambda at, n: data[at : at + n])][:2] == [
        b'{"Action":"postkv","Key":"old"'[:30],
        b"\x08\x01",
    ]
    assert json.loads(data[len(before) + 10 :])["Key"] == "a"


def test_a_folder_that_cannot_be_written(config: Config, tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file in its place")
    with pytest.raises(ReadOnly, match="mutation logs"):
        Server.open(config)


def test_a_readonly_server_writes_none(config: Config, call: Caller, root: str, server: Server, logs: Path) -> None:
    call("POST", f"/api/node/{root}/kv/key/a", b"1")
    path = the_file(logs)
    server.close()
    path.unlink()
    readonly = Server.open(Config(data=config.data, jsonstore=logs, readonly=True))
    assert list(logs.iterdir()) == []
    readonly.close()


@pytest.fixture
def posting(config: Config) -> Iterator[Any]:
    """Posts keys to a server whose journal has file access of its own kind; the log is complete in the store."""
    server = Server.open(Config(data=config.data))
    call = Caller(server)
    root = str(call.json("POST", "/api/repos", {})["root"])
    call("POST", f"/api/repo/{root}/instance", {"typename": "keyvalue", "dataname": "kv"})

    def post(files: Files, keys: int) -> tuple[Caller, str]:
        assert config.jsonstore is not None
        journal = Journal(config.jsonstore, server.catalog, files)
        server.catalog.on_log = journal.write
        for i in range(keys):
            call("POST", f"/api/node/{root}/kv/key/{i}", b"x")
        return call, root

    yield post
    server.close()


@pytest.mark.parametrize("seed", range(FAULTS))
def test_power_cuts(posting: Any, logs: Path, seed: int) -> None:
    """The file lost any part of what was not flushed, torn and out of order; the next write makes it whole."""
    rng = random.Random(seed)
    faulty = FaultFiles(cut_at=rng.randrange(1, 40))
    posting(faulty, 5)
    faulty.power_cut(rng)
    call, root = posting(Files(), 1)
    assert check(call, logs, root) == 6


@pytest.mark.parametrize("at", range(1, CALLS + 1))
def test_a_failure_loses_no_mutation_and_is_made_up_for(
    posting: Any, logs: Path, at: int, caplog: pytest.LogCaptureFixture
) -> None:
    call, root = posting(FaultFiles(fail_at=at), 5)
    assert "until the next write or start" in caplog.text
    call, root = posting(Files(), 1)
    assert check(call, logs, root) == 6


def test_a_full_disk(posting: Any, logs: Path, caplog: pytest.LogCaptureFixture) -> None:
    full = FaultFiles(full_at=2)
    call, root = posting(full, 3)
    assert "disk is full" in caplog.text
    full.full = False
    full.full_at = 0
    call("POST", f"/api/node/{root}/kv/key/last", b"x")
    assert check(call, logs, root) == 4
