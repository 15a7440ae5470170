"""Decides how what was received joins what is here: which refs move, which branches get another name."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from dagdvid.errors import BadRequest, Diverged, RefMoved, Unverified
from dagdvid.objects import canonical
from dagdvid.objects.blobs import make_value, read_values
from dagdvid.objects.ids import ObjectType
from dagdvid.objects.store import Object, prepare
from dagdvid.objects.tree import edit, merge
from dagdvid.objects.tree.node import Value
from dagdvid.objects.tree.nodes import EMPTY, NodeWriter
from dagdvid.objects.tree.read import scan
from dagdvid.remote.history import common_base
from dagdvid.remote.receive import Received
from dagdvid.remote.shared import join_shared
from dagdvid.repo.accept import Accept, NewVersion
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.commits import Commit, read_commit
from dagdvid.repo.model import Repo, branch_text, shared_uuid
from dagdvid.repo.record import Loaded, Record, load_facts, now, read_record

__all__ = ["Taken", "take"]


@dataclass
class Taken:
    """What became of it."""

    versions: int
    notes: dict[str, Any] = field(default_factory=dict)
    """For the answer: what was renamed, left alone, or kept as it was here."""


def take(catalog: Catalog, received: Received, remote: str = "") -> Taken:
    """Make received versions visible. With the name of a `remote` (a pull), what diverged lands beside what is here;
    without (a push), it is refused.

    Raises:
        Diverged, RefMoved: see `Accept`.
        Unverified: the repo record is malformed, or claims what belongs to another repo.
    """
    while True:
        repo = catalog.repos().get(received.repo)
        try:
            return _take(catalog, repo, received, remote)
        except RefMoved:
            if catalog.repos().get(received.repo) is repo:
                raise
            # someone else changed the repo between the look at it and the move: look again


def _take(catalog: Catalog, repo: Repo | None, received: Received, remote: str) -> Taken:
    notes: dict[str, Any] = {}
    if repo is None and not received.commits:
        raise BadRequest(f"repo {received.repo} has no committed version: there is nothing to take")
    record, loaded, objects = _record(catalog, repo, received, remote, notes)
    instances = [instance.uuid for instance in loaded.instances.values()]
    _check_owner(catalog, received.repo, [*instances, *loaded.deleted])
    versions = _versions(catalog, repo, received, remote, notes)
    data, shared = _data(catalog, repo, received, loaded, remote, notes)
    before = (repo.record, repo.generation) if repo else None
    objects = [*received.objects, *objects, *shared]
    instances = [*instances, *data]
    branches = _renamed_branches(repo, loaded) if repo else {}
    deleted = tuple(loaded.deleted)
    catalog.store.run(
        Accept(received.repo, versions, before, record, instances, data, objects, received.mutation, branches, deleted)
    )
    return Taken(len(versions), notes)


def _renamed_branches(repo: Repo, loaded: Loaded) -> dict[str, str]:
    """Versions known here that the record puts on another branch than the record here does."""
    return {
        uuid: later.branch
        for uuid, later in loaded.versions.items()
        if uuid in repo.versions and later.branch is not None and later.branch != repo.later_branches.get(uuid)
    }


def _check_owner(catalog: Catalog, root: str, instances: Collection[str]) -> None:
    """Local numbers and unversioned content go by data UUID alone: no repo may claim another's."""
    if shared_uuid(root) in instances:
        raise Unverified(f"the record of repo {root} has an instance in the place of what it shares")
    for other in catalog.repos().values():
        if other.root != root and not {*other.by_data_uuid, other.shared.uuid}.isdisjoint(instances):
            raise Unverified(f"the record of repo {root} claims an instance of repo {other.root}")


def _versions(
    catalog: Catalog, repo: Repo | None, received: Received, remote: str, notes: dict[str, Any]
) -> list[NewVersion]:
    """The versions of new commits, with the branch that each has here."""
    landing = _Landing(catalog, repo, received, remote)
    result = []
    for name, commit in received.commits.items():
        branch = landing.branch(name, commit)
        if branch != landing.there(commit):
            notes.setdefault("renamed_branches", {})[branch_text(landing.there(commit))] = branch
        result.append(
            NewVersion(
                uuid=commit.uuid,
                commit=name,
                branch=branch,
                parents=tuple(landing.uuid(parent) for parent in commit.parents),
                note=commit.note,
                log=commit.log,
                user=commit.user,
                created=commit.created,
                time=commit.time,
            )
        )
    return result


