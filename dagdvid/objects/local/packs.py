"""The pack files of a folder: which there are, where objects lie in them, and reading their entries."""

from __future__ import annotations

import errno
import logging
import mmap
import sqlite3
import threading
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from dagdvid.errors import Corrupt, DagdvidError, UnavailableError
from dagdvid.objects.local.database import Database
from dagdvid.objects.local.files import Files
from dagdvid.objects.local.pack import ENTRY_SIZE, PackIndex, decode_entry, scan_entries
from dagdvid.objects.local.tier import Asked, Tier
from dagdvid.objects.store import Object

__all__ = ["Location", "Packs", "View", "note_change"]

Location = tuple[int, int, int]
"""Pack number, offset, bytes of the payload."""

_MARKS = 500
_WHOLE = 64 * 2**10
"""Bytes of a payload up to which one more copy costs less than one more read."""
_OPEN = 256
"""Packs that are kept open."""
_TRIES = 5

log = logging.getLogger(__name__)


def note_change(conn: sqlite3.Connection) -> None:
    """Tell all processes that packs were sealed or given up, or tiers made."""
    conn.execute("INSERT INTO counters VALUES ('packs', 1) ON CONFLICT DO UPDATE SET value = value + 1")


@dataclass(frozen=True)
class View:
    """The sealed packs, as they were at one moment."""

    generation: int = -1
    names: Mapping[int, str] = field(default_factory=dict)
    """Of all of them, by number."""
    tiers: Mapping[int, Tier] = field(default_factory=dict)
    """By number, the newest first."""
    tiered: Mapping[int, int] = field(default_factory=dict)
    """The tier of each pack that is found through one."""
    loose: Mapping[int, PackIndex] = field(default_factory=dict)
    """The indexes of all others, the newest first."""

    @cached_property
    def by_size(self) -> list[Tier]:
        """The tiers, those first that have the most objects, and so most likely the one that is looked for."""
        return sorted(self.tiers.values(), key=lambda tier: -tier.n)


