"""Commits, records and contents: their bytes and hashes are final; equal states have equal roots."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagdvid.errors import Corrupt
from dagdvid.objects import canonical
from dagdvid.objects.ids import ObjectType, object_id
from dagdvid.objects.tree.nodes import EMPTY
from dagdvid.repo.commits import Commit, Content, content_of, decode_content, read_commit
from dagdvid.repo.record import Record, instance_facts, load_facts, make_record, read_record

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "repo" / "commits-1.json").read_text("utf-8"))

COMMITS = {
    "first": Commit("r" * 32, "r" * 32, (), EMPTY, "", "", (), "", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
    "merge": Commit(
        "0123456789abcdef" * 2,
        "f" * 32,
        (bytes(range(32)), bytes(32)),
        bytes([255] * 32),
        "side",
        'a "note"\n\u00e9 \U0001f9e0',
        ("2026-01-01T00:00:00Z  one", ""),
        "ann@example.org",
        "2026-01-01T00:00:00.000000001Z",
        "2026-01-02T00:00:00.999999999Z",
    ),
}
CONTENTS = {
    "empty": Content("keyvalue", {}, {}),
    "keys": Content("keyvalue", {}, {"keys": bytes(range(32))}),
    "blocks": Content(
        "uint8blk",
        {"BlockSize": [64, 64, 32], "Background": 0},
        {"meta": bytes(32), "blocks": bytes([1] * 32), "gone": EMPTY},
    ),
}
RECORDS = {
    "first": Record("repo", EMPTY, (), "2026-01-01T00:00:00.000000000Z", ""),
    "merged": Record("data", bytes(range(32)), (bytes(32), bytes([7] * 32)), "2026-01-01T00:00:00Z", "bob"),
}
KINDS = {
    "commit": (COMMITS, ObjectType.COMMIT, Commit.decode),
    "content": (CONTENTS, ObjectType.BLOB, decode_content),
    "record": (RECORDS, ObjectType.RECORD, Record.decode),
}
SAMPLES = [(kind, name) for kind, (samples, _, _) in KINDS.items() for name in samples]


@pytest.mark.parametrize(("kind", "name"), SAMPLES)
def test_golden_bytes_and_ids(kind: str, name: str):
    samples, number, decode = KINDS[kind]
    data = samples[name].encode()
    assert data.decode() == GOLDEN[kind][name]["text"]
    assert object_id(number, data).hex() == GOLDEN[kind][name]["id"]
    assert blake3(b"dagdvid" + bytes([number]) + data).hexdigest() == GOLDEN[kind][name]["id"]
    assert decode(data).encode() == data


def test_contents_leave_empty_spaces_out():
    assert decode_content(CONTENTS["blocks"].encode()).roots.keys() == {"meta", "blocks"}


def variants(value: dict[str, Any]):
    """Objects that are nearly right: a member gone, added, of another type or form."""
    for name, member in value.items():
        yield {k: v for k, v in value.items() if k != name}
        for other in (None, 5, True, [], {}, [5], "x", {"x": "y"}):
            if type(other) is not type(member):
                yield value | {name: other}
    yield value | {"surplus": 1}


@pytest.mark.parametrize(("kind", "name"), SAMPLES)
def test_anything_else_is_corrupt(kind: str, name: str):
    samples, _, decode = KINDS[kind]
    data = samples[name].encode()
    value = json.loads(data)
    bad = [data + b" ", b" " + data, data[:-1], b"", b"null", b"[]", b"{}", json.dumps(value).encode(), b"\xff"]
    bad += [canonical.encode(other) for other in variants(value)]
    for member in ("root", "parents"):
        if member in value:
            for text in ("00" * 31, "0" * 63 + "G", "AA" * 32):
                bad.append(canonical.encode(value | {member: text if member == "root" else [text]}))
    if kind == "content":
        bad.append(canonical.encode(value | {"roots": {"keys": EMPTY.hex()}}))
        bad.append(canonical.encode(value | {"roots": {"keys": 5}}))
    for other in bad:
        if kind == "content" and decodes_as_settings(value, other):
            continue
        with pytest.raises(Corrupt):
            decode(other)


def decodes_as_settings(value: dict[str, Any], data: bytes) -> bool:
    """A content with other settings is another content, not a malformed one."""
    try:
        other = json.loads(data)
    except ValueError:
        return False
    same_form = isinstance(other, dict) and other.keys() == value.keys() and isinstance(other["settings"], dict)
    return same_form and canonical.encode(other) == data and {**other, "settings": value["settings"]} == value


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ids = st.binary(min_size=32, max_size=32)
parents = st.lists(ids).map(tuple)


@given(
    st.builds(
        Commit,
        texts,
        texts,
        st.lists(ids).map(tuple),
        ids,
        texts,
        texts,
        st.lists(texts).map(tuple),
        texts,
        texts,
        texts,
    )
)
def test_commits_round_trip(commit: Commit):
    assert Commit.decode(commit.encode()) == commit


@given(st.builds(Record, texts, ids, parents, texts, texts))
def test_records_round_trip(record: Record):
    assert Record.decode(record.encode()) == record


# --- what a commit holds ---------------------------------------------------------------------------------------------


class Repo:
    def __init__(self, call, *names: str) -> None:
        self.call = call
        self.root = call.json("POST", "/api/repos", {})["root"]
        for name in names:
            call.json("POST", f"/api/repo/{self.root}/instance", {"typename": "keyvalue", "dataname": name})

    def put(self, uuid: str, name: str, key: str, value: bytes) -> None:
        self.call("POST", f"/api/node/{uuid}/{name}/key/{key}", value)

    def delete(self, uuid: str, name: str, key: str) -> None:
        self.call("DELETE", f"/api/node/{uuid}/{name}/key/{key}")

    def commit(self, uuid: str) -> Commit:
        self.call.json("POST", f"/api/node/{uuid}/commit", {"note": "n"}, u="ann")
        name = self.call.json("GET", f"/api/node/{uuid}/hash")["hash"]
        return read_commit(self.call.server.catalog.nodes, bytes.fromhex(name))

    def branch(self, uuid: str, branch: str) -> str:
        return self.call.json("POST", f"/api/node/{uuid}/branch", {"branch": branch})["child"]

    def data(self, commit: Commit) -> dict[str, bytes | None]:
        """The root of the keys of each instance: what is stored, without the log of how it came there."""
        nodes = self.call.server.catalog.nodes
        contents = {name: content_of(nodes, commit.root, self.data_uuid(name)) for name in ("kv", "kw")}
        return {name: content.roots.get("keys") if content else None for name, content in contents.items()}

    def data_uuid(self, name: str) -> str:
        return self.call.server.catalog.repos()[self.root].instances[name].uuid


def test_what_a_commit_says(call):
    repo = Repo(call, "kv", "unused")
    repo.put(repo.root, "kv", "k", b"v")
    first = repo.commit(repo.root)
    node = call.json("GET", f"/api/repo/{repo.root}/info")["DAG"]["Nodes"][repo.root]
    assert (first.repo, first.uuid, first.parents, first.branch) == (repo.root, repo.root, (), "")
    assert (first.note, first.user, first.created, first.time) == ("n", "ann", node["Created"], node["Updated"])
    child = call.json("POST", f"/api/node/{repo.root}/newversion")["child"]
    second = repo.commit(child)
    assert second.parents == (bytes.fromhex(node["Hash"]),)
    assert second.root == first.root  # nothing was changed
    nodes = call.server.catalog.nodes
    assert content_of(nodes, first.root, repo.data_uuid("kv")).typename == "keyvalue"
    assert content_of(nodes, first.root, repo.data_uuid("unused")) is None


def test_names_of_instances_are_not_hashed(call):
    repo = Repo(call, "a-name-to-look-for")
    repo.put(repo.root, "a-name-to-look-for", "k", b"v")
    commit = repo.commit(repo.root)
    nodes = call.server.catalog.nodes
    root = nodes.read(commit.root)
    assert b"a-name-to-look-for" not in root.data + commit.encode()
    assert root.keys == [bytes.fromhex(repo.data_uuid("a-name-to-look-for"))]
    before = call.json("GET", f"/api/node/{repo.root}/hash")
    call.json("POST", f"/api/repo/{repo.root}/info", {"alias": "another"})
    assert call.json("GET", f"/api/node/{repo.root}/hash") == before


edits = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from([None, b"", b"1", b"x" * 700])), max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits, st.data())
def test_the_way_to_a_state_does_not_matter(call, history, data):
    """The same entries in the end, by other edits in another order and over several versions: the same roots."""
    repo = Repo(call, "kv", "kw")
    final = {}
    for name in ("kv", "kw"):
        for key in "abc":
            repo.put(repo.root, name, key, b"base")
            final[name, key] = b"base"
    repo.commit(repo.root)
    one, two = repo.branch(repo.root, "one"), repo.branch(repo.root, "two")
    for i, (key, value) in enumerate(history):
        name = ("kv", "kw")[i % 2]
        final[name, key] = value
        change(repo, one, name, key, value)
    rng = random.Random(data.draw(st.integers(0, 1000)))
    target = sorted(final.items(), key=lambda _: rng.random())
    for (name, key), value in target:
        if rng.random() < 0.3:
            change(repo, two, name, key, rng.choice([None, b"on the way"]))
        change(repo, two, name, key, value)
        if rng.random() < 0.2:
            call.json("POST", f"/api/node/{two}/commit", {})
            two = call.json("POST", f"/api/node/{two}/newversion")["child"]
    assert repo.data(repo.commit(one)) == repo.data(repo.commit(two))


def change(repo: Repo, uuid: str, name: str, key: str, value: bytes | None) -> None:
    if value is None:
        repo.delete(uuid, name, key)
    else:
        repo.put(uuid, name, key, value)


def test_an_emptied_instance_is_as_one_never_filled(call):
    repo = Repo(call, "kv", "kw")
    repo.put(repo.root, "kw", "stays", b"v")
    first = repo.data(repo.commit(repo.root))
    assert first["kv"] is None
    child = call.json("POST", f"/api/node/{repo.root}/newversion")["child"]
    repo.put(child, "kv", "k", b"v")
    second = repo.data(repo.commit(child))
    assert second["kv"] is not None
    assert second["kw"] == first["kw"]
    child = call.json("POST", f"/api/node/{child}/newversion")["child"]
    repo.delete(child, "kv", "k")
    assert repo.data(repo.commit(child)) == first


def test_the_settings_that_change_bytes_are_hashed(call):
    roots = []
    for size in ("32,32,32", "64,64,64"):
        repo = Repo(call)
        body = {"typename": "uint8blk", "dataname": "gray", "BlockSize": size}
        call.json("POST", f"/api/repo/{repo.root}/instance", body)
        call("POST", f"/api/node/{repo.root}/gray/raw/0_1_2/64_64_64/0_0_0", bytes(64**3))
        commit = repo.commit(repo.root)
        roots.append(content_of(call.server.catalog.nodes, commit.root, repo.data_uuid("gray")).settings)
    assert roots[0] != roots[1]


# --- repo records ----------------------------------------------------------------------------------------------------


def test_records_have_a_history(call):
    repo = Repo(call, "kv")
    catalog = call.server.catalog
    seen = [catalog.repos()[repo.root].record]
    for alias in ("a", "b"):
        call.json("POST", f"/api/repo/{repo.root}/info", {"alias": alias}, u="ann")
        seen.append(catalog.repos()[repo.root].record)
    newest = read_record(catalog.nodes, seen[2])
    assert (newest.parents, newest.user, newest.kind) == ((seen[1],), "ann", "repo")
    texts = [load_facts(catalog.nodes, read_record(catalog.nodes, name).root).texts["alias"] for name in seen]
    assert texts == ["", "a", "b"]


def test_facts_that_are_not_known_are_carried(call):
    repo = Repo(call, "kv")
    catalog = call.server.catalog
    before = catalog.repos()[repo.root].record
    uuid = repo.data_uuid("kv")
    facts = {"future/thing": [1, {"x": None}], f"data/{uuid}/future": 5, "log/odd": 7}
    name, objects = make_record(catalog.nodes, before, facts)
    catalog.put(objects)
    loaded = load_facts(catalog.nodes, read_record(catalog.nodes, name).root)
    known = load_facts(catalog.nodes, read_record(catalog.nodes, before).root)
    assert (loaded.instances, loaded.log, loaded.texts) == (known.instances, known.log, known.texts)


def test_two_instances_of_one_name_are_corrupt(call):
    repo = Repo(call, "kv")
    catalog = call.server.catalog
    instance = catalog.repos()[repo.root].instances["kv"]
    facts = {key.replace(instance.uuid, "0" * 32): value for key, value in instance_facts(instance).items()}
    name, objects = make_record(catalog.nodes, catalog.repos()[repo.root].record, facts)
    catalog.put(objects)
    with pytest.raises(Corrupt, match="two instances named 'kv'"):
        load_facts(catalog.nodes, read_record(catalog.nodes, name).root)
