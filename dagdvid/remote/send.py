"""The sending half: what a repo has to offer, and the bundle of what the other side lacks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from dagdvid.objects.blobs import read_value
from dagdvid.objects.ids import ObjectType
from dagdvid.objects.store import read
from dagdvid.objects.tree.diff import Change, diff
from dagdvid.objects.tree.node import BLOB_LIST, Ref
from dagdvid.objects.tree.nodes import EMPTY
from dagdvid.remote import bundle
from dagdvid.remote.history import in_order
from dagdvid.remote.objects import closure_of
from dagdvid.repo import fold
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.commits import Commit, Content, decode_content, read_commit
from dagdvid.repo.model import Repo
from dagdvid.repo.record import Record, load_facts, read_record

__all__ = ["Known", "Offer", "Sent", "everything", "missing_owners", "offer", "parents_of", "restored", "write_bundle"]


@dataclass(frozen=True)
class Offer:
    """The refs of a repo: what there is to send."""

    repo: str
    versions: dict[str, bytes]
    """Commit of each committed version, by UUID, parents first."""
    record: bytes
    data: dict[str, bytes]
    """Record of each unversioned instance, by data UUID."""
    branches: dict[bytes, str]
    """What the branch of each version is called here, by commit."""
    given_up: frozenset[str]
    """Data UUIDs of deleted instances: their content is not sent, and may be gone."""

    def json(self) -> dict[str, Any]:
        """For the wire: the refs that move. Version refs are in the commits themselves."""
        return {"record": self.record.hex(), "data": {uuid: record.hex() for uuid, record in self.data.items()}}

    @property
    def tips(self) -> list[bytes]:
        """All that the refs name."""
        return [*self.versions.values(), self.record, *self.data.values()]


@dataclass
class Sent:
    """What a bundle holds."""

    versions: int = 0
    objects: int = 0
    blobs: dict[bytes, int] = field(default_factory=dict)
    """Size of each blob and blob list that its changes name."""


def offer(catalog: Catalog, repo: Repo, uuid: str = "", without: Collection[str] = ()) -> Offer:
    """All that a repo has to send; with a UUID, of the versions only that one and those before it.

    without: UUIDs of versions that are left out, with all that come after them.
    """
    repo.check()
    for version in repo.versions.values():
        if version.locked and version.commit is None and not catalog.store.readonly:
            fold.fold(catalog, repo.root, version.uuid)
    for instance in repo.unversioned:
        fold.fold_unversioned(catalog, repo, instance)
    repo = catalog.repos()[repo.root]
    out = _after(repo, without)
    wanted = [v for v in (repo.ancestors(repo.versions[uuid]) if uuid else repo.versions.values()) if v.uuid not in out]
    versions = {v.uuid: v.commit for v in sorted(wanted, key=lambda v: v.id) if v.commit is not None}
    branches = {v.commit: v.branch for v in wanted if v.commit is not None}
    data = {
        instance.uuid: record
        for instance in repo.unversioned
        if (record := catalog.data_record(repo, instance)) is not None
    }
    return Offer(repo.root, versions, repo.record, data, branches, frozenset(repo.deleted))


def _after(repo: Repo, uuids: Collection[str]) -> set[str]:
    """Versions, and all after them."""
    found: set[str] = set()
    front = [uuid for uuid in uuids if uuid in repo.versions]
    while front:
        uuid = front.pop()
        if uuid not in found:
            found.add(uuid)
            front += repo.children[uuid]
    return found


def parents_of(catalog: Catalog, name: bytes) -> tuple[bytes, ...]:
    """The parents of a commit or record object."""
    item = catalog.store.get_many([name])[0]
    if item is not None and item.type == ObjectType.RECORD:
        return read_record(catalog.nodes, name).parents
    return read_commit(catalog.nodes, name).parents


class Known:
    """Which commits and records a repo's refs reach: all that it may say that it has, and build on."""

    def __init__(self, catalog: Catalog, repo: Repo | None) -> None:
        self._catalog = catalog
        self._reached: set[bytes] = set()
        self._front: list[bytes] = []
        if repo is not None:
            self._reached = {v.commit for v in repo.versions.values() if v.commit is not None}
            data = [catalog.data_record(repo, i) for i in repo.unversioned]
            self._front = [repo.record, *(record for record in data if record is not None)]

    def __call__(self, name: bytes) -> bool:
        """Records are walked back only as far as the questions need."""
        while name not in self._reached and self._front:
            record = self._front.pop(0)
            if record not in self._reached:
                self._reached.add(record)
                self._front += read_record(self._catalog.nodes, record).parents
        return name in self._reached


def missing_owners(catalog: Catalog, offered: Offer, known: Sequence[bytes]) -> list[bytes]:
    """The commits and records that the offer has beyond the known ones, parents first."""
    return in_order(offered.tips, known, lambda name: parents_of(catalog, name))


