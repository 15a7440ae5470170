"""Statistics: objects and bytes in the store, entries and bytes by repo, version and instance."""

from __future__ import annotations

from typing import Any

from dagdvid.errors import DamageError
from dagdvid.objects.tree.read import stats as tree_stats
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.model import Repo

__all__ = ["statistics"]

_KINDS = {1: "nodes", 2: "blobs"}


def statistics(catalog: Catalog) -> dict[str, Any]:
    """What is stored, as JSON. Costs a few node reads for each version and instance."""
    utils = catalog.store.database.utils()
    packs = list(
        utils.query(
            "SELECT kind, state, count(*) AS packs, sum(length) AS bytes FROM packs WHERE state != 'dead' GROUP BY 1, 2"
        )
    )
    open_objects = next(utils.query("SELECT count(*) AS n FROM entries"))["n"]
    staged = next(utils.query("SELECT count(*) AS n, coalesce(sum(length(key) + size), 0) AS bytes FROM staging"))
    runs = next(utils.query("SELECT count(*) AS n, total(entries) AS keys, total(size) AS bytes FROM runs"))
    sealed = next(utils.query("SELECT count(*) AS n FROM versions WHERE state = 'sealed'"))
    return {
        "store": {
            "directory": str(catalog.store.folder),
            "format": catalog.store.info["format"],
            "objects": open_objects + catalog.store.packs.sealed_objects(),
            "bytes": sum(row["bytes"] for row in packs),
            "packs": [
                {"kind": _KINDS[row["kind"]], "state": row["state"], "packs": row["packs"], "bytes": row["bytes"]}
                for row in packs
            ],
            "database_bytes": catalog.store.database.path.stat().st_size,
            "staged_keys": staged["n"] + int(runs["keys"]),
            "staged_bytes": staged["bytes"] + int(runs["bytes"]),
            "staged_runs": runs["n"],
            "sealed_versions": sealed["n"],
        },
        "bases": catalog.store.below.state() if catalog.store.below is not None else {},
        "repos": {root: _repo(catalog, repo) for root, repo in sorted(catalog.repos().items())},
    }


def _repo(catalog: Catalog, repo: Repo) -> dict[str, Any]:
    newest = next((v for v in reversed(list(repo.versions.values())) if v.commit is not None), None)
    instances: dict[str, Any] = {}
    found = {
        "alias": repo.texts.get("alias", ""),
        "versions": len(repo.versions),
        "committed": sum(v.commit is not None for v in repo.versions.values()),
        "newest_commit": newest.uuid if newest else None,
        "instances": instances,
    }
    for name, instance in sorted(repo.instances.items()):
        version = newest or next(iter(repo.versions.values()))
        entries = size = 0
        try:
            for root in catalog.base(repo, version, instance).roots.values() if instance.versioned else ():
                counted = tree_stats(catalog.nodes, root)
                entries += counted.entries
                size += counted.size
            instances[name] = {"type": instance.typename, "entries": entries, "bytes": size}
        except DamageError as error:
            instances[name] = {"type": instance.typename, "error": str(error)}
    return found
