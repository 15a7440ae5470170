"""A repo reduced to some of its versions, in a data directory of its own (DVID: datastore/copy_local.go).

Versions keep their UUIDs, data and times, but not their hashes, as their parents are others. The first is the root.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dagdvid.datatype import Instance
from dagdvid.errors import BadRequest, Corrupt
from dagdvid.objects import canonical
from dagdvid.objects.blobs import make_value, read_values
from dagdvid.objects.ids import ObjectType
from dagdvid.objects.local.store import LocalStore, hold
from dagdvid.objects.store import Object, prepare
from dagdvid.objects.tree import edit
from dagdvid.objects.tree.nodes import EMPTY, Nodes, NodeWriter
from dagdvid.objects.tree.read import scan
from dagdvid.registry import datatype
from dagdvid.repo import fold
from dagdvid.repo.accept import Accept, NewVersion
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.commits import Commit, Content, content_of, read_commit
from dagdvid.repo.ids import MUTATION, claim, facts_of, label_counter
from dagdvid.repo.model import Repo, Version, shared_uuid
from dagdvid.repo.record import Record, log_facts, make_record, now, read_record
from dagdvid.repo.schema import TABLES
from dagdvid.repo.verify import Keys, Walk

__all__ = ["Plan", "flatten"]


@dataclass(frozen=True)
class Plan:
    """What to keep, and what to call otherwise."""

    versions: Collection[str]
    """UUIDs, or what else names versions; all committed."""
    exclude: Collection[str] = ()
    """Names of instances to leave out."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """alias, description."""
    log: Sequence[str] | None = None
    """Lines for the log of the repo, in the place of those it has."""
    changed: Callable[[Version], tuple[str, str, tuple[str, ...]]] = lambda v: (v.branch, v.note, v.log)
    """Branch, note and log of a version."""


def flatten(catalog: Catalog, repo: Repo, folder: Path, plan: Plan) -> dict[str, Any]:
    """Make a data directory with a reduced repo; what it holds, as JSON. The directory must not be there yet.

    Raises:
        BadRequest: the directory is there, a version is open or of another repo, or two of them have nothing before
            them. UnknownName: no such version or instance.
        Corrupt: what is to be kept is damaged here.
    """
    kept = _kept(catalog, repo, plan.versions)
    repo = catalog.repo(repo.root)
    left_out = {repo.instance(name).uuid for name in plan.exclude} | repo.deleted.keys()
    if folder.exists():
        raise BadRequest(f"{folder} is there already: name a directory that is to be made")
    try:
        with hold(folder), closing(LocalStore(folder, tables=TABLES)) as target:
            _Flattening(catalog, repo, target, plan, left_out).run([repo.versions[uuid] for uuid in kept])
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return {"directory": str(folder), "root": kept[0], "versions": len(kept)}


def _kept(catalog: Catalog, repo: Repo, texts: Collection[str]) -> list[str]:
    """The versions to keep, parents first, each with a commit."""
    found = [catalog.find(text) for text in texts] or [(repo, version) for version in repo.shown if version.locked]
    for other, version in found:
        if other.root != repo.root:
            raise BadRequest(f"version {version.uuid} is of another repo")
        if not version.locked:
            raise BadRequest(f"version {version.uuid} is open: commit it first, or leave it out")
    if not found:
        raise BadRequest("no version of the repo is committed")
    for _, version in found:
        fold.fold(catalog, repo.root, version.uuid)
    return [v.uuid for v in sorted({v.uuid: v for _, v in found}.values(), key=lambda v: v.id)]


class _Copy(Walk):
    """A walk that stores what it sees elsewhere."""

    def __init__(self, catalog: Catalog, target: LocalStore) -> None:
        super().__init__(catalog)
        self._target = target

    def fetch(self, names: list[bytes], keys: Mapping[bytes, Keys] | None = None) -> list[tuple[bytes, Object]]:
        """As `Walk.fetch`, and copy."""
        found = super().fetch(names, keys)
        if self.problems or self.lost:
            raise Corrupt("what is to be kept is damaged or missing here: run dagdvid fsck")
        self._target.put_many([item for _, item in found])
        return found


class _Flattening:
    """One run."""

    def __init__(self, catalog: Catalog, repo: Repo, target: LocalStore, plan: Plan, left_out: Collection[str]) -> None:
        self.catalog = catalog
        self.repo = repo
        self.target = target
        self.plan = plan
        self.instances = [i for i in repo.instances.values() if i.uuid not in left_out]
        self.copy = _Copy(catalog, target)
        self.nodes = Nodes(target)
        self.writer = NodeWriter(self.nodes)
        self.objects: list[Object] = []

    def run(self, versions: Sequence[Version]) -> None:
        """Copy the data of versions, then make the repo visible in one transaction."""
        root = versions[0].uuid
        kept = {v.uuid for v in versions}
        made: dict[str, bytes] = {}
        new = [self._version(v, root, self._parents(v, kept), made) for v in versions]
        data = {i.uuid: self._unversioned(i, i.uuid) for i in self.instances if not i.versioned}
        shared = shared_uuid(root)
        if self.repo.shared.uuid in self.repo.numbers:
            data[shared] = self._unversioned(self.repo.shared, shared)
        counters = [MUTATION, *(label_counter(i.uuid) for i in self.instances if datatype(i.typename).labels)]
        mine = [claim(counter, str(self.target.info["id"]), ()) for counter in counters]  # as of a server that is new
        record, objects = make_record(self.nodes, None, {**self._facts(root, kept), **facts_of(mine)})
        accept = Accept(
            root=root,
            versions=new,
            before=None,
            record=record,
            instances=[*(i.uuid for i in self.instances), *({shared} & data.keys())],
            data={uuid: (None, name) for uuid, name in data.items() if name is not None},
            objects=[*self.objects, *self.writer.take(), *objects],
            held=[grant.held for grant in mine],
        )
        self.target.run(accept)

    def _parents(self, version: Version, kept: Collection[str]) -> list[str]:
        """The nearest versions before one that are kept."""
        found: dict[str, None] = {}
        front = list(reversed(version.parents))
        while front:
            uuid = front.pop()
            if uuid in kept:
                found[uuid] = None
            else:
                front += reversed(self.repo.versions[uuid].parents)
        return list(found)

    def _version(self, version: Version, root: str, parents: Sequence[str], made: dict[str, bytes]) -> NewVersion:
        if not parents and version.uuid != root:
            raise BadRequest(f"versions {root} and {version.uuid} have no version before them that is kept: add one")
        if version.commit is None:
            raise Corrupt(f"version {version.uuid} has no commit")
        before = read_commit(self.catalog.nodes, version.commit)
        entries = [self._content(i.uuid, before.root, i.uuid) for i in self.instances]
        tree = edit.apply(self.writer, EMPTY, sorted((e for e in entries if e is not None), key=lambda e: e[0]))
        branch, note, log = self.plan.changed(version)
        branch = branch if parents else ""
        names = tuple(made[parent] for parent in parents)
        commit = Commit(
            root, version.uuid, names, tree, branch, note, tuple(log), before.user, before.created, before.time
        )
        item = prepare(ObjectType.COMMIT, commit.encode())
        self.objects.append(item)
        made[version.uuid] = item.id
        return NewVersion(
            version.uuid,
            item.id,
            branch,
            tuple(parents),
            note,
            tuple(log),
            before.user,
            before.created,
            before.time,
        )

    def _content(self, data_uuid: str, root: bytes, named: str) -> edit.Edit | None:
        """The entry of an instance in a version tree, under the UUID that it shall have there, its trees copied."""
        content: Content | None = content_of(self.catalog.nodes, root, data_uuid)
        if content is None:
            return None
        for space_root in content.roots.values():
            for _ in self.copy.values(space_root):
                pass
        key = bytes.fromhex(named)
        value, objects = make_value(key, content.encode())
        self.objects += objects
        return key, value

    def _unversioned(self, instance: Instance, named: str) -> bytes | None:
        """A first record of an unversioned instance, its trees copied."""
        name = fold.fold_unversioned(self.catalog, self.repo, instance)
        entry = self._content(instance.uuid, read_record(self.catalog.nodes, name).root, named) if name else None
        if entry is None:
            return None
        record = Record("data", edit.apply(self.writer, EMPTY, [entry]), (), now())
        item = prepare(ObjectType.RECORD, record.encode())
        self.objects.append(item)
        return item.id

    def _facts(self, root: str, kept: Collection[str]) -> dict[str, Any]:
        """Those of the record that are still true."""
        uuids = {i.uuid for i in self.instances}
        facts: dict[str, Any] = {}
        for keys, values in scan(self.catalog.nodes, read_record(self.catalog.nodes, self.repo.record).root):
            for key, raw in zip(keys, read_values(self.catalog.store, values), strict=True):
                name = key.decode("utf-8", "surrogateescape")
                head, *rest = name.split("/")
                follows_nobody = rest[1:2] == ["sync"] and rest[2] not in uuids
                if head in ("alias", "description", "created", "log") or (
                    head == "data" and rest[0] in uuids and not follows_nobody
                ):
                    facts[name] = canonical.decode(raw)
        for instance in self.instances:
            if instance.origin not in kept:
                facts[f"data/{instance.uuid}/origin"] = root
        facts |= {"root": root, **self.plan.texts}
        if self.plan.log is not None:
            facts = {name: value for name, value in facts.items() if not name.startswith("log/")}
            facts |= log_facts(self.plan.log)
        return facts
