"""The two stores of this package against the conformance suite."""

from __future__ import annotations

import pytest

from dagdvid.errors import Corrupt, MissingObject
from dagdvid.objects.ids import ObjectType
from dagdvid.objects.local.store import LocalStore
from dagdvid.objects.memory import MemoryStore
from dagdvid.objects.store import MAX_OBJECT, Object, prepare, read, verified
from dagdvid.testing.store import ObjectStoreTests


class TestMemoryStore(ObjectStoreTests):
    @pytest.fixture
    def store(self):
        return MemoryStore()


class TestLocalStore(ObjectStoreTests):
    @pytest.fixture
    def store(self, tmp_path):
        store = LocalStore(tmp_path / "data")
        yield store
        store.close()

    def damage(self, store, name):
        no, offset, stored = store.packs.locate([name])[name]
        path = store.packs.path(store.database.rows("SELECT name FROM packs WHERE no = ?", (no,))[0][0])
        with path.open("r+b") as file:  # in place: it may be about to be sealed
            at = offset + 24 + stored // 2
            file.seek(at)
            (byte,) = file.read(1)
            file.seek(at)
            file.write(bytes([byte ^ 4]))


class TestLocalStoreOfManyPacks(TestLocalStore):
    """Every batch seals its packs, so that nearly all is found through mapped indexes."""

    @pytest.fixture
    def store(self, tmp_path):
        store = LocalStore(tmp_path / "data", pack_limit=1)
        yield store
        store.close()


def test_objects_above_the_limit_are_refused():
    with pytest.raises(ValueError, match="above the limit"):
        prepare(ObjectType.BLOB, bytes(MAX_OBJECT + 1))


def test_read_tells_missing_from_mistyped():
    store = MemoryStore()
    item = prepare(ObjectType.LEAF, b"leaf")
    store.put_many([item])
    assert read(store, item.id, ObjectType.LEAF) == b"leaf"
    with pytest.raises(Corrupt, match=item.id.hex()):
        read(store, item.id, ObjectType.BLOB)
    with pytest.raises(MissingObject, match="commit 00"):
        read(store, bytes(32), ObjectType.COMMIT)


@pytest.mark.parametrize(
    "change",
    [{"type": 0}, {"type": 2}, {"type": 200}, {"size": 6}, {"size": 2**32 - 1}, {"payload": b"other"}, {"codec": 9}],
    ids=str,
)
def test_verified_refuses_what_does_not_match_its_id(change):
    item = prepare(ObjectType.BLOB, b"five!")
    assert verified(item) is item
    with pytest.raises(Corrupt):
        verified(Object(**{**item._asdict(), **change}))
