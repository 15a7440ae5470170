"""neuclease, the flyem project's Python client, against a server of ours, and against DVID itself if one is named.

Run where neuclease can be imported (README.md beside this file). Every expectation is what DVID answers:
DVID_URL=http://HOST:PORT runs the same tests against a DVID, which needs its DVID_ADMIN_TOKEN in the environment.
"""

from __future__ import annotations

import os
import sys
import uuid as uuids
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from dagdvid.cli.child import ServerProcess

if os.environ.get("NEUCLEASE"):
    sys.path.insert(0, os.environ["NEUCLEASE"])
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    dvid = pytest.importorskip("neuclease.dvid", reason="neuclease is not installed", exc_type=ImportError)
    requests = pytest.importorskip("requests")

pytestmark = pytest.mark.filterwarnings("ignore")

SERVERS = ["ours", *(["dvid"] if os.environ.get("DVID_URL") else [])]
KEYS = {"a": b"plain", "b": b'{"x": [1, 2.5, null]}', "bb": b"[]", "c d": b"with a blank", "\u00e9": b"\x00\xff"}


@pytest.fixture(scope="module")
def urls(tmp_path_factory: Any) -> Iterator[dict[str, str]]:
    with ServerProcess(tmp_path_factory.mktemp("neuclease") / "data", "127.0.0.1:0") as ours:
        yield {"ours": ours.url, "dvid": os.environ.get("DVID_URL", "")}


@pytest.fixture(params=SERVERS)
def server(request: Any, urls: dict[str, str]) -> str:
    return urls[request.param].removeprefix("http://")  # as its users write it


@pytest.fixture
def root(server: str) -> str:
    return str(dvid.create_repo(server, "alias", "a description"))


@pytest.fixture
def kv(server: str, root: str) -> tuple[str, str, str]:
    dvid.create_instance(server, root, "kv", "keyvalue", tags=["type=meshes", "who=me"])
    return server, root, "kv"


def fails(status: int) -> Any:
    return pytest.raises(requests.HTTPError, match=f"^{status} |[ \n]{status} ")


def test_server_info(server: str) -> None:
    info = dvid.fetch_server_info(server)
    assert set(info) >= {"DVID Version", "Cores", "Server time", "Server uptime", "Datastore Version"}
    assert info["DVID Version"].startswith("v")
    assert all(isinstance(value, str) for value in info.values())


def test_repos(server: str, root: str) -> None:
    assert len(root) == 32
    info = dvid.fetch_repos_info(server)[root]
    assert (info["Alias"], info["Description"], info["Root"]) == ("alias", "a description", root)
    assert info == dvid.fetch_repo_info(server, root[:16])
    dvid.repo.post_info(server, root, {"alias": "other"})
    info = dvid.fetch_repo_info(server, root)
    assert (info["Alias"], info["Description"]) == ("other", "a description")
    assert dvid.expand_uuid(server, root[:16]) == root
    assert dvid.find_repo_root(server, root) == root
    with fails(400):
        dvid.fetch_repo_info(server, uuids.uuid4().hex)


def test_logs_and_notes(server: str, root: str) -> None:
    dvid.repo.post_log(server, root, ["first", "second \u00e9"])
    assert [line.split("  ", 1)[1] for line in dvid.repo.fetch_log(server, root)] == ["first", "second \u00e9"]
    dvid.node.post_log(server, root, ["of the node"])
    assert [line.split("  ", 1)[1] for line in dvid.node.fetch_log(server, root)] == ["of the node"]
    dvid.node.post_note(server, root, "a note")
    assert dvid.node.fetch_note(server, root) == "a note"


def test_instances(kv: tuple[str, str, str]) -> None:
    server, root, name = kv
    dvid.create_instance(server, root, "flat", "keyvalue", versioned=False, compression="gzip")
    assert dvid.fetch_repo_instances(server, root) == {"kv": "keyvalue", "flat": "keyvalue"}
    assert dvid.fetch_repo_instances(server, root, "uint8blk") == {}
    base = dvid.fetch_instance_info(server, root, name)["Base"]
    assert (base["TypeName"], base["Name"], base["RepoUUID"], base["Versioned"]) == ("keyvalue", "kv", root, True)
    assert base["Tags"] == {"type": "meshes", "who": "me"}
    assert base["Compression"] == "LZ4 compression, level -1"
    flat = dvid.fetch_instance_info(server, root, "flat")["Base"]
    assert (flat["Versioned"], flat["Tags"]) == (False, None)
    assert flat["Compression"].startswith("gzip compression")
    dvid.post_tags(server, root, name, {"who": "you"})
    assert dvid.fetch_instance_info(server, root, name)["Base"]["Tags"] == {"type": "meshes", "who": "you"}
    with fails(400):
        dvid.create_instance(server, root, name, "keyvalue")
    with fails(400):
        dvid.fetch_instance_info(server, root, "nosuch")


