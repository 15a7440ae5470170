"""Makes what was received visible: versions, the record and unversioned instances, in one transaction or not at all."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dagdvid.errors import Diverged, RefMoved
from dagdvid.objects.store import Object
from dagdvid.repo.ids import Held, hold, observe
from dagdvid.repo.operations import rebranch, touch
from dagdvid.repo.record import now

__all__ = ["Accept", "Amended", "NewVersion"]


class Amended(NamedTuple):
    """A version that goes on with another commit (SPEC 6.9)."""

    uuid: str
    before: bytes
    after: bytes


@dataclass(frozen=True)
class NewVersion:
    """A committed version that comes in."""

    uuid: str
    commit: bytes
    branch: str
    parents: tuple[str, ...]
    note: str
    log: tuple[str, ...]
    user: str
    created: str
    time: str


@dataclass(frozen=True)
class Accept:
    """Move refs, each only from where it is known to stand."""

    root: str
    versions: Sequence[NewVersion]
    """Parents first."""
    before: tuple[bytes, int] | None
    """The repo record's ref and the repo's generation as they were; None: there was no such repo here."""
    record: bytes
    """Where the repo record's ref goes."""
    instances: Sequence[str]
    """All data UUIDs of the record after."""
    data: Mapping[str, tuple[bytes | None, bytes]]
    """Refs of unversioned instances, before and after."""
    objects: Sequence[Object] = field(default_factory=tuple)
    held: Sequence[Held] = field(default_factory=tuple)
    """The ids that this server holds by the record."""
    seen: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """By counter: numbers that came and are never to be given out here, nor those below them in their range."""
    branches: Mapping[str, str] = field(default_factory=dict)
    """Versions that the record puts on other branches."""
    deleted: Sequence[str] = ()
    """Data UUIDs that the record has tombstones of."""
    amended: Sequence[Amended] = ()

    def apply(self, conn: sqlite3.Connection) -> None:
        """Raises RefMoved: the repo is not as it was, or a version is bound; Diverged: both sides changed something."""
        after = self.record
        if self.before is None:
            if conn.execute("SELECT 1 FROM repos WHERE root = ?", (self.root,)).fetchone():
                raise RefMoved(f"repo {self.root} was made meanwhile")
            sql = "INSERT INTO repos (root, record, updated, generation) VALUES (?, ?, ?, 0) RETURNING id"
            (repo,) = conn.execute(sql, (self.root, after, now())).fetchone()
        else:
            sql = "UPDATE repos SET record = ? WHERE root = ? AND record = ? AND generation = ? RETURNING id"
            row = conn.execute(sql, (after, self.root, *self.before)).fetchone()
            if row is None:
                raise RefMoved("the repo changed meanwhile; try again")
            (repo,) = row
        for uuid in self.instances:
            conn.execute("INSERT OR IGNORE INTO data (uuid) VALUES (?)", (uuid,))
        conn.executemany("DELETE FROM data WHERE uuid = ?", [(uuid,) for uuid in self.deleted])
        self._amend(conn, repo)
        for version in self.versions:
            _add(conn, repo, version)
        rebranch(conn, repo, self.branches)
        for uuid, (old, new) in self.data.items():
            moved = conn.execute(
                "UPDATE data SET record = ?, epoch = epoch + 1 WHERE uuid = ? AND record IS ?", (new, uuid, old)
            )
            staged = conn.execute(
                "SELECT 1 FROM data WHERE uuid = ? AND"
                " (EXISTS (SELECT 1 FROM staging WHERE version = 0 AND data = data.id)"
                " OR EXISTS (SELECT 1 FROM runs WHERE version = 0 AND data = data.id))",
                (uuid,),
            ).fetchone()
            if moved.rowcount != 1 or staged:
                raise Diverged(f"unversioned instance {uuid} changed on both sides")
        hold(conn, repo, self.held)
        observe(conn, repo, self.seen)
        touch(conn, repo)

    def _amend(self, conn: sqlite3.Connection, repo: int) -> None:
        for uuid, before, after in self.amended:
            moved = conn.execute(
                "UPDATE versions SET commit_id = ?, epoch = epoch + 1 WHERE uuid = ? AND commit_id = ?",
                (after, uuid, before),
            )
            if moved.rowcount != 1:
                raise RefMoved("a version is bound to another commit")
        if self.amended:
            conn.execute("UPDATE versions SET epoch = epoch + 1 WHERE repo = ? AND state = 'open'", (repo,))


def _add(conn: sqlite3.Connection, repo: int, version: NewVersion) -> None:
    sql = "SELECT state, commit_id, repo, user, updated FROM versions WHERE uuid = ?"
    row = conn.execute(sql, (version.uuid,)).fetchone()
    if row is not None:
        state, bound, owner, user, time = row
        if bound == version.commit and owner == repo:
            return
        if state != "committed":
            raise Diverged(f"version {version.uuid} is open here: commit it, or remove it, before taking the other's")
        ours = f"{bound.hex()} here (of {time}{user and ', by '}{user})"
        theirs = f"{version.commit.hex()} there (of {version.time}{version.user and ', by '}{version.user})"
        raise RefMoved(
            f"version {version.uuid} is bound to {ours} and to {theirs}, and can only be one of them: leave the other's"
            f' out, and what comes after it, with "without": ["{version.uuid}"]'
        )
    conn.execute(
        "INSERT INTO versions (repo, uuid, branch, parents, note, log, user, created, updated, state, commit_id)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'committed', ?)",
        (
            repo,
            version.uuid,
            version.branch,
            json.dumps(version.parents),
            version.note,
            json.dumps(version.log, ensure_ascii=False),
            version.user,
            version.created,
            version.time,
            version.commit,
        ),
    )
