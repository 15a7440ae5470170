"""Bundles and objects that were tampered with: refused, nothing visible, the store clean."""

from __future__ import annotations

import io
import json
import struct
from dataclasses import replace

import pytest
import xxhash

from dagdvid.config import Config
from dagdvid.errors import BadRequest, ConflictError, DagdvidError, DamageError, Unverified
from dagdvid.interchange.keyvalues import keyvalue_chunks
from dagdvid.objects import canonical
from dagdvid.objects.ids import ObjectType, object_id
from dagdvid.objects.store import prepare
from dagdvid.objects.tree.node import BLOB, Ref, encode_leaf
from dagdvid.objects.tree.nodes import EMPTY
from dagdvid.remote import bundle, receive
from dagdvid.remote.objects import encode_objects
from dagdvid.remote.send import missing_owners, offer, write_bundle
from dagdvid.repo.commits import Commit
from dagdvid.repo.record import make_record
from dagdvid.server import Server

OTHER = "0" * 31 + "1"
ZERO = "00" * 32


def frames_of(data: bytes) -> list[tuple[int, bytes]]:
    return list(bundle.read_frames(io.BytesIO(data)))


def packed(frames: list[tuple[int, bytes]]) -> bytes:
    file = io.BytesIO()
    writer = bundle.BundleWriter(file)
    for kind, payload in frames:
        writer.frame(kind, payload)
    writer.end()
    return file.getvalue()


def changed(payload: bytes, **members) -> bytes:
    return canonical.encode(canonical.decode(payload) | members)


class Pair:
    """A sender with something to send and a receiver that has some of it, both in this process."""

    def __init__(self, sender, receiver) -> None:
        self.sender, self.receiver = sender, receiver
        self.root = sender.json("POST", "/api/repos", {"alias": "bundles"})["root"]
        for name, versioned in (("kv", "true"), ("free", "false")):
            body = {"typename": "keyvalue", "dataname": name, "versioned": versioned}
            sender.json("POST", f"/api/repo/{self.root}/instance", body)
        for i in range(40):
            sender("POST", f"/api/node/{self.root}/kv/key/{i:03}", b"%d" % i)
        sender.json("POST", f"/api/node/{self.root}/commit", {"note": "first"})
        self.deliver(self.bundle())
        self.child = sender.json("POST", f"/api/node/{self.root}/newversion")["child"]
        for i in range(20, 60):
            sender("POST", f"/api/node/{self.child}/kv/key/{i:03}", b"changed %d" % i)
        sender("DELETE", f"/api/node/{self.child}/kv/key/003")
        sender("POST", f"/api/node/{self.child}/kv/key/large", b"x" * 3000)
        sender("POST", f"/api/node/{self.root}/free/key/f", b"unversioned")
        sender.json("POST", f"/api/node/{self.child}/commit", {"note": "second"})
        self.blob = prepare(ObjectType.BLOB, b"x" * 3000)

    def bundle(self, record: bytes | None = None) -> bytes:
        """All that the receiver lacks, maybe with another record for the repo."""
        catalog, theirs = self.sender.server.catalog, self.receiver.server.catalog
        offered = offer(catalog, catalog.repos()[self.root])
        offered = replace(offered, record=record or offered.record)
        repo = theirs.repos().get(self.root)
        known = [] if repo is None else offer(theirs, repo).tips
        file = io.BytesIO()
        write_bundle(catalog, offered, missing_owners(catalog, offered, known), file)
        return file.getvalue()

    def deliver(self, data: bytes) -> None:
        self.receiver.json("POST", "/api/sync/bundle", data)

    def state(self):
        repos = self.receiver.json("GET", "/api/repos/info")
        rows = self.receiver.server.store.database.rows("SELECT uuid, record FROM data ORDER BY uuid")
        return repos, rows

    def clean(self) -> bool:
        return self.receiver.json("POST", "/api/store/fsck")["ok"]

    def send_named(self, data: bytes) -> None:
        """All blobs that a bundle names."""
        ids = [ref.id for ref in receive.blobs_named(io.BytesIO(data))]
        self.receiver("POST", "/api/sync/objects", encode_objects(self.sender.server.store.get_many(ids)))

    def send_blob(self) -> None:
        self.receiver("POST", "/api/sync/objects", encode_objects([self.blob]))


