"""Loads what the database and the repo records say into memory: all of it once, then only what has changed."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dagdvid.errors import DamageError
from dagdvid.objects.tree.nodes import Nodes
from dagdvid.repo.model import Repo, Version, shared_uuid
from dagdvid.repo.record import Later, Loaded, load_facts, read_record

__all__ = ["State", "load"]

_NOTHING = Later()
_REPOS = "SELECT id, root, record, updated, generation FROM repos WHERE generation > ? ORDER BY id"
_VERSIONS = """
SELECT v.id, v.uuid, v.branch, v.parents, v.note, v.log, v.user, v.created, v.updated, v.state, v.commit_id, v.epoch,
    v.base FROM versions v
"""
_ALL = _VERSIONS + "WHERE v.repo = ? ORDER BY v.id"
_TOUCHED = _VERSIONS + "JOIN touched t ON t.version = v.id WHERE t.repo = ? AND t.generation > ? ORDER BY v.id"
_SOME = 400

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class State:
    """All repos at one moment."""

    generation: int = -1
    """How often repos had changed by then (`counters.generation`)."""
    repos: Mapping[str, Repo] = field(default_factory=dict)
    """By root UUID, in order of their local numbers."""


def load(conn: sqlite3.Connection, nodes: Nodes, known: State) -> State:
    """The repos as they are now, given an earlier state of them: only repos and versions that changed are read."""
    conn.execute("BEGIN")
    try:
        (generation,) = conn.execute("SELECT value FROM counters WHERE name = 'generation'").fetchone() or (0,)
        rows = conn.execute(_REPOS, (known.generation,)).fetchall()
        (count,) = conn.execute("SELECT count(*) FROM repos").fetchone()
        if len({*known.repos, *(row[1] for row in rows)}) != count:  # some were deleted
            known = State()
            rows = conn.execute(_REPOS, (known.generation,)).fetchall()
        repos = dict(known.repos)
        for row in rows:
            repos[row[1]] = _repo(conn, nodes, known, row)
    finally:
        conn.execute("COMMIT")
    return State(generation, repos)


def _repo(conn: sqlite3.Connection, nodes: Nodes, known: State, row: Sequence[Any]) -> Repo:
    number, root, record, updated, generation = row
    chained = conn.execute("SELECT 1 FROM bases WHERE repo = ?", (root,)).fetchone() is not None
    old = known.repos.get(root)
    if old is not None and old.id == number and old.record == record and not old.damage:
        touched = conn.execute(_TOUCHED, (number, known.generation))
        numbers = old.numbers
        if shared_uuid(root) not in numbers:  # it is numbered without a change of the record
            numbers = {**numbers, **_numbers(conn, [shared_uuid(root)])}
        versions = {**old.versions, **_versions(touched, old.later)}
        now = replace(old, updated=updated, generation=generation, chained=chained)
        return replace(now, versions=versions, numbers=numbers)
    damage = ""
    try:
        facts = load_facts(nodes, read_record(nodes, record).root)
    except DamageError as error:
        facts, damage = Loaded(), f"the record of repo {root} cannot be read: {error}"
        log.error("%s", damage)
    return Repo(
        id=number,
        root=root,
        record=record,
        updated=updated,
        generation=generation,
        texts=facts.texts,
        log=tuple(facts.log),
        instances=facts.instances,
        deleted=facts.deleted,
        later=facts.versions,
        versions=_versions(conn.execute(_ALL, (number,)), facts.versions),
        chained=chained,
        numbers=_numbers(conn, [shared_uuid(root), *(i.uuid for i in facts.instances.values())]),
        damage=damage,
    )


def _numbers(conn: sqlite3.Connection, uuids: Sequence[str]) -> dict[str, int]:
    """The local numbers of instances, as far as they have one."""
    found: dict[str, int] = {}
    for start in range(0, len(uuids), _SOME):
        part = uuids[start : start + _SOME]
        marks = ",".join("?" * len(part))
        found.update(conn.execute(f"SELECT uuid, id FROM data WHERE uuid IN ({marks})", part))  # noqa: S608  marks only
    return found


def _versions(rows: Iterable[Sequence[Any]], later: Mapping[str, Later]) -> dict[str, Version]:
    return {row[1]: _version(row, later.get(row[1], _NOTHING)) for row in rows}


def _version(row: Sequence[Any], later: Later) -> Version:
    number, uuid, branch, parents, note, lines, user, created, updated, state, commit, epoch, base = row
    return Version(
        id=number,
        uuid=uuid,
        branch=branch,
        parents=tuple(json.loads(parents)),
        note=note if later.note is None else later.note,
        log=(*json.loads(lines), *later.log),
        user=user,
        created=created,
        updated=updated,
        state=state,
        commit=commit,
        epoch=epoch,
        base=base,
        hidden=later.hidden,
        fixed=later.fixed,
    )
