"""Changes to repos and versions, as operations for the writer: plain data, checked again where they are applied."""

from __future__ import annotations

import json
import sqlite3
import uuid as uuids
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dagdvid.errors import BadRequest, Locked, RefMoved
from dagdvid.objects.local.store import next_value
from dagdvid.objects.local.writer import Operation
from dagdvid.objects.store import Object
from dagdvid.repo.ids import MUTATION, Held, hold, observe
from dagdvid.repo.model import MASTER, Repo, Version, is_uuid
from dagdvid.repo.record import now

__all__ = [
    "AddVersion",
    "Bind",
    "BindData",
    "Clear",
    "CreateRepo",
    "Seal",
    "SetRecord",
    "SetRemote",
    "SetTexts",
    "Together",
    "new_child",
    "rebranch",
    "touch",
]

_CLEARED = 1000
"""Rows that are removed in one operation."""


def touch(conn: sqlite3.Connection, repo: int) -> None:
    """Note that a repo was changed, for all processes and for its users."""
    generation = next_value(conn, "generation") + 1
    conn.execute("UPDATE repos SET updated = ?, generation = ? WHERE id = ?", (now(), generation, repo))


def announce(conn: sqlite3.Connection, repo: int) -> None:
    """Have all processes load a repo anew."""
    generation = next_value(conn, "generation") + 1
    conn.execute("UPDATE repos SET generation = ? WHERE id = ?", (generation, repo))


def add_version(
    conn: sqlite3.Connection,
    repo: int,
    uuid: str,
    branch: str,
    parents: Sequence[str],
    note: str,
    *,
    state: str = "open",
    base: bytes | None = None,
) -> int:
    """Enter a version; its local number."""
    stamp = now()
    try:
        row = conn.execute(
            "INSERT INTO versions (repo, uuid, branch, parents, note, log, created, updated, state, base)"
            " VALUES (?, ?, ?, ?, ?, '[]', ?, ?, ?, ?) RETURNING id",
            (repo, uuid, branch, json.dumps(list(parents)), note, stamp, stamp, state, base),
        ).fetchone()
    except sqlite3.IntegrityError:
        raise BadRequest(f"UUID {uuid} is taken") from None
    return int(row[0])


def rebranch(conn: sqlite3.Connection, repo: int, branches: Mapping[str, str]) -> None:
    """Put versions on other branches."""
    rows = [(branch, repo, uuid) for uuid, branch in branches.items()]
    conn.executemany("UPDATE versions SET branch = ? WHERE repo = ? AND uuid = ?", rows)


@dataclass(frozen=True)
class CreateRepo:
    """A new repo with its open root version."""

    root: str
    record: bytes
    objects: Sequence[Object]
    passcode: tuple[bytes, bytes] | None = None
    """Salt and hash."""
    held: Sequence[Held] = ()
    mutation_start: int = 0
    """The least mutation id to give out."""

    def apply(self, conn: sqlite3.Connection) -> None:
        """Raises BadRequest: the UUID is taken."""
        row = conn.execute(
            "INSERT INTO repos (root, record, updated, generation) VALUES (?, ?, '', 0) RETURNING id",
            (self.root, self.record),
        ).fetchone()
        add_version(conn, row[0], self.root, "", (), "")
        if self.passcode is not None:
            conn.execute("INSERT INTO passcodes VALUES (?, ?, ?)", (row[0], *self.passcode))
        hold(conn, row[0], self.held)
        observe(conn, row[0], {MUTATION: [self.mutation_start - 1]})
        touch(conn, row[0])


@dataclass(frozen=True)
class SetRecord:
    """Move a repo's record from one state to the next, with what this server keeps beside it."""

    repo: int
    before: bytes
    after: bytes
    objects: Sequence[Object]
    new_data: str = ""
    """An instance to number."""
    branches: Mapping[str, str] = field(default_factory=dict)
    """Versions that go to other branches, as the record says."""
    held: Sequence[Held] = ()
    """Ranges of ids that are this server's from now on, and of which no more is."""

    def apply(self, conn: sqlite3.Connection) -> None:
        """Raises RefMoved: the record is no longer at `before`, or ids that go elsewhere were given out meanwhile."""
        changed = conn.execute(
            "UPDATE repos SET record = ? WHERE id = ? AND record = ?", (self.after, self.repo, self.before)
        )
        if changed.rowcount != 1:
            raise RefMoved("the repo record changed meanwhile")
        if not hold(conn, self.repo, self.held):
            raise RefMoved("ids were given out meanwhile")
        if self.new_data:
            conn.execute("INSERT INTO data (uuid) VALUES (?)", (self.new_data,))
        rebranch(conn, self.repo, self.branches)
        touch(conn, self.repo)


