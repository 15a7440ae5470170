"""Snapshots and transactions against a plain dict: staged over sealed over committed, at one moment."""

from __future__ import annotations

import random
import threading
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagdvid.errors import BadRequest, DamageError, Locked, NoSpace, StaleRead
from dagdvid.objects.codecs import Codec
from dagdvid.repo import fold
from dagdvid.repo.operations import Seal

BIG = random.Random(1).randbytes(5 * 2**20)


class Line:
    """A repo with one keyvalue instance, past the HTTP dispatch: views and transactions on it."""

    def __init__(self, call, *, versioned: bool = True) -> None:
        self.call = call
        self.catalog = call.server.catalog
        self.root = call.json("POST", "/api/repos", {})["root"]
        body = {"typename": "keyvalue", "dataname": "kv", "versioned": versioned}
        call.json("POST", f"/api/repo/{self.root}/instance", body)

    def target(self, uuid: str):
        repo = self.catalog.repos()[self.root]
        return repo, repo.versions[uuid], repo.instances["kv"]

    def view(self, uuid: str):
        return self.catalog.snapshot(*self.target(uuid))

    @contextmanager
    def txn(self, uuid: str):
        txn = self.catalog.txn(*self.target(uuid))
        yield txn
        self.catalog.commit_txn(txn, self.target(uuid)[1])

    def write(self, uuid: str, changes) -> None:
        with self.txn(uuid) as txn:
            for key, value in changes.items():
                if value is None:
                    txn.delete("keys", key)
                else:
                    txn.put("keys", key, value)

    def seal(self, uuid: str) -> None:
        repo, version, _ = self.target(uuid)
        self.catalog.store.run(Seal(repo.id, version.id, "sealed", [], ""))

    def fold(self, uuid: str) -> bytes:
        return fold.fold(self.catalog, self.root, uuid)

    def commit(self, uuid: str) -> bytes:
        self.seal(uuid)
        return self.fold(uuid)

    def child(self, uuid: str, branch: str | None = None) -> str:
        repo, version, _ = self.target(uuid)
        return self.catalog.new_version(repo, version, "", branch=branch)


@pytest.fixture
def line(call) -> Line:
    return Line(call)


def agrees(view, model: dict[bytes, bytes], asked=()) -> None:
    """A view says what the model says, by every verb."""
    keys = sorted(model)
    assert list(view.keys("keys")) == keys
    assert list(view.items("keys")) == [(key, model[key]) for key in keys]
    assert view.count("keys") == len(model)
    wanted = [*keys, *asked, b"never there", *keys[:2]]
    assert view.get_many("keys", wanted) == [model.get(key) for key in wanted]
    stored = view.stored_many("keys", wanted)
    assert [s and s.size for s in stored] == [None if model.get(k) is None else len(model[k]) for k in wanted]
    for key in [*keys[:3], *list(asked)[:3]]:
        assert view.get("keys", key) == model.get(key)
        assert view.has("keys", key) == (key in model)
    if len(keys) > 3:
        lo, hi = keys[1], keys[-1]
        assert list(view.keys("keys", lo, hi)) == keys[1:-1]
        assert list(view.items("keys", lo)) == [(key, model[key]) for key in keys[1:]]


small_keys = st.binary(min_size=1, max_size=3)
values = st.one_of(st.binary(max_size=8), st.sampled_from([b"x" * 512, b"y" * 513, b"z" * 9000]))
changes = st.dictionaries(small_keys, st.one_of(st.none(), values), max_size=12)
steps = st.lists(st.tuples(changes, st.sampled_from(["", "seal", "commit", "newversion", "fold all"])), max_size=8)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps)
def test_any_history_reads_as_a_dict(call, history):
    line = Line(call)
    at = line.root
    model: dict[bytes, bytes] = {}
    past = {}
    for change, then in history:
        line.write(at, change)
        model |= change
        model = {key: value for key, value in model.items() if value is not None}
        agrees(line.view(at), model, change)
        if then in ("seal", "commit", "newversion"):
            line.seal(at)
            past[at] = dict(model)
            if then == "commit":
                line.fold(at)
            at = line.child(at)
        elif then == "fold all" and past:
            line.fold(list(past)[-1])
        for uuid, old in past.items():
            agrees(line.view(uuid), old)
    agrees(line.view(at), model)