class Packs:
    """Reads packs. Sealed ones are found through tiers or their own indexes, entries of open ones in the database.

    A pack that is damaged or missing does not stop the others: it is named in `damaged`, what can be read is served.
    """

    def __init__(self, folder: Path, indexes: Path, database: Database, files: Files) -> None:
        """`folder` holds the packs, `indexes` the files of tiers."""
        self.folder = folder
        self.indexes_folder = indexes
        self.files = files
        self.database = database
        self.damaged: dict[str, str] = {}
        """By the name of a pack: what was found wrong with it when it was opened."""
        self.view = View()
        """Replaced, never changed, so that readers need no lock."""
        self._lock = threading.Lock()
        self._files: dict[int, _File] = {}
        self.reload()

    def path(self, name: str) -> Path:
        """The file of a pack."""
        return self.folder / f"{name}.pack"

    def tier_path(self, name: str) -> Path:
        """The file of a tier."""
        return self.indexes_folder / f"{name}.tier"

    def reload(self) -> bool:
        """Learn of packs that were sealed or given up since, by any process; whether there was anything to learn."""
        rows = self.database.rows("SELECT value FROM counters WHERE name = 'packs'")
        generation = int(rows[0][0]) if rows else 0
        if generation == self.view.generation:
            return False
        with self._lock:
            self.view = self._load()
        return True

    def _load(self) -> View:
        before = self.view
        for last in [False] * _TRIES + [True]:
            # The generation first: what changes behind it is looked for again.
            rows = self.database.rows("SELECT value FROM counters WHERE name = 'packs'")
            generation = int(rows[0][0]) if rows else 0
            sealed = self.database.rows("SELECT no, name, length FROM packs WHERE state = 'sealed' ORDER BY no DESC")
            tiers: dict[int, Tier] = {}
            missing = False
            for no, name in self.database.rows("SELECT no, name FROM tiers ORDER BY no DESC"):
                if name in self.damaged:
                    continue
                try:
                    tiers[no] = before.tiers.get(no) or Tier(self.tier_path(name), self.files)
                except (OSError, Corrupt) as error:
                    if isinstance(error, OSError) and error.errno not in (errno.ENOENT, errno.EIO):
                        raise _failure(f"index {name}", error) from error
                    missing = True  # a newer one may have taken its place; else its packs have their own indexes
            if last or not missing:
                break
        rows = self.database.rows("SELECT pack, tier FROM tiered")
        sizes = self.files.sizes(self.folder) if sealed else {}
        names, loose = {}, {}
        tiered = {pack: tier for pack, tier in rows if tier in tiers}
        for no, name, length in sealed:
            names[no] = name
            if no in tiered and (no in before.tiered or sizes.get(f"{name}.pack") == length):
                continue
            tiered.pop(no, None)
            loose[no] = before.loose.get(no) or self._open_index(no, name)
        for no in before.names.keys() - names.keys():
            self._files.pop(no, None)
            self.damaged.pop(before.names[no], None)  # what was given up is no damage any more
        return View(generation, names, tiers, {no: tier for no, tier in tiered.items() if no in names}, loose)

    def doubt(self) -> bool:
        """Check the tiers, each once; whether one is damaged, so that more may be found without it."""
        bad = False
        for tier in self.view.tiers.values():
            if tier.checked:
                continue
            try:
                tier.check()
            except Corrupt as error:
                self.note(tier.name, str(error))
                bad = True
        if bad:
            with self._lock:
                self.view = self._load()
        return bad

    def locate(self, ids: Sequence[bytes], without: Container[int] = ()) -> dict[bytes, Location]:
        """Where objects lie, other than in certain packs; absent ones are left out."""
        view = self.view
        found = self._locate_once(view, ids, without)
        if len(found) < len(set(ids)):
            # An entry leaves the database when its pack is sealed: a miss counts once no pack was sealed in between.
            self.reload()
            if self.view is not view:
                found |= self._locate_once(self.view, [name for name in ids if name not in found], without)
        return found

    def _locate_once(self, view: View, ids: Sequence[bytes], without: Container[int]) -> dict[bytes, Location]:
        found: dict[bytes, Location] = {}
        rest = sorted(ids) if len(ids) > 1 else list(ids)  # neighbours are found near each other
        for no, index in view.loose.items():
            for name in rest if no not in without else ():
                entry = index.find(name)
                if entry:
                    found[name] = no, entry.offset, entry.stored
        rest = [name for name in rest if name not in found] if found else rest
        asked = Asked(rest)
        for tier in view.by_size:
            if not rest:
                return found
            here = {
                name: (no, at, stored)
                for name, no, at, stored in tier.find(asked)
                if no in view.tiered and no not in without
            }
            if here:
                found |= here
                rest = [name for name in rest if name not in here]
                asked = Asked(rest)
        for start in range(0, len(rest), _MARKS):
            part = rest[start : start + _MARKS]
            marks = ",".join("?" * len(part))
            sql = f"SELECT id, pack, start, stored FROM entries WHERE id IN ({marks})"  # noqa: S608  marks only
            for name, no, offset, stored in self.database.rows(sql, part):
                found[name] = no, offset, stored
        return found

    def read(self, name: bytes, location: Location) -> Object:
        """The object at a location.

        Raises:
            Corrupt: its entry is damaged, or its pack is missing or unreadable; the message names the pack.
            UnavailableError: its pack cannot be opened for now.
        """
        no, offset, stored = location
        try:
            file = self._files.get(no) or self._open(no)
            if stored <= _WHOLE:
                return decode_entry(name, self.files.read(file.fd, ENTRY_SIZE + stored, offset))
            head = self.files.read(file.fd, ENTRY_SIZE, offset)
            return decode_entry(name, head, self.files.read(file.fd, stored, offset + ENTRY_SIZE))
        except OSError as error:
            raise _failure(f"pack {self._name(no)}", error) from error
        except Corrupt as error:
            raise Corrupt(f"pack {self._name(no)} is damaged at byte {offset}: {error}") from None

    def indexes(self, only: Container[int] | None = None) -> Iterator[tuple[int, PackIndex]]:
        """The own index of each sealed pack, or of some, by number."""
        view = self.view
        for no, name in sorted(view.names.items()):
            if only is not None and no not in only:
                continue
            yield no, view.loose.get(no) or self._open_index(no, name)

    def check(self) -> None:
        """Read the indexes of all sealed packs, and the tiers made of them; what is damaged is noted."""
        for _ in self.indexes():
            pass
        for tier in self.view.tiers.values():
            try:
                tier.check()
            except Corrupt as error:
                self.note(tier.name, str(error))

    def forget(self, no: int) -> None:
        """A sealed pack is no more."""
        with self._lock:
            view = self.view
            self._files.pop(no, None)
            self.view = View(
                view.generation,
                {key: value for key, value in view.names.items() if key != no},
                view.tiers,
                {key: value for key, value in view.tiered.items() if key != no},
                {key: value for key, value in view.loose.items() if key != no},
            )

    def sealed_objects(self) -> int:
        """How many objects the sealed packs hold; one that was stored twice may count twice."""
        view = self.view
        return sum(index.n for index in view.loose.values()) + sum(tier.n for tier in view.tiers.values())

    def note(self, name: str, problem: str) -> None:
        """Remember that a pack is damaged."""
        if name not in self.damaged:
            log.error("%s; its objects are served as far as they are intact: run dagdvid fsck", problem)
        self.damaged[name] = problem

    def close(self) -> None:
        """Close all files."""
        with self._lock:
            for index in self.view.loose.values():
                index.close()
            for tier in self.view.tiers.values():
                tier.close()
            self.view = View()
            self._files.clear()

    def _name(self, no: int) -> str:
        name: str | None = self.view.names.get(no)
        if name is None:
            rows = self.database.rows("SELECT name FROM packs WHERE no = ?", (no,))
            if not rows:
                raise Corrupt(f"pack {no} is not in the catalogue")
            name = str(rows[0][0])
        return name

    def _open(self, no: int) -> _File:
        """A pack's file, kept open among the last ones; one that leaves them is closed when its last reader is done."""
        file = _File(self.files, self.files.open(self.path(self._name(no))))
        with self._lock:
            while len(self._files) >= _OPEN:
                del self._files[next(iter(self._files))]
            return self._files.setdefault(no, file)

    def _open_index(self, no: int, name: str) -> PackIndex:
        """The index of a sealed pack; made anew if it is damaged, empty if the file is gone."""
        try:
            file = self._files.get(no) or _File(self.files, self.files.open(self.path(name)))
            data = mmap.mmap(file.fd, 0, prot=mmap.PROT_READ)
        except OSError as error:
            failure = _failure(f"pack {name}", error)
            if not self.database.rows("SELECT 1 FROM packs WHERE no = ? AND state = 'sealed'", (no,)):
                return PackIndex.rebuilt([])  # it was given up this moment
            if not isinstance(failure, Corrupt):
                raise failure from error
            self.note(name, str(failure))
            return PackIndex.rebuilt([])
        except ValueError:
            self.note(name, f"pack {name} is empty")
            return PackIndex.rebuilt([])
        try:
            return PackIndex.mapped(data, name)
        except Corrupt as error:
            self.note(name, str(error))
            with data:
                return PackIndex.rebuilt(list(scan_entries(data)))


class _File:
    """An open file, closed when nobody uses it any more."""

    __slots__ = ("_files", "fd")

    def __init__(self, files: Files, fd: int) -> None:
        self._files, self.fd = files, fd

    def __del__(self) -> None:
        with suppress(OSError):
            self._files.close(self.fd)


def _failure(what: str, error: OSError) -> DagdvidError:
    """What a failed call says of a file: that it is damaged, or that this process cannot have it now."""
    kind = Corrupt if error.errno in (errno.ENOENT, errno.EIO) else UnavailableError
    return kind(f"{what} cannot be read: {error.strerror}")
