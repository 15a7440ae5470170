"""Copies of instances: the copy shares the trees of its source, so that it costs next to nothing at any size."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from dagdvid.datatype import Instance
from dagdvid.errors import BadRequest, Busy, Locked, RefMoved
from dagdvid.objects.blobs import make_value
from dagdvid.objects.ids import ObjectType
from dagdvid.objects.store import Object, prepare
from dagdvid.objects.tree import edit
from dagdvid.objects.tree.nodes import EMPTY, NodeWriter
from dagdvid.registry import datatype
from dagdvid.repo import fold
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.commits import Content, read_commit
from dagdvid.repo.ids import born, facts_of
from dagdvid.repo.instances import new_instance
from dagdvid.repo.model import Repo, Version
from dagdvid.repo.operations import Together
from dagdvid.repo.record import Record, instance_facts, log_facts, now
from dagdvid.repo.staging import newest

__all__ = ["Rebase", "copy_instance"]

_TRIES = 20
_OURS = frozenset({"dataname", "typename", "tags", "transmit", "filter"})


def copy_instance(
    catalog: Catalog,
    repo: Repo,
    version: Version,
    source: str,
    target: str,
    settings: Mapping[str, str],
    user: str = "",
) -> Instance:
    """Make an instance with what another has at an open version; it is seen there and in what comes after.

    settings: those that shall differ, and DVID's `transmit` (`all` or `flatten`: what older versions have stays with
    the source either way). Properties are copied, tags, syncs and the mutation log are not.

    Raises:
        UnknownName: there is no such source. Locked: the version is committed, and the copy would be versioned.
        BadRequest: the name is taken or cannot be, or a setting would change the meaning of stored bytes.
    """
    given = {name.lower(): value for name, value in settings.items()}
    if given.get("filter"):
        raise BadRequest(f"copies are whole: filter={given['filter']} is not taken; delete what is not wanted after")
    if given.get("transmit", "all") not in ("all", "flatten"):
        raise BadRequest(f"transmit must be all or flatten, not {given['transmit']!r}")
    for _ in range(_TRIES):
        repo = catalog.repo(repo.root)
        original = repo.instance(source)
        made = _like(original, given, target, version.uuid)
        if made.versioned and repo.versions[version.uuid].locked:
            raise Locked(f"version {version.uuid} is committed: copy into an open one")
        if made.name in repo.instances:
            raise BadRequest(f"data instance name {made.name!r} is taken in the repo of {repo.root}")
        try:
            _copy(catalog, repo, version, original, made, user)
        except RefMoved:
            continue
        return made
    raise RefMoved("the repo keeps changing; try again")


def _like(source: Instance, settings: Mapping[str, str], name: str, origin: str) -> Instance:
    kept = {key: value for key, value in source.settings.items() if key not in _OURS}
    given = {key: value for key, value in settings.items() if key not in _OURS - {"tags"}}
    versioned = "true" if source.versioned else "false"
    made = new_instance(
        {"versioned": versioned} | kept | given | {"typename": source.typename, "dataname": name}, origin
    )
    kind = datatype(source.typename)
    if kind.content_settings(made.config) != kind.content_settings(source.config):
        raise BadRequest("a copy shares the stored bytes of its source: settings that change their meaning must agree")
    return replace(made, properties={**source.properties, **made.properties})


def _copy(catalog: Catalog, repo: Repo, version: Version, source: Instance, made: Instance, user: str) -> None:
    writer = NodeWriter(catalog.nodes)
    kind = datatype(source.typename)
    roots = _roots(catalog, repo, version, source, writer)
    key = bytes.fromhex(made.uuid)
    entries: list[edit.Edit] = []
    objects: list[Object] = []
    if roots:
        value, objects = make_value(key, Content(made.typename, kind.content_settings(made.config), roots).encode())
        entries = [(key, value)]
    line = f'Copied data instance "{source.name}" of version {version.uuid} to "{made.name}"'
    grants = born(made, catalog.server_id)
    facts = instance_facts(made) | log_facts([line]) | facts_of(grants)
    change = catalog.record_change(repo, facts, user)
    change = replace(change, new_data=made.uuid, held=[grant.held for grant in grants])
    if not entries:
        catalog.store.run(change)
    elif made.versioned:
        for parent in version.parents:
            fold.fold(catalog, repo.root, parent)
        now_at = catalog.repo(repo.root).versions[version.uuid]
        before = now_at.base or _parent_root(catalog, catalog.repo(repo.root), now_at)
        base = edit.apply(writer, before, entries)
        part = Rebase(version.id, now_at.base, base, [*objects, *writer.take()])
        catalog.store.run(Together([change, part]))
    else:
        record = Record("data", edit.apply(writer, EMPTY, entries), (), now(), user)
        item = prepare(ObjectType.RECORD, record.encode())
        catalog.store.run(Together([change, _Enter(made.uuid, item.id, [*objects, *writer.take(), item])]))


def _parent_root(catalog: Catalog, repo: Repo, version: Version) -> bytes:
    if not version.parents:
        return EMPTY
    commit = repo.versions[version.parents[0]].commit
    if commit is None:
        raise RefMoved("the version before has no commit yet")
    return read_commit(catalog.nodes, commit).root


def _roots(catalog: Catalog, repo: Repo, version: Version, source: Instance, writer: NodeWriter) -> dict[str, bytes]:
    """Trees of what an instance has at a version at one moment, staged changes included; empty ones are left out."""
    layer = version.id if source.versioned else 0
    number = repo.numbers[source.uuid]
    for _ in range(_TRIES):
        before = newest(catalog.store.database, layer, number)
        view = catalog.snapshot(repo, version, source)
        roots = {}
        for space in datatype(source.typename).spaces:
            root, changes = view.staged(space)
            pairs = (pair for batch in changes for pair in zip(*batch, strict=True)) if changes else ()
            roots[space] = edit.apply(writer, root, pairs)
        if newest(catalog.store.database, layer, number) == before:
            return {space: root for space, root in roots.items() if root != EMPTY}
    raise Busy(f"others keep writing to {source.name!r}; try again")


@dataclass(frozen=True)
class Rebase:
    """Let an open version stand on another tree. What is staged in it stays."""

    version: int
    before: bytes | None
    base: bytes
    objects: Sequence[Object] = field(default_factory=tuple)

    def apply(self, conn: sqlite3.Connection) -> None:
        """Raises RefMoved: it is not open, or stands elsewhere."""
        changed = conn.execute(
            "UPDATE versions SET base = ?, epoch = epoch + 1 WHERE id = ? AND state = 'open' AND base IS ?",
            (self.base, self.version, self.before),
        )
        if changed.rowcount != 1:
            raise RefMoved("the version changed meanwhile")


@dataclass(frozen=True)
class _Enter:
    """The first ref of an unversioned instance."""

    data_uuid: str
    record: bytes
    objects: Sequence[Object]

    def apply(self, conn: sqlite3.Connection) -> None:
        """After the instance was numbered."""
        conn.execute("UPDATE data SET record = ? WHERE uuid = ?", (self.record, self.data_uuid))
