"""Makes the database of a folder anew from its packs, when it is damaged or gone (SPEC 4.8)."""

from __future__ import annotations

import mmap
from collections.abc import Container, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from dagdvid.errors import BadRequest, Corrupt
from dagdvid.objects.local.database import Database
from dagdvid.objects.local.files import Files
from dagdvid.objects.local.pack import (
    BLOBS,
    ENTRY_SIZE,
    HEADER_SIZE,
    NODES,
    TYPE_AT,
    Entry,
    PackIndex,
    decode_entry,
    encode_header,
    scan_entries,
)
from dagdvid.objects.local.salvage import ASIDE
from dagdvid.objects.local.schema import TABLES
from dagdvid.objects.local.store import DATABASE, INFO, PACKS, LocalStore
from dagdvid.objects.store import Object

__all__ = ["objects_of", "rebuild_database"]

_SIDE_FILES = ("", "-wal", "-shm")


def rebuild_database(folder: Path, tables: str) -> Iterator[tuple[str, int]]:
    """Put the database aside and make one that knows the packs of the folder. The caller holds the folder.

    Yields the name of each pack, with the number of its objects. `tables`: those of the layers above, left empty.

    Raises:
        BadRequest: it is no data directory.
    """
    if not (folder / INFO).is_file() or not (folder / PACKS).is_dir():
        raise BadRequest(f"there is no dagdvid data in {folder}")
    files = Files()
    _put_aside(folder, files)
    with closing(Database(folder / DATABASE)) as database:
        conn = database.connect(write=True)
        conn.executescript(TABLES + tables)
        for path in sorted((folder / PACKS).glob("*.pack")):
            if not path.stat().st_size:
                continue
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
                found = _look(path, data)
            conn.execute("BEGIN IMMEDIATE")
            (no,) = conn.execute(
                "INSERT INTO packs (name, kind, state, length) VALUES (?, ?, ?, ?) RETURNING no",
                (path.stem, found.kind, found.state, found.length),
            ).fetchone()
            rows = [(e.id, no, e.offset, e.stored) for e in found.entries]
            conn.executemany("INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?)", rows)
            conn.execute("COMMIT")
            yield path.stem, found.n


class _Look(NamedTuple):
    kind: int
    state: str
    length: int
    n: int
    entries: list[Entry] = []  # noqa: RUF012  never changed


def _look(path: Path, data: mmap.mmap) -> _Look:
    """What a pack file is: sealed; or open, to be sealed at the next opening with what can be read of it."""
    kind = data[8] if len(data) > 8 and data[8] in (NODES, BLOBS) else BLOBS
    try:
        return _Look(kind, "sealed", len(data), PackIndex.mapped(data, path.stem).n)
    except Corrupt:
        entries = list(scan_entries(data))
    if encode_header(kind, bytes.fromhex(path.stem)) != data[:HEADER_SIZE]:  # for `salvage`
        return _Look(kind, "sealed", len(data), len(entries))
    length = max((e.offset + ENTRY_SIZE + e.stored for e in entries), default=HEADER_SIZE)
    return _Look(kind, "open", length, len(entries), entries)


def _put_aside(folder: Path, files: Files) -> None:
    """Rename the database and its side files; what was put aside before is kept, too."""
    taken = [path.name for path in folder.glob(f"{DATABASE}*{ASIDE}*")]
    number = next(n for n in range(1, len(taken) + 2) if f"{DATABASE}{ASIDE}-{n}" not in taken)
    for side in reversed(_SIDE_FILES):
        path = folder / f"{DATABASE}{side}"
        if path.exists():
            files.rename(path, folder / f"{DATABASE}{side}{ASIDE}-{number}")
    files.sync_folder(folder)


def objects_of(store: LocalStore, types: Container[int]) -> Iterator[Object]:
    """All intact objects of some types, all of structure, that the sealed packs hold."""
    for (name,) in store.database.rows("SELECT name FROM packs WHERE state = 'sealed' AND kind = ?", (NODES,)):
        with store.packs.path(name).open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
            try:
                index = PackIndex.mapped(data, name)
            except Corrupt:
                continue
            for entry in filter(None, map(index.find, index)):
                if data[entry.offset + TYPE_AT] in types:
                    with suppress(Corrupt):
                        yield decode_entry(entry.id, data[entry.offset : entry.offset + ENTRY_SIZE + entry.stored])
            del index
