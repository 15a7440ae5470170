"""Merges versions: three-way from the best common ancestor, instance by instance, key space by key space.

A merge that has conflicts makes no version, unless it is told to keep them (see `conflicts`). The merged version is
open: its staging lies over the merged tree, which is kept as the version's base until its commit.
"""

from __future__ import annotations

import uuid as uuids
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dagdvid.datatype import Datatype, Done, Instance, Side
from dagdvid.errors import BadRequest, RefMoved
from dagdvid.objects import canonical
from dagdvid.objects.blobs import make_value, read_value
from dagdvid.objects.store import Object
from dagdvid.objects.tree import edit, merge
from dagdvid.objects.tree.diff import diff
from dagdvid.objects.tree.node import Value
from dagdvid.objects.tree.nodes import EMPTY, NodeWriter
from dagdvid.registry import datatype
from dagdvid.repo import fold
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.commits import Content, decode_content, read_commit
from dagdvid.repo.model import Repo, Version
from dagdvid.repo.operations import AddVersion
from dagdvid.repo.snapshot import Base, VersionSnapshot
from dagdvid.repo.staging import LOG, LOG_KEY
from dagdvid.repo.txn import VersionTxn

__all__ = ["Merged", "common_tree", "merge_versions"]

_TRIES = 20
_EMPTY_CONTENT = Content("", {}, {})


class Merged(NamedTuple):
    """A version that came of a merge."""

    uuid: str
    conflicts: int
    """Keys that nobody has decided yet; there the first parent's value stands."""


def merge_versions(
    catalog: Catalog,
    repo: Repo,
    parents: Sequence[Version],
    note: str,
    first_wins: Collection[str] = (),
    *,
    keep_conflicts: bool = False,
) -> Merged:
    """An open version on master with the changes of all parents.

    first_wins: names of instances in which the parent named first has the last word where parents disagree.
    keep_conflicts: where two parents disagree, leave it open; the version cannot be committed before all is decided.

    Raises:
        BadRequest: fewer than two parents, one of them open, or a conflict: the text has their number and the first.
        UnknownName: no such instance.
    """
    parents = list({parent.uuid: parent for parent in parents}.values())
    if len(parents) < 2:
        raise BadRequest("a merge needs at least two different parents")
    if keep_conflicts and len(parents) != 2:
        raise BadRequest("a three-way merge has two parents: merge others into the result")
    for parent in parents:
        if not parent.locked:
            raise BadRequest(f"a merge needs committed parents, and {parent.uuid} is open")
    for _ in range(_TRIES):
        with suppress(RefMoved):  # a parent was amended meanwhile
            return _merge(catalog, catalog.repo(repo.root), parents, note, first_wins, keep_conflicts=keep_conflicts)
    raise RefMoved("the parents keep changing; try again")


def _merge(
    catalog: Catalog,
    repo: Repo,
    parents: Sequence[Version],
    note: str,
    first_wins: Collection[str],
    *,
    keep_conflicts: bool,
) -> Merged:
    work = _Work(catalog, repo, {repo.instance(name).uuid for name in first_wins}, keep_conflicts)
    commits = {p.uuid: fold.fold(catalog, repo.root, p.uuid) for p in parents}
    roots = [read_commit(catalog.nodes, commit).root for commit in commits.values()]
    root = roots[0]
    for i in range(1, len(roots)):
        base = common_tree(catalog, repo, parents[:i], parents[i])
        root = merge.merge(work.writer, base, root, roots[i], work.instance)
    if work.conflicts:
        raise BadRequest(f"{work.conflicts} conflicts, the first: {work.first}")
    uuid = uuids.uuid4().hex
    objects = [*work.objects.values(), *work.writer.take()]
    catalog.store.run(
        AddVersion(
            repo.id,
            uuid,
            "",
            list(commits),
            note,
            False,
            objects,
            base=root,
            merged=True,
            commits=commits,
            conflicts=work.kept,
        )
    )
    return Merged(uuid, len(work.kept))


def common_tree(catalog: Catalog, repo: Repo, done: Sequence[Version], other: Version) -> bytes:
    """The version tree of the newest version that is before both; the empty one if there is none."""
    before = {v.uuid for parent in done for v in repo.ancestors(parent)}
    shared = [v for v in repo.ancestors(other) if v.uuid in before]
    if not shared:
        return EMPTY
    newest = max(shared, key=lambda v: v.id)
    return read_commit(catalog.nodes, fold.fold(catalog, repo.root, newest.uuid)).root


