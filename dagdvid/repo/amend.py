"""Amendments: changes to a committed version, by an admin or in full-write mode (SPEC 6.9).

DVID lets such a write through, and whatever comes after the version and did not change the key itself shows it. Here
the version gets a new commit in the place of its old one, and so does every version after it, with the change where
the key still had what its parent had. All refs move in one transaction, or none.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from dagdvid.errors import Locked, RefMoved, StaleRead
from dagdvid.objects.blobs import make_value
from dagdvid.objects.ids import ObjectType
from dagdvid.objects.local.writer import Operation
from dagdvid.objects.store import Object, prepare
from dagdvid.objects.tree import edit
from dagdvid.objects.tree import read as tree
from dagdvid.objects.tree.node import Value
from dagdvid.objects.tree.nodes import EMPTY, NodeWriter
from dagdvid.registry import datatype
from dagdvid.repo import fold
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.commits import Commit, Content, content_of, read_commit
from dagdvid.repo.ids import MUTATION
from dagdvid.repo.leases import next_ids
from dagdvid.repo.model import Repo, Version
from dagdvid.repo.operations import Together, touch
from dagdvid.repo.record import log_facts
from dagdvid.repo.staging import LOG, LOG_KEY, MARKS
from dagdvid.repo.txn import VersionTxn

__all__ = ["amend", "descendants", "ready"]

Place = tuple[str, str]
"""Data UUID and key space."""
Changes = Mapping[Place, Mapping[bytes, Value | None]]
"""New values by place and key; None where the key is removed."""


def ready(catalog: Catalog, root: str, uuid: str) -> tuple[Repo, Version]:
    """A locked version that can be amended, with all that is locked after it committed.

    Raises:
        Locked: it, or one after it, was published or signed.
    """
    repo = catalog.repo(root)
    for version in descendants(repo, repo.versions[uuid]):
        if version.fixed:
            raise Locked(f"version {version.uuid} is {version.fixed}: neither it nor what is before it can be amended")
        if version.locked:
            fold.fold(catalog, root, version.uuid)
    repo = catalog.repo(root)
    return repo, repo.versions[uuid]


def descendants(repo: Repo, version: Version) -> Iterator[Version]:
    """A version and all after it, each after its parents."""
    found = {version.uuid}
    for each in repo.versions.values():  # parents are entered before their children
        if each.uuid in found or not found.isdisjoint(each.parents):
            found.add(each.uuid)
            yield each


def amend(catalog: Catalog, txn: VersionTxn, version: Version, user: str = "") -> None:
    """Make the changes of a transaction on a committed version.

    Raises:
        StaleRead: anything in the repo moved meanwhile: run it again.
    """
    repo, members = txn.home, list(txn.party.values())
    changes: dict[Place, dict[bytes, Value | None]] = {}
    facts: dict[str, Any] = {}
    parts: list[Operation] = []
    ids: dict[VersionTxn, list[int]] = {}
    for each in members:
        numbers = each.numbers()
        parts += [numbers] if numbers else []
        facts |= each.properties
        if each.instance.versioned:
            ids[each] = list(
                chain.from_iterable(next_ids(catalog, repo, MUTATION, len(each.logged))) if each.logged else ()
            )
            changes |= _changes(each, ids[each])
        elif stage := each.stage(0):
            parts.append(stage)
    work = _Work(catalog, repo)
    moves = work.propagate(version, changes) if changes else None
    if moves is not None and (moves.commits or moves.bases):
        for each in members if len(members) == 1 else [each for each in members if each.changes]:
            keys = sum(len(changed) for changed in each.changes.values())
            line = f"Amended {keys} keys of {each.instance.name} in locked version {version.uuid}"
            others = len(moves.commits) - 1
            line += f" and made {others} after it anew" if others else ""
            facts |= log_facts([f"{line}, by {user}" if user else line])
        objects = [item for each in members if each.instance.versioned for item in each.objects]
        parts.append(replace(moves, objects=[*objects, *work.objects, *work.writer.take()]))
    if facts:
        parts.append(catalog.record_change(repo, facts, user))
    if not parts:
        return
    try:
        catalog.store.run(Together(parts))
    except RefMoved:
        raise StaleRead("the repo changed while a locked version was amended") from None
    for each, given in ids.items():
        each.given = given


def _changes(txn: VersionTxn, given: Sequence[int]) -> dict[Place, dict[bytes, Value | None]]:
    """What a transaction changes, its records of the mutation log among it."""
    uuid = txn.instance.uuid
    changes: dict[Place, dict[bytes, Value | None]] = {(uuid, s): dict(changed) for s, changed in txn.changes.items()}
    for number, (mark, value) in zip(given, txn.logged, strict=True):
        prefix = number.to_bytes(LOG_KEY // 2, "big")
        changes.setdefault((uuid, LOG), {})[prefix + mark] = value
        if datatype(txn.instance.typename).marks:
            changes.setdefault((uuid, MARKS), {})[mark] = prefix
    return changes


@dataclass(frozen=True)
class Rebind:
    """Move the refs of versions to commits that take the place of theirs."""

    repo: int
    generation: int
    """Of the repo, as everything here was made from it."""
    commits: Sequence[tuple[int, bytes, bytes]]
    """Local number of the version, its commit before and after."""
    bases: Sequence[tuple[int, bytes]]
    """Open versions that stand on a tree of their own, and the tree after."""
    stirred: Sequence[int] = ()
    """Open versions that stand on one of the commits."""
    objects: Sequence[Object] = field(default_factory=tuple)

    def apply(self, conn: sqlite3.Connection) -> None:
        """Raises RefMoved: something in the repo is not as it was."""
        row = conn.execute("SELECT generation FROM repos WHERE id = ?", (self.repo,)).fetchone()
        if row is None or row[0] != self.generation:
            raise RefMoved("the repo changed meanwhile")
        for version, before, after in self.commits:
            moved = conn.execute(
                "UPDATE versions SET commit_id = ?, epoch = epoch + 1 WHERE id = ? AND commit_id = ?",
                (after, version, before),
            )
            if moved.rowcount != 1:
                raise RefMoved("a version is bound to another commit")
        conn.executemany(
            "UPDATE versions SET base = ?, epoch = epoch + 1 WHERE id = ?",
            [(base, version) for version, base in self.bases],
        )
        conn.executemany("UPDATE versions SET epoch = epoch + 1 WHERE id = ?", [(v,) for v in self.stirred])
        touch(conn, self.repo)


class _Work:
    """One amendment under way."""

    def __init__(self, catalog: Catalog, repo: Repo) -> None:
        self.catalog = catalog
        self.repo = repo
        self.writer = NodeWriter(catalog.nodes)
        self.objects: list[Object] = []

    def propagate(self, version: Version, changes: Changes) -> Rebind:
        """New commits and bases for a version and all after it."""
        commits: dict[str, tuple[int, bytes, bytes]] = {}
        bases: list[tuple[int, bytes]] = []
        stirred: list[int] = []
        held: dict[str, Changes] = {}
        """What versions had before, of the keys that change in them."""
        for each in descendants(self.repo, version):
            if each.commit is None and each.base is None:
                if each.locked:
                    raise StaleRead("a version after it was committed meanwhile")
                stirred.append(each.id)
                continue
            before = read_commit(self.catalog.nodes, each.commit) if each.commit is not None else None
            root = before.root if before else each.base
            old = self._held(root or EMPTY, changes)
            here = {place: dict.fromkeys(values) for place, values in changes.items()}
            if each.uuid != version.uuid:
                here = _inherited(old, [held[p] for p in each.parents if p in held])
            held[each.uuid] = {place: {key: old[place][key] for key in keys} for place, keys in here.items()}
            after = self._edited(root or EMPTY, here, changes)
            if before is None:
                bases.append((each.id, after))
            elif after != root or any(p in commits for p in each.parents):
                made = self._commit(before, each, after, commits)
                if each.commit is not None:
                    commits[each.uuid] = each.id, each.commit, made
        return Rebind(self.repo.id, self.repo.generation, tuple(commits.values()), bases, stirred)

    def _held(self, root: bytes, changes: Changes) -> dict[Place, dict[bytes, Value | None]]:
        """What a version tree has under the keys that change."""
        found = {}
        for (uuid, space), changed in changes.items():
            roots = self.catalog.roots(root, uuid) if root != EMPTY else {}
            keys = sorted(changed)
            values = tree.get_many(self.catalog.nodes, roots.get(space, EMPTY), keys)
            found[uuid, space] = dict(zip(keys, values, strict=True))
        return found

    def _edited(self, root: bytes, here: Mapping[Place, Iterable[bytes]], changes: Changes) -> bytes:
        """A version tree with the changes made to those keys."""
        made = []
        for uuid in sorted({uuid for uuid, _ in here}):
            instance = self.repo.by_data_uuid[uuid]
            content = content_of(self.catalog.nodes, root, uuid) if root != EMPTY else None
            roots = dict(content.roots) if content else {}
            for space, keys in ((space, keys) for (owner, space), keys in here.items() if owner == uuid):
                edits = [(key, changes[uuid, space][key]) for key in sorted(keys)]
                roots[space] = edit.apply(self.writer, roots.get(space, EMPTY), edits)
            plain = datatype(instance.typename).content_settings(instance.config)
            after = Content(instance.typename, content.settings if content else plain, roots)
            value = None
            if any(space_root != EMPTY for space_root in roots.values()):
                value, objects = make_value(bytes.fromhex(uuid), after.encode())
                self.objects += objects
            made.append((bytes.fromhex(uuid), value))
        return edit.apply(self.writer, root, made)

    def _commit(
        self, before: Commit, version: Version, root: bytes, moved: Mapping[str, tuple[int, bytes, bytes]]
    ) -> bytes:
        """The commit that takes the place of a version's."""
        parents = tuple(
            moved[uuid][2] if uuid in moved else parent
            for uuid, parent in zip(version.parents, before.parents, strict=True)
        )
        item = prepare(ObjectType.COMMIT, replace(before, root=root, parents=parents, amends=version.commit).encode())
        self.objects.append(item)
        return item.id


def _inherited(
    old: Mapping[Place, Mapping[bytes, Value | None]], parents: Sequence[Changes]
) -> dict[Place, dict[bytes, None]]:
    """The keys under which a version had what one of its parents had, of those that changed there."""
    found: dict[Place, dict[bytes, None]] = {}
    for held in parents:
        for place, values in held.items():
            same = [key for key, value in values.items() if old[place][key] == value]
            found.setdefault(place, {}).update(dict.fromkeys(same))
    return found
