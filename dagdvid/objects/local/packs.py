"""The pack files of a folder: which there are, and reading their entries."""

from __future__ import annotations

import errno
import logging
import mmap
import threading
from collections.abc import Sequence
from pathlib import Path

from dagdvid.errors import Corrupt, DagdvidError, UnavailableError
from dagdvid.objects.local.database import Database
from dagdvid.objects.local.files import Files
from dagdvid.objects.local.pack import ENTRY_SIZE, PackIndex, decode_entry, scan_entries
from dagdvid.objects.store import Object

__all__ = ["Location", "Packs"]

Location = tuple[int, int, int]
"""Pack number, offset, bytes of the payload."""

_MARKS = 500
_WHOLE = 64 * 2**10
"""Bytes of a payload up to which one more copy costs less than one more read."""

log = logging.getLogger(__name__)


class Packs:
    """Reads packs. Sealed ones are found through their mapped indexes, entries of open ones through the database.

    A pack that is damaged or missing does not stop the others: it is named in `damaged`, what can be read is served.
    """

    def __init__(self, folder: Path, database: Database, files: Files) -> None:
        self.folder = folder
        self.files = files
        self.database = database
        self.damaged: dict[str, str] = {}
        """By the name of a pack: what was found wrong with it when it was opened."""
        self._lock = threading.Lock()
        self._fds: dict[int, int] = {}
        self._indexes: dict[int, PackIndex] = {}
        """Replaced, never changed, so that readers need no lock."""
        self.reload()

    def path(self, name: str) -> Path:
        """The file of a pack."""
        return self.folder / f"{name}.pack"

    def reload(self) -> None:
        """Learn of packs that were sealed since, by any process."""
        sealed = self.database.rows("SELECT no, name FROM packs WHERE state = 'sealed' ORDER BY no")
        with self._lock:
            fresh = {no: self._open_index(no, name) for no, name in sealed if no not in self._indexes}
            if fresh:
                self._indexes = self._indexes | fresh

    def locate(self, ids: Sequence[bytes]) -> dict[bytes, Location]:
        """Where objects lie; absent ones are left out."""
        indexes = self._indexes
        found = self._locate_once(indexes, ids)
        if len(found) < len(set(ids)):
            # An entry leaves the database when its pack is sealed: a miss counts once no pack was sealed in between.
            self.reload()
            if self._indexes is not indexes:
                found |= self._locate_once(self._indexes, [name for name in ids if name not in found])
        return found

    def _locate_once(self, indexes: dict[int, PackIndex], ids: Sequence[bytes]) -> dict[bytes, Location]:
        found: dict[bytes, Location] = {}
        rest = []
        newest_first = list(reversed(indexes.items()))
        for name in ids:
            for no, index in newest_first:
                entry = index.find(name)
                if entry:
                    found[name] = no, entry.offset, entry.stored
                    break
            else:
                rest.append(name)
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
            fd = self._fd(no)
            if stored <= _WHOLE:
                return decode_entry(name, self.files.read(fd, ENTRY_SIZE + stored, offset))
            head = self.files.read(fd, ENTRY_SIZE, offset)
            return decode_entry(name, head, self.files.read(fd, stored, offset + ENTRY_SIZE))
        except OSError as error:
            raise _failure(self._name(no), error) from error
        except Corrupt as error:
            raise Corrupt(f"pack {self._name(no)} is damaged at byte {offset}: {error}") from None

    def indexes(self) -> dict[int, PackIndex]:
        """The indexes of the sealed packs, by number."""
        return dict(self._indexes)

    def forget(self, no: int) -> None:
        """A sealed pack is no more."""
        with self._lock:
            self._indexes = {number: index for number, index in self._indexes.items() if number != no}

    def sealed_objects(self) -> int:
        """How many objects the sealed packs hold."""
        return sum(index.n for index in self._indexes.values())

    def note(self, name: str, problem: str) -> None:
        """Remember that a pack is damaged."""
        log.error("%s; its objects are served as far as they are intact: run dagdvid fsck", problem)
        self.damaged[name] = problem

    def close(self) -> None:
        """Close all files."""
        with self._lock:
            for index in self._indexes.values():
                index.close()
            for fd in self._fds.values():
                self.files.close(fd)
            self._indexes = {}
            self._fds.clear()

    def _name(self, no: int) -> str:
        rows = self.database.rows("SELECT name FROM packs WHERE no = ?", (no,))
        if not rows:
            raise Corrupt(f"pack {no} is not in the catalogue")
        return str(rows[0][0])

    def _fd(self, no: int) -> int:
        fd = self._fds.get(no)
        if fd is None:
            opened = self.files.open(self.path(self._name(no)))
            with self._lock:
                fd = self._fds.setdefault(no, opened)
            if fd != opened:
                self.files.close(opened)
        return fd

    def _open_index(self, no: int, name: str) -> PackIndex:
        """The index of a sealed pack; made anew if it is damaged, empty if the file is gone."""
        try:
            if no not in self._fds:
                self._fds[no] = self.files.open(self.path(name))
            data = mmap.mmap(self._fds[no], 0, prot=mmap.PROT_READ)
        except OSError as error:
            failure = _failure(name, error)
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


def _failure(name: str, error: OSError) -> DagdvidError:
    """What a failed call says of a pack: that it is damaged, or that this process cannot have it now."""
    kind = Corrupt if error.errno in (errno.ENOENT, errno.EIO) else UnavailableError
    return kind(f"pack {name} cannot be read: {error.strerror}")
