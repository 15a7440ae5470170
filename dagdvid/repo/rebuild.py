"""Finds the refs of a store again by its commits and records, when the database that held them is lost (SPEC 4.8).

What was never committed is lost with the database; repos that were deleted come back as far as they were not collected.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from dagdvid.errors import DamageError
from dagdvid.objects import canonical
from dagdvid.objects.blobs import read_value
from dagdvid.objects.ids import ObjectType
from dagdvid.objects.local.rebuild import objects_of
from dagdvid.objects.tree import read as tree
from dagdvid.objects.tree.nodes import EMPTY
from dagdvid.repo.accept import Accept, NewVersion
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.commits import Commit, Content, decode_content
from dagdvid.repo.ids import MUTATION, Held, claim, held_by, read_grants
from dagdvid.repo.operations import CreateRepo
from dagdvid.repo.record import Record, load_facts, make_record
from dagdvid.repo.staging import LOG, LOG_KEY

__all__ = ["rebuild_refs"]

_UNSEEN = 1_000_000
"""Ids left out in each range: open versions, of which nothing is left, may have used them."""

log = logging.getLogger(__name__)


def rebuild_refs(catalog: Catalog) -> dict[str, Any]:
    """Enter the repos and versions that the objects of a store tell of; what was found, as JSON."""
    commits: dict[bytes, Commit] = {}
    records: dict[bytes, Record] = {}
    for item in objects_of(catalog.store, (ObjectType.COMMIT, ObjectType.RECORD)):
        if item.type == ObjectType.COMMIT:
            commits[item.id] = Commit.decode(item.data())
        else:
            records[item.id] = Record.decode(item.data())
    by_repo: dict[str, dict[bytes, Commit]] = defaultdict(dict)
    for name, commit in commits.items():
        by_repo[commit.repo][name] = commit
    data = {uuid: name for name in _heads(records, "data") for uuid in _data_uuids(catalog, records[name])}
    of_repo = {root: name for name in _heads(records, "repo") if (root := _root_of(catalog, records[name]))}
    for root in sorted(by_repo.keys() | of_repo.keys()):
        versions = _versions(by_repo.get(root, {}))
        record = of_repo.get(root)
        if not versions and record is not None:
            catalog.store.run(CreateRepo(root, record, ()))
        _enter(catalog, root, versions, commits, record, data)
    return {"repos": len(catalog.repos()), "versions": sum(len(repo.versions) for repo in catalog.repos().values())}


def _enter(
    catalog: Catalog,
    root: str,
    versions: list[tuple[bytes, Commit]],
    commits: Mapping[bytes, Commit],
    record: bytes | None,
    data: Mapping[str, bytes],
) -> None:
    contents = _contents(catalog, versions)
    objects: list[Any] = []
    if record is None:
        log.warning("the record of repo %s is lost: its instances are named by their UUIDs", root)
        mine = claim(MUTATION, catalog.server_id, ())  # who else was given ids is lost, too
        record, objects = make_record(catalog.nodes, None, _facts(root, contents) | mine.facts())
        catalog.store.put_many(objects)
    there = catalog.repos().get(root)
    facts = Record.decode(_read(catalog, record)).root
    loaded = load_facts(catalog.nodes, facts)
    held = held_by(read_grants(catalog.nodes, facts), catalog.server_id)
    logs = [content.roots.get(LOG, EMPTY) for found in contents.values() for content in found]
    uuids = [instance.uuid for instance in loaded.instances.values()]
    catalog.store.run(
        Accept(
            root,
            [_version(name, commit, commits) for name, commit in versions],
            (record, there.generation) if there else None,
            record,
            uuids,
            {uuid: (None, data[uuid]) for uuid in uuids if uuid in data},
            objects,
            held,
            _used(catalog, held, logs),
            {uuid: later.branch for uuid, later in loaded.versions.items() if later.branch is not None},
        )
    )


def _read(catalog: Catalog, name: bytes) -> bytes:
    item = catalog.store.get_many([name])[0]
    return item.data() if item is not None else b""


def _heads(records: Mapping[bytes, Record], kind: str) -> list[bytes]:
    """The records of a kind that no other follows, oldest first."""
    mine = {name: record for name, record in records.items() if record.kind == kind}
    followed = {parent for record in mine.values() for parent in record.parents}
    return sorted(mine.keys() - followed, key=lambda name: mine[name].time)


def _root_of(catalog: Catalog, record: Record) -> str:
    """The repo that a record says it is of; nothing if that cannot be read."""
    try:
        value = tree.get(catalog.nodes, record.root, b"root")
        return str(canonical.decode(read_value(catalog.store, value))) if value is not None else ""
    except DamageError:
        return ""


def _data_uuids(catalog: Catalog, record: Record) -> list[str]:
    try:
        return [key.hex() for keys, _ in tree.scan(catalog.nodes, record.root) for key in keys]
    except DamageError:
        return []


def _versions(commits: Mapping[bytes, Commit]) -> list[tuple[bytes, Commit]]:
    """One commit for each version, the newest where there are several; parents first."""
    newest: dict[str, bytes] = {}
    amended = {commit.amends for commit in commits.values()}
    for name, commit in sorted(commits.items(), key=lambda item: (item[0] not in amended, item[1].time, item[0])):
        newest[commit.uuid] = name
    chosen = [(name, commits[name]) for name in newest.values()]
    depth: dict[bytes, int] = {}
    for name, _ in chosen:
        stack = [name]
        while stack:
            parents = [parent for parent in commits[stack[-1]].parents if parent in commits]
            open_ = [parent for parent in parents if parent not in depth]
            if open_:
                stack += open_
            else:
                depth[stack.pop()] = 1 + max((depth[parent] for parent in parents), default=0)
    return sorted(chosen, key=lambda item: (depth[item[0]], item[1].created, item[0]))


def _version(name: bytes, commit: Commit, commits: Mapping[bytes, Commit]) -> NewVersion:
    parents = tuple(commits[parent].uuid for parent in commit.parents if parent in commits)
    texts = (commit.note, commit.log, commit.user, commit.created, commit.time)
    return NewVersion(commit.uuid, name, commit.branch, parents, *texts)


def _contents(catalog: Catalog, versions: Iterable[tuple[bytes, Commit]]) -> dict[str, list[Content]]:
    """What the versions hold of each instance, by data UUID."""
    found: dict[str, list[Content]] = defaultdict(list)
    for _, commit in versions:
        try:
            for keys, values in tree.scan(catalog.nodes, commit.root):
                for key, value in zip(keys, values, strict=True):
                    found[key.hex()].append(decode_content(read_value(catalog.store, value)))
        except DamageError as error:
            log.warning("version %s cannot be read: %s", commit.uuid, error)
    return found


def _facts(root: str, contents: Mapping[str, list[Content]]) -> dict[str, Any]:
    facts: dict[str, Any] = {"alias": f"recovered-{root[:8]}", "root": root}
    for uuid, found in contents.items():
        at = f"data/{uuid}/"
        facts |= {at + "name": f"data-{uuid[:8]}", at + "type": found[-1].typename, at + "versioned": True}
        facts |= {at + "origin": root, at + "settings": {}}
    return facts


def _used(catalog: Catalog, held: Iterable[Held], logs: Iterable[bytes]) -> dict[str, list[int]]:
    """By counter: for each range that is held here a number up to which its ids may have been given out."""
    used: dict[str, list[int]] = defaultdict(list)
    for counter, first, last in held:
        latest = first
        for root in logs if counter == MUTATION else ():
            with suppress(DamageError):
                key = tree.last_before(catalog.nodes, root, (last + 1).to_bytes(LOG_KEY // 2, "big"))
                latest = max(latest, int.from_bytes(key[: LOG_KEY // 2], "big") if key else 0)
        used[counter].append(min(latest + _UNSEEN, last))
    return used