def opened(folder, make):
    return make(Server.open(Config(data=folder)))


@pytest.fixture
def pair(tmp_path, call):
    caller = type(call)
    sender, receiver = (opened(tmp_path / name, caller) for name in ("sender", "receiver"))
    pair = Pair(sender, receiver)
    yield pair
    sender.server.close()
    receiver.server.close()


def refused(pair: Pair, data: bytes) -> None:
    before = pair.state()
    with pytest.raises((DamageError, BadRequest, ConflictError)):
        pair.deliver(data)
    assert pair.state() == before


def test_the_untouched_bundle_is_taken(pair: Pair):
    pair.send_blob()
    pair.deliver(pair.bundle())
    assert pair.receiver("GET", f"/api/node/{pair.child}/kv/key/large").body == b"x" * 3000
    assert pair.receiver("GET", f"/api/node/{pair.root}/free/key/f").body == b"unversioned"
    paths = [f"/api/node/{pair.child}/hash", f"/api/node/{pair.root}/diff/{pair.child}"]
    assert [pair.receiver.json("GET", p) for p in paths] == [pair.sender.json("GET", p) for p in paths]
    pair.deliver(pair.bundle())
    assert pair.clean()


def test_without_its_blobs(pair: Pair):
    refused(pair, pair.bundle())
    assert pair.clean()
    pair.send_blob()
    pair.deliver(pair.bundle())


def test_each_frame_left_out_or_sent_twice_or_swapped(pair: Pair):
    pair.send_blob()
    frames = frames_of(pair.bundle())
    assert len(frames) > 10
    for i in range(len(frames)):
        refused(pair, packed(frames[:i] + frames[i + 1 :]))
        refused(pair, packed([*frames[: i + 1], frames[i], *frames[i + 1 :]]))
        if i and frames[i] != frames[i - 1]:
            refused(pair, packed([*frames[: i - 1], frames[i], frames[i - 1], *frames[i + 1 :]]))
    assert pair.clean()
    pair.deliver(packed(frames))


