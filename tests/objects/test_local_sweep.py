"""Giving up objects that nothing refers to (SPEC 4.7)."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from fault_files import FaultFiles

from dagdvid.errors import Corrupt
from dagdvid.objects.ids import ObjectType
from dagdvid.objects.local.collection import Abandon, Begin
from dagdvid.objects.local.marks import Marks
from dagdvid.objects.local.store import LocalStore
from dagdvid.objects.local.sweep import Sweep
from dagdvid.objects.store import prepare

ITEMS = [prepare(ObjectType.LEAF if i % 3 else ObjectType.BLOB, random.Random(i).randbytes(400)) for i in range(60)]


@pytest.fixture
def folder(tmp_path):
    """Sealed packs of a few objects each."""
    return fill(tmp_path / "data")


def fill(folder):
    store = LocalStore(folder, pack_limit=2000)
    for i in range(0, 60, 3):
        store.put_many(ITEMS[i : i + 3])
    store.close()
    LocalStore(folder).close()
    return folder


def planned(store, live) -> Sweep:
    store.packs.reload()
    marks = Marks(store.packs)
    _, missing = marks.set(list(live), 1)
    if missing:
        raise Corrupt("not to be swept")
    return Sweep(store, marks)


def sweep(store, live):
    number = store.run(Begin(()))
    run = planned(store, live)
    try:
        for _ in run.run(number, run.plans(), lambda: iter([0])):
            pass
    finally:
        store.run(Abandon(number))
    return run.total


def files(folder) -> int:
    return sum(path.stat().st_size for path in (folder / "packs").iterdir())


LIVE = {
    "all": {item.id for item in ITEMS},
    "none": set(),
    "half": {item.id for item in ITEMS[::2]},
    "the first": {item.id for item in ITEMS[:30]},
}


@pytest.mark.parametrize("live", LIVE.values(), ids=LIVE)
def test_what_is_live_stays_and_the_rest_goes(folder, live):
    before = files(folder)
    store = LocalStore(folder)
    plans = planned(store, live).plans()
    assert files(folder) == before
    assert all(store.has_many([item.id for item in ITEMS]))
    done = sweep(store, live)
    assert (done.packs, done.objects, done.bytes) == (len(plans), *(sum(p[i] for p in plans) for i in (1, 2)))
    store.close()
    store = LocalStore(folder)
    assert not store.packs.damaged
    there = {item.id for item in ITEMS if store.has_many([item.id])[0]}
    assert live <= there
    assert [item for item in ITEMS if item.id in there] == [
        found for found in store.get_many([item.id for item in ITEMS]) if found
    ]
    assert len(there) == 60 - done.objects
    assert files(folder) <= before - done.bytes / 2
    rows = store.database.rows("SELECT name FROM packs")
    assert {path.stem for path in (folder / "packs").iterdir()} == {name for (name,) in rows}
    store.close()


def test_a_power_cut_at_any_call(tmp_path):
    """What is live is there after it; the next sweep finishes the work."""
    live = LIVE["half"]
    kept = [item for item in ITEMS if item.id in live]
    for at in range(1, 10_000, 3):
        folder = fill(tmp_path / str(at))
        faults = FaultFiles(cut_at=at)
        try:
            store = LocalStore(folder, files=faults, pack_limit=2000)
        except OSError:
            continue
        with suppress(OSError, Corrupt):
            sweep(store, live)
        store.close()
        faults.power_cut(random.Random(at))
        store = LocalStore(folder)
        assert not store.packs.damaged
        assert store.get_many([item.id for item in kept]) == kept
        sweep(store, live)
        assert store.get_many([item.id for item in kept]) == kept
        store.close()
        if not faults.off:
            break
    assert at > 20
