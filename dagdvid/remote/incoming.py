"""Decides how what was received joins what is here: which refs move, which branches get another name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dagdvid.errors import Corrupt, DagdvidError, Diverged
from dagdvid.objects import canonical
from dagdvid.objects.ids import ObjectType, from_hex
from dagdvid.objects.store import Object, prepare
from dagdvid.objects.tree import edit, merge
from dagdvid.objects.tree.node import Value
from dagdvid.objects.tree.nodes import EMPTY, NodeWriter
from dagdvid.objects.tree.read import scan
from dagdvid.remote.accept import Accept, NewVersion
from dagdvid.remote.history import common_base
from dagdvid.remote.receive import Received
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.model import Repo
from dagdvid.repo.record import Record, load_facts, now, read_record

__all__ = ["Taken", "take"]


@dataclass
class Taken:
    """What became of it."""

    versions: int
    notes: dict[str, Any] = field(default_factory=dict)
    """For the answer: what was renamed, left alone, or kept as it was here."""


def take(catalog: Catalog, repo: Repo | None, received: Received, remote: str = "") -> Taken:
    """Make received versions visible. With the name of a `remote` (a pull), what diverged lands beside what is here;
    without (a push), it is refused.

    Raises:
        Diverged, RefMoved: see `Accept`.
    """
    notes: dict[str, Any] = {}
    record, instances, objects = _record(catalog, repo, received, remote, notes)
    versions = _versions(repo, received, remote, notes)
    data = _data(catalog, repo, received, remote, notes)
    before = repo.record if repo else None
    objects = [*received.objects, *objects]
    catalog.store.run(Accept(received.repo, versions, (before, record), instances, data, objects))
    return Taken(len(versions), notes)


def _versions(repo: Repo | None, received: Received, remote: str, notes: dict[str, Any]) -> list[NewVersion]:
    """The versions of new commits, with the branch that each has here."""
    here = {v.commit: v for v in repo.versions.values() if v.commit is not None} if repo else {}
    children: dict[str, list[str]] = repo.children if repo else {}
    branch_here: dict[bytes, str] = {commit: v.branch for commit, v in here.items()}
    result: list[NewVersion] = []
    taken: set[tuple[str, str]] = set()
    for name, commit in received.commits.items():
        parents = tuple(here[p].uuid if p in here else received.commits[p].uuid for p in commit.parents)
        branch = commit.branch
        first = commit.parents[0] if commit.parents else None
        if first is not None:
            known = received.commits.get(first)
            parent_branch = known.branch if known else None
            if parent_branch is None:
                parent_branch = here[first].branch.removeprefix(f"{remote}/")
            if parent_branch == branch:
                branch = branch_here[first]
        crowded = repo is not None and any(
            repo.versions[c].branch == branch and repo.versions[c].uuid != commit.uuid
            for p in parents
            for c in children.get(p, ())
        )
        if remote and len(parents) == 1 and (crowded or (parents[0], branch) in taken):
            branch = f"{remote}/{commit.branch or 'master'}"
            notes.setdefault("renamed_branches", {})[commit.branch or "master"] = branch
        taken.update((p, branch) for p in parents)
        branch_here[name] = branch
        result.append(
            NewVersion(
                uuid=commit.uuid,
                commit=name,
                branch=branch,
                parents=parents,
                note=commit.note,
                log=commit.log,
                user=commit.user,
                created=commit.created,
                time=commit.time,
            )
        )
    return result


def _record(
    catalog: Catalog, repo: Repo | None, received: Received, remote: str, notes: dict[str, Any]
) -> tuple[bytes, list[str], list[Object]]:
    """The record to stand at, the data UUIDs it names, and what to store for it."""
    theirs = _ref(received, "record")
    objects: list[Object] = []
    parents = _parents(catalog, received)
    result = theirs
    root: bytes | None = None
    if repo is not None and theirs != repo.record:
        base = common_base(repo.record, theirs, parents)
        if base == theirs:
            result = repo.record
        elif base != repo.record:
            if not remote:
                raise Diverged("the repo record has changes on both sides: pull first")
            result, root, objects = _merge(catalog, received, repo.record, theirs, base, remote, notes)
    if root is None:
        known = received.records.get(result)
        root = known.root if known else read_record(catalog.nodes, result).root
    instances = [i.uuid for i in load_facts(catalog.nodes, root).instances.values()]
    return result, instances, objects


def _merge(
    catalog: Catalog,
    received: Received,
    ours: bytes,
    theirs: bytes,
    base: bytes | None,
    remote: str,
    notes: dict[str, Any],
) -> tuple[bytes, bytes, list[Object]]:
    """Merge two repo records field by field; where both changed a field, ours stays and is reported."""

    def root_of(name: bytes) -> bytes:
        known = received.records.get(name)
        return known.root if known else read_record(catalog.nodes, name).root

    def keep_ours(key: bytes, _: Value | None, mine: Value | None, __: Value | None) -> Value | None:
        notes.setdefault("kept_here", []).append(key.decode(errors="replace"))
        return mine

    writer = NodeWriter(catalog.nodes)
    old = root_of(ours)
    merged = merge.merge(writer, root_of(base) if base else EMPTY, old, root_of(theirs), keep_ours)
    writer.flush()
    mine = {i.uuid for i in load_facts(catalog.nodes, old).instances.values()}
    renames = _rename_twins(catalog, merged, mine, remote)
    if renames:
        notes["renamed_instances"] = {uuid: name for uuid, (_, name) in renames.items()}
        edits = sorted((key, value) for key, value in (pair for pair, _ in renames.values()))
        merged = edit.apply(writer, merged, edits)
        writer.flush()
    record = Record("repo", merged, (ours, theirs), now())
    item = prepare(ObjectType.RECORD, record.encode())
    return item.id, merged, [item]


def _rename_twins(
    catalog: Catalog, root: bytes, mine: set[str], remote: str
) -> dict[str, tuple[tuple[bytes, bytes], str]]:
    """Both sides made an instance of one name: theirs gets the remote's name behind its own."""

    names: dict[str, list[str]] = {}
    for keys, values in scan(catalog.nodes, root, b"data/", b"data0"):
        for key, value in zip(keys, values, strict=True):
            if key.endswith(b"/name") and key.count(b"/") == 2 and isinstance(value, bytes):
                names.setdefault(canonical.decode(value), []).append(key.split(b"/")[1].decode())
    renames = {}
    for name, uuids in names.items():
        for uuid in uuids if len(uuids) > 1 else ():
            if uuid not in mine:
                new = f"{name}_{remote}"
                while new in names:
                    new += "_"
                renames[uuid] = (f"data/{uuid}/name".encode(), canonical.encode(new)), new
    return renames