def test_each_frame_with_flipped_bytes(pair: Pair):
    pair.send_blob()
    frames = frames_of(pair.bundle())
    for i, (kind, payload) in enumerate(frames):
        for at in {0, len(payload) // 3, len(payload) // 2, len(payload) - 2}:
            bad = payload[:at] + bytes([payload[at] ^ 1]) + payload[at + 1 :]
            refused(pair, packed([*frames[:i], (kind, bad), *frames[i + 1 :]]))
        refused(pair, packed([*frames[:i], (kind, payload[:-1]), *frames[i + 1 :]]))
        refused(pair, packed([*frames[:i], (kind, b""), *frames[i + 1 :]]))
        refused(pair, packed([*frames[:i], (kind % 7 + 1, payload), *frames[i + 1 :]]))
    assert pair.clean()


def test_the_stream_cut_damaged_or_continued(pair: Pair):
    pair.send_blob()
    data = pair.bundle()
    for end in {0, 1, 5, len(data) // 4, len(data) // 2, len(data) - 3, len(data) - 1}:
        refused(pair, data[:end])
    for at in range(0, len(data), max(1, len(data) // 40)):
        bad = data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]
        if frames_or_none(bad) != frames_of(data):
            refused(pair, bad)
    frames = frames_of(data)
    refused(pair, packed([*frames, frames[1]]))
    refused(pair, packed([*frames, frames[-1]]))
    refused(pair, b"no bundle at all")
    assert pair.clean()


def frames_or_none(data: bytes):
    try:
        return frames_of(data)
    except DagdvidError:
        return None


def members(kind: int, /, **values):
    """Changes the members of the first frame of a kind that has others."""

    def change(frames):
        found = [(i, changed(payload, **values)) for i, (k, payload) in enumerate(frames) if k == kind]
        i, payload = next((i, payload) for i, payload in found if payload != frames[i][1])
        return [*frames[:i], (kind, payload), *frames[i + 1 :]]

    return change


def refs(**values):
    """Changes members of the refs."""

    def change(frames):
        old = canonical.decode(frames[-1][1])["refs"]
        return [*frames[:-1], (bundle.END, canonical.encode({"refs": old | values}))]

    return change


@pytest.mark.parametrize(
    "change",
    [
        members(bundle.HEAD, protocol=1),
        members(bundle.HEAD, repo=OTHER),
        members(bundle.HEAD, repo=5),
        members(bundle.OWNER, id=ZERO),
        members(bundle.OWNER, id=None),
        members(bundle.OWNER, parent=ZERO),
        members(bundle.OWNER, parent=None),
        members(bundle.OWNER, parent=7),
        members(bundle.OWNER, kind="repo"),
        members(bundle.OWNER, kind="tree"),
        members(bundle.SPACE, root=ZERO),
        members(bundle.SPACE, root=EMPTY.hex()),
        members(bundle.SPACE, space="other"),
        members(bundle.SPACE, data=OTHER),
        members(bundle.SPACE, data="no uuid"),
        members(bundle.ROOT, root=ZERO),
        members(bundle.ROOT, root=None),
        refs(record=ZERO),
        refs(record=None),
        refs(record=5),
        refs(data=[]),
        refs(data={OTHER: ZERO}),
        refs(branches=None),
    ],
)
def test_claims_that_do_not_hold(pair: Pair, change):
    pair.send_blob()
    refused(pair, packed(change(frames_of(pair.bundle()))))
    assert pair.clean()


def test_refs_to_objects_of_another_kind(pair: Pair):
    pair.send_blob()
    frames = frames_of(pair.bundle())
    old = canonical.decode(frames[-1][1])["refs"]
    commit = pair.sender.json("GET", f"/api/node/{pair.child}/hash")["hash"]
    (uuid,) = old["data"]
    for values in (
        {"record": commit},
        {"record": old["data"][uuid]},
        {"data": {uuid: commit}},
        {"data": {uuid: old["record"]}},
        {"data": {OTHER: old["data"][uuid]}},
    ):
        refused(pair, packed(refs(**values)(frames)))
    assert pair.clean()


def remade_commit(frames, **values):
    """The commit's own object changed, so that its hash fits its new bytes."""
    i = next(i for i, frame in enumerate(frames) if frame[0] == bundle.OBJECT and b'"uuid"' in frame[1])
    data = changed(frames[i][1], **values)
    owner = max(at for at in range(i) if frames[at][0] == bundle.OWNER)
    named = (bundle.OWNER, changed(frames[owner][1], id=object_id(ObjectType.COMMIT, data).hex()))
    return [*frames[:owner], named, *frames[owner + 1 : i], (bundle.OBJECT, data), *frames[i + 1 :]]


def test_an_owner_that_is_not_what_its_frame_names(pair: Pair):
    """A commit that was made up of another one is sound in itself; only its id tells."""
    pair.send_blob()
    frames = frames_of(pair.bundle())
    for i, (kind, data) in enumerate(frames):
        if kind == bundle.OBJECT and b'"uuid"' in data:
            for member in ("note", "user", "uuid"):
                swapped = canonical.decode(data)[member][::-1] or "other"
                refused(pair, packed([*frames[:i], (kind, changed(data, **{member: swapped})), *frames[i + 1 :]]))
    assert pair.clean()


@pytest.mark.parametrize(
    "values",
    [
        {"repo": OTHER},
        {"parents": []},
        {"parents": [ZERO]},
        {"root": EMPTY.hex()},
        {"root": "short"},
        {"uuid": ""},
        {"uuid": "a/b"},
        {"uuid": 5},
        {"created": {}},
        {"time": None},
        {"log": "text"},
        {"note": None},
        {"surplus": 1},
    ],
)
def test_commits_that_were_made_up(pair: Pair, values):
    pair.send_blob()
    refused(pair, packed(remade_commit(frames_of(pair.bundle()), **values)))
    assert pair.clean()


def test_a_commit_with_the_records_as_a_parent(pair: Pair):
    pair.send_blob()
    frames = frames_of(pair.bundle())
    first = pair.sender.json("GET", f"/api/node/{pair.root}/hash")["hash"]
    record = pair.receiver.server.catalog.repos()[pair.root].record.hex()
    refused(pair, packed(remade_commit(frames, parents=[first, record])))
    refused(pair, packed(remade_commit(frames, parents=[record, first])))


def test_a_commit_with_another_parent_than_its_changes_rest_on(pair: Pair):
    pair.send_blob()
    pair.deliver(pair.bundle())
    sender = pair.sender
    side = sender.json("POST", f"/api/node/{pair.root}/branch", {"branch": "side"})["child"]
    sender("POST", f"/api/node/{side}/kv/key/k", b"on the side")
    sender.json("POST", f"/api/node/{side}/commit", {})
    frames = frames_of(pair.bundle())
    root, child = (sender.json("GET", f"/api/node/{uuid}/hash")["hash"] for uuid in (pair.root, pair.child))
    refused(pair, packed(remade_commit(frames, parents=[child])))
    refused(pair, packed(remade_commit(frames, parents=[child, root])))
    pair.deliver(packed(frames))


def test_a_second_commit_for_a_bound_version(pair: Pair):
    pair.send_blob()
    frames = frames_of(pair.bundle())
    pair.deliver(packed(frames))
    refused(pair, packed(remade_commit(frames, note="another")))
    refused(pair, packed(remade_commit(frames, uuid=pair.root)))
    assert pair.clean()


def test_values_in_the_wrong_place(pair: Pair):
    pair.send_blob()
    frames = frames_of(pair.bundle())
    i = next(i for i, frame in enumerate(frames) if frame[0] == bundle.EDITS)
    inline_as_blob = prepare(ObjectType.BLOB, b"short")
    pair.receiver("POST", "/api/sync/objects", encode_objects([inline_as_blob]))
    for key, value in (
        (b"a", Ref(BLOB, inline_as_blob.id, 5)),
        (b"", b"empty key"),
        (b"large", Ref(BLOB, pair.blob.id, 2999)),
        (b"large", Ref(BLOB, bytes(32), 3000)),
        (b"large", Ref(2, pair.blob.id, 5 * 2**20)),
    ):
        try:
            leaf = encode_leaf([key], [value])
        except ValueError:
            continue
        payload = (1).to_bytes(4, "little") + b"\0" + leaf
        refused(pair, packed([*frames[:i], (bundle.EDITS, payload), *frames[i + 1 :]]))
    assert pair.clean()


def test_objects_that_do_not_match_their_ids(pair: Pair):
    good = prepare(ObjectType.BLOB, b"y" * 1000)
    name = bytes([good.id[0] ^ 1]) + good.id[1:]
    stream = encode_objects([good])
    node = prepare(ObjectType.LEAF, encode_leaf([b"k"], [b"v"]))
    commit = prepare(ObjectType.COMMIT, b"{}")
    for bad in (
        encode_objects([good._replace(id=name)]),
        encode_objects([good._replace(type=int(ObjectType.BLOB_LIST))]),
        encode_objects([good._replace(type=77)]),
        encode_objects([good._replace(size=2**32 - 1)]),
        encode_objects([good._replace(codec=15)]),
        encode_objects([node]),
        encode_objects([commit]),
        stream[:-1],
        stream[:40],
        stream + b"\0",
        stream[:-3] + bytes(3),
    ):
        with pytest.raises((DamageError, BadRequest)):
            pair.receiver("POST", "/api/sync/objects", bad)
    assert pair.receiver.server.store.has_many([name, good.id, node.id, commit.id]) == [False] * 4
    assert object_id(ObjectType.BLOB, b"y" * 1000) == good.id


def hostile_record(pair: Pair, **facts):
    """A bundle with a record after the sender's that says what no server would."""
    catalog = pair.sender.server.catalog
    after, objects = make_record(catalog.nodes, catalog.repos()[pair.root].record, facts)
    catalog.put(objects)
    return pair.bundle(after)


@pytest.mark.parametrize(
    "facts",
    [
        {f"data/{OTHER}/name": "nameless in all else"},
        {"data/short/name": "x"},
        {"data": "x"},
        {f"data/{OTHER}/": 5},
    ],
)
def test_records_that_make_no_sense(pair: Pair, facts):
    pair.send_blob()
    refused(pair, hostile_record(pair, **facts))
    assert pair.clean()


def whole_instance(uuid: str, **fields):
    made = {"name": "new", "type": "keyvalue", "versioned": False, "origin": "", "settings": {}} | fields
    return {f"data/{uuid}/{key}": value for key, value in made.items()}


@pytest.mark.parametrize(
    "fields", [{"name": "kv"}, {"name": 5}, {"type": []}, {"versioned": "true"}, {"settings": {"a": 1}}, {"tag/x": 4}]
)
def test_instances_that_make_no_sense(pair: Pair, fields):
    pair.send_blob()
    refused(pair, hostile_record(pair, **whole_instance(OTHER, **fields)))
    assert pair.clean()


def test_an_instance_of_another_repo_is_not_taken_over(pair: Pair):
    other = pair.receiver.json("POST", "/api/repos", {})["root"]
    body = {"typename": "keyvalue", "dataname": "own", "versioned": "false"}
    pair.receiver.json("POST", f"/api/repo/{other}/instance", body)
    pair.receiver("POST", f"/api/node/{other}/own/key/k", b"of the other repo")
    info = pair.receiver.json("GET", f"/api/repo/{other}/info")
    pair.send_blob()
    refused(pair, hostile_record(pair, **whole_instance(info["DataInstances"]["own"]["Base"]["DataUUID"])))
    pair.deliver(hostile_record(pair, **whole_instance(OTHER)))
    assert "new" in pair.receiver.json("GET", f"/api/repo/{pair.root}/info")["DataInstances"]


def test_a_repo_without_a_version(pair: Pair):
    bare = pair.sender.json("POST", "/api/repos", {})["root"]
    catalog = pair.sender.server.catalog
    offered = offer(catalog, catalog.repos()[bare])
    file = io.BytesIO()
    write_bundle(catalog, offered, missing_owners(catalog, offered, []), file)
    refused(pair, file.getvalue())


def test_a_repo_whose_name_cannot_be(pair: Pair):
    empty = Commit("a/b", "a/b", (), EMPTY, "", "", (), "", "", "")
    catalog = pair.sender.server.catalog
    record = catalog.repos()[pair.root].record
    frames = frames_of(pair.bundle())
    name = object_id(ObjectType.COMMIT, empty.encode()).hex()
    made = [
        (bundle.HEAD, changed(frames[0][1], repo="a/b")),
        (bundle.OWNER, canonical.encode({"id": name, "kind": "commit", "parent": None})),
        (bundle.ROOT, canonical.encode({"root": EMPTY.hex()})),
        (bundle.OBJECT, empty.encode()),
        (bundle.END, canonical.encode({"refs": {"record": record.hex(), "data": {}, "branches": {}}})),
    ]
    refused(pair, packed(made))


@pytest.mark.parametrize("body", [b"", b"[]", b'{"repo": 5}', b'{"have": 1}', b'{"repo": "", "have": [5, "x"]}'])
def test_questions_that_make_no_sense(pair: Pair, body: bytes):
    for path in ("/api/sync/negotiate", "/api/sync/fetch"):
        try:
            answer = pair.receiver("POST", path, body)
        except BadRequest:
            continue
        except DagdvidError as error:
            assert error.code == "unknown-name"
            continue
        assert json.loads(answer.body)["repo"] in ("5", pair.root)


@pytest.mark.parametrize("path", ["/api/sync/have", "/api/sync/fetch-objects"])
def test_lists_of_ids_of_another_length(pair: Pair, path: str):
    with pytest.raises((BadRequest, DamageError)):
        pair.receiver("POST", path, bytes(33))
    unknown = pair.receiver("POST", path, bytes(64)).body
    assert unknown == (b"\0\0" if path.endswith("have") else b"")


def test_bundles_that_expand_without_end():
    """What they hold is nothing wrong, there is only far too much of it."""
    writer = bundle.BundleWriter(file := io.BytesIO())
    zeros = bytes(32 * 2**20)
    for _ in range(9):
        writer.frame(bundle.HEAD, zeros)
    writer.close({})
    file.seek(0)
    with pytest.raises(Unverified, match="expands to more than 1000 times"):
        for _ in bundle.read_frames(file):
            pass
    assert file.getbuffer().nbytes < 100_000


def test_frames_that_are_larger_than_they_can_be():
    for kind, size in ((bundle.EDITS, 2**20 + 1), (bundle.OBJECT, 4 * 2**20 + 1), (bundle.END, 64 * 2**20 + 1)):
        writer = bundle.BundleWriter(file := io.BytesIO())
        writer._stream.write(struct.pack("<BI", kind, size))
        writer._stream.close()
        file.seek(0)
        with pytest.raises(Unverified, match="impossible frame"):
            next(bundle.read_frames(file))


def test_keys_that_make_every_change_move_all_cuts(pair: Pair, monkeypatch):
    """No key of theirs ends a node, so nodes end at 512 entries, and one more before them moves each end."""
    pair.send_blob()
    pair.deliver(pair.bundle())
    seed, least = 0x6461676476696400, 2**60
    keys = [key for i in range(30_000) if xxhash.xxh3_64_intdigest(key := b"q%07d" % i, seed) >= least]
    sender = pair.sender
    child = sender.json("POST", f"/api/node/{pair.child}/newversion")["child"]
    body = b"".join(part for key in keys for part in keyvalue_chunks(key, b"v"))
    sender("POST", f"/api/node/{child}/kv/keyvalues", body)
    sender.json("POST", f"/api/node/{child}/commit", {"note": "many"})
    pair.send_named(pair.bundle())
    pair.deliver(pair.bundle())
    last = sender.json("POST", f"/api/node/{child}/newversion")["child"]
    sender("POST", f"/api/node/{last}/kv/key/q", b"before all of them")
    sender.json("POST", f"/api/node/{last}/commit", {"note": "one"})
    data = pair.bundle()
    monkeypatch.setattr(receive._Metered, "_FREE", 20)
    refused(pair, data)
    monkeypatch.undo()
    pair.deliver(data)
    assert pair.clean()


@pytest.mark.parametrize("head", [{"given_up": None}, {"given_up": [1]}, {"given_up": "kv"}, {}])
def test_heads_without_a_list_of_what_is_given_up(pair: Pair, head):
    pair.send_blob()
    frames = frames_of(pair.bundle())
    members = canonical.decode(frames[0][1])
    del members["given_up"]
    refused(pair, packed([(bundle.HEAD, canonical.encode(members | head)), *frames[1:]]))


def test_content_that_is_left_out_although_its_instance_is_there(pair: Pair):
    pair.send_blob()
    data = pair.sender.json("GET", f"/api/repo/{pair.root}/info")["DataInstances"]["kv"]["Base"]["DataUUID"]
    frames = frames_of(pair.bundle())
    head = changed(frames[0][1], given_up=[data])
    refused(pair, packed([(bundle.HEAD, head), *frames[1:]]))
    refused(pair, packed([(bundle.HEAD, head), *(f for f in frames[1:] if f[0] != bundle.SPACE)]))
