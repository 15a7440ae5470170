"""The mutation log: what was done, by whom, in which version; ids that no two mutations share."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from dagdvid.errors import UnknownName
from dagdvid.interchange.keyvalues import keyvalue_chunks
from dagdvid.repo.ids import MUTATION_START
from dagdvid.repo.staging import LOG, LOG_KEY


@pytest.fixture
def kv(call: Any) -> tuple[str, str]:
    root = call.json("POST", "/api/repos", {})["root"]
    call("POST", f"/api/repo/{root}/instance", {"typename": "keyvalue", "dataname": "kv"})
    return root, f"/api/node/{root}/kv"


def told(call: Any, at: str) -> list[dict[str, Any]]:
    records = call.json("GET", f"{at}/mutations")
    for record in records:
        assert record.pop("Timestamp").endswith(" +0000 UTC")
    return records


def test_each_version_tells_of_its_own(call: Any, kv: tuple[str, str]) -> None:
    root, at = kv
    call("POST", f"{at}/key/a", b"1234", u="ann", app="test")
    call("POST", f"{at}/keyvalues", b"".join([*keyvalue_chunks(b"b", b"x"), *keyvalue_chunks(b"\xff", b"yy")]))
    call("DELETE", f"{at}/key/b")
    first = [
        {"Action": "postkv", "Bytes": 4, "Key": "a", "User": "ann", "App": "test", "UUID": root},
        {"Action": "postkv", "Bytes": 1, "Key": "b", "UUID": root},
        {"Action": "postkv", "Bytes": 2, "Key": "\ufffd", "UUID": root},
        {"Action": "delete", "Key": "b", "UUID": root},
    ]
    assert told(call, at) == first
    call("POST", f"/api/node/{root}/commit", {"note": ""})
    child = call.json("POST", f"/api/node/{root}/newversion")["child"]
    assert told(call, f"/api/node/{child}/kv") == []
    call("POST", f"/api/node/{child}/kv/key/a", b"")
    second = [{"Action": "postkv", "Bytes": 0, "Key": "a", "UUID": child}]
    assert told(call, at) == first
    assert told(call, f"/api/node/{child}/kv") == second
    ranged = call.json("GET", f"{at}/mutations-range/{root}/{child}")
    assert [record["UUID"] for record in ranged] == [child] + [root] * 4
    assert [r["UUID"] for r in call.json("GET", f"{at}/mutations-range/{child}/{child}")] == [child]


def test_the_log_is_no_part_of_a_diff_or_of_the_keys(call: Any, kv: tuple[str, str]) -> None:
    root, at = kv
    call("POST", f"{at}/key/a", b"same")
    call("POST", f"/api/node/{root}/commit", {"note": ""})
    child = call.json("POST", f"/api/node/{root}/newversion")["child"]
    call("POST", f"/api/node/{child}/kv/key/a", b"same")
    assert call.json("GET", f"/api/node/{root}/diff/{child}")["instances"] == []
    assert call.json("GET", f"/api/node/{child}/kv/keys") == ["a"]


def test_one_users_mutations(call: Any, kv: tuple[str, str]) -> None:
    root, at = kv
    for key, user in (("a", "ann"), ("b", "bob"), ("c", ""), ("d", "ann")):
        call("POST", f"{at}/key/{key}", b"x", u=user)
    for path in (f"{at}/mutations", f"{at}/mutations-range/{root}/{root}"):
        assert [record["Key"] for record in call.json("GET", path, userid="ann")] == ["a", "d"]
        assert call.json("GET", path, userid="eve") == []
        assert len(call.json("GET", path, userid="")) == 4


def test_an_unversioned_instance_tells_of_all(call: Any, kv: tuple[str, str]) -> None:
    root, _ = kv
    call("POST", f"/api/repo/{root}/instance", {"typename": "keyvalue", "dataname": "un", "versioned": "false"})
    call("POST", f"/api/node/{root}/un/key/a", b"1")
    call("POST", f"/api/node/{root}/commit", {"note": ""})
    child = call.json("POST", f"/api/node/{root}/newversion")["child"]
    call("POST", f"/api/node/{child}/un/key/b", b"22")
    assert [record["Key"] for record in told(call, f"/api/node/{root}/un")] == ["a", "b"]


def test_types_without_a_log_say_so(call: Any, kv: tuple[str, str]) -> None:
    root, _ = kv
    call("POST", f"/api/repo/{root}/instance", {"typename": "uint8blk", "dataname": "gray"})
    for path in ("mutations", f"mutations-range/{root}/{root}"):
        with pytest.raises(UnknownName, match="Bad API call"):
            call("GET", f"/api/node/{root}/gray/{path}")


def test_ids_rise_without_gaps_or_twins_under_threads(call: Any, kv: tuple[str, str], server: Any) -> None:
    root, at = kv

    def work(n: int) -> None:
        for i in range(20):
            call("POST", f"{at}/key/{n}-{i}", b"x")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    repo, version = server.catalog.find(root)
    view = server.catalog.snapshot(repo, version, repo.instance("kv"))
    ids = [int.from_bytes(key[: LOG_KEY // 2], "big") for key in view.keys(LOG)]
    assert ids == list(range(MUTATION_START, MUTATION_START + 120))
    assert call.json("GET", f"/api/repo/{root}/info")["MutationID"] == MUTATION_START + 120
