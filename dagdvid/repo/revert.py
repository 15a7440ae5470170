"""Reverting: the inverse of one version's changes, made in an open version or in a new child of a committed one.

A key is put back to what it held before the version, if it still holds what the version gave it. If it holds something
else, that is a conflict, and nothing is changed at all.
"""

from __future__ import annotations

import sqlite3
import uuid as uuids
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from dagdvid.datatype import Datatype, Instance
from dagdvid.errors import BadRequest, StaleRead
from dagdvid.objects.local.writer import Operation
from dagdvid.objects.store import Object
from dagdvid.objects.tree.diff import Change
from dagdvid.objects.tree.node import Ref, Value
from dagdvid.registry import datatype
from dagdvid.repo import fold
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.diff import Counts, changed_instances, changes, kind_of
from dagdvid.repo.model import Repo, Version
from dagdvid.repo.operations import AddVersion, Together
from dagdvid.repo.snapshot import Base, VersionSnapshot
from dagdvid.repo.stage import Stage
from dagdvid.repo.txn import VersionTxn

__all__ = ["Selection", "revert"]

_TRIES = 20
_BATCH = 1000
_TOLD = 10


@dataclass(frozen=True)
class Selection:
    """What of a version's changes to revert: all of them, or those of some instances, and of some keys there."""

    names: Sequence[str] = ()
    keys: tuple[str, str] | None = None
    """The first and the last, as the datatype writes keys."""


@dataclass
class _Plan:
    """What a revert comes to."""

    txns: list[VersionTxn] = field(default_factory=list)
    counts: dict[str, Counts] = field(default_factory=dict)
    conflicts: int = 0
    first: list[str] = field(default_factory=list)

    def conflict(self, text: str) -> None:
        """Note that a key holds neither what the version gave it nor what was there before."""
        self.conflicts += 1
        if len(self.first) < _TOLD:
            self.first.append(text)