def everything(catalog: Catalog, offered: Offer, known: Sequence[bytes]) -> list[bytes]:
    """The commits and records of the offer, the known ones, and all before them, parents first."""
    return in_order([*offered.tips, *known], [], lambda name: parents_of(catalog, name))


def restored(catalog: Catalog, offered: Offer, known: Collection[bytes]) -> list[str]:
    """Data UUIDs of instances that were deleted when the other side last heard of the repo record, and no longer are.

    It may never have had what is in them, or have given it up.
    """
    front, seen = [offered.record], {offered.record}
    while front:
        name = front.pop(0)
        record = read_record(catalog.nodes, name)
        if name in known:
            return sorted({*load_facts(catalog.nodes, record.root).deleted} - offered.given_up)
        front += [parent for parent in record.parents if parent not in seen]
        seen.update(record.parents)
    return []


def write_bundle(
    catalog: Catalog, offered: Offer, owners: Sequence[bytes], file: IO[bytes], whole: Sequence[str] = ()
) -> Sent:
    """Write a bundle of commits and records, parents first.

    whole: data UUIDs of instances whose content is in it from the beginning, though the other side may have some of it.
    """
    sent = Sent()
    writer = bundle.BundleWriter(file)
    given_up = sorted(offered.given_up)
    head = {"given_up": given_up, "protocol": bundle.PROTOCOL, "repo": offered.repo}
    writer.json(bundle.HEAD, head | ({"whole": [*whole]} if whole else {}))
    for name in owners:
        _write_owner(catalog, writer, name, sent, offered.given_up)
    writer.close(offered.json() | {"branches": _branches(catalog, offered, owners)})
    lists = [name for name, size in sent.blobs.items() if size < 0]
    sent.blobs.update(closure_of(catalog.store, lists))
    return sent


def _branches(catalog: Catalog, offered: Offer, owners: Sequence[bytes]) -> dict[str, str]:
    """The names of branches that are called otherwise here than in their commits, of what is sent and just before."""
    sent = [name for name in owners if name in offered.branches]
    before = [parent for name in sent for parent in parents_of(catalog, name) if parent in offered.branches]
    found = {}
    for name in dict.fromkeys([*before, *sent]):
        commit = read_commit(catalog.nodes, name)
        if commit.branch != offered.branches[name]:
            found[commit.uuid] = offered.branches[name]
    return found


def _write_owner(
    catalog: Catalog, writer: bundle.BundleWriter, name: bytes, sent: Sent, given_up: Collection[str]
) -> None:
    item = catalog.store.get_many([name])[0]
    kind = ObjectType.RECORD if item is not None and item.type == ObjectType.RECORD else ObjectType.COMMIT
    data = read(catalog.store, name, kind)
    owner: Commit | Record = Commit.decode(data) if kind == ObjectType.COMMIT else Record.decode(data)
    parent = owner.parents[0] if owner.parents else None
    before = EMPTY
    if parent is not None:
        reader = read_commit if kind == ObjectType.COMMIT else read_record
        before = reader(catalog.nodes, parent).root
    label = owner.kind if isinstance(owner, Record) else "commit"
    writer.json(bundle.OWNER, {"id": name.hex(), "kind": label, "parent": parent.hex() if parent else None})
    changes = list(diff(catalog.nodes, before, owner.root))
    if label != "repo":
        for change in changes:
            if change[0].hex() in given_up:
                continue
            _write_spaces(catalog, writer, change, sent)
    writer.json(bundle.ROOT, {"root": owner.root.hex()})
    writer.edits(_noted(iter(changes), sent))
    writer.frame(bundle.OBJECT, data)
    sent.objects += 1
    sent.versions += label == "commit"


def _write_spaces(catalog: Catalog, writer: bundle.BundleWriter, change: Change, sent: Sent) -> None:
    key, before, after = change
    old, new = (_content(catalog, value) for value in (before, after))
    for space in sorted({*old, *new}):
        a, b = old.get(space, EMPTY), new.get(space, EMPTY)
        if b not in (a, EMPTY):
            writer.json(bundle.SPACE, {"data": key.hex(), "space": space, "root": b.hex()})
            writer.edits(_noted(diff(catalog.nodes, a, b), sent))


def _content(catalog: Catalog, value: Any) -> dict[str, bytes]:
    if value is None:
        return {}
    content: Content = decode_content(read_value(catalog.store, value))
    return dict(content.roots)


def _noted(changes: Iterator[Change], sent: Sent) -> Iterator[tuple[bytes, Any]]:
    for key, _, after in changes:
        if isinstance(after, Ref):
            sent.blobs[after.id] = -1 if after.kind == BLOB_LIST else after.size
        yield key, after