def _data(
    catalog: Catalog, repo: Repo | None, received: Received, remote: str, notes: dict[str, Any]
) -> dict[str, tuple[bytes | None, bytes]]:
    """Refs of unversioned instances: by fast-forward only."""
    moves: dict[str, tuple[bytes | None, bytes]] = {}
    parents = _parents(catalog, received)
    for uuid, text in received.refs.get("data", {}).items():
        new = from_hex(text)
        instance = repo.by_data_uuid.get(uuid) if repo else None
        old = catalog.data_record(repo, instance) if repo and instance else None
        if old == new:
            continue
        base = common_base(old, new, parents) if old else None
        if old is not None and base == new:
            continue
        if old is not None and base != old:
            if not remote:
                raise Diverged(f"unversioned instance {uuid} changed on both sides: pull and reconcile it first")
            notes.setdefault("left_alone", []).append(uuid)
            continue
        moves[uuid] = old, new
    return moves


def _parents(catalog: Catalog, received: Received) -> Any:
    def parents(name: bytes) -> tuple[bytes, ...]:
        known = received.records.get(name) or received.commits.get(name)
        if known is not None:
            return known.parents
        return read_record(catalog.nodes, name).parents

    return parents


def _ref(received: Received, name: str) -> bytes:
    try:
        return from_hex(received.refs[name])
    except (KeyError, TypeError, DagdvidError):
        raise Corrupt(f"bundle without a ref for {name}") from None