def test_sealed_parents_of_sealed_parents(line: Line):
    model = {b"%03d" % i: b"%d" % i for i in range(300)}
    line.write(line.root, model)
    at = line.root
    held = []
    for i in range(5):
        line.seal(at)
        at = line.child(at)
        change = {b"%03d" % (i * 7): None, b"%03d" % (i * 11 + 1): b"in %d" % i, b"new%d" % i: b"n" * 600}
        line.write(at, change)
        model = {k: v for k, v in (model | change).items() if v is not None}
        held.append((line.view(at), dict(model)))
    for view, old in held:
        agrees(view, old)
    line.seal(at)
    line.fold(at)  # folds all before it, too
    for view, old in held:
        agrees(view, old)
    assert line.catalog.store.database.rows("SELECT count(*) FROM staging") == [(0,)]
    agrees(line.view(at), model)


def test_a_crash_between_seal_and_bind(line: Line, server, config):
    line.write(line.root, {b"k": b"v", b"big": BIG})
    line.seal(line.root)
    at = line.child(line.root)
    line.write(at, {b"k": b"in the child"})
    server.close()
    again = type(server).open(config)
    try:
        line.call.server, line.catalog = again, again.catalog
        again.upkeep.settle()
        repo = again.catalog.repos()[line.root]
        assert repo.versions[line.root].state == "committed"
        assert line.call.json("GET", f"/api/node/{line.root}/hash")["hash"] == repo.versions[line.root].commit.hex()
        agrees(line.view(line.root), {b"k": b"v", b"big": BIG})
        agrees(line.view(at), {b"k": b"in the child", b"big": BIG})
    finally:
        again.close()


def test_a_scan_while_its_version_is_folded(line: Line):
    model = {b"%05d" % i: b"%d" % i for i in range(5000)}
    line.write(line.root, model)
    line.seal(line.root)
    at = line.child(line.root)
    line.write(at, {b"00001x": b"staged"})
    expected = sorted((model | {b"00001x": b"staged"}).items())
    view = line.view(at)
    scan = view.items("keys")
    begun = [next(scan) for _ in range(10)]
    line.fold(line.root)
    line.seal(at)
    line.fold(at)
    assert begun + list(scan) == expected
    assert list(view.items("keys")) == expected
    assert view.count("keys") == 5001


def test_a_transaction_sees_itself(line: Line):
    line.write(line.root, {b"a": b"1", b"b": b"2", b"c": b"3"})
    line.seal(line.root)
    at = line.child(line.root)
    with line.txn(at) as txn:
        txn.put("keys", b"a", b"A" * 1000)
        txn.delete("keys", b"b")
        txn.put_many("keys", [(b"d", b"4"), (b"big", BIG)])
        txn.put("keys", b"e", b"5")
        txn.delete("keys", b"e")
        txn.delete("keys", b"never")
        model = {b"a": b"A" * 1000, b"c": b"3", b"d": b"4", b"big": BIG}
        agrees(txn, model, [b"b", b"e"])
        agrees(line.view(at), {b"a": b"1", b"b": b"2", b"c": b"3"})
    agrees(line.view(at), model)


def test_a_transaction_that_fails_leaves_nothing(line: Line):
    class Stop(Exception):
        pass

    with pytest.raises(Stop), line.txn(line.root) as txn:
        txn.put("keys", b"k", b"v")
        raise Stop
    agrees(line.view(line.root), {})


def test_stale_reads_are_noticed(line: Line):
    line.write(line.root, {b"k": b"0", b"other": b"0"})
    for read in ("get", "get_many", "has", "stored_many"):
        with pytest.raises(StaleRead), line.txn(line.root) as txn:
            getattr(txn, read)("keys", [b"k"] if "many" in read else b"k")
            line.write(line.root, {b"k": read.encode()})
            txn.put("keys", b"x", b"y")
    with line.txn(line.root) as txn:
        txn.get("keys", b"k")
        line.write(line.root, {b"other": b"1"})
        txn.put("keys", b"x", b"y")
    with pytest.raises(StaleRead), line.txn(line.root) as txn:
        assert txn.get("keys", b"absent") is None
        line.write(line.root, {b"absent": b"no more"})
        txn.put("keys", b"x", b"z")
    with pytest.raises(Locked), line.txn(line.root) as txn:
        txn.put("keys", b"x", b"late")
        line.seal(line.root)
    assert line.view(line.root).get("keys", b"x") == b"y"