@dataclass(frozen=True)
class Together:
    """Several operations as one: all of them, or none."""

    parts: Sequence[Operation]

    @property
    def objects(self) -> Sequence[Object]:
        """Those of all parts."""
        return [item for part in self.parts for item in part.objects]

    @property
    def grows(self) -> bool:
        """Whether any of them does."""
        return any(getattr(part, "grows", False) for part in self.parts)

    def apply(self, conn: sqlite3.Connection) -> list[Any]:
        """In order; what each gives."""
        return [part.apply(conn) for part in self.parts]


@dataclass(frozen=True)
class AddVersion:
    """A child of locked versions: open, or sealed at once (a tag)."""

    repo: int
    uuid: str
    branch: str
    parents: Sequence[str]
    note: str
    new_branch: bool
    objects: Sequence[Object] = ()
    sealed: bool = False
    base: bytes | None = None
    """Of a merge: the merged version tree."""
    merged: bool = False
    commits: Mapping[str, bytes] = field(default_factory=dict)
    """Of a merge: commits of the parents that it was made from."""
    conflicts: Sequence[tuple[int, str, bytes]] = ()
    """Of a merge: keys that are not decided, as number of the instance, key space and key."""

    def apply(self, conn: sqlite3.Connection) -> None:
        """Raises BadRequest: a parent is open, the branch exists or goes on elsewhere, the UUID is taken."""
        oldest = None
        for parent in self.parents:
            row = conn.execute("SELECT state, commit_id, id FROM versions WHERE uuid = ?", (parent,)).fetchone()
            if row is None or row[0] == "open":
                raise BadRequest(f"can't branch an unlocked node: commit {parent} first")
            if self.commits.get(parent, row[1]) != row[1]:
                raise RefMoved(f"version {parent} was amended meanwhile")
            oldest = row[2] if oldest is None else min(oldest, row[2])
        sql = "SELECT 1 FROM versions WHERE repo = ? AND branch = ?"
        if self.new_branch and conn.execute(sql, (self.repo, self.branch)).fetchone():
            raise BadRequest(f"branch already exists with given name {self.branch!r}")
        # children are numbered after their parents; the + keeps the search in what comes after them
        sql = "SELECT parents FROM versions WHERE repo = ? AND id > ? AND +branch = ?"
        after = [] if self.merged else conn.execute(sql, (self.repo, oldest, self.branch))
        if any(set(self.parents) & set(json.loads(parents)) for (parents,) in after):
            raise BadRequest(f"branch already exists with given name: {self.parents[0]} has a child on it")
        state = "sealed" if self.sealed else "open"
        row = add_version(conn, self.repo, self.uuid, self.branch, self.parents, self.note, state=state, base=self.base)
        conn.executemany(
            "INSERT INTO conflicts (version, data, space, key) VALUES (?, ?, ?, ?)", [(row, *c) for c in self.conflicts]
        )
        touch(conn, self.repo)


def new_child(repo: Repo, parent: Version, note: str, uuid: str = "", branch: str | None = None) -> AddVersion:
    """What adds an open child of a locked version, on its branch or a new one.

    Raises:
        BadRequest: the UUID or the branch cannot be; when it is applied: the parent is open, the branch exists, or the
            UUID is taken.
    """
    if uuid and not is_uuid(uuid.lower()):
        raise BadRequest(f"{uuid!r} is not a UUID of 32 hexadecimal digits")
    if branch in ("", MASTER):
        raise BadRequest("a branch needs a name, and not master: use newversion for that")
    fresh = branch is not None and branch != parent.branch
    name = branch if fresh and branch is not None else parent.branch
    return AddVersion(repo.id, uuid or uuids.uuid4().hex, name, (parent.uuid,), note, fresh)


@dataclass(frozen=True)
class SetTexts:
    """Change the note of an open version, or add to its log."""

    repo: int
    version: int
    note: str | None
    log: Sequence[str]
    objects: Sequence[Object] = ()

    def apply(self, conn: sqlite3.Connection) -> None:
        """Raises Locked: the version is committed."""
        _write_texts(conn, self.version, self.note, self.log, "open")
        touch(conn, self.repo)


