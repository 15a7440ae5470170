"""repair: saves what is intact, fetches what is missing from elsewhere by hash, notes what is lost (SPEC 4.8)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from dagdvid.errors import DagdvidError
from dagdvid.objects.blobs import decode_blob_list
from dagdvid.objects.ids import ObjectType
from dagdvid.objects.local.lost import SetLost
from dagdvid.objects.local.operation import Put
from dagdvid.objects.local.salvage import inspect, salvage
from dagdvid.objects.local.tiering import drop_tiers
from dagdvid.objects.store import Object
from dagdvid.objects.tree.node import Node
from dagdvid.objects.tree.nodes import EMPTY
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.commits import Commit
from dagdvid.repo.record import Record, now
from dagdvid.repo.verify import Walk, walk_all

__all__ = ["Source", "repair"]

_BATCH = 32


class Source(Protocol):
    """Another place that may have objects: a backup, a clone, a server."""

    name: str
    """For people."""

    def fetch(self, ids: Sequence[bytes]) -> Iterable[Object]:
        """Those of the objects that are there, each proven to match its id.

        Raises:
            DagdvidError: it cannot be asked.
        """


def repair(catalog: Catalog, sources: Sequence[Source] = (), *, dry_run: bool = False) -> Iterator[dict[str, Any]]:
    """Repair a store that nobody else has open. Yields progress, at last {"result": report}.

    Raises:
        DagdvidError: a source cannot be asked, or there is no room; what was repaired until then stays.
    """
    store = catalog.store
    packs: list[dict[str, Any]] = []
    store.packs.check()
    tiers = [name for (name,) in store.database.rows("SELECT name FROM tiers") if name in store.packs.damaged]
    for name in tiers:
        packs.append({"pack": name, "problem": store.packs.damaged[name], "saved": 0, "damaged": 0})
    if tiers and not dry_run:
        drop_tiers(store)
    for n, found in enumerate(inspect(store.packs), 1):
        yield {"progress": "packs read", "done": n, "total": None}
        if found.ok:
            continue
        what = found.problem or f"pack {found.name} has {len(found.bad)} damaged objects"
        packs.append({"pack": found.name, "problem": what, "saved": len(found.intact), "damaged": len(found.bad)})
        if not dry_run:
            salvage(store, found)
    catalog.nodes.cache.clear()
    healed: dict[str, int] = {source.name: 0 for source in sources}
    while True:
        walk = Walk(catalog)
        yield from walk_all(walk)
        before = sum(healed.values())
        if not dry_run:
            for source in sources:
                yield from _heal(catalog, source, walk.wanting, healed)
        if sum(healed.values()) == before:
            break
        catalog.nodes.cache.clear()
    wanting = sorted(walk.wanting)
    lost = [name for name, there in zip(wanting, store.has_many(wanting), strict=True) if not there]
    if not dry_run:
        store.run(SetLost(lost, now()))
    yield {
        "result": {
            "ok": not packs and not walk.problems,
            "dry_run": dry_run,
            "packs": packs,
            "healed": healed,
            "lost": len(lost),
            "problems": walk.problems,
        }
    }


def _heal(
    catalog: Catalog, source: Source, wanting: Iterable[bytes], healed: dict[str, int]
) -> Iterator[dict[str, Any]]:
    """Fetch objects, and what they refer to as far as that is missing, too."""
    store = catalog.store
    asked: set[bytes] = set()
    frontier = list(wanting)
    while frontier:
        missing = [name for name, there in zip(frontier, store.has_many(frontier), strict=True) if not there]
        asked.update(missing)
        frontier = []
        for start in range(0, len(missing), _BATCH):
            found = list(source.fetch(missing[start : start + _BATCH]))
            store.run(Put(found))
            healed[source.name] += len(found)
            yield {"progress": f"objects brought back from {source.name}", "done": healed[source.name], "total": None}
            frontier += {name for item in found for name in _references(item) if name not in asked}


def _references(item: Object) -> list[bytes]:
    """What an object names; the roots that the content of an instance names are found by the next walk."""
    data = item.data()
    try:
        match ObjectType(item.type):
            case ObjectType.BLOB:
                return []
            case ObjectType.BLOB_LIST:
                return [name for name, _ in decode_blob_list(data)]
            case ObjectType.COMMIT:
                commit = Commit.decode(data)
                names = [commit.root, *commit.parents]
            case ObjectType.RECORD:
                record = Record.decode(data)
                names = [record.root, *record.parents]
            case _:
                node = Node(data)
                names = node.ids if node.level else [ref.id for ref in node.refs()]
    except DagdvidError:  # it is what was asked for, by its hash; whether that makes sense is for the next walk to say
        return []
    return [name for name in names if name != EMPTY]