def test_voxel_instances(server: str, root: str) -> None:
    dvid.create_voxel_instance(server, root, "gray", "uint8blk", compression="lz4", block_size=32, voxel_size=4.0)
    extended = dvid.fetch_instance_info(server, root, "gray")["Extended"]
    assert (extended["BlockSize"], extended["VoxelSize"]) == ([32, 32, 32], [4, 4, 4])
    assert extended["VoxelUnits"] == ["nanometers"] * 3
    with fails(400):
        dvid.create_voxel_instance(server, root, "gray", "uint8blk")


def test_the_graph(server: str, root: str) -> None:
    assert not dvid.is_locked(server, root)
    assert dvid.post_commit(server, root, "done", ["a line"]) == root
    assert dvid.is_locked(server, root)
    assert dvid.node.fetch_commit(server, root)
    wanted = uuids.uuid4().hex
    child = dvid.post_newversion(server, root, "next", wanted)
    assert child == wanted
    side = dvid.post_branch(server, root, "side", "a branch")
    dvid.post_commit(server, child, "")
    tip = dvid.post_newversion(server, child, "")

    dag = dvid.fetch_repo_dag(server, root)
    assert set(dag.edges()) == {(root, child), (root, side), (child, tip)}
    told = {uuid: (node["Branch"], node["Locked"], node["Note"]) for uuid, node in dag.nodes(data=True)}
    assert told == {
        root: ("", True, "done"),
        child: ("", True, "next"),
        side: ("side", False, "a branch"),
        tip: ("", False, ""),
    }
    assert [line.split("  ", 1)[1] for line in dag.nodes[root]["Log"]] == ["a line"]
    assert dvid.fetch_branches(server, root) == ["", "side"]
    assert list(dvid.find_branch_nodes(server, root, "")) == [root, child, tip]
    assert list(dvid.find_branch_nodes(server, root, "side")) == [root, side]
    nodes = dvid.find_branch_nodes(server, root, "", full_info=True)
    assert nodes["Created"].is_monotonic_increasing
    assert dvid.find_master(server, root) == tip
    assert dvid.find_master(server, root, locked_only=True) == child
    assert dvid.find_parent(server, side) == root
    assert dvid.resolve_ref(server, tip[:16], expand=True) == tip
    assert dvid.find_branch(server, root, "side") == side
    for text, uuid in {"side": side, "master": tip, "master~1": child, "side~1": root}.items():
        info = dvid.fetch_generic_json(f"http://{server}/api/node/{root}:{text}/note")
        assert info["note"] == told[uuid][2], text
    assert dvid.resolve_ref_range(server, f"[root, {tip}]") == [root, child, tip]

    with fails(400):
        dvid.post_commit(server, root, "again")
    with fails(400):
        dvid.post_branch(server, tip, "early", "of an open version")
    with fails(400):
        dvid.post_branch(server, root, "side", "taken")
    dvid.node.post_tag(server, child, f"v-{wanted[:8]}", "")
    assert dvid.is_locked(server, f"v-{wanted[:8]}")


def test_keys(kv: tuple[str, str, str]) -> None:
    for key, value in KEYS.items():
        dvid.post_key(*kv, key, value)
    dvid.post_key(*kv, "json", json={"a": [1]})
    assert dvid.fetch_keys(*kv) == ["a", "b", "bb", "c d", "json", "\u00e9"]
    assert {key: dvid.fetch_key(*kv, key) for key in KEYS} == KEYS
    assert dvid.fetch_key(*kv, "json", as_json=True) == {"a": [1]}
    assert dvid.fetch_key(*kv, "a", check_head=True) is True
    assert dvid.fetch_key(*kv, "nosuch", check_head=True) is False
    with fails(404):
        dvid.fetch_key(*kv, "nosuch")
    dvid.delete_key(*kv, "bb")
    dvid.delete_key(*kv, "nosuch")
    assert dvid.fetch_keyrange(*kv, "a", "c") == ["a", "b"]
    assert dvid.fetch_keyrange(*kv, "x", "b") == []
    assert dvid.fetch_keyrange(*kv) == ["a", "b", "c d", "json"]


@pytest.mark.parametrize("form", ["protobuf", "tar"])
def test_many_keys(kv: tuple[str, str, str], form: str) -> None:
    dvid.post_keyvalues(*kv, KEYS, batch_size=2, show_progress=False)
    assert dvid.fetch_keyrangevalues(*kv, "a", "z", serialization=form) == {k: KEYS[k] for k in ("a", "b", "bb", "c d")}
    if form == "protobuf":
        assert dvid.fetch_keyvalues(*kv, [*KEYS, "nosuch"], serialization=form) == KEYS | {"nosuch": b""}
        assert dvid.fetch_keyvalues(*kv, list(KEYS), batch_size=2, show_progress=False) == KEYS
    else:
        fetched = dvid.keyvalue._keyvalue._fetch_keyvalues_via_jsontar(*kv, [*KEYS, "nosuch"], False, None)
        assert fetched == KEYS | {"nosuch": b""}


