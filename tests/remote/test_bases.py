"""Bases that lie, cut off, stall or vanish: nothing wrong is ever seen; others are asked (SPEC 8.10)."""

from __future__ import annotations

import io
import json
import random
import shutil
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from calling import Caller
from sites import Process, Site

from dagdvid.config import Config
from dagdvid.errors import Offline, RemoteError
from dagdvid.interchange.keyvalues import keyvalue_chunks
from dagdvid.objects.cache import ObjectCache
from dagdvid.objects.ids import ObjectType
from dagdvid.objects.layered import Counts, Fetched, Found, Layers
from dagdvid.objects.store import Object, prepare
from dagdvid.remote.published.reader import Locators, PublishedBase
from dagdvid.remote.published.refs import read_ref
from dagdvid.remote.published.shelf import Shelf
from dagdvid.remote.published.site import FolderSite, Named
from dagdvid.server import Server, backup, restore


class Spoilt(FolderSite):
    """A folder of which every answer can be spoilt on its way."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.spoil: Callable[[str, bytes], bytes] = lambda path, data: data

    def read(self, path: str) -> Named | None:
        found = super().read(path)
        return None if found is None else Named(self.spoil(path, found.data), found.state)

    def read_ranges(self, path, ranges):
        return [self.spoil(path, data) for data in super().read_ranges(path, ranges)]


VALUES = {f"k{i:04}".encode(): random.Random(i).randbytes(700 if i % 3 else 20) for i in range(1500)}


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> tuple[Path, str, list[bytes]]:
    """A site, the repo in it, and the ids of its objects."""
    folder = tmp_path_factory.mktemp("published")
    server = Server.open(Config(data=folder / "data"))
    call = Caller(server)
    root = call.json("POST", "/api/repos", {})["root"]
    call("POST", f"/api/repo/{root}/instance", {"typename": "keyvalue", "dataname": "kv"})
    body = b"".join(part for key, value in VALUES.items() for part in keyvalue_chunks(key, value))
    call("POST", f"/api/node/{root}/kv/keyvalues", body)
    call("POST", f"/api/node/{root}/commit", {})
    site = folder / "site"
    call.json("POST", f"/api/repo/{root}/publish", {"url": site.as_uri()})
    ref = read_ref(FolderSite(site), root, "")
    shelf = Shelf(FolderSite(site), folder / "shelf")
    ids = [name for each in shelf.head(ref.head).facts["indexes"] for name in shelf.index(each["id"]).items()]
    server.close()
    return site, root, sorted(ids)


def opened(site: Spoilt, root: str, shelf: Path) -> PublishedBase:
    ref = read_ref(FolderSite(site.folder), root, "")
    return PublishedBase(site, Shelf(site, shelf), [ref.head])


def spoilers(rng: random.Random, pages: list[bytes]) -> Iterator[Callable[[bytes], bytes]]:
    """Ways to change an answer: a bit, an end, another answer in its place, bytes swapped, nothing, more."""
    while True:
        at = rng.random()

        def flip(data: bytes, at: float = at) -> bytes:
            i = int(at * len(data))
            return data[:i] + bytes([data[i] ^ 1 << rng.randrange(8)]) + data[i + 1 :] if data else data

        def cut(data: bytes, at: float = at) -> bytes:
            return data[: int(at * len(data))]

        def other(data: bytes) -> bytes:
            return rng.choice(pages) if pages else b""

        def swap(data: bytes, at: float = at) -> bytes:
            i = int(at * len(data))
            return data[i:] + data[:i]

        yield from (flip, cut, other, swap, lambda data: b"", lambda data: data + b"\0" * 9)


def test_500_spoilt_answers_are_never_seen(published, tmp_path):
    folder, root, ids = published
    truth = opened(Spoilt(folder), root, tmp_path / "whole").fetch(ids).found
    assert len(truth) == len(ids)
    rng = random.Random(11)
    pages: list[bytes] = []
    spoil = spoilers(rng, pages)
    spoilt = refused = 0
    while spoilt < 500:
        site = Spoilt(folder)
        rate = rng.choice([0.05, 0.3, 1.0])

        def change(path: str, data: bytes, rate: float = rate) -> bytes:
            nonlocal spoilt
            pages.append(data)
            del pages[:-50]
            if rng.random() > rate:
                return data
            spoilt += 1
            return next(spoil)(data)

        site.spoil = change
        base = opened(site, root, tmp_path / f"shelf-{spoilt}")
        for _ in range(3):
            wanted = rng.sample(ids, 20)
            try:
                fetched = base.fetch(wanted)
            except RemoteError:
                refused += 1
                continue
            assert all(item.object == truth[name].object for name, item in fetched.found.items())
            assert {*fetched.found} | {*fetched.bad} == {*wanted}
            refused += bool(fetched.bad)
        base.close()
    assert refused > 50


def test_a_base_that_lies_is_routed_around(published, tmp_path):
    folder, root, ids = published
    liar, honest = Spoilt(folder), Spoilt(folder)
    first, second = opened(liar, root, tmp_path / "a"), opened(honest, root, tmp_path / "b")
    first.name = "liar"
    first.fetch(ids[:1])
    liar.spoil = lambda path, data: bytes(len(data))
    layers = Layers(None, lambda: [first, second])
    assert sorted(layers.fetch(ids)) == ids
    assert "damaged" in layers.state()["liar"]["problem"] or "malformed" in layers.state()["liar"]["problem"]
    assert not layers.state()[second.name]["problem"]
    alone = Layers(None, lambda: [first])
    with pytest.raises(RemoteError, match="liar|site"):
        alone.fetch(ids)
    layers.close()


class Gone:
    """A base that cannot be reached; it counts who tries."""

    name = "gone"

    def __init__(self) -> None:
        self.tried = 0

    def fetch(self, ids) -> Fetched:
        self.tried += 1
        raise Offline("cannot reach gone")


def test_a_base_that_is_gone_is_not_waited_for_again_at_once(published, tmp_path):
    folder, root, ids = published
    gone, base = Gone(), opened(Spoilt(folder), root, tmp_path)
    layers = Layers(None, lambda: [gone, base])
    for name in ids[:20]:
        assert layers.fetch([name])[name].id == name
    assert gone.tried == 1
    with pytest.raises(Offline, match="gone: 1 objects"):
        layers.fetch([bytes(32)])
    base.close()


class Slow:
    """A base whose every answer takes a while; it can be told to fail."""

    def __init__(self, items: list[Object]) -> None:
        self.name = "slow"
        self.counts = Counts()
        self.asked: list[int] = []
        self.failing = False
        self._items = {item.id: item for item in items}

    def fetch(self, ids) -> Fetched:
        time.sleep(0.02)
        self.asked.append(len(ids))
        if self.failing:
            raise RemoteError("slow refuses")
        return Fetched({name: Found(self._items[name]) for name in ids if name in self._items})

    def learn(self, item, beside) -> None:
        pass

    def close(self) -> None:
        pass


def test_what_is_expected_comes_in_few_requests_and_once():
    items = [prepare(ObjectType.BLOB, random.Random(i).randbytes(100)) for i in range(3000)]
    ids = [item.id for item in items]
    base = Slow(items)
    layers = Layers(None, lambda: [base])
    layers.expect([(name, 100) for name in ids])
    threads = [threading.Thread(target=layers.fetch, args=(ids[2000:2010],)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for start in range(0, 2000, 10):
        assert [*layers.fetch(ids[start : start + 10]).values()] == items[start : start + 10]
    for thread in threads:
        thread.join()
    assert len(base.asked) <= 6 + 4
    base.failing = True
    layers.expect([(bytes(32), 1)])
    with pytest.raises(RemoteError, match="slow refuses"):
        layers.fetch([bytes(32)])
    base.failing = False
    assert layers.fetch([bytes(32)]) == {}
    layers.close()


def test_many_keys_of_a_chained_clone_take_few_rounds(published, call):
    folder, root, _ = published
    call("POST", "/api/repos/clone", {"url": folder.as_uri()})
    keys = json.dumps([key.decode() for key in VALUES]).encode()
    answer = call("GET", f"/api/node/{root}/kv/keyvalues", keys, jsontar="true").body
    with tarfile.open(fileobj=io.BytesIO(answer)) as tar:
        found = {member.name.encode(): tar.extractfile(member).read() for member in tar}
    assert found == VALUES
    (counts,) = call.json("GET", "/api/store/stats")["bases"].values()
    assert counts["rounds"] <= 4
    assert counts["objects"] >= len([value for value in VALUES.values() if len(value) > 512])


def test_gc_repair_fsck_and_backup_leave_alone_what_a_base_has(published, server, call, tmp_path):
    original, root, _ = published
    folder = tmp_path / "site"
    shutil.copytree(original, folder)
    call("POST", "/api/repos/clone", {"url": folder.as_uri()})
    child = call.json("POST", f"/api/node/{root}/newversion", {})["child"]
    call("POST", f"/api/node/{child}/kv/key/k0700", b"mine" * 300)
    call("POST", f"/api/node/{child}/kv/key/k0001x", b"new" * 300)
    call("POST", f"/api/node/{child}/commit", {})
    server.upkeep.settle()
    gone = call.json("POST", "/api/repos", {})["root"]
    call("DELETE", f"/api/repo/{gone}", imsure="true")
    assert call.json("POST", "/api/store/fsck")["promised"] > 5
    folder.rename(tmp_path / "away")
    (*_, collected) = server.collect(forget=True)
    assert collected["result"]["live"]
    (*_, repaired) = server.repair(dry_run=True)
    assert (repaired["result"]["ok"], repaired["result"]["lost"]) == (True, 0)
    report = call.json("POST", "/api/store/fsck")
    assert report["ok"]
    [*backup(str(server.config.data), tmp_path / "backup")]
    [*restore(tmp_path / "backup", tmp_path / "restored")]
    (tmp_path / "away").rename(folder)
    opened = Server.open(Config(data=tmp_path / "restored"))
    try:
        again = Caller(opened)
        for key, value in [("k0700", b"mine" * 300), ("k0001x", b"new" * 300), ("k0701", VALUES[b"k0701"])]:
            assert again("GET", f"/api/node/{child}/kv/key/{key}").body == value
        assert again("GET", f"/api/node/{root}/kv/key/k0700").body == VALUES[b"k0700"]
        assert again.json("POST", "/api/store/fsck")["ok"]
    finally:
        opened.close()


def test_several_workers_share_bases_and_their_cache(published, tmp_path):
    folder, root, _ = published
    with Process(tmp_path / "data", "--workers", "2") as process:
        site = Site(process.url)
        assert site.json("POST", "/api/repos/clone", {"url": folder.as_uri()})["versions"] == 1
        child = site.child(root)
        for i, (key, value) in enumerate([*VALUES.items()][::200]):
            site.close()
            site = Site(process.url)  # another connection, maybe to the other worker
            assert site.get(root, key.decode()) == value
            site.put(child, key.decode(), b"%d" % i * 300)
            assert site.get(child, key.decode()) == b"%d" % i * 300
        site.commit(child)
        assert site.fsck()["ok"]
        site.close()


def test_locators_that_are_forgotten_are_found_by_the_indexes(published, tmp_path, monkeypatch):
    folder, root, ids = published
    base = opened(Spoilt(folder), root, tmp_path)
    base._learned = Locators(3)
    monkeypatch.setattr("dagdvid.remote.published.reader._SMALL_INDEX", 0)
    for start in range(0, len(ids), 100):
        assert {*base.fetch(ids[start : start + 100]).found} == {*ids[start : start + 100]}
    assert base.lacking([*ids[:5], bytes(32)]) == [bytes(32)]
    base.close()


def test_the_cache_is_bounded_shared_and_may_be_damaged(tmp_path):
    items = [prepare(ObjectType.BLOB, random.Random(i).randbytes(1000)) for i in range(300)]
    nodes = [prepare(ObjectType.LEAF, random.Random(i).randbytes(1000)) for i in range(20)]
    one, two = ObjectCache(tmp_path / "c", 100_000), ObjectCache(tmp_path / "c", 100_000)
    one.put_many([(item, b"beside") for item in nodes])
    for item in items:
        one.put_many([(item, b"")])
    one.flush()
    there = two.get_many([item.id for item in items])
    assert 50 < len(there) < 100
    assert all(cached.object == next(i for i in items if i.id == name) for name, cached in there.items())
    assert [cached.beside for cached in two.get_many([n.id for n in nodes]).values()] == [b"beside"] * 20
    one.close()
    two.close()
    data = bytearray((tmp_path / "c").read_bytes())
    for i in range(5000, len(data), 700):
        data[i] ^= 255
    (tmp_path / "c").write_bytes(data)
    third = ObjectCache(tmp_path / "c", 100_000)
    assert all(c.object in items for c in third.get_many([i.id for i in items]).values())
    third.close()
    (tmp_path / "c").write_bytes(b"no database" * 1000)
    fourth = ObjectCache(tmp_path / "c", 100_000)
    assert fourth.get_many([items[0].id]) == {}
    fourth.put_many([(items[0], b"")])
    fourth.flush()
    assert fourth.get_many([items[0].id])[items[0].id].object == items[0]
    fourth.close()


def test_a_published_store_of_another_version_is_refused(tmp_path, call):
    copy = tmp_path / "site"
    copy.mkdir()
    (copy / "dagdvid.json").write_bytes(b'{"format":"dagdvid published","version":2}')
    with pytest.raises(RemoteError, match="version 2"):
        call("POST", "/api/repos/clone", {"url": copy.as_uri()})
    with pytest.raises(RemoteError, match="is not there"):
        call("POST", "/api/repos/clone", {"url": (tmp_path / "none").as_uri()})