def revert(
    catalog: Catalog,
    repo: Repo,
    target: Version,
    undone: Version,
    selection: Selection,
    note: str = "",
    user: str = "",
    *,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Take back at `target`, or in a new child of it if it is committed, what `undone` did to its first parent.

    Answers {"version": where, "reverted": {instance: {"added", "removed", "changed"}}, "conflicts": 0}; a dry run
    changes nothing and may have conflicts, with the first of them under "first". Costs the number of changes.

    Raises:
        BadRequest: `undone` is not before `target`, or there are conflicts; or what AddVersion says of the new child.
        UnknownName: no such instance.
    """
    if undone.uuid not in {v.uuid for v in repo.ancestors(target)}:
        raise BadRequest(f"version {undone.uuid} is not before {target.uuid}: there is nothing to revert there")
    for _ in range(_TRIES):
        if target.locked:
            fold.fold(catalog, repo.root, target.uuid)
        repo = catalog.repo(repo.root)
        target, undone = repo.versions[target.uuid], repo.versions[undone.uuid]
        plan = _plan(catalog, repo, target, undone, selection, user)
        answer: dict[str, Any] = {
            "version": target.uuid,
            "reverted": {name: vars(counts) for name, counts in plan.counts.items() if counts.any},
            "conflicts": plan.conflicts,
        }
        if dry_run:
            return answer | ({"first": plan.first} if plan.conflicts else {})
        if plan.conflicts:
            raise BadRequest(
                f"{plan.conflicts} conflicts, so that nothing was changed; the first: {'; '.join(plan.first)}"
            )
        if not any(counts.any for counts in plan.counts.values()):
            return answer
        try:
            return answer | {"version": _make(catalog, repo, target, undone, plan.txns, note)}
        except StaleRead:
            continue
    raise StaleRead("others keep changing what the revert reads; try again")


def _plan(catalog: Catalog, repo: Repo, target: Version, undone: Version, selection: Selection, user: str) -> _Plan:
    parent = repo.versions[undone.parents[0]] if undone.parents else None
    plan = _Plan()
    for instance in _instances(catalog, repo, parent, undone, selection):
        kind = datatype(instance.typename)
        chosen = kind.between(instance, *selection.keys) if selection.keys else None
        after = catalog.snapshot(repo, undone, instance)
        before = catalog.snapshot(repo, parent, instance) if parent else _nothing(catalog, repo, instance)
        txn = catalog.txn(repo, target, instance)
        counts = plan.counts[instance.name] = Counts()
        set_keys = _undo(plan, kind, txn, counts, changes(before, after), chosen)
        record = kind.change_record(set_keys) if set_keys else None
        if record is not None:
            txn.log({**record, "user": user} if user else record)
        plan.txns.append(txn)
    return plan


def _instances(
    catalog: Catalog, repo: Repo, parent: Version | None, undone: Version, selection: Selection
) -> list[Instance]:
    if selection.names:
        found = [repo.instance(name) for name in dict.fromkeys(selection.names)]
        for instance in found:
            if not instance.versioned:
                raise BadRequest(f"data instance {instance.name!r} is unversioned: versions change nothing in it")
    elif parent is not None:
        found = changed_instances(catalog, repo, parent, undone)
    else:
        found = [instance for _, instance in sorted(repo.instances.items()) if instance.versioned]
    if selection.keys and len(found) != 1:
        raise BadRequest("a range of keys goes with one data instance: name it")
    return found


def _nothing(catalog: Catalog, repo: Repo, instance: Instance) -> VersionSnapshot:
    """An instance before the first version."""
    database = catalog.store.database
    return VersionSnapshot(catalog.nodes, database, instance, "", repo.numbers[instance.uuid], lambda: Base((), {}))


def _undo(
    plan: _Plan,
    kind: Datatype,
    txn: VersionTxn,
    counts: Counts,
    found: Iterator[tuple[str, Change]],
    chosen: Callable[[str, bytes], bool] | None,
) -> list[tuple[str, bytes, int | None]]:
    """Put changed keys back in a transaction; what was put: key space, key, bytes (None: removed)."""
    differ = kind.differ(txn.instance)
    put: list[tuple[str, bytes, int | None]] = []
    while batch := list(islice(found, _BATCH)):
        by_space: dict[str, list[Change]] = {}
        for space, change in batch:
            if chosen is None or chosen(space, change[0]):
                by_space.setdefault(space, []).append(change)
        for space, some in by_space.items():
            back: list[tuple[bytes, Value | None]] = []
            for (key, was, became), held in zip(some, txn.locate(space, [key for key, _, _ in some]), strict=True):
                described = differ.describe(space, key)
                if held == became:
                    back.append((key, was))
                    if described is not None:
                        counts.add(kind_of((key, held, was)))
                        put.append((space, key, _size(was)))
                elif held != was and described is not None:
                    words = ", ".join(f"{name} {value!r}" for name, value in described.items())
                    plan.conflict(f"{words} of {txn.instance.name!r} was changed again later")
            txn.restore(space, back)
    return put


def _size(value: Value | None) -> int | None:
    return None if value is None else value.size if isinstance(value, Ref) else len(value)


def _make(catalog: Catalog, repo: Repo, target: Version, undone: Version, txns: Sequence[VersionTxn], note: str) -> str:
    """Make the changes, all in one transaction; the version that has them."""
    if not target.locked:
        catalog.store.run(Together([stage for txn in txns if (stage := txn.stage(target.id))]))
        return target.uuid
    uuid = uuids.uuid4().hex
    parts: list[Operation] = [
        AddVersion(repo.id, uuid, target.branch, (target.uuid,), note or f"Reverts version {undone.uuid}", False)
    ]
    for txn in txns:
        stage = txn.stage(0)
        if stage is not None:
            parts.append(_StageInto(uuid, replace(stage, objects=()), stage.objects))
    catalog.store.run(Together(parts))
    return uuid


@dataclass(frozen=True)
class _StageInto:
    """Stage changes in a version that gets its number in the same transaction."""

    uuid: str
    stage: Stage
    objects: Sequence[Object]

    def apply(self, conn: sqlite3.Connection) -> None:
        """Raises what `Stage` raises."""
        (number,) = conn.execute("SELECT id FROM versions WHERE uuid = ?", (self.uuid,)).fetchone()
        replace(self.stage, version=number).apply(conn)
