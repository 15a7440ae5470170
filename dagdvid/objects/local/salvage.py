"""Repairs packs: what is intact of a damaged one is stored anew, then its file is put aside (SPEC 4.8).

Only for a store that nobody else has open. What was copied is durable before the old pack leaves the catalogue, so that
a crash on the way leaves at most some objects stored twice, and the next run goes on from there.
"""

from __future__ import annotations

import mmap
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from dagdvid.errors import Corrupt
from dagdvid.objects.ids import ID_SIZE
from dagdvid.objects.local.operation import Put
from dagdvid.objects.local.pack import ENTRY_SIZE, Entry, PackIndex, decode_entry, scan_entries
from dagdvid.objects.local.packs import Packs, note_change
from dagdvid.objects.local.store import LocalStore
from dagdvid.objects.store import Object, verified

__all__ = ["ASIDE", "Inspected", "inspect", "salvage"]

ASIDE = ".damaged"
"""What the name of a damaged pack's file ends in once it is put aside; nothing here looks at it again."""

_BATCH = 16 * 2**20


@dataclass
class Inspected:
    """One pack of the catalogue, read from end to end."""

    no: int
    name: str
    problem: str = ""
    """What is wrong with its file or its index; the index itself is no measure then."""
    intact: list[Entry] = field(default_factory=list)
    bad: list[bytes] = field(default_factory=list)
    """Ids that its index, or the database, names and that could not be read."""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong with it."""
        return not self.problem and not self.bad


@dataclass(frozen=True)
class _Drop:
    """Take a pack out of the catalogue."""

    pack: int
    objects: Sequence[Object] = ()

    def apply(self, conn: sqlite3.Connection) -> None:
        """Entries too, if it was never sealed."""
        conn.execute("DELETE FROM packs WHERE no = ?", (self.pack,))
        conn.execute("DELETE FROM entries WHERE pack = ?", (self.pack,))
        note_change(conn)


def inspect(packs: Packs) -> Iterator[Inspected]:
    """Read every entry of every pack in the catalogue, hash its content again, and compare with what was written."""
    rows = packs.database.rows("SELECT no, name, state FROM packs WHERE state != 'dead' ORDER BY no")
    for no, name, state in rows:
        found = Inspected(no, name)
        with suppress(OSError):
            found.bad = [row[0] for row in packs.database.rows("SELECT id FROM entries WHERE pack = ?", (no,))]
        try:
            fd = packs.files.open(packs.path(name))
        except OSError as error:
            found.problem = f"pack {name} cannot be read: {error.strerror}"
            yield found
            continue
        try:
            if packs.files.size(fd) == 0:
                found.problem = f"pack {name} is empty"
            else:
                with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as data:
                    _inspect(found, data, sealed=state == "sealed")
        finally:
            packs.files.close(fd)
        yield found


def salvage(store: LocalStore, found: Inspected) -> None:
    """Store anew what is intact of a damaged pack, and put its file aside."""
    packs = store.packs
    path = packs.path(found.name)
    with suppress(FileNotFoundError):
        fd = packs.files.open(path)
        try:
            for batch in _batches(found.intact):
                objects = [_read(packs, fd, entry) for entry in batch]
                store.run(Put(objects, again=True))
        finally:
            packs.files.close(fd)
        packs.files.rename(path, path.with_name(path.name + ASIDE))
        packs.files.sync_folder(packs.folder)
    store.run(_Drop(found.no))
    packs.forget(found.no)
    packs.damaged.pop(found.name, None)


def _inspect(found: Inspected, data: mmap.mmap, *, sealed: bool) -> None:
    """Sort out the entries of a pack's bytes."""
    try:
        if not sealed:  # recovery would have sealed it, were it whole
            raise Corrupt(f"pack {found.name} is shorter than what was acknowledged of it")
        index = PackIndex.mapped(data, found.name)
        listed = [entry for entry in map(index.find, index) if entry is not None]
        del index
    except Corrupt as error:
        found.problem = str(error)
        found.intact = list(scan_entries(data))
    else:
        good = {entry.id for entry in listed if _intact(data, entry)}
        found.intact = [entry for entry in listed if entry.id in good]
        found.bad = [entry.id for entry in listed if entry.id not in good]
    there = {entry.id for entry in found.intact}
    found.bad = [name for name in found.bad if name not in there]


def _intact(data: mmap.mmap, entry: Entry) -> bool:
    try:
        verified(decode_entry(entry.id, data[entry.offset : entry.offset + ENTRY_SIZE + entry.stored]))
    except Corrupt:
        return False
    return True


def _read(packs: Packs, fd: int, entry: Entry) -> Object:
    return decode_entry(entry.id, packs.files.read(fd, ENTRY_SIZE + entry.stored, entry.offset))


def _batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        batch.append(entry)
        size += entry.stored + ID_SIZE
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
