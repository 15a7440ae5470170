"""Transactions: what a datatype writes. Changes are hashed and encoded here, and staged in one operation at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor

from dagdvid.objects.blobs import make_value
from dagdvid.objects.store import Object
from dagdvid.objects.tree.node import Value
from dagdvid.repo.snapshot import VersionSnapshot, check_key, overlay
from dagdvid.repo.staging import Row, Stage, row_of

__all__ = ["VersionTxn"]

_PARALLEL = 64
"""Values from which encoding is spread over threads; hashing and compression release the GIL."""


class VersionTxn(VersionSnapshot):
    """A snapshot that takes changes (see `dagdvid.datatype.Txn`)."""

    pool: Executor | None = None
    """Threads for encoding, if the owner has some."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._changed: dict[str, dict[bytes, Value | None]] = {}
        self._objects: dict[bytes, Object] = {}
        self._reads: dict[tuple[str, bytes], int] = {}

    def put(self, space: str, key: bytes, value: bytes, codec: int | None = None) -> None:
        """Set a key."""
        self.put_many(space, [(key, value)], codec)

    def put_many(self, space: str, items: Iterable[tuple[bytes, bytes]], codec: int | None = None) -> None:
        """Set many keys."""
        changed = self._changed.setdefault(space, {})
        entries = list(items)
        for key, _ in entries:
            check_key(key)
        run = self.pool.map if self.pool is not None and len(entries) >= _PARALLEL else map
        made = run(lambda item: make_value(item[0], item[1], codec), entries)
        for (key, _), (value, objects) in zip(entries, made, strict=True):
            changed[key] = value
            for item in objects:
                self._objects[item.id] = item

    def delete(self, space: str, key: bytes) -> None:
        """Remove a key."""
        check_key(key)
        self._changed.setdefault(space, {})[key] = None

    def locate(self, space: str, keys: Sequence[bytes]) -> list[Value | None]:
        """As a snapshot, own changes first; what was read must still stand at the end."""
        for key in keys:
            check_key(key)
        base, staged = self._staged(space, keys)
        own = staged[0] if staged else {}  # the layers below are sealed and cannot change
        for key in keys:
            self._reads.setdefault((space, key), own[key][1] if key in own else 0)
        changed = self._changed.get(space, {})
        found = self._resolve(space, keys, base, staged)
        return [changed.get(key, value) for key, value in zip(keys, found, strict=True)]

    def load(self, located: Sequence[Value | None]) -> list[bytes | None]:
        """The bytes of located values, stored or about to be."""
        if not self._objects:
            return super().load(located)
        result: list[bytes | None] = []
        for value in located:
            item = self._objects.get(value.id) if isinstance(value, tuple) else None
            if item is not None and value is not None and item.size == value.size:  # type: ignore[union-attr]
                result.append(item.data())
            else:
                result.append(super().load([value])[0])
        return result

    def scan(self, space: str, lo: bytes = b"", hi: bytes | None = None) -> Iterator[tuple[list[bytes], list[Value]]]:
        """As a snapshot, with own changes laid over."""
        changed = self._changed.get(space, {})
        own = sorted((k, v) for k, v in changed.items() if k >= lo and (hi is None or k < hi))
        batches = super().scan(space, lo, hi)
        return overlay(batches, own) if own else batches

    def stage(self, version: int) -> Stage | None:
        """The operation that makes the changes; None if there are none."""
        rows: list[Row] = [
            row_of(space, key, value)
            for space, changed in sorted(self._changed.items())
            for key, value in sorted(changed.items(), key=lambda item: item[0])
        ]
        if not rows:
            return None
        return Stage(version, self.number, rows, self._reads, list(self._objects.values()))
