"""gc: verifies everything that the refs reach, then gives back the room of all else but what the reflog remembers.

A store with damage is not collected: what cannot be walked cannot be known to be garbage.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from dagdvid.errors import Corrupt
from dagdvid.objects.local.sweep import Swept, sweep
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.removal import DropOrphans
from dagdvid.repo.verify import Walk, walk_all, walk_remembered

__all__ = ["collect"]


def collect(catalog: Catalog, *, dry_run: bool = False, forget: bool = False) -> Iterator[dict[str, Any]]:
    """Collect garbage in a store that nobody else has open. Yields progress, at last {"result": what was given up}.

    forget: give up also what only the reflog remembers.

    Raises:
        Corrupt: the store is damaged; nothing was changed.
    """
    if not dry_run:
        catalog.store.run(DropOrphans())
    walk = Walk(catalog)
    yield from walk_all(walk)
    if walk.problems:
        raise Corrupt(
            f"nothing was collected, as {len(walk.problems)} objects are damaged or missing: run dagdvid fsck"
        )
    if not forget:
        yield from walk_remembered(walk)
    total = Swept()
    for total in sweep(catalog.store, walk.seen, dry_run=dry_run):
        catalog.nodes.cache.clear()  # what it holds counts as stored, and may have gone
        yield {"progress": "packs swept", "done": total.packs, "total": None}
    yield {"result": {"live": len(walk.seen), "dry_run": dry_run, **asdict(total)}}
