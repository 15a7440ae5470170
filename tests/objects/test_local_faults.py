"""Nothing acknowledged is lost, nothing damaged is served: power cuts, full disks, failing calls, flipped bits."""

from __future__ import annotations

import errno
import os
import random
import resource

import pytest
from fault_files import FaultFiles, PowerCut

from dagdvid.errors import Corrupt, NoSpace, UnavailableError
from dagdvid.objects.ids import ObjectType
from dagdvid.objects.local.files import Files
from dagdvid.objects.local.pack import FOOTER_SIZE, HEADER_SIZE
from dagdvid.objects.local.store import LocalStore
from dagdvid.objects.store import Object, prepare

LIMIT = 4000


def batches(seed: int = 0, n: int = 14) -> list[list[Object]]:
    """Batches of blobs and nodes, small and large, which fill a pack now and then."""
    rng = random.Random(seed)
    kinds = (ObjectType.BLOB, ObjectType.LEAF)
    return [
        [prepare(rng.choice(kinds), rng.randbytes(rng.choice([10, 300, 1500]))) for _ in range(rng.randrange(1, 5))]
        for _ in range(n)
    ]


def put_all(folder, files) -> list[Object]:
    """Put all batches; what was acknowledged."""
    acknowledged: list[Object] = []
    try:
        store = LocalStore(folder, files=files, pack_limit=LIMIT)
    except OSError:
        return acknowledged
    for batch in batches():
        try:
            store.put_many(batch)
            acknowledged += batch
        except OSError:
            pass
    store.close()
    return acknowledged


def check(folder, acknowledged: list[Object]) -> None:
    """All that was acknowledged is there; what was not is whole or absent; and the store takes everything again."""
    for _ in range(2):
        store = LocalStore(folder, pack_limit=LIMIT)
        try:
            assert not store.packs.damaged
            assert store.get_many([item.id for item in acknowledged]) == acknowledged
            for batch in batches():
                found = store.get_many([item.id for item in batch])
                assert all(got in (None, item) for got, item in zip(found, batch, strict=True))
                store.put_many(batch)
                assert store.get_many([item.id for item in batch]) == batch
        finally:
            store.close()


@pytest.fixture(scope="module")
def calls(tmp_path_factory) -> FaultFiles:
    """A run without faults: how many calls and writes there are."""
    files = FaultFiles()
    folder = tmp_path_factory.mktemp("clean") / "data"
    assert len(put_all(folder, files)) == sum(map(len, batches()))
    check(folder, [item for batch in batches() for item in batch])
    return files


def test_the_run_does_everything(calls):
    assert calls.calls > 60
    assert calls.writes > 20


@pytest.mark.parametrize("part", range(4))
def test_power_cuts(tmp_path, calls, part):
    """At every call, with what was not synced lost, kept or torn."""
    for at in range(1 + part, calls.calls + 1, 4):
        files = FaultFiles(cut_at=at)
        folder = tmp_path / str(at)
        acknowledged = put_all(folder, files)
        assert files.off
        files.power_cut(random.Random(at))
        check(folder, acknowledged)


def test_a_second_power_cut_during_recovery(tmp_path, calls):
    for at in range(20, calls.calls, 7):
        folder = tmp_path / str(at)
        files = FaultFiles(cut_at=at)
        acknowledged = put_all(folder, files)
        files.power_cut(random.Random(at))
        for again in range(1, 6):
            files = FaultFiles(cut_at=again)
            try:
                LocalStore(folder, files=files, pack_limit=LIMIT).close()
            except PowerCut:
                files.power_cut(random.Random(again))
        check(folder, acknowledged)


def test_a_full_disk(tmp_path, calls):
    """The batch is refused and its space given back; what was there stays, and once there is room it is taken."""
    for at in range(2, calls.writes + 1):
        folder = tmp_path / str(at)
        files = FaultFiles(full_at=at)
        store = LocalStore(folder, files=files, pack_limit=LIMIT)
        acknowledged: list[Object] = []
        refused = []
        for batch in batches():
            try:
                store.put_many(batch)
                acknowledged += batch
            except NoSpace:
                refused.append(batch)
                assert store.get_many([item.id for item in acknowledged]) == acknowledged
                if len(refused) == 2:
                    files.full, files.full_at = False, 0
        assert refused or at == calls.writes or files.full
        files.full, files.full_at = False, 0
        for batch in refused:
            store.put_many(batch)
            acknowledged += batch
        known = {name for (name,) in store.database.rows("SELECT name FROM packs")}
        assert {path.stem for path in (folder / "packs").iterdir()} == known
        store.close()
        check(folder, acknowledged)


def test_failing_calls(tmp_path, calls):
    """One call fails: that batch is refused, or a pack is sealed later; nothing else happens."""
    for at in range(1, calls.calls + 1, 2):
        files = FaultFiles(fail_at=at)
        folder = tmp_path / str(at)
        check(folder, put_all(folder, files))


