"""Indexes of many packs in few files (SPEC 4.11): made by merging, used in place of the packs' own, never needed."""

from __future__ import annotations

import random
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagdvid.errors import Corrupt
from dagdvid.objects.ids import ObjectType
from dagdvid.objects.local import packs as packs_module
from dagdvid.objects.local import tier as tier_module
from dagdvid.objects.local import tiering
from dagdvid.objects.local.files import Files
from dagdvid.objects.local.pack import Entry, PackIndex
from dagdvid.objects.local.store import LocalStore
from dagdvid.objects.local.tier import Asked, Tier, write_tier
from dagdvid.objects.local.tiering import PackSource, drop_tiers
from dagdvid.objects.store import prepare

NAME = "0123456789abcdef" * 2
FILES = Files()

few_ids = st.builds(lambda a, b: bytes([a]) * 8 + bytes(23) + bytes([b]), st.integers(0, 3), st.integers(0, 5))
entries = st.dictionaries(few_ids, st.tuples(st.integers(0, 2**40), st.integers(0, 2**22)), max_size=12)


def source(found: dict, no: int) -> PackSource:
    return PackSource(PackIndex.rebuilt([Entry(name, *at) for name, at in found.items()]), no)


def merge(folder: Path, sources, live) -> Tier:
    path = folder / f"{NAME}.tier"
    path.unlink(missing_ok=True)
    write_tier(path, FILES, sources, live)
    return Tier(path, FILES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tiers")


@given(st.lists(entries, max_size=5), st.sets(st.integers(0, 4)), st.booleans())
def test_a_tier_has_what_its_live_packs_have(folder, parts, live, twice):
    """Ids that share their first 8 bytes, one object in several packs, packs that have gone, no entries at all."""
    expected = {}
    for no, part in enumerate(parts):
        if no in live:
            expected |= {name: (name, no, *at) for name, at in part.items()}
    tier = merge(folder, [source(part, no) for no, part in enumerate(parts)], live)
    if twice:
        (folder / f"{NAME}.tier").rename(folder / f"{'0' * 32}.tier")
        tier = merge(folder, [tier, source({}, 9)], live)
    tier.check()
    asked = [bytes([a]) * 8 + bytes(23) + bytes([b]) for a in range(5) for b in range(7)]
    assert {found[0]: found for found in tier.find(Asked(asked))} == expected
    assert {found[0]: found for name in asked for found in tier.find(Asked([name]))} == expected
    assert tier.n == len(expected)
    tier.close()


def test_large_tiers_are_merged_piece_by_piece(folder, monkeypatch):
    monkeypatch.setattr(tier_module, "_PIECE", 1000)
    rng = random.Random(1)
    parts = [{rng.randbytes(32): (rng.randrange(2**40), 7) for _ in range(n)} for n in (5000, 1, 20_000, 700)]
    shared = dict(list(parts[2].items())[:100])
    parts.append(shared)
    tier = merge(folder, [source(part, no) for no, part in enumerate(parts)], {0, 1, 2, 4})
    tier.check()
    assert tier.n == 25_001
    assert (np.diff(tier.prefixes.astype(object)) >= 0).all()
    for no, part in enumerate(parts):
        found = {name: (pack, offset, stored) for name, pack, offset, stored in tier.find(Asked(list(part)))}
        if no == 3:
            assert not found
        else:
            assert found == {name: (4 if name in shared else no, *at) for name, at in part.items()}
    assert not list(tier.find(Asked([rng.randbytes(32) for _ in range(1000)])))


@pytest.mark.parametrize("at", [0, 9, 30, 50, 128 + 9, 2 * 4096 + 5, -1])
def test_a_damaged_tier_is_found_out(folder, at):
    rng = random.Random(2)
    tier = merge(folder, [source({rng.randbytes(32): (i, i) for i in range(500)}, 1)], {1})
    tier.check()
    path = folder / f"{NAME}.tier"
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)
    with pytest.raises(Corrupt, match=NAME):
        Tier(path, FILES).check()
    path.write_bytes(data[:-1])
    with pytest.raises(Corrupt, match=NAME):
        Tier(path, FILES)


