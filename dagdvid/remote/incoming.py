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
from dagdvid.objects.tree.read import last_before, scan
from dagdvid.remote.amended import Amendments, sort_amendments
from dagdvid.remote.foreign import foreign
from dagdvid.remote.history import common_base
from dagdvid.remote.landing import Landing
from dagdvid.remote.receive import Received
from dagdvid.remote.shared import join_shared
from dagdvid.repo.accept import Accept, NewVersion
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.ids import MUTATION, Held, check, held_by, read_grants
from dagdvid.repo.leases import ledger
from dagdvid.repo.model import Repo, branch_text, shared_uuid
from dagdvid.repo.record import Loaded, Record, load_facts, now, read_record
from dagdvid.repo.staging import LOG_KEY

__all__ = ["Taken", "take"]


@dataclass
class Taken:
    """What became of it."""

    versions: int
    notes: dict[str, Any] = field(default_factory=dict)
    """For the answer: what was renamed, left alone, or kept as it was here."""


def take(catalog: Catalog, received: Received, remote: str = "", *, amending: bool = False) -> Taken:
    """Make received versions visible. With the name of a `remote` (a pull), what diverged lands beside what is here;
    without (a push), it is refused. amending: versions may come that were amended on the other side.

    Raises:
        Diverged, RefMoved: see `Accept`.
        Unverified: the repo record is malformed, or claims what belongs to another repo.
    """
    while True:
        repo = catalog.repos().get(received.repo)
        try:
            return _take(catalog, repo, received, remote, amending)
        except RefMoved:
            if catalog.repos().get(received.repo) is repo:
                raise
            # someone else changed the repo between the look at it and the move: look again


def _take(catalog: Catalog, repo: Repo | None, received: Received, remote: str, amending: bool) -> Taken:
    notes: dict[str, Any] = {}
    if repo is None and not received.commits:
        raise BadRequest(f"repo {received.repo} has no committed version: there is nothing to take")
    record, root, objects = _record(catalog, repo, received, remote, notes)
    with foreign():
        loaded = load_facts(catalog.nodes, root)
    if not received.left_out <= {*loaded.deleted}:
        raise Unverified("bundle without the content of an instance that is not deleted")
    held = _ids(catalog, repo, root)
    instances = [instance.uuid for instance in loaded.instances.values()]
    _check_owner(catalog, received.repo, [*instances, *loaded.deleted])
    amendments = sort_amendments(catalog, repo, received, amending)
    versions = _versions(catalog, repo, received, remote, notes, amendments)
    data, shared = _data(catalog, repo, received, loaded, remote, notes)
    before = (repo.record, repo.generation) if repo else None
    objects = [*received.objects, *objects, *shared]
    instances = [*instances, *data]
    branches = _renamed_branches(repo, loaded) if repo else {}
    deleted = tuple(loaded.deleted)
    seen = _seen(catalog, received, held)
    if amendments.taken:
        notes["amended"] = [each.uuid for each in amendments.taken]
    moves = (held, seen, branches, deleted, amendments.taken)
    catalog.store.run(Accept(received.repo, versions, before, record, instances, data, objects, *moves))
    return Taken(len(versions) + len(amendments.taken), notes)


def _renamed_branches(repo: Repo, loaded: Loaded) -> dict[str, str]:
    """Versions known here that the record puts on another branch than the record here does."""
    ours = {uuid: later.branch for uuid, later in repo.later.items()}
    return {
        uuid: later.branch
        for uuid, later in loaded.versions.items()
        if uuid in repo.versions and later.branch is not None and later.branch != ours.get(uuid)
    }


def _ids(catalog: Catalog, repo: Repo | None, root: bytes) -> list[Held]:
    """The ids that this server holds by the record that is to stand.

    Raises:
        Diverged: another server holds some of them, too.
        Unverified: the record takes back what was given.
    """
    with foreign():
        grants = read_grants(catalog.nodes, root)
    before = ledger(catalog, repo) if repo else []
    check(before, grants)
    if not {*before} <= {*grants}:
        raise Unverified("the record takes back ids that were given to a server")
    return held_by(grants, catalog.server_id)


