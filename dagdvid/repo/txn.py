"""Transactions: what a datatype writes. Changes are hashed and encoded here, and staged in one operation at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from itertools import chain
from typing import Any

from dagdvid.errors import BadRequest, StaleRead
from dagdvid.kernels.fnv import fnv1_128, reference_of
from dagdvid.objects import canonical
from dagdvid.objects.blobs import make_value
from dagdvid.objects.ids import ObjectType, object_id
from dagdvid.objects.store import Object, ObjectStore
from dagdvid.objects.tree.node import Value
from dagdvid.objects.tree.nodes import NodeWriter
from dagdvid.registry import datatype, deferred_spaces
from dagdvid.repo.batches import in_batches, overlaid, present
from dagdvid.repo.ids import label_counter, lowest
from dagdvid.repo.record import now
from dagdvid.repo.runs import RUN, NewRun, make_run
from dagdvid.repo.snapshot import VersionSnapshot, check_key
from dagdvid.repo.stage import Numbers, Row, Stage, row_of
from dagdvid.repo.staging import LOG_KEY

__all__ = ["VersionTxn"]

_SHARE = 2**20
"""Bytes that one thread encodes at a time; hashing and compression release the GIL."""


class VersionTxn(VersionSnapshot):
    """A snapshot that takes changes (see `dagdvid.datatype.Txn`)."""

    pool: Executor | None = None
    """Threads for encoding, if the owner has some."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._changed: dict[str, dict[bytes, Value | None]] = {}
        self._objects: dict[bytes, Object] = {}
        self.store = _Overlay(self._objects, self.nodes.store)
        self._reads: dict[tuple[str, bytes], tuple[int, Value | None]] = {}
        """When each key was read (`staging.Found`), and what it held."""
        self._logged: list[tuple[bytes, Value]] = []
        self._epoch: int | None = None
        self.properties: dict[str, Any] = {}
        """Facts about the instance to change in the repo record, by key."""
        self.given: Sequence[int] = ()
        """The mutation ids of what was logged, once the changes are made."""
        self.followers: Callable[[], Sequence[VersionTxn]] = tuple
        """Gives transactions on the instances that are synced with this one; set by the owner."""
        self.party: dict[str, VersionTxn] = {self.instance.uuid: self}
        """The transactions that are made together with this one, itself among them, by data UUID."""
        self.kept: list[bytes] = []
        """Contents for the blobstore."""
        self._labels: list[range] = []
        self._met: set[int] = set()

    def put(self, space: str, key: bytes, value: bytes, codec: int | None = None) -> None:
        """Set a key."""
        self.put_many(space, [(key, value)], codec)

    def put_many(self, space: str, items: Iterable[tuple[bytes, bytes]], codec: int | None = None) -> None:
        """Set many keys."""
        changed = self._changed.setdefault(space, {})
        entries = list(items)
        for key, _ in entries:
            check_key(key)
        for (key, _), (value, objects) in zip(entries, self._encode(entries, codec), strict=True):
            changed[key] = value
            for item in objects:
                self._objects[item.id] = item

    def _encode(
        self, entries: Sequence[tuple[bytes, bytes]], codec: int | None
    ) -> Iterator[tuple[Value, list[Object]]]:
        """Values and objects of entries, large amounts of them in several threads."""
        size = sum(len(value) for _, value in entries)
        if self.pool is None or size < 2 * _SHARE:
            return (make_value(key, value, codec) for key, value in entries)
        step = max(1, len(entries) * _SHARE // size)
        shares = [entries[i : i + step] for i in range(0, len(entries), step)]
        made = self.pool.map(lambda share: [make_value(key, value, codec) for key, value in share], shares)
        return (each for share in made for each in share)

    def log(self, record: Mapping[str, Any]) -> bytes:
        """Add a record to the mutation log."""
        data = canonical.encode({**record, "time": now()})
        value, objects = make_value(bytes(LOG_KEY), data)
        mark = object_id(ObjectType.BLOB, data)[: LOG_KEY // 2]
        self._logged.append((mark, value))
        for item in objects:
            self._objects[item.id] = item
        return mark

    @property
    def followed(self) -> bool:
        """Whether somebody is told."""
        return bool(self.followers())

    def tell(self, event: object) -> None:
        """Tell followers of an event."""
        for follower in self.followers():
            datatype(follower.instance.typename).follow(follower.instance, follower, self, event)

    def keep(self, content: bytes) -> str:
        """Keep content in the blobstore."""
        self.kept.append(content)
        return reference_of(fnv1_128(content))

    def take_labels(self, n: int) -> list[int]:
        """The next n labels of the instance."""
        taken = sum(map(len, self._labels))
        counter = label_counter(self.instance.uuid)
        self._labels = lowest(self._database.reader, self.home.id, counter, taken + n)
        return list(chain.from_iterable(self._labels))[taken:]

    def meet_label(self, label: int) -> None:
        """Labels up to this one are never given out."""
        self._met.add(label)

    def numbers(self) -> Numbers | None:
        """The labels that were taken and met."""
        if not self._labels and not self._met:
            return None
        return Numbers(self.home.id, label_counter(self.instance.uuid), self._labels, sorted(self._met))

    def set_property(self, name: str, value: Any) -> None:
        """Change a property of the instance."""
        if not name or "/" in name:
            raise BadRequest(f"{name!r} cannot be the name of a property")
        self.properties[f"data/{self.instance.uuid}/property/{name}"] = value

    def place(self, space: str, values: Iterable[tuple[bytes, Value | None]]) -> None:
        """Set or remove keys by tree values, whose objects are stored already."""
        self._changed.setdefault(space, {}).update(values)

    @property
    def changes(self) -> Mapping[str, Mapping[bytes, Value | None]]:
        """What was put, by key space and key; None where it was deleted."""
        return self._changed

    @property
    def logged(self) -> Sequence[tuple[bytes, Value]]:
        """Records for the mutation log: the last half of each key, and the value."""
        return self._logged

    @property
    def objects(self) -> list[Object]:
        """What the changes refer to."""
        return list(self._objects.values())

    def restore(self, space: str, entries: Iterable[tuple[bytes, Value | None]]) -> None:
        """Put keys to values that the store has already; None removes."""
        self._changed.setdefault(space, {}).update(entries)

    def delete(self, space: str, key: bytes) -> None:
        """Remove a key."""
        check_key(key)
        self._changed.setdefault(space, {})[key] = None

    def locate(self, space: str, keys: Sequence[bytes]) -> list[Value | None]:
        """As a snapshot, own changes first; what was read must still stand at the end."""
        for key in keys:
            check_key(key)
        base, staged = self._staged(space, keys)
        if self._epoch is None and base.layers:
            self._epoch = base.layers[0].epoch
        found = self._resolve(space, keys, base, staged.layers)
        for key, value in zip(keys, found, strict=True):
            self._reads.setdefault((space, key), (staged.moment, value))
        changed = self._changed.get(space, {})
        return [changed.get(key, value) for key, value in zip(keys, found, strict=True)]

    def confirm(self) -> None:
        """Look again at all that was read, at a later moment.

        Raises:
            StaleRead: it is not what it was.
        """
        reads, self._reads, self._epoch = self._reads, {}, None
        spaces: dict[str, list[bytes]] = {}
        for space, key in reads:
            spaces.setdefault(space, []).append(key)
        for space, keys in spaces.items():
            self.locate(space, keys)
        if any(self._reads[at][1] != value for at, (_, value) in reads.items()):
            raise StaleRead("what the request read has changed meanwhile")

    def scan(
        self, space: str, lo: bytes = b"", hi: bytes | None = None, *, bare: bool = False
    ) -> Iterator[tuple[list[bytes], list[Value]]]:
        """As a snapshot, with own changes laid over."""
        changed = self._changed.get(space, {})
        own = sorted(k for k in changed if k >= lo and (hi is None or k < hi))
        batches = super().scan(space, lo, hi, bare=bare)
        return present(overlaid([in_batches([(key, changed[key]) for key in own]), batches])) if own else batches

    def count(self, space: str) -> int:
        """As a snapshot, with own changes counted."""
        n = super().count(space)
        changed = self._changed.get(space, {})
        for before, after in zip(super().locate(space, list(changed)), changed.values(), strict=True):
            n += (after is not None) - (before is not None)
        return n

    @property
    def defers(self) -> bool:
        """Whether values are put off."""
        spaces = deferred_spaces(self.instance.typename)
        return any(b"" in self._changed.get(space, {}).values() for space in spaces)

    def stage(self, version: int, *, sealed: bool = False) -> Stage | None:
        """The operation that makes the changes; None if there are none. Many changes of a space become a run of it."""
        rows: list[Row] = []
        runs: list[NewRun] = []
        writer = NodeWriter(self.nodes)
        for space, changed in sorted(self._changed.items()):
            entries = sorted(changed.items(), key=lambda item: item[0])
            if len(entries) > RUN:
                runs.append(make_run(writer, space, in_batches(entries)))
            else:
                rows += [row_of(space, key, value) for key, value in entries]
        numbers = self.numbers()
        if not rows and not runs and not self._logged and numbers is None:
            return None
        objects = [*self.objects, *writer.take()]
        epoch = self._epoch or 0
        moments = self.moments()
        marked = bool(self._logged) and datatype(self.instance.typename).marks
        return Stage(
            version,
            self.number,
            rows,
            moments,
            objects,
            epoch,
            self.home.id,
            self._logged,
            marked=marked,
            runs=runs,
            numbers=numbers,
            sealed=sealed,
        )

    def moments(self) -> dict[tuple[str, bytes], int]:
        """When each key was read."""
        return {at: moment for at, (moment, _) in self._reads.items()}

    def again(self, operation: Stage) -> Stage:
        """The operation, on what was confirmed meanwhile."""
        return replace(operation, reads=self.moments(), epoch=self._epoch or 0)


class _Overlay:
    """The store as a transaction sees it: with the objects that it is about to add."""

    def __init__(self, fresh: Mapping[bytes, Object], store: ObjectStore) -> None:
        self._fresh = fresh
        self._store = store

    def get_many(self, ids: Sequence[bytes]) -> list[Object | None]:
        """As `ObjectStore.get_many`."""
        if not self._fresh:
            return self._store.get_many(ids)
        stored = iter(self._store.get_many([name for name in ids if name not in self._fresh]))
        return [self._fresh[name] if name in self._fresh else next(stored) for name in ids]

    def has_many(self, ids: Sequence[bytes]) -> list[bool]:
        """As `ObjectStore.has_many`."""
        return [name in self._fresh or there for name, there in zip(ids, self._store.has_many(ids), strict=True)]

    def put_many(self, objects: Sequence[Object]) -> None:
        """As `ObjectStore.put_many`."""
        self._store.put_many(objects)
