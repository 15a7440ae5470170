"""Marks what the refs reach, which garbage collection keeps (SPEC 4.12). Reads structure, not the blobs of values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from dagdvid.errors import Busy, DamageError, Lost
from dagdvid.objects.blobs import decode_blob_list
from dagdvid.objects.local.collection import KEPT, Forget
from dagdvid.objects.local.marks import Marks
from dagdvid.objects.store import Object
from dagdvid.objects.tree.node import BLOB, BLOB_LIST, Node, Ref, Value
from dagdvid.objects.tree.nodes import EMPTY
from dagdvid.repo import reflog
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.commits import Commit, decode_content
from dagdvid.repo.record import Record

__all__ = ["Marking", "triggers"]

_LIVE, _RELIED, _CONTENTS = 1, 2, 4
"""Flags: walked; noted by itself; walked as a node of a version tree, whose values name other trees."""
_BATCH = 64
_ROWS = 5000
_NOTES = 20_000
_RESTORED = "restored"

_REFS = (
    ("versions", "commit_id", "'commit'", "{row}.commit_id NOT NULL"),
    ("versions", "base", "'contents'", "{row}.base NOT NULL"),
    ("data", "record", "'record'", "{row}.record NOT NULL"),
    ("repos", "record", "'record'", "1"),
    (
        "staging",
        "value",
        "iif({row}.kind = 1, 'blob', 'list')",
        "{row}.kind = 2 OR ({row}.kind = 1 AND gc_matters({row}.value))",
    ),
    ("runs", "held", "'values'", "1"),
    ("runs", "removed", "'values'", "1"),
)
"""Table, column with an id, kind of the note, and when there is one."""


def triggers(*, forget: bool) -> list[str]:
    """SQL of triggers that note what refs named and what they come to name, by the kind of place that it has."""
    made = []

    def trigger(name: str, event: str, table: str, notes: Sequence[str]) -> None:
        made.append(f"CREATE TRIGGER gc_{name} AFTER {event} ON {table} BEGIN {' '.join(notes)} END")

    for table, column, kind, when in _REFS:
        old, new = (
            f"INSERT INTO notes (kind, id) SELECT {kind.format(row=row)}, {row}.{column} WHERE {when.format(row=row)};"
            for row in ("OLD", "NEW")
        )
        trigger(f"{table}_{column}_insert", "INSERT", table, [new])
        trigger(f"{table}_{column}_delete", "DELETE", table, [old])
        trigger(f"{table}_{column}_update", "UPDATE", table, [old, new])
    restored = f"INSERT INTO notes (kind, id) VALUES ('{_RESTORED}', CAST(NEW.uuid AS BLOB));"  # noqa: S608  a word of ours
    trigger("data_restored", "INSERT", "data", [restored])
    if not forget:
        kind = "iif(OLD.ref LIKE 'version/%', 'commit', 'record')"
        notes = [
            f"INSERT INTO notes (kind, id) SELECT {kind}, OLD.{column} WHERE OLD.{column} NOT NULL;"
            for column in ("before", "after")
        ]
        trigger("reflog_delete", "DELETE", "reflog", notes)
    return made


class Marking:
    """One run. What cannot be walked counts in `problems`; nothing must be given up then."""

    def __init__(self, catalog: Catalog, marks: Marks, *, forget: bool) -> None:
        """`forget`: what the reflog remembers is not kept for its sake."""
        self.catalog = catalog
        self.marks = marks
        self.problems = 0
        self.seen = 0
        """The last note that was looked at."""
        self.marked = 0
        self.late: list[bytes] | None = None
        """Gets all that is marked, if it is set."""
        self._forget = forget
        self._lenient = False
        self._promised: list[bytes] = []
        start = reflog.since()
        self._given_up = {
            uuid
            for repo in catalog.repos().values()
            for uuid, tombstone in repo.deleted.items()
            if forget or str(tombstone.get("time", "")) < start
        }

    def roots(self) -> Iterator[None]:
        """Mark all that is reached; yields now and then."""
        for repo in self.catalog.repos().values():
            yield from self._mark("record", repo.record)
            for version in repo.versions.values():
                if version.commit is not None:
                    yield from self._mark("commit", version.commit)
                if version.base is not None:
                    yield from self._mark("contents", version.base)
        rows = self.catalog.store.database.rows
        for (record,) in rows("SELECT record FROM data WHERE record NOT NULL"):
            yield from self._mark("record", record)
        for (root,) in rows("SELECT held FROM runs UNION SELECT removed FROM runs"):
            yield from self._mark("values", root)
        yield from self._staged()
        if not self._forget:
            self._lenient = True  # it is kept as far as it is there, and may be damaged
            for kind, name in reflog.named(self.catalog):
                yield from self._mark(kind, name)
            self._lenient = False

    def notes(self) -> Iterator[None]:
        """Look at what was noted, until nothing new is there.

        Raises:
            Busy: an instance that counts as given up was brought back.
        """
        store = self.catalog.store
        sql = "SELECT no, kind, id FROM notes WHERE no > ? ORDER BY no LIMIT ?"
        while found := store.database.rows(sql, (self.seen, _NOTES)):
            self._flag([name for _, kind, name in found if kind == KEPT], _RELIED, lenient=True)
            for kind, name in dict.fromkeys((kind, name) for _, kind, name in found if kind != KEPT):
                if kind == _RESTORED:
                    if name.decode() in self._given_up:
                        raise Busy("a data instance was brought back while garbage was collected: try again")
                else:
                    yield from self._mark(kind, name)
            self.seen = found[-1][0]
            store.run(Forget(notes=self.seen))
            yield

    def _staged(self) -> Iterator[None]:
        at: tuple[object, ...] = (-1, 0, "", b"")
        sql = (
            "SELECT version, data, space, key, kind, iif(kind IN (1, 2), value, NULL) FROM staging"
            " WHERE (version, data, space, key) > (?, ?, ?, ?) ORDER BY version, data, space, key LIMIT ?"
        )
        while rows := self.catalog.store.database.rows(sql, (*at, _ROWS)):
            self._values([(kind, name) for *_, kind, name in rows if name is not None])
            at = rows[-1][:4]
            yield

    def _mark(self, kind: str, name: bytes) -> Iterator[None]:
        match kind:
            case "commit" | "record":
                stack = [name]
                while stack:
                    for _, item in self._read([stack.pop()], _LIVE):
                        try:
                            if kind == "commit":
                                root, flag = Commit.decode(item.data()).root, _CONTENTS
                            else:
                                record = Record.decode(item.data())
                                root, flag = record.root, _CONTENTS if record.kind == "data" else _LIVE
                                stack += record.parents
                        except DamageError as error:
                            self._problem(error)
                            continue
                        yield from self._tree(root, flag)
            case "contents":
                yield from self._tree(name, _CONTENTS)
            case "values":
                yield from self._tree(name, _LIVE)
            case _:
                self._values([(BLOB if kind == "blob" else BLOB_LIST, name)])

    def _tree(self, root: bytes, flag: int) -> Iterator[None]:
        stack = [root]
        while stack:
            batch = [stack.pop() for _ in range(min(_BATCH, len(stack)))]
            for _, item in self._read(batch, flag):
                try:
                    node = Node(item.data())
                except DamageError as error:
                    self._problem(error)
                    continue
                if node.level:
                    stack += node.ids
                    continue
                self._values([(ref.kind, ref.id) for ref in node.refs()])
                if flag == _CONTENTS:
                    for inner in self._spaces(node):
                        yield from self._tree(inner, _LIVE)
            yield

    def _spaces(self, node: Node) -> Iterator[bytes]:
        """The roots of the key spaces that a leaf of a version tree names."""
        for key, value in zip(node.keys, node.values, strict=True):
            if key.hex() in self._given_up:
                continue
            try:
                raw: Value | None = value
                if isinstance(value, Ref):
                    found = self.catalog.store.get_here([value.id])[0]
                    raw = found.data() if found is not None else None
                yield from decode_content(raw).roots.values() if isinstance(raw, bytes) else ()
            except DamageError as error:
                self._problem(error)

    def _values(self, refs: Sequence[tuple[int, bytes]]) -> None:
        self._flag([name for kind, name in refs if kind != BLOB_LIST], _LIVE)
        lists = [name for kind, name in refs if kind == BLOB_LIST]
        for _, item in self._read(lists, _LIVE) if lists else ():
            try:
                self._flag([chunk for chunk, _ in decode_blob_list(item.data())], _LIVE)
            except DamageError as error:
                self._problem(error)

    def _read(self, names: Sequence[bytes], flag: int) -> list[tuple[bytes, Object]]:
        """Mark objects; those that had no such mark yet."""
        fresh = self._flag([name for name in names if name != EMPTY], flag)
        try:
            return [(item.id, item) for item in self.catalog.store.get_here(fresh) if item is not None]
        except DamageError:
            pass
        found = []
        for name in fresh:
            try:
                found += [(item.id, item) for item in self.catalog.store.get_here([name]) if item is not None]
            except DamageError as error:
                self._problem(error)
        return found

    def _flag(self, names: Sequence[bytes], flag: int, *, lenient: bool = False) -> list[bytes]:
        if not names:
            return []
        fresh, missing = self.marks.set(names, flag)
        self.marked += len(fresh)
        if self.late is not None:
            self.late += fresh
        if not (lenient or self._lenient):
            self._absent(missing)
        return fresh

    def _absent(self, names: Sequence[bytes]) -> None:
        """A base must have what is not here; whatever that refers to lies there, too."""
        store = self.catalog.store
        if names and store.below is not None and store.below.any:
            self._promised += names
            return
        for name in names:
            with suppress(Lost):  # that is known, and nothing that could be given up is missed by it
                store.get_here([name])
                self.problems += 1

    def check_promised(self) -> None:
        """Count what no base has.

        Raises:
            RemoteError: a base cannot be asked.
        """
        below, promised = self.catalog.store.below, self._promised
        self._promised = []
        if promised and below is not None:
            self.problems += len(below.lacking(promised))

    def _problem(self, error: DamageError) -> None:
        if not self._lenient and not isinstance(error, Lost):
            self.problems += 1