@dataclass
class _Work:
    """A merge under way."""

    catalog: Catalog
    repo: Repo
    first_wins: set[str]
    keep: bool = False
    conflicts: int = 0
    first: str = ""
    kept: list[tuple[int, str, bytes]] = field(default_factory=list)
    """Conflicts to be decided later: number of the instance, key space, key."""
    objects: dict[bytes, Object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.writer = NodeWriter(self.catalog.nodes)

    def instance(self, key: bytes, base: Value | None, ours: Value | None, theirs: Value | None) -> Value | None:
        """Merge the content of an instance that both sides changed."""
        uuid = key.hex()
        if uuid in self.repo.deleted:
            return ours  # what it holds is given up
        instance = self.repo.by_data_uuid[uuid]
        kind = datatype(instance.typename)
        old, mine, other = (self._content(value) for value in (base, ours, theirs))
        roots = {}
        for space in sorted({*mine.roots, *other.roots}):
            a, b, c = (content.roots.get(space, EMPTY) for content in (old, mine, other))
            if space in kind.rejoined:
                roots[space] = b
                continue
            roots[space] = merge.merge(self.writer, a, b, c, _Resolver(self, instance, kind, space))
        if kind.rejoined and not self.conflicts:
            self._rejoin(instance, kind, roots, old, mine, other)
        present = mine if mine.typename else other
        content = Content(present.typename, present.settings, {s: r for s, r in roots.items() if r != EMPTY})
        return self.value(key, content.encode()) if content.roots else None

    def _rejoin(
        self, instance: Instance, kind: Datatype, roots: dict[str, bytes], old: Content, mine: Content, other: Content
    ) -> None:
        """Let the datatype finish the merge."""
        self.writer.flush()
        self.catalog.store.put_many(list(self.objects.values()))
        nodes, number = self.catalog.nodes, self.repo.numbers[instance.uuid]

        def view(content: Mapping[str, bytes]) -> VersionSnapshot:
            base = Base((), content)
            return VersionSnapshot(nodes, self.catalog.store.database, instance, "", number, lambda: base)

        def side(content: Content) -> Side:
            def changed(space: str) -> Iterator[bytes]:
                return (key for key, _, _ in diff(nodes, old.roots.get(space, EMPTY), content.roots.get(space, EMPTY)))

            there = view(content.roots)
            keys = list(changed(LOG))
            records = [(key, data) for key, data in zip(keys, there.get_many(LOG, keys), strict=True) if data]
            return Side(there, [Done(key[LOG_KEY // 2 :], canonical.decode(data)) for key, data in records], changed)

        started = Base((), dict(roots))
        txn = VersionTxn(nodes, self.catalog.store.database, instance, "", number, lambda: started)
        txn.home = self.repo
        kind.rejoin(instance, txn, view(old.roots), side(mine), side(other))
        for space, changed in txn.changes.items():
            edits = sorted(changed.items(), key=lambda item: item[0])
            roots[space] = edit.apply(self.writer, roots.get(space, EMPTY), edits)
        self.objects.update((item.id, item) for item in txn.objects)

    def value(self, key: bytes, data: bytes) -> Value:
        """The tree value of an entry made by the merge."""
        value, objects = make_value(key, data)
        self.objects.update((item.id, item) for item in objects)
        return value

    def load(self, value: Value | None) -> bytes | None:
        """The bytes of a value."""
        return None if value is None else read_value(self.catalog.store, value)

    def _content(self, value: Value | None) -> Content:
        data = self.load(value)
        return _EMPTY_CONTENT if data is None else decode_content(data)


@dataclass
class _Resolver:
    """Decides about keys that both sides changed, in one key space."""

    work: _Work
    instance: Instance
    kind: Datatype
    space: str

    def __call__(self, key: bytes, base: Value | None, ours: Value | None, theirs: Value | None) -> Value | None:
        work = self.work
        if self.space in self.kind.mergeable:
            a, b, c = (work.load(value) for value in (base, ours, theirs))
            with suppress(LookupError):  # it merges not this one
                merged = self.kind.merge_value(self.instance, self.space, key, a, b, c)
                return None if merged is None else work.value(key, merged)
        if self.instance.uuid in work.first_wins:
            return ours
        if work.keep and self.kind.key_by_key:
            work.kept.append((work.repo.numbers[self.instance.uuid], self.space, key))
        else:
            work.conflicts += 1
            work.first = work.first or self._words(key)
        return ours

    def _words(self, key: bytes) -> str:
        described: dict[str, Any] = self.kind.differ(self.instance).describe(self.space, key) or {"key": key.hex()}
        what = ", ".join(f"{name} {value!r}" for name, value in described.items())
        return f"{what} of {self.instance.name!r} changed on both sides"
