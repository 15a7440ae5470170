"""Commit: seal a version at once, then fold its staging into trees and bind its UUID to a commit (SPEC 6.4)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from dagdvid.datatype import Instance
from dagdvid.errors import DamageError, RefMoved
from dagdvid.objects.blobs import make_value
from dagdvid.objects.ids import ObjectType
from dagdvid.objects.store import Object, prepare
from dagdvid.objects.tree import edit
from dagdvid.objects.tree.node import Value
from dagdvid.objects.tree.nodes import EMPTY, NodeWriter
from dagdvid.registry import datatype
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.commits import Commit, Content, content_of, read_commit
from dagdvid.repo.model import Repo, Version
from dagdvid.repo.operations import Bind, BindData, Seal
from dagdvid.repo.record import Record, now, read_record, record_stamp
from dagdvid.repo.staging import value_of

__all__ = ["commit", "fold", "fold_unversioned", "resume"]

_PAGE = 10_000
_TRIES = 20
_folding = threading.Lock()

log = logging.getLogger(__name__)


def commit(catalog: Catalog, repo: Repo, version: Version, note: str, lines: Sequence[str], user: str) -> bytes:
    """Lock a version and make its commit; the commit's id.

    Raises:
        Locked: it is locked already.
    """
    catalog.store.run(Seal(repo.id, version.id, note, [record_stamp(line) for line in lines], user))
    return fold(catalog, repo.root, version.uuid)


def resume(catalog: Catalog) -> None:
    """Fold what a crash left sealed."""
    for repo in catalog.repos().values():
        for version in repo.versions.values():
            if version.state == "sealed":
                log.info("finishing the commit of version %s", version.uuid)
                try:
                    fold(catalog, repo.root, version.uuid)
                except DamageError as error:  # the version stays sealed and is read from its staging
                    log.error("the commit of version %s cannot be finished: %s", version.uuid, error)


def fold(catalog: Catalog, root: str, uuid: str) -> bytes:
    """The commit of a locked version, made now if need be. The same staging always gives the same commit."""
    with _folding:
        return _fold(catalog, root, uuid)


def fold_unversioned(catalog: Catalog, repo: Repo, instance: Instance) -> bytes | None:
    """Fold what is staged of an unversioned instance into a record; the record, None if nothing was ever written.

    A store that is open for reading keeps its staging: the record is then the last that was made.
    """
    if catalog.store.readonly:
        return catalog.data_record(repo, instance)
    for _ in range(_TRIES):
        with suppress(RefMoved), _folding:  # another process may fold, too
            return _fold_unversioned(catalog, repo, instance)
    raise RefMoved(f"unversioned instance {instance.name!r} keeps changing; try again")


def _fold_unversioned(catalog: Catalog, repo: Repo, instance: Instance) -> bytes | None:
    number = repo.numbers[instance.uuid]
    before = catalog.data_record(repo, instance)
    sql = "SELECT space, max(seq) FROM staging WHERE version = 0 AND data = ? GROUP BY space"
    spaces = catalog.store.database.rows(sql, (number,))
    if not spaces:
        return before
    last = max(seq for _, seq in spaces)
    writer = NodeWriter(catalog.nodes)
    base = read_record(catalog.nodes, before).root if before else EMPTY
    old = content_of(catalog.nodes, base, instance.uuid)
    roots = dict(old.roots) if old else {}
    for space, _ in spaces:
        roots[space] = edit.apply(writer, roots.get(space, EMPTY), _rows(catalog, 0, number, space, last))
    settings = datatype(instance.typename).content_settings(instance.config)
    key = bytes.fromhex(instance.uuid)
    value, objects = _content_value(key, Content(instance.typename, settings, roots))
    record = Record("data", edit.apply(writer, base, [(key, value)]), (before,) if before else (), now())
    item = prepare(ObjectType.RECORD, record.encode())
    catalog.store.run(BindData(number, before, item.id, last, [*objects, *writer.take(), item]))
    return item.id


def _fold(catalog: Catalog, root: str, uuid: str) -> bytes:
    repo = catalog.repos()[root]
    version = repo.versions[uuid]
    if version.commit is not None:
        return version.commit
    repo.check()
    parents = tuple(_fold(catalog, root, parent) for parent in version.parents)
    base = version.base or (read_commit(catalog.nodes, parents[0]).root if parents else EMPTY)
    writer = NodeWriter(catalog.nodes)
    edits: list[edit.Edit] = []
    objects: list[Object] = []
    for instance_uuid, spaces in _staged(catalog, repo, version).items():
        key = bytes.fromhex(instance_uuid)
        instance = repo.by_data_uuid[instance_uuid]
        before = content_of(catalog.nodes, base, instance_uuid)
        roots = dict(before.roots) if before else {}
        number = repo.numbers[instance_uuid]
        for space in spaces:
            roots[space] = edit.apply(writer, roots.get(space, EMPTY), _rows(catalog, version.id, number, space))
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
    return item.id


def _content_value(key: bytes, content: Content) -> tuple[Value | None, list[Object]]:
    """The entry of an instance in a version root, and what to store for it: none where all its spaces are empty."""
    empty = all(root == EMPTY for root in content.roots.values())
    return (None, []) if empty else make_value(key, content.encode())


def _staged(catalog: Catalog, repo: Repo, version: Version) -> Mapping[str, list[str]]:
    """The key spaces with staged rows, by data UUID."""
    names = {number: uuid for uuid, number in repo.numbers.items()}
    found: dict[str, list[str]] = {}
    sql = "SELECT DISTINCT data, space FROM staging WHERE version = ? ORDER BY data, space"
    for number, space in catalog.store.database.rows(sql, (version.id,)):
        if number in names:  # else its instance was deleted
            found.setdefault(names[number], []).append(space)
    return found


def _rows(catalog: Catalog, version: int, data: int, space: str, last: int = 2**63 - 1) -> Iterator[edit.Edit]:
    """The staged changes of a space in key order, up to a sequence number, a page a query: no transaction lasts."""
    after = b""
    sql = (
        "SELECT key, kind, value, size FROM staging"
        " WHERE version = ? AND data = ? AND space = ? AND key > ? AND seq <= ? ORDER BY key LIMIT ?"
    )
    while rows := catalog.store.database.rows(sql, (version, data, space, after, last, _PAGE)):
        for key, kind, value, size in rows:
            yield key, value_of(kind, value, size)
        after = rows[-1][0]
