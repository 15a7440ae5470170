"""Commit: seal a version at once, then fold its staging into trees and bind its UUID to a commit (SPEC 6.4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress

from dagdvid.datatype import Instance
from dagdvid.errors import RefMoved
from dagdvid.objects.blobs import make_value
from dagdvid.objects.ids import ObjectType
from dagdvid.objects.local.turns import take_turn, with_others
from dagdvid.objects.store import Object, prepare
from dagdvid.objects.tree import edit
from dagdvid.objects.tree.node import Value
from dagdvid.objects.tree.nodes import EMPTY, NodeWriter
from dagdvid.registry import datatype
from dagdvid.repo import deferred
from dagdvid.repo.batches import overlaid
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.commits import Commit, Content, content_of, read_commit
from dagdvid.repo.model import Repo, Version
from dagdvid.repo.operations import Bind, BindData, Clear
from dagdvid.repo.record import Record, now, read_record
from dagdvid.repo.runs import RUN
from dagdvid.repo.staging import changes_in, newest, spaces_of
from dagdvid.repo.tidy import FLUSH, Pause, tidy_instance

__all__ = ["crowded", "fold", "fold_unversioned", "leftover", "unfinished"]

CHAIN = 8
"""Sealed versions in a row that wait to be folded; a commit on top of more waits for them."""
_TRIES = 20


def _never() -> None:
    """The pause of who needs the result."""


def crowded(catalog: Catalog, repo: Repo, version: Version) -> str | None:
    """Which version is to be folded before this one is sealed, since so many below it wait; None if there is none."""
    waiting = catalog.ground(repo, version)[0]
    return waiting[1].uuid if len(waiting) > CHAIN else None


def unfinished(catalog: Catalog) -> list[tuple[str, str]]:
    """The versions that are sealed and not yet folded: (root UUID, UUID)."""
    return [
        (repo.root, version.uuid)
        for repo in catalog.repos().values()
        for version in repo.versions.values()
        if version.state == "sealed"
    ]


def fold(catalog: Catalog, root: str, uuid: str, pause: Pause = _never) -> bytes:
    """The commit of a locked version, made now if need be. The same staging always gives the same commit."""
    version = catalog.repo(root).versions[uuid]
    if version.commit is not None:
        return version.commit
    with take_turn(catalog.store.folder, pause):
        return _fold(catalog, root, uuid, pause)


def leftover(catalog: Catalog, pause: Pause = _never) -> None:
    """Remove the staging of committed versions that a crash has left."""
    at = 0
    sql = "SELECT min(version) FROM staging WHERE version > ?"
    while (row := catalog.store.database.rows(sql, (at,))[0])[0] is not None:
        at = row[0]
        _clear(catalog, at, pause)


def _clear(catalog: Catalog, version: int, pause: Pause) -> None:
    while catalog.store.run(Clear(version)):
        pause()


def fold_unversioned(catalog: Catalog, repo: Repo, instance: Instance) -> bytes | None:
    """Fold what is staged of an unversioned instance into a record; the record, None if nothing was ever written.

    A store that is open for reading keeps its staging: the record is then the last that was made.
    """
    if catalog.store.readonly:
        return catalog.data_record(repo, instance)
    for _ in range(_TRIES):
        with suppress(RefMoved), take_turn(catalog.store.folder):
            return _fold_unversioned(catalog, repo, instance)
    raise RefMoved(f"unversioned instance {instance.name!r} keeps changing; try again")


def _fold_unversioned(catalog: Catalog, repo: Repo, instance: Instance) -> bytes | None:
    number = repo.numbers[instance.uuid]
    before = catalog.data_record(repo, instance)
    deferred.compute(catalog, repo, next(iter(repo.versions.values())), instance, _never)
    tidy_instance(catalog, 0, number, most=RUN)  # so that the rows that go with the bind are few
    last = newest(catalog.store.database, 0, number)
    if not last:
        return before
    spaces = [space for _, space in spaces_of(catalog.store.database, 0, number)]
    writer = NodeWriter(catalog.nodes, FLUSH)
    base = read_record(catalog.nodes, before).root if before else EMPTY
    old = content_of(catalog.nodes, base, instance.uuid)
    roots = dict(old.roots) if old else {}
    for space in spaces:
        roots[space] = edit.apply(writer, roots.get(space, EMPTY), _changes(catalog, 0, number, space, _never, last))
    settings = {} if instance == repo.shared else datatype(instance.typename).content_settings(instance.config)
    key = bytes.fromhex(instance.uuid)
    value, objects = _content_value(key, Content(instance.typename, settings, roots))
    record = Record("data", edit.apply(writer, base, [(key, value)]), (before,) if before else (), now())
    item = prepare(ObjectType.RECORD, record.encode())
    with with_others(catalog.store.folder):
        catalog.store.run(BindData(number, before, item.id, last, [*objects, *writer.take(), item]))
    return item.id


def _fold(catalog: Catalog, root: str, uuid: str, pause: Pause) -> bytes:
    repo = catalog.repo(root)
    version = repo.versions[uuid]
    if version.commit is not None:
        return version.commit
    repo.check()
    parents = tuple(_fold(catalog, root, parent, pause) for parent in version.parents)
    base = version.base or (read_commit(catalog.nodes, parents[0]).root if parents else EMPTY)
    writer = NodeWriter(catalog.nodes, FLUSH)
    edits: list[edit.Edit] = []
    objects: list[Object] = []
    for instance in repo.instances.values():
        if instance.versioned:
            deferred.compute(catalog, repo, version, instance, pause)
    for instance_uuid, spaces in _staged(catalog, repo, version).items():
        key = bytes.fromhex(instance_uuid)
        instance = repo.by_data_uuid[instance_uuid]
        before = content_of(catalog.nodes, base, instance_uuid)
        roots = dict(before.roots) if before else {}
        number = repo.numbers[instance_uuid]
        for space in spaces:
            roots[space] = edit.apply(
                writer, roots.get(space, EMPTY), _changes(catalog, version.id, number, space, pause)
            )
        settings = before.settings if before else datatype(instance.typename).content_settings(instance.config)
        value, blobs = _content_value(key, Content(instance.typename, settings, roots))
        edits.append((key, value))
        objects += blobs
    made = Commit(
        repo=root,
        uuid=uuid,
        parents=parents,
        root=edit.apply(writer, base, sorted(edits, key=lambda e: e[0])),
        branch=version.branch,
        note=version.note,
        log=version.log,
        user=version.user,
        created=version.created,
        time=version.updated,
    )
    item = prepare(ObjectType.COMMIT, made.encode())
    catalog.store.run(Bind(repo.id, version.id, item.id, [*objects, *writer.take(), item]))
    _clear(catalog, version.id, pause)
    return item.id


def _content_value(key: bytes, content: Content) -> tuple[Value | None, list[Object]]:
    """The entry of an instance in a version root, and what to store for it: none where all its spaces are empty."""
    empty = all(root == EMPTY for root in content.roots.values())
    return (None, []) if empty else make_value(key, content.encode())


def _staged(catalog: Catalog, repo: Repo, version: Version) -> Mapping[str, list[str]]:
    """The key spaces with staged changes, by data UUID."""
    names = {number: uuid for uuid, number in repo.numbers.items()}
    found: dict[str, list[str]] = {}
    for number, space in spaces_of(catalog.store.database, version.id):
        if number in names:  # else its instance was deleted
            found.setdefault(names[number], []).append(space)
    return found


def _changes(
    catalog: Catalog, version: int, data: int, space: str, pause: Pause, last: int = 2**63 - 1
) -> Iterator[edit.Edit]:
    """The staged changes of a space in key order, up to a sequence number, as a stream."""
    streams = changes_in(catalog.store.database, catalog.nodes, version, data, space, last=last, pause=pause)
    for keys, values in overlaid(streams):
        yield from zip(keys, values, strict=True)
        pause()
