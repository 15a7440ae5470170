"""What takes how much room: by repo, version and instance, and what sharing and compression save.

Walks all tree nodes, and looks where the values lie without reading them. An object counts for the first version, in
the order of their making, that holds it, and there for the first instance by name.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dagdvid.errors import DamageError
from dagdvid.objects.blobs import decode_blob_list
from dagdvid.objects.local.marks import Marks
from dagdvid.objects.local.pack import ENTRY_SIZE, PackIndex
from dagdvid.objects.tree.node import BLOB_LIST, Node, Ref
from dagdvid.objects.tree.nodes import EMPTY
from dagdvid.objects.tree.read import stats as tree_stats
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.commits import Content
from dagdvid.repo.model import Repo, Version
from dagdvid.repo.record import read_record

__all__ = ["usage"]

_BATCH = 64
_ROWS = 5000
_REPORT_EVERY = 0.5
_MONTH = len("2026-01")

Step = dict[str, Any]


@dataclass
class Amount:
    """Of objects that nothing before had."""

    objects: int = 0
    bytes: int = 0
    """Decoded."""
    stored: int = 0
    """As they lie in packs."""

    def __iadd__(self, other: Amount) -> Amount:
        self.objects += other.objects
        self.bytes += other.bytes
        self.stored += other.stored
        return self


def usage(catalog: Catalog) -> Iterator[Step]:
    """Count all. Yields progress, at last {"result": report}; changes nothing.

    The report: "repos", by root UUID {"instances", "versions"}; "growth", by month what versions added; "totals" with
    the bytes of all versions if each were a copy (logical), of distinct objects (unique), of those as stored, and of
    packs; what sharing and compression save; what is staged, and what is garbage, or kept by the reflog alone.
    """
    run = _Usage(catalog)
    reported = time.monotonic()
    repos: dict[str, Any] = {}
    for root, repo in sorted(catalog.repos().items()):
        for _ in run.repo(repo, repos.setdefault(root, {})):
            if time.monotonic() - reported > _REPORT_EVERY:
                reported = time.monotonic()
                yield {"progress": "objects counted", "done": run.total.objects, "total": None}
    staged = run.staged()
    (packs,) = catalog.store.database.rows("SELECT coalesce(sum(length), 0) FROM packs WHERE state != 'dead'")[0]
    logical = sum(repo["logical"] for repo in repos.values())
    totals = {
        "logical": logical,
        "unique": run.total.bytes,
        "stored": run.total.stored,
        "packs": packs,
        "saved_by_sharing": max(0, logical - run.total.bytes),
        "saved_by_compression": max(0, run.total.bytes - run.total.stored),
        "staged": asdict(staged),
        "garbage": max(0, packs - run.total.stored - run.overhead()),
        "damaged": run.damaged,
    }
    growth = {month: asdict(amount) for month, amount in sorted(run.growth.items())}
    yield {"result": {"repos": repos, "growth": growth, "totals": totals}}


class _Usage:
    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.marks = Marks(catalog.store.packs)
        self.total = Amount()
        self.growth: dict[str, Amount] = defaultdict(Amount)
        self.damaged = 0

    def repo(self, repo: Repo, into: dict[str, Any]) -> Iterator[None]:
        """Count a repo; what it comes to is entered in `into`."""
        instances: dict[str, dict[str, int]] = {}
        versions: dict[str, Any] = {}
        into |= {"alias": repo.texts.get("alias", ""), "logical": 0, "instances": instances, "versions": versions}
        names = {instance.uuid: instance.name for instance in repo.instances.values()}
        record = Amount()
        for _ in self._read([repo.record], record):
            yield from self._walk(read_record(self.catalog.nodes, repo.record).root, record)
        self.total += record
        into["record"] = asdict(record)
        for version in repo.versions.values():
            added: dict[str, Any] = {}
            for uuid, content in self._contents(repo, version):
                amount = Amount()
                logical = entries = 0
                for root in content.roots.values():
                    try:
                        counted = tree_stats(self.catalog.nodes, root)
                        logical, entries = logical + counted.size, entries + counted.entries
                    except DamageError:
                        self.damaged += 1
                    yield from self._walk(root, amount)
                self.total += amount
                name = names.get(uuid, uuid)
                added[name] = {"entries": entries, "logical": logical, "added": asdict(amount)}
                sums = instances.setdefault(name, {"logical": 0, "objects": 0, "bytes": 0, "stored": 0})
                for key, n in (asdict(amount) | {"logical": logical}).items():
                    sums[key] += n
                into["logical"] += logical
                self.growth[version.updated[:_MONTH]] += amount
            versions[version.uuid] = {"time": version.updated, "instances": added}

    def staged(self) -> Amount:
        """Count what open versions hold beside trees."""
        amount = Amount()
        rows = self.catalog.store.database.rows
        for (root,) in rows("SELECT held FROM runs UNION SELECT removed FROM runs"):
            for _ in self._walk(root, amount):
                pass
        at: tuple[Any, ...] = (-1, 0, "", b"")
        sql = (
            "SELECT version, data, space, key, kind, iif(kind IN (1, 2), value, NULL), size FROM staging"
            " WHERE (version, data, space, key) > (?, ?, ?, ?) ORDER BY version, data, space, key LIMIT ?"
        )
        while found := rows(sql, (*at, _ROWS)):
            self._values([Ref(kind, name, size) for *_, kind, name, size in found if name is not None], amount)
            at = found[-1][:4]
        self.total += amount
        return amount

    def overhead(self) -> int:
        """Bytes of packs that are no entries."""
        return sum(PackIndex.size(index.n) for _, index in self.catalog.store.packs.indexes())

    def _contents(self, repo: Repo, version: Version) -> Iterator[tuple[str, Content]]:
        """What a version holds, by data UUID: as committed, or what its staging lies over."""
        for _, instance in sorted(repo.instances.items()):
            if instance.versioned:
                try:
                    roots = self.catalog.base(repo, version, instance).roots
                except DamageError:
                    self.damaged += 1
                    continue
                if roots:
                    yield instance.uuid, Content(instance.typename, {}, roots)
            elif version.uuid == repo.root and (record := self.catalog.data_record(repo, instance)) is not None:
                yield instance.uuid, Content(instance.typename, {}, {"": read_record(self.catalog.nodes, record).root})

    def _walk(self, root: bytes, amount: Amount) -> Iterator[None]:
        stack = [root]
        while stack:
            batch = [name for name in (stack.pop() for _ in range(min(_BATCH, len(stack)))) if name != EMPTY]
            for data in self._read(batch, amount):
                try:
                    node = Node(data)
                except DamageError:
                    self.damaged += 1
                    continue
                if node.level:
                    stack += node.ids
                else:
                    self._values(node.refs(), amount)
            yield

    def _values(self, refs: Sequence[Ref], amount: Amount) -> None:
        sizes = {ref.id: ref.size for ref in refs if ref.kind != BLOB_LIST}
        for data in self._read([ref.id for ref in refs if ref.kind == BLOB_LIST], amount):
            sizes |= dict(decode_blob_list(data))
        amount.bytes += sum(sizes[name] for name in self._count(list(sizes), amount))

    def _read(self, names: Sequence[bytes], amount: Amount) -> Iterator[bytes]:
        found = []
        for name in self._count(names, amount):
            try:
                item = self.catalog.store.get_here([name])[0]
                if item is not None:
                    amount.bytes += item.size
                    found.append(item.data())
            except DamageError:
                self.damaged += 1
        return iter(found)

    def _count(self, names: Sequence[bytes], amount: Amount) -> list[bytes]:
        """Those that are here and were not counted yet."""
        fresh, _ = self.marks.set(names, 1) if names else ([], [])
        amount.objects += len(fresh)
        where = self.catalog.store.packs.locate(fresh) if fresh else {}
        amount.stored += sum(ENTRY_SIZE + stored for _, _, stored in where.values())
        return fresh