def sealed(folder) -> list[Object]:
    """A folder whose packs are all sealed."""
    items = [item for batch in batches() for item in batch]
    store = LocalStore(folder, pack_limit=LIMIT)
    for batch in batches():
        store.put_many(batch)
    store.close()
    LocalStore(folder).close()
    return items


def get(store: LocalStore, name: bytes) -> Object | str | None:
    """An object, or what the store says of its damage."""
    try:
        return store.get_many([name])[0]
    except Corrupt as error:
        return str(error)


def test_flipped_bits(tmp_path):
    """In the header, any entry, the index, the footer: the pack is named, and what is intact is served."""
    folder = tmp_path / "data"
    items = {item.id: item for item in sealed(folder)}
    rng = random.Random(8)
    for path in sorted((folder / "packs").iterdir()):
        data = path.read_bytes()
        index = int.from_bytes(data[-16:-8], "little")
        regions = [(0, HEADER_SIZE), (HEADER_SIZE, index), (index, len(data) - FOOTER_SIZE), (-FOOTER_SIZE, 0)]
        for region, (lo, hi) in enumerate(regions):
            for _ in range(6):
                at = rng.randrange(lo % len(data), hi or len(data))
                path.write_bytes(data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :])
                store = LocalStore(folder, readonly=True)
                lost = []
                for name, item in items.items():
                    found = get(store, name)
                    if found != item:
                        assert isinstance(found, str)
                        assert path.stem in found
                        assert name.hex() in found
                        lost.append(name)
                store.packs.check()
                named = path.stem in store.packs.damaged
                store.close()
                assert (len(lost), named) == ((1, False) if region == 1 else (0, True))
        path.write_bytes(data)


def test_an_index_that_points_at_another_object_is_found_out(tmp_path):
    store = LocalStore(tmp_path / "data")
    items = [prepare(ObjectType.BLOB, b"one of equal length" + bytes([i])) for i in range(2)]
    store.put_many(items)
    where = store.packs.locate([item.id for item in items])
    with pytest.raises(Corrupt, match=items[0].id.hex()):
        store.packs.read(items[0].id, where[items[1].id])
    store.close()


@pytest.mark.parametrize("state", ["sealed", "open"])
@pytest.mark.parametrize("how", ["missing", "cut", "empty"])
def test_a_pack_that_is_gone(tmp_path, caplog, state, how):
    """The rest is served; reads of what it held fail by name or find nothing; the folder still opens and takes more."""
    folder = tmp_path / "data"
    if state == "sealed":
        items = sealed(folder)
    else:
        items = batches()[0] + batches()[1]
        store = LocalStore(folder)
        store.put_many(items)
        store.close()
    path = max((folder / "packs").iterdir(), key=lambda path: path.stat().st_size)
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: 60 if how == "cut" else 0])
    store = LocalStore(folder)
    assert path.stem in store.packs.damaged
    assert path.stem in caplog.text
    served = 0
    for item in items:
        found = get(store, item.id)
        assert found in (None, item) or path.stem in found
        served += found == item
    assert 0 < served < len(items)
    fresh = prepare(ObjectType.BLOB, b"something new")
    store.put_many([fresh])
    assert store.get_many([fresh.id]) == [fresh]
    store.close()


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENOMEM, errno.EACCES])
def test_what_this_process_cannot_have_is_not_called_damage(tmp_path, error):
    """A pack that cannot be opened for now must not look as if its objects were absent."""
    folder = tmp_path / "data"
    sealed(folder)

    class Refusing(Files):
        def open(self, path, *, write=False):
            raise OSError(error, os.strerror(error))

    with pytest.raises(UnavailableError, match=os.strerror(error)):
        LocalStore(folder, files=Refusing())


def test_many_packs(tmp_path):
    """More than a process may have files open by default."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits[1] <= 256:
        pytest.skip("this machine grants few files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, limits[1]))
    try:
        items = [prepare(ObjectType.BLOB, b"%d" % i) for i in range(80)]
        store = LocalStore(tmp_path / "data", pack_limit=1)
        for item in items:
            store.put_many([item])
        store.close()
        store = LocalStore(tmp_path / "data", readonly=True)
        assert store.get_many([item.id for item in items]) == items
        store.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limits[0], resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


@pytest.mark.parametrize("damage", ["garbage", "pages"])
def test_a_damaged_database(tmp_path, damage):
    folder = tmp_path / "data"
    sealed(folder)
    path = folder / "dagdvid.sqlite"
    data = path.read_bytes()
    path.write_bytes(b"no database" * 1000 if damage == "garbage" else data[:4096] + b"\xaa" * (len(data) - 4096))
    for readonly in (False, True):
        with pytest.raises(Corrupt, match="database"):
            LocalStore(folder, readonly=readonly)
