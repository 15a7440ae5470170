"""The conformance suite of object stores (SPEC 3). A backend subclasses it, with a fixture `store` that is empty:

class TestMyStore(ObjectStoreTests):
    @pytest.fixture
    def store(self, tmp_path):
        return MyStore(tmp_path)

    def damage(self, store, name): ...   # flip a stored bit of that object; left out, that test is skipped
"""

from __future__ import annotations

import random
import threading

import pytest

from dagdvid.errors import Corrupt
from dagdvid.objects.codecs import Codec
from dagdvid.objects.ids import ObjectType, object_id
from dagdvid.objects.store import MAX_OBJECT, Object, ObjectStore, prepare, read_many

__all__ = ["ObjectStoreTests"]

ABSENT = object_id(ObjectType.BLOB, b"never stored")
SIZES = (0, 1, 63, 64, 4096, 100_000, MAX_OBJECT)


def blobs(n: int, seed: int = 0, size: int = 100) -> list[Object]:
    """Distinct blobs of pseudo-random bytes."""
    rng = random.Random(seed)  # noqa: S311  data, not secrets
    return [prepare(ObjectType.BLOB, rng.randbytes(rng.randrange(8, size))) for _ in range(n)]


class ObjectStoreTests:
    """What every store must do."""

    def damage(self, store: ObjectStore, name: bytes) -> None:  # noqa: ARG002  for those that override it
        """Damage the stored bytes of an object, past the store. A store that lies in memory need not."""
        pytest.skip("this store has no bytes that could be damaged behind its back")

    def test_empty(self, store: ObjectStore) -> None:
        """Nothing is there, nothing is asked."""
        assert store.get_many([]) == []
        assert store.has_many([]) == []
        store.put_many([])
        assert store.get_many([ABSENT]) == [None]
        assert store.has_many([ABSENT]) == [False]

    @pytest.mark.parametrize("codec", [None, *Codec])
    @pytest.mark.parametrize("kind", list(ObjectType))
    def test_round_trip(self, store: ObjectStore, kind: ObjectType, codec: int | None) -> None:
        """Every type in every codec, of bytes that compress and of bytes that do not."""
        rng = random.Random(int(kind))  # noqa: S311
        datas = [b"ab" * 500, rng.randbytes(1000), b"x"]
        items = [prepare(kind, data, codec) for data in datas]
        store.put_many(items)
        found = store.get_many([item.id for item in items])
        assert found == items
        assert [item.data() for item in found if item] == datas
        assert read_many(store, [item.id for item in items], kind) == datas

    @pytest.mark.parametrize("size", SIZES)
    def test_sizes(self, store: ObjectStore, size: int) -> None:
        """From the empty object to the largest."""
        item = prepare(ObjectType.BLOB, random.Random(size).randbytes(size))  # noqa: S311
        store.put_many([item])
        assert store.get_many([item.id]) == [item]

    def test_order_duplicates_and_absent_ones(self, store: ObjectStore) -> None:
        """An answer for each id, in the order of the request."""
        a, b, c = blobs(3)
        store.put_many([c, a])
        wanted = [b.id, c.id, a.id, ABSENT, c.id, c.id]
        assert store.get_many(wanted) == [None, c, a, None, c, c]
        assert store.has_many(wanted) == [False, True, True, False, True, True]

    def test_put_again(self, store: ObjectStore) -> None:
        """An object may be put twice, in one batch or in two, in whatever codec; it stays what it was."""
        first = prepare(ObjectType.BLOB, b"again" * 100)
        other = prepare(ObjectType.BLOB, b"again" * 100, Codec.RAW)
        assert first.id == other.id
        store.put_many([first, first])
        store.put_many([other, other])
        found = store.get_many([first.id])[0]
        assert found is not None
        assert found.data() == b"again" * 100

    def test_equal_bytes_of_other_types_are_other_objects(self, store: ObjectStore) -> None:
        """The type is part of the id."""
        items = [prepare(kind, b"same bytes") for kind in ObjectType]
        store.put_many(items)
        assert len({item.id for item in items}) == len(items)
        assert store.get_many([item.id for item in items]) == items

    def test_large_batches(self, store: ObjectStore) -> None:
        """Batches beyond every limit of a page, a query or a frame."""
        items = blobs(20_000)
        store.put_many(items)
        ids = [item.id for item in items]
        random.Random(1).shuffle(ids)  # noqa: S311
        assert all(store.has_many(ids))
        assert [item.id if item else None for item in store.get_many(ids)] == ids

    def test_threads(self, store: ObjectStore) -> None:
        """What a thread has put, every thread finds; batches overlap."""
        batches = [blobs(20, seed) for seed in range(40)]
        errors: list[BaseException] = []
        done: list[int] = []

        def put(own: int) -> None:
            try:
                for at in range(own, 40, 2):
                    store.put_many(batches[at] + batches[at - 1])
                    done.append(at)
            except BaseException as error:  # noqa: BLE001  it is raised in the test
                errors.append(error)

        def get() -> None:
            try:
                while len(done) < 40 and not errors:
                    for at in list(done):
                        assert store.get_many([item.id for item in batches[at]]) == batches[at]
            except BaseException as error:  # noqa: BLE001
                errors.append(error)

        threads = [threading.Thread(target=put, args=(i,)) for i in range(2)]
        threads += [threading.Thread(target=get) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        for batch in batches:
            assert store.get_many([item.id for item in batch]) == batch

    def test_damage_is_found(self, store: ObjectStore) -> None:
        """A damaged object is reported, never served; the others are."""
        items = blobs(10, size=2000)
        store.put_many(items)
        self.damage(store, items[4].id)
        with pytest.raises(Corrupt, match=items[4].id.hex()):
            store.get_many([item.id for item in items])
        rest = items[:4] + items[5:]
        assert store.get_many([item.id for item in rest]) == rest
