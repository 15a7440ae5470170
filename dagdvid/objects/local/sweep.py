"""Gives back the room of objects that nothing refers to: packs without live ones go, others once copied (SPEC 4.7).

Only for a store that nobody else has open for writing: an object that is stored but not yet referred to would go, too.
What was copied is durable before its old pack is given up, so that a crash leaves at most some objects stored twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

from dagdvid.objects.local.appending import remove_dead
from dagdvid.objects.local.operation import Put
from dagdvid.objects.local.pack import ENTRY_SIZE, Entry, PackIndex
from dagdvid.objects.local.packs import note_change
from dagdvid.objects.local.store import LocalStore
from dagdvid.objects.store import Object

__all__ = ["Swept", "sweep"]

_WORTH = 0.1
"""A pack is copied if at least this part of it is garbage."""

_BATCH = 32 * 2**20


@dataclass
class Swept:
    """What a sweep did, or would do."""

    packs: int = 0
    """Packs given up."""
    objects: int = 0
    """Objects given up."""
    bytes: int = 0
    """Bytes of theirs."""
    copied: int = 0
    """Bytes of live objects that had to be copied for it."""


@dataclass(frozen=True)
class _Retire:
    """Give up a pack."""

    pack: int
    objects: Sequence[Object] = ()

    def apply(self, conn: sqlite3.Connection) -> None:
        """From now on nobody looks into it."""
        conn.execute("UPDATE packs SET state = 'dead' WHERE no = ?", (self.pack,))
        note_change(conn)


@dataclass(frozen=True)
class _RemoveDead:
    """Remove the files of packs given up."""

    store: LocalStore
    objects: Sequence[Object] = ()

    def apply(self, conn: sqlite3.Connection) -> None:
        """Files first, then their names: the other way round a crash would leave files that nobody knows."""
        remove_dead(self.store.packs, conn)


def sweep(store: LocalStore, live: Container[bytes], *, dry_run: bool = False) -> Iterator[Swept]:
    """Give up what is not live; yields the totals after each pack."""
    total = Swept()
    for no, index in store.packs.indexes():
        dead, kept = _sorted_out(index, live)
        size = _bytes(dead)
        if not dead or size < _WORTH * (size + _bytes(kept)):
            continue
        total.packs += 1
        total.objects += len(dead)
        total.bytes += size
        total.copied += _bytes(kept)
        if not dry_run:
            for batch in _batches(kept):
                # From this very pack: what cannot be read of it must not go.
                found = [store.packs.read(entry.id, (no, entry.offset, entry.stored)) for entry in batch]
                store.run(Put(found, again=True))
            store.run(_Retire(no))
            store.packs.forget(no)
        yield total
    if not dry_run:
        store.run(_RemoveDead(store))


def _sorted_out(index: PackIndex, live: Container[bytes]) -> tuple[list[Entry], list[Entry]]:
    dead: list[Entry] = []
    kept: list[Entry] = []
    for name in index:
        entry = index.find(name)
        if entry is not None:
            (kept if name in live else dead).append(entry)
    return dead, kept


def _bytes(entries: Sequence[Entry]) -> int:
    return sum(ENTRY_SIZE + entry.stored for entry in entries)


def _batches(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        batch.append(entry)
        size += entry.stored
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