def blobs(n: int, start: int = 0):
    return [prepare(ObjectType.BLOB, b"blob %d" % i) for i in range(start, start + n)]


def fill(folder: Path, n: int) -> list:
    """A pack for each object."""
    items = blobs(n)
    with closing(LocalStore(folder, pack_limit=1)) as store:
        for item in items:
            store.put_many([item])
    return items


@pytest.mark.parametrize("at_once", [20_000, 0], ids=["at once", "beside"])
def test_few_files_are_asked_for_an_object(tmp_path, monkeypatch, at_once):
    """However many packs there are: that is counted, for the writer and for others."""
    monkeypatch.setattr(tiering, "_AT_ONCE", at_once)
    monkeypatch.setattr(packs_module, "_OPEN", 20)
    items = fill(tmp_path / "data", 300)
    for readonly in (False, True):
        with closing(LocalStore(tmp_path / "data", readonly=readonly)) as store:
            view = store.packs.view
            assert len(view.tiers) <= 9
            assert not view.loose
            assert len(view.tiered) == 300
            assert store.get_many([item.id for item in items]) == items
            assert not any(store.has_many([item.id for item in blobs(300, start=300)]))
            descriptors = list(Path("/proc/self/fd").iterdir())
            open_packs = [fd for fd in descriptors if fd.is_symlink() and fd.readlink().suffix == ".pack"]
            assert len(open_packs) <= 21
    assert len(list((tmp_path / "data" / "indexes").iterdir())) == len(view.tiers)


@pytest.mark.parametrize("how", ["missing", "header", "cut"])
def test_a_tier_that_is_gone_is_made_again(tmp_path, how):
    items = fill(tmp_path / "data", 40)
    paths = sorted((tmp_path / "data" / "indexes").iterdir())
    (tmp_path / "data" / "indexes" / "stray.tier").write_bytes(b"")
    for path in paths:
        data = path.read_bytes()
        if how == "missing":
            path.unlink()
        else:
            path.write_bytes(data[:100] if how == "cut" else b"x" + data[1:])
    with closing(LocalStore(tmp_path / "data", readonly=True)) as store:
        assert store.get_many([item.id for item in items]) == items
        assert not store.packs.damaged
    with closing(LocalStore(tmp_path / "data")) as store:
        assert store.get_many([item.id for item in items]) == items
        view = store.packs.view
        assert len(view.tiered) == 40
        assert not view.loose
        assert store.get_many([item.id for item in items]) == items
    names = {f"{tier.name}.tier" for tier in view.tiers.values()}
    assert names == {path.name for path in (tmp_path / "data" / "indexes").iterdir()}


def test_tiers_are_dropped_and_made_again(tmp_path):
    items = fill(tmp_path / "data", 40)
    path = max((tmp_path / "data" / "indexes").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(path.read_bytes())
    data[128] ^= 255  # a prefix: its object seems absent
    path.write_bytes(data)
    with closing(LocalStore(tmp_path / "data")) as store:
        assert not all(store.has_many([item.id for item in items]))
        assert store.get_many([item.id for item in items]) == items  # a miss makes it doubt its indexes
        assert list(store.packs.damaged) == [path.stem]
        drop_tiers(store)
        assert not store.packs.damaged
        assert store.get_many([item.id for item in items]) == items
        deadline = time.monotonic() + 10
        while store.packs.view.loose:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert store.get_many([item.id for item in items]) == items
        store.packs.check()
        assert not store.packs.damaged


def test_a_tier_that_cannot_be_written_is_no_harm(tmp_path, caplog):
    class Failing(Files):
        def create(self, path):
            if path.suffix == ".tier":
                raise OSError(5, "input/output error")
            return super().create(path)

    items = blobs(20)
    with closing(LocalStore(tmp_path / "data", pack_limit=1, files=Failing())) as store:
        for item in items:
            store.put_many([item])
        assert store.get_many([item.id for item in items]) == items
    assert "could not be indexed together" in caplog.text
    with closing(LocalStore(tmp_path / "data", readonly=True)) as store:
        assert store.get_many([item.id for item in items]) == items