@dataclass(frozen=True)
class Seal:
    """Lock a version at once; folding its staging into trees comes after."""

    repo: int
    version: int
    note: str
    log: Sequence[str]
    user: str
    objects: Sequence[Object] = ()

    def apply(self, conn: sqlite3.Connection) -> None:
        """Raises Locked: it is already; BadRequest: it is a merge with conflicts that nobody decided."""
        row = conn.execute("SELECT count(*) FROM conflicts WHERE version = ?", (self.version,)).fetchone()
        if row[0]:
            raise BadRequest(f"{row[0]} conflicts of the merge are open: resolve them at /api/node/UUID/conflicts")
        _write_texts(conn, self.version, self.note or None, self.log, "sealed", self.user)
        touch(conn, self.repo)


def _write_texts(
    conn: sqlite3.Connection, version: int, note: str | None, log: Sequence[str], state: str, user: str = ""
) -> None:
    row = conn.execute("SELECT note, log, state FROM versions WHERE id = ?", (version,)).fetchone()
    if row is None or row[2] != "open":
        raise Locked("the version is committed")
    lines = json.dumps([*json.loads(row[1]), *log], ensure_ascii=False)
    conn.execute(
        "UPDATE versions SET note = ?, log = ?, state = ?, user = ?, updated = ? WHERE id = ?",
        (row[0] if note is None else note, lines, state, user, now(), version),
    )


@dataclass(frozen=True)
class Bind:
    """Bind a sealed version to its commit. Its staging has become trees and is not looked at again: see `Clear`."""

    repo: int
    version: int
    commit: bytes
    objects: Sequence[Object]

    def apply(self, conn: sqlite3.Connection) -> None:
        """Raises RefMoved: it is bound to another commit."""
        row = conn.execute("SELECT state, commit_id FROM versions WHERE id = ?", (self.version,)).fetchone()
        if row is not None and row[0] == "committed" and row[1] == self.commit:
            return
        if row is None or row[0] != "sealed":
            bound = row[1].hex() if row and row[1] else "none"
            raise RefMoved(f"the version is bound to commit {bound}, not {self.commit.hex()}")
        conn.execute(
            "UPDATE versions SET state = 'committed', commit_id = ?, epoch = epoch + 1 WHERE id = ?",
            (self.commit, self.version),
        )
        conn.execute("DELETE FROM runs WHERE version = ?", (self.version,))
        announce(conn, self.repo)


@dataclass(frozen=True)
class Clear:
    """Remove staging of a committed version, some rows a time, so that nobody waits for long."""

    version: int
    objects: Sequence[Object] = ()

    def apply(self, conn: sqlite3.Connection) -> bool:
        """Whether there is more."""
        sql = "SELECT 1 FROM versions WHERE id = ? AND state = 'committed'"
        if conn.execute(sql, (self.version,)).fetchone() is None:
            return False
        beyond = conn.execute(
            "SELECT data, space, key FROM staging WHERE version = ? ORDER BY data, space, key LIMIT 1 OFFSET ?",
            (self.version, _CLEARED),
        ).fetchone()
        if beyond is None:
            conn.execute("DELETE FROM staging WHERE version = ?", (self.version,))
            return False
        conn.execute(
            "DELETE FROM staging WHERE version = ? AND (data, space, key) < (?, ?, ?)", (self.version, *beyond)
        )
        return True


@dataclass(frozen=True)
class BindData:
    """Move the ref of an unversioned instance to a record that holds its staging up to a sequence number."""

    data: int
    before: bytes | None
    record: bytes
    last: int
    objects: Sequence[Object]

    def apply(self, conn: sqlite3.Connection) -> None:
        """Raises RefMoved: the ref is no longer at `before`."""
        changed = conn.execute(
            "UPDATE data SET record = ?, epoch = epoch + 1 WHERE id = ? AND record IS ?",
            (self.record, self.data, self.before),
        )
        if changed.rowcount != 1:
            raise RefMoved("the unversioned instance was folded meanwhile")
        conn.execute("DELETE FROM staging WHERE version = 0 AND data = ? AND seq <= ?", (self.data, self.last))
        conn.execute("DELETE FROM runs WHERE version = 0 AND data = ? AND last <= ?", (self.data, self.last))


@dataclass(frozen=True)
class SetRemote:
    """Name a remote of a repo: a setting of this server, not of the repo."""

    repo: int
    name: str
    url: str
    objects: Sequence[Object] = ()

    def apply(self, conn: sqlite3.Connection) -> None:
        """Add or change it."""
        conn.execute(
            "INSERT INTO remotes VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET url = excluded.url",
            (self.repo, self.name, self.url),
        )