class _Landing:
    """Finds the branches on which new versions land: those of the other side, unless ours have gone on differently."""

    def __init__(self, catalog: Catalog, repo: Repo | None, received: Received, remote: str) -> None:
        self._catalog = catalog
        self._received = received
        self._remote = remote
        self._versions = dict(repo.versions) if repo else {}
        self._children = repo.children if repo else {}
        self._here = {v.commit: v for v in self._versions.values() if v.commit is not None}
        self._branches = {commit: v.branch for commit, v in self._here.items()}
        self._coming = {commit.uuid for commit in received.commits.values()}
        ours = {v.branch for v in self._versions.values() if v.uuid not in self._coming}
        self._ours = ours
        self._names = ours | {self.there(commit) for commit in received.commits.values()}

    def uuid(self, commit: bytes) -> str:
        """The version of a parent, here or just come."""
        known = self._here.get(commit)
        return known.uuid if known else self._received.commits[commit].uuid

    def there(self, commit: Commit) -> str:
        """What the branch of a version is called on the other side."""
        return self._received.refs.branches.get(commit.uuid, commit.branch)

    def branch(self, name: bytes, commit: Commit) -> str:
        """What the branch of a new version is called here; parents are asked about before their children.

        Raises:
            Diverged: in a push, it would fork a branch.
        """
        branch = self.there(commit)
        first = commit.parents[0] if commit.parents else None
        if first is not None:
            parent = self._received.commits.get(first) or read_commit(self._catalog.nodes, first)
            if self.there(parent) == branch:
                branch = self._branches[first]
        rival = self._rival(first, commit, branch)
        if rival is not None and not self._remote:
            raise Diverged(
                f"branch {branch_text(branch)!r} has version {rival} here and {commit.uuid} there,"
                " neither after the other: pull, and merge or rename one"
            )
        if rival is not None:
            branch = self._free(branch)
        self._branches[name] = branch
        return branch

    def _rival(self, first: bytes | None, commit: Commit, branch: str) -> str | None:
        """A version here that the branch has gone on to, or that has another branch of this name."""
        if commit.uuid in self._versions or branch not in self._ours:
            return None
        if first is not None and self._branches[first] == branch:
            after = self._children.get(self.uuid(first), ())
            rivals = (uuid for uuid in after if self._versions[uuid].branch == branch)
        elif len(commit.parents) > 1:  # merges may come to any branch
            return None
        else:
            rivals = (v.uuid for v in self._versions.values() if v.branch == branch)
        return next((uuid for uuid in rivals if uuid not in self._coming), None)

    def _free(self, branch: str) -> str:
        while branch in self._names:
            branch = f"{self._remote}/{branch_text(branch)}"
        self._names.add(branch)
        return branch


def _record(
    catalog: Catalog, repo: Repo | None, received: Received, remote: str, notes: dict[str, Any]
) -> tuple[bytes, Loaded, list[Object]]:
    """The record to stand at, what it says, and what to store for it."""
    theirs = received.refs.record
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
    return result, load_facts(catalog.nodes, root), objects


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
        notes["renamed_instances"] = {uuid: name for uuid, (_, name, _) in renames.items()}
        catalog.put([blob for _, _, blobs in renames.values() for blob in blobs])
        merged = edit.apply(writer, merged, sorted((entry for entry, _, _ in renames.values()), key=lambda e: e[0]))
        writer.flush()
    record = Record("repo", merged, (ours, theirs), now())
    item = prepare(ObjectType.RECORD, record.encode())
    return item.id, merged, [item]


def _rename_twins(
    catalog: Catalog, root: bytes, mine: set[str], remote: str
) -> dict[str, tuple[tuple[bytes, Value], str, list[Object]]]:
    """Both sides made an instance of one name: theirs gets the remote's name behind its own."""
    names: dict[str, list[str]] = {}
    for keys, values in scan(catalog.nodes, root, b"data/", b"data0"):
        found = [(k, v) for k, v in zip(keys, values, strict=True) if k.endswith(b"/name") and k.count(b"/") == 2]
        for (key, _), raw in zip(found, read_values(catalog.store, [v for _, v in found]), strict=True):
            names.setdefault(str(canonical.decode(raw)), []).append(key.split(b"/")[1].decode("utf-8", "replace"))
    renames = {}
    for name, uuids in list(names.items()):
        for uuid in uuids if len(uuids) > 1 else ():
            if uuid not in mine:
                new = f"{name}_{remote}"
                while new in names:
                    new += "_"
                names[new] = [uuid]
                key = f"data/{uuid}/name".encode()
                value, objects = make_value(key, canonical.encode(new))
                renames[uuid] = (key, value), new, objects
    return renames


def _data(
    catalog: Catalog,
    repo: Repo | None,
    received: Received,
    loaded: Loaded,
    remote: str,
    notes: dict[str, Any],
) -> tuple[dict[str, tuple[bytes | None, bytes]], list[Object]]:
    """Refs of unversioned instances, by fast-forward only, and of what the repo shares, which joins; what to store."""
    instances = {instance.uuid for instance in loaded.instances.values()}
    moves: dict[str, tuple[bytes | None, bytes]] = {}
    objects: list[Object] = []
    parents = _parents(catalog, received)
    here = {instance.uuid: instance for instance in repo.unversioned} if repo else {}
    for uuid, new in received.refs.data.items():
        if uuid in loaded.deleted:
            continue
        if uuid not in instances and uuid != shared_uuid(received.repo):
            raise Unverified(f"bundle with a ref of instance {uuid}, which its record does not have")
        old = catalog.data_record(repo, here[uuid]) if repo and uuid in here else None
        if old == new:
            continue
        base = common_base(old, new, parents) if old else None
        if old is not None and base == new:
            continue
        if uuid == shared_uuid(received.repo):
            joined, objects = join_shared(catalog, received, old, new, base)
            moves[uuid] = old, joined
            continue
        if old is not None and base != old:
            if not remote:
                raise Diverged(f"unversioned instance {uuid} changed on both sides: pull and reconcile it first")
            notes.setdefault("left_alone", []).append(uuid)
            continue
        moves[uuid] = old, new
    return moves, objects


def _parents(catalog: Catalog, received: Received) -> Any:
    def parents(name: bytes) -> tuple[bytes, ...]:
        known = received.records.get(name) or received.commits.get(name)
        if known is not None:
            return known.parents
        return read_record(catalog.nodes, name).parents

    return parents