def test_many_keys_as_json(kv: tuple[str, str, str]) -> None:
    values = {"one": {"a": 1}, "two": [1, 2], "three": "text"}
    dvid.post_keyvalues(*kv, values | {"three": '"text"'}, show_progress=False)
    for check in (False, True):
        assert dvid.fetch_keyrangevalues(*kv, "a", "z", as_json=True, serialization="json", check=check) == values
        fetched = dvid.fetch_keyvalues(*kv, [*values, "nosuch"], as_json=True, serialization="json", check=check)
        assert fetched == values | {"nosuch": {}}
    assert dvid.fetch_keyvalues(*kv, ["one", "nosuch"], as_json=True) == {"one": {"a": 1}, "nosuch": None}
    dvid.extend_list_value(*kv, "two", [2, 3])
    assert dvid.fetch_key(*kv, "two", as_json=True) == [1, 2, 3]


def test_values_of_versions(kv: tuple[str, str, str]) -> None:
    server, root, name = kv
    dvid.post_key(*kv, "a", b"old")
    dvid.post_key(*kv, "b", b"stays")
    dvid.post_commit(server, root, "")
    child = dvid.post_newversion(server, root, "")
    dvid.post_key(server, child, name, "a", b"new")
    dvid.delete_key(server, child, name, "b")
    assert (dvid.fetch_key(*kv, "a"), dvid.fetch_key(server, child, name, "a")) == (b"old", b"new")
    assert (dvid.fetch_keys(*kv), dvid.fetch_keys(server, child, name)) == (["a", "b"], ["a"])
    assert dvid.fetch_key(server, f"{root}:master", name, "a") == b"new"
    if "DVID_ADMIN_TOKEN" not in os.environ:
        with fails(400):
            dvid.post_key(*kv, "a", b"late")
        with fails(400):
            dvid.delete_key(*kv, "a")
        assert dvid.fetch_keys(*kv) == ["a", "b"]
        return
    dvid.post_key(*kv, "a", b"amended")
    dvid.post_key(*kv, "c", b"late")
    assert {key: dvid.fetch_key(*kv, key) for key in "abc"} == {"a": b"amended", "b": b"stays", "c": b"late"}
    assert dvid.fetch_keys(server, child, name) == ["a", "c"]
    assert dvid.fetch_key(server, child, name, "a") == b"new"
    assert dvid.is_locked(server, root)


def test_mutations(kv: tuple[str, str, str]) -> None:
    server, root, name = kv
    dvid.post_key(*kv, "a", b"1234")
    dvid.post_keyvalues(*kv, {"b": b"xy", "c": b"z"}, show_progress=False)
    dvid.delete_key(*kv, "a")
    done = dvid.fetch_generic_mutations(*kv, format="json")
    assert [(m["Action"], m["Key"], m.get("Bytes"), m["UUID"]) for m in done] == [
        ("postkv", "a", 4, root),
        ("postkv", "b", 2, root),
        ("postkv", "c", 1, root),
        ("delete", "a", None, root),
    ]
    table = dvid.fetch_generic_mutations(*kv, action_filter="postkv")
    assert table["key"].tolist() == ["a", "b", "c"]
    assert table["timestamp"].notna().all()
    assert table["timestamp"].is_monotonic_increasing
    dvid.post_commit(server, root, "")
    child = dvid.post_newversion(server, root, "")
    dvid.post_key(server, child, name, "d", b"")
    both = dvid.fetch_generic_mutations(server, child, name, format="json")
    assert [m["UUID"] for m in both] == [root] * 4 + [child]
    assert len(dvid.fetch_generic_mutations(server, child, name, dag_filter="leaf-only", format="json")) == 1


def test_blobs(kv: tuple[str, str, str]) -> None:
    assert dvid.node.post_blob(*kv, data=b"hello") == "8UtYSGSD2U9wgDh5jClpfw=="
    assert dvid.node.fetch_blob(*kv, "8UtYSGSD2U9wgDh5jClpfw==") == b"hello"
    reference = dvid.node.post_blob(*kv, json={"a": [1, 2, 3]})
    assert dvid.node.fetch_blob(*kv, reference, as_json=True) == {"a": [1, 2, 3]}
    with fails(404):
        dvid.node.fetch_blob(*kv, "AAAAAAAAAAAAAAAAAAAAAA==")
    with fails(400):
        dvid.node.fetch_blob(*kv, "x")


def test_skeleton_headers(kv: tuple[str, str, str]) -> None:
    dvid.post_key(*kv, "7_swc", b'#${"mutation id": 1000009350}\n1 0 1 2 3 4.0 -1\n2 0 2 2 3 4.0 1\n')
    assert dvid.keyvalue._keyvalue.fetch_skeleton_mutation(*kv, 7) == (7, 1000009350)
    assert dvid.keyvalue._keyvalue.fetch_skeleton_mutation(*kv, 8) == (8, -1)