def test_stale_reads_of_an_unversioned_instance_across_a_fold(call):
    line = Line(call, versioned=False)
    line.write(line.root, {b"k": b"0"})
    repo, _, instance = line.target(line.root)
    fold.fold_unversioned(line.catalog, repo, instance)
    with pytest.raises(StaleRead), line.txn(line.root) as txn:
        assert txn.get("keys", b"k") == b"0"
        line.write(line.root, {b"k": b"1"})
        fold.fold_unversioned(line.catalog, repo, instance)
        txn.put("keys", b"k", b"1 from 0")
    agrees(line.view(line.root), {b"k": b"1"})
    line.write(line.root, {b"k": None})
    assert fold.fold_unversioned(line.catalog, repo, instance) is not None
    agrees(line.view(line.root), {})


def count_up(line: Line, turns: int) -> None:
    done = 0
    while done < turns:
        try:
            with line.txn(line.root) as txn:
                n = int(txn.get("keys", b"counter") or b"0")
                txn.put("keys", b"counter", b"%d" % (n + 1))
                txn.put("keys", b"by %d" % threading.get_ident(), b"%d" % done)
        except StaleRead:
            continue
        done += 1


@pytest.mark.parametrize("versioned", [True, False])
def test_no_increment_is_lost(call, versioned):
    line = Line(call, versioned=versioned)
    stop = threading.Event()

    def folding() -> None:
        while not stop.is_set():
            repo, _, instance = line.target(line.root)
            fold.fold_unversioned(line.catalog, repo, instance)

    threads = [threading.Thread(target=count_up, args=(line, 25)) for _ in range(8)]
    folder = threading.Thread(target=folding)
    if not versioned:
        folder.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    if not versioned:
        folder.join()
    assert line.view(line.root).get("keys", b"counter") == b"200"


