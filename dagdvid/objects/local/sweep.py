"""Gives back the room of what nothing refers to: packs without live objects go, others once copied (SPEC 4.7, 4.12).

Safe beside writers: what lies in a pack that is to go is condemned first, so that whoever stores it stores it again.
What was copied is durable before its old pack is given up, so that a crash leaves at most some objects stored twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from dagdvid.errors import Corrupt
from dagdvid.objects.local.appending import PACK_LIMIT
from dagdvid.objects.local.collection import Condemn, Forget, Retire
from dagdvid.objects.local.marks import Marks
from dagdvid.objects.local.operation import Put
from dagdvid.objects.local.pack import ENTRY_SIZE, Entry
from dagdvid.objects.local.store import LocalStore

__all__ = ["Plan", "Sweep", "Swept", "remove_files"]

_WORTH = 0.1
"""A pack is copied if at least this part of it is garbage."""
_SMALL, _MANY = PACK_LIMIT // 8, 8
"""Packs of fewer bytes are copied into one if there are so many of a kind."""
_SLICE, _SLICE_PACKS = 2**30, 256
"""Bytes that are copied, and packs, before the packs that they came from are given up."""
_BATCH = 4 * 2**20
"""Bytes of objects that are stored together, so that nobody who writes waits long."""


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


class Plan(NamedTuple):
    """A pack that is to go."""

    no: int
    dead: int
    """Objects without a mark."""
    bytes: int
    """Bytes of theirs."""
    kept: int
    """Bytes of the others."""


@dataclass
class Sweep:
    """One run. `late` has the objects that were marked since the plans were made."""

    store: LocalStore
    marks: Marks
    total: Swept = field(default_factory=Swept)
    objects_copied: int = 0
    late: list[bytes] = field(default_factory=list)

    def plans(self) -> list[Plan]:
        """Which packs are to go, those first that cost least."""
        found: list[Plan] = []
        small: dict[int, list[Plan]] = {}
        rows = self.store.database.rows("SELECT no, kind, length FROM packs WHERE state = 'sealed'")
        about = {no: (kind, length) for no, kind, length in rows}
        for no, index in self.store.packs.indexes():
            if (
                no not in about
                or no not in self.marks.packs
                or self.store.packs.view.names[no] in self.store.packs.damaged
            ):
                continue
            dead, kept = self.marks.sorted_out(no, index)
            plan = Plan(no, len(dead), _bytes(dead), _bytes(kept))
            kind, length = about[no]
            if not kept or (dead and plan.bytes >= _WORTH * (plan.bytes + plan.kept)):
                found.append(plan)
            elif length < _SMALL:
                small.setdefault(kind, []).append(plan)
        for plans in small.values():
            if len(plans) >= _MANY:
                found += plans
        return sorted(found, key=lambda plan: plan.kept)

    def run(self, number: int, plans: Sequence[Plan], seen: Callable[[], Iterator[int]]) -> Iterator[Swept]:
        """Give up packs, some at a time, in the collection with a number; yields the totals now and then.

        seen: looks at what was noted, which may mark more; yields the last note that it has looked at, at first not
        before everybody has gone who was there before the collection.
        """
        self.store.run(Condemn(number, [plan.no for plan in plans]))
        for part in _slices(plans):
            nos = [plan.no for plan in part]
            self.late.clear()
            for no in nos:
                for _ in self._copy(no):
                    yield self.total
            while True:
                last = 0
                for last in seen():  # noqa: B007  it is the last that counts
                    yield self.total
                self._copy_late(frozenset(nos))
                if self.store.run(Retire(number, last, nos)):
                    break
            self.store.packs.reload()
            for plan in part:
                self.total.packs += 1
                self.total.objects += plan.dead
                self.total.bytes += plan.bytes
            remove_files(self.store)
            yield self.total

    def _copy(self, no: int) -> Iterator[None]:
        packs = self.store.packs
        [(_, index)] = packs.indexes([no])
        _, kept = self.marks.sorted_out(no, index)
        for batch in _batches(kept):
            try:  # from this very pack: what cannot be read of it must not go
                objects = [packs.read(entry.id, (no, entry.offset, entry.stored)) for entry in batch]
            except Corrupt as error:
                raise Corrupt(f"{error}; nothing more is collected: run dagdvid fsck") from None
            self.store.run(Put(objects, again=True))
            self.total.copied += _bytes(batch)
            self.objects_copied += len(batch)
            yield

    def _copy_late(self, condemned: frozenset[int]) -> None:
        """What was marked after its pack was condemned, perhaps after the pack was copied."""
        packs = self.store.packs
        for name, at in packs.locate(self.late).items():
            if at[0] in condemned:
                self.store.run(Put([packs.read(name, at)], again=True))
                self.objects_copied += 1
        self.late.clear()


def remove_files(store: LocalStore) -> None:
    """Remove the files of packs that were given up. That they were is on disk; their rows go last (SPEC 4.7)."""
    packs = store.packs
    dead = store.database.rows("SELECT no, name FROM packs WHERE state = 'dead'")
    for _, name in dead:
        with suppress(FileNotFoundError):
            packs.files.remove(packs.path(name))
    packs.files.sync_folder(packs.folder)
    store.run(Forget(packs=[no for no, _ in dead]))


def _slices(plans: Sequence[Plan]) -> Iterator[list[Plan]]:
    part: list[Plan] = []
    size = 0
    for plan in plans:
        if part and (size + plan.kept > _SLICE or len(part) >= _SLICE_PACKS):
            yield part
            part, size = [], 0
        part.append(plan)
        size += plan.kept
    if part:
        yield part


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