def _seen(catalog: Catalog, received: Received, held: Collection[Held]) -> dict[str, list[int]]:
    """The greatest mutation id of each log that came in each range of ours: none is given out again.

    There are such ids where this server forgot that it gave them out: after it was brought back from a backup.
    """
    numbers = []
    for counter, first, last in held:
        for root in received.logs if counter == MUTATION else ():
            key = last_before(catalog.nodes, root, (last + 1).to_bytes(LOG_KEY // 2, "big"))
            number = int.from_bytes(key[: LOG_KEY // 2], "big") if key else 0
            if number >= first:
                numbers.append(number)
    return {MUTATION: numbers}


def _check_owner(catalog: Catalog, root: str, instances: Collection[str]) -> None:
    """Local numbers and unversioned content go by data UUID alone: no repo may claim another's."""
    if shared_uuid(root) in instances:
        raise Unverified(f"the record of repo {root} has an instance in the place of what it shares")
    for other in catalog.repos().values():
        if other.root != root and not {*other.by_data_uuid, other.shared.uuid}.isdisjoint(instances):
            raise Unverified(f"the record of repo {root} claims an instance of repo {other.root}")


def _versions(
    catalog: Catalog,
    repo: Repo | None,
    received: Received,
    remote: str,
    notes: dict[str, Any],
    amendments: Amendments,
) -> list[NewVersion]:
    """The versions of new commits, with the branch that each has here."""
    known = amendments.stale | {each.after for each in amendments.taken}
    landing = Landing(catalog, repo, received, remote)
    result = []
    for name, commit in received.commits.items():
        branch = landing.branch(name, commit)
        if name in known:
            continue
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


def _record(
    catalog: Catalog, repo: Repo | None, received: Received, remote: str, notes: dict[str, Any]
) -> tuple[bytes, bytes, list[Object]]:
    """The record to stand at, the root of its tree, and what to store for it."""
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
            result, root, objects = _merge(catalog, received, repo.record, theirs, base, remote, notes)
    if root is None:
        known = received.records.get(result)
        root = known.root if known else read_record(catalog.nodes, result).root
    return result, root, objects


def _merge(
    catalog: Catalog,
    received: Received,
    ours: bytes,
    theirs: bytes,
    base: bytes | None,
    remote: str,
    notes: dict[str, Any],
) -> tuple[bytes, bytes, list[Object]]:
    """Merge two repo records field by field; where both changed a field, a pull keeps and reports ours.

    Raises:
        Diverged: in a push, both changed a field, or both made an instance of one name.
    """

    def root_of(name: bytes) -> bytes:
        known = received.records.get(name)
        return known.root if known else read_record(catalog.nodes, name).root

    def keep_ours(key: bytes, _: Value | None, mine: Value | None, __: Value | None) -> Value | None:
        name = key.decode(errors="replace")
        if not remote:
            raise Diverged(f"the repo record has another {name!r} on the other side: pull first")
        notes.setdefault("kept_here", []).append(name)
        return mine

    writer = NodeWriter(catalog.nodes)
    old, new = root_of(ours), root_of(theirs)
    with foreign():
        check(read_grants(catalog.nodes, old), read_grants(catalog.nodes, new))
    merged = merge.merge(writer, root_of(base) if base else EMPTY, old, new, keep_ours)
    writer.flush()
    mine = {i.uuid for i in load_facts(catalog.nodes, old).instances.values()}
    renames = _rename_twins(catalog, merged, mine, remote)
    if renames and not remote:
        twin = next(iter(renames))
        raise Diverged(f"instance {twin} of the push has a name that another one has on the other side: pull first")
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