def test_no_extent_is_lost(call):
    """uint8blk widens its extents in each POST raw: all eight threads' boxes must be in at the end."""
    root = call.json("POST", "/api/repos", {})["root"]
    body = {"typename": "uint8blk", "dataname": "gray", "BlockSize": "8,8,8"}
    call.json("POST", f"/api/repo/{root}/instance", body)

    def post(i: int) -> None:
        for j in range(4):
            at = f"{8 * (i + 1)}_{-8 * (j + 1)}_{8 * (i * j)}"
            call("POST", f"/api/node/{root}/gray/raw/0_1_2/8_8_8/{at}", bytes([i + 1]) * 512)

    threads = [threading.Thread(target=post, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    extended = call.json("GET", f"/api/node/{root}/gray/info")["Extents"]
    assert extended["MinPoint"] == [8, -32, 0]
    assert extended["MaxPoint"] == [71, -1, 175]


def test_reads_while_others_write_and_commit(line: Line):
    """Pairs of keys are always written together: no reader ever sees one without the other."""
    line.write(line.root, {b"a": b"0", b"z": b"0"})
    stop = threading.Event()
    faults: list[str] = []
    heads = [line.root]

    def read() -> None:
        while not stop.is_set():
            try:
                view = line.view(heads[-1])
                for _ in range(3):
                    pair = view.get_many("keys", [b"a", b"z"])
                    listed = dict(view.items("keys"))
                    if pair[0] != pair[1] or listed[b"a"] != listed[b"z"]:
                        faults.append(f"{pair} {listed}")
            except Exception as error:  # noqa: BLE001
                faults.append(repr(error))
                return

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for turn in range(1, 60):
        value = b"%d" % turn * (1 + 200 * (turn % 3))
        line.write(heads[-1], {b"a": value, b"z": value, b"m%d" % turn: value})
        if turn % 5 == 0:
            line.seal(heads[-1])
            heads.append(line.child(heads[-1]))
            if turn % 10 == 0:
                line.fold(heads[-2])
    stop.set()
    for reader in readers:
        reader.join()
    assert not faults
    assert len(list(line.view(heads[-1]).keys("keys"))) == 61


def test_large_values_and_keys_at_the_limits(line: Line):
    sizes = [0, 1, 128, 129, 512, 513, 4 * 2**20, 4 * 2**20 + 1, 13_000_000]
    model = {}
    for length in (12, 256, 257, 1024):
        for size in sizes if length == 12 else sizes[:6]:
            model[(b"%d/" % size).ljust(length, b"k")] = (BIG * 3)[:size]
    line.write(line.root, model)
    agrees(line.view(line.root), model)
    line.commit(line.root)
    agrees(line.view(line.root), model)
    at = line.child(line.root)
    line.write(at, dict.fromkeys(model))
    agrees(line.view(at), {})
    line.commit(at)
    agrees(line.view(at), {})
    for bad in (b"", b"k" * 1025):
        with pytest.raises(BadRequest), line.txn(line.root) as txn:
            txn.put("keys", bad, b"")
        for verb in ("get", "has"):
            with pytest.raises(BadRequest):
                getattr(line.view(line.root), verb)("keys", bad)


def test_codecs_are_kept(line: Line):
    text = b"compress me " * 200
    with line.txn(line.root) as txn:
        for codec in Codec:
            txn.put("keys", codec.name.encode(), text + bytes([codec]), codec)
    for codec in Codec:
        stored = line.view(line.root).stored_many("keys", [codec.name.encode()])[0]
        assert (stored.codec, stored.size) == (codec, len(text) + 1)


def test_many_rows_of_one_request(line: Line):
    model = {b"%06d" % i: b"%d" % i for i in range(20_000)}
    line.write(line.root, model)
    assert line.view(line.root).get_many("keys", sorted(model)) == [model[key] for key in sorted(model)]
    first = line.commit(line.root)
    assert dict(line.view(line.root).items("keys")) == model
    at = line.child(line.root)
    line.write(at, dict.fromkeys(sorted(model)[::2]))
    assert line.view(at).count("keys") == 10_000
    assert line.commit(at) != first
    assert list(line.view(at).keys("keys")) == sorted(model)[1::2]


def test_a_full_disk_takes_nothing_and_says_so(line: Line, monkeypatch):
    line.write(line.root, {b"before": b"v" * 600})
    files = type(line.catalog.store.packs.files)

    def full(*_):
        raise NoSpace("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(files, "write", full)
        with pytest.raises(NoSpace):
            line.write(line.root, {b"during": b"w" * 600})
        with pytest.raises(NoSpace):
            line.commit(line.root)
    view = line.view(line.root)
    assert (view.get("keys", b"before"), view.has("keys", b"during")) == (b"v" * 600, False)
    assert line.call.json("GET", f"/api/node/{line.root}/hash")["hash"]  # sealed it was: now it can be finished
    assert line.call.json("POST", "/api/store/fsck")["ok"]


def test_damage_hides_nothing_else(line: Line, server):
    """A damaged blob: its key answers with the damage, all others with their values."""
    line.write(line.root, {b"good": b"g" * 1000, b"bad": b"b" * 1000})
    name = line.view(line.root).locate("keys", [b"bad"])[0].id
    packs = server.store.packs
    number, offset, _ = packs.locate([name])[name]
    pack = packs.path(packs.database.rows("SELECT name FROM packs WHERE no = ?", (number,))[0][0])
    with pack.open("r+b") as file:
        file.seek(offset + 30)
        file.write(b"\xff\xff")
    view = line.view(line.root)
    assert view.get("keys", b"good") == b"g" * 1000
    with pytest.raises(DamageError):
        view.get("keys", b"bad")
    assert line.commit(line.root)


def test_a_view_of_a_repo_and_a_version_of_different_moments(line: Line):
    """The repo is of before its root was folded, the version of after: the layers are looked up anew, once."""
    line.write(line.root, {b"a": b"1"})
    line.seal(line.root)
    child = line.child(line.root)
    line.write(child, {b"b": b"2"})
    before, _, instance = line.target(child)
    line.fold(line.root)
    view = line.catalog.snapshot(before, line.target(child)[1], instance)
    agrees(view, {b"a": b"1", b"b": b"2"})
