"""Values that were put off: entries that stand empty until they are computed (`Datatype.deferred`).

A commit has none: they are computed between its seal and its fold, in the staging of the sealed version (SPEC 6.4).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dagdvid.datatype import Instance
from dagdvid.objects.tree.diff import diff
from dagdvid.objects.tree.nodes import EMPTY
from dagdvid.registry import datatype, deferred_spaces
from dagdvid.repo.batches import overlaid
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.commits import read_commit
from dagdvid.repo.model import Repo, Version
from dagdvid.repo.staging import changes_in
from dagdvid.repo.tidy import Pause
from dagdvid.repo.txn import VersionTxn

__all__ = ["compute", "compute_within"]

_BATCH = 64
"""Entries that are computed in one transaction."""


def compute(catalog: Catalog, repo: Repo, version: Version, instance: Instance, pause: Pause) -> None:
    """Compute what stands empty in an open or sealed version, in the order of keys, a few entries a transaction.

    Only in a turn (`turns.take_turn`): staging must not be tidied meanwhile.

    Raises:
        StaleRead: others keep changing what is read.
    """
    for space in deferred_spaces(instance.typename):
        keys: list[bytes] = []
        for key in _empty(catalog, repo, version, instance, space, pause):
            keys.append(key)
            if len(keys) == _BATCH:
                _compute(catalog, repo, version, instance, space, keys)
                keys = []
                pause()
        if keys:
            _compute(catalog, repo, version, instance, space, keys)


def _compute(
    catalog: Catalog, repo: Repo, version: Version, instance: Instance, space: str, keys: Iterable[bytes]
) -> None:
    txn = catalog.txn(repo, version, instance)
    datatype(instance.typename).compute(instance, txn, space, list(keys))
    catalog.commit_txn(txn, version, sealed=version.locked)


def compute_within(txn: VersionTxn) -> None:
    """Compute what stands empty among the changes of a transaction."""
    kind = datatype(txn.instance.typename)
    for space in deferred_spaces(kind.name):
        keys = [key for key, value in txn.changes.get(space, {}).items() if value == b""]
        kind.compute(txn.instance, txn, space, sorted(keys))


def _empty(
    catalog: Catalog, repo: Repo, version: Version, instance: Instance, space: str, pause: Pause
) -> Iterator[bytes]:
    """The keys of a space that stand empty by what was changed in a version."""
    number, layer = repo.numbers[instance.uuid], version.id if instance.versioned else 0
    if layer and version.base is not None:
        yield from _empty_base(catalog, repo, version, version.base, instance, space)
    for keys, values in overlaid(changes_in(catalog.store.database, catalog.nodes, layer, number, space, pause=pause)):
        yield from (key for key, value in zip(keys, values, strict=True) if value == b"")


def _empty_base(
    catalog: Catalog, repo: Repo, version: Version, base: bytes, instance: Instance, space: str
) -> Iterator[bytes]:
    """Those that stand empty in what a version began with: the merge of its parents, or a copy."""
    commit = repo.versions[version.parents[0]].commit if version.parents else None
    before = read_commit(catalog.nodes, commit).root if commit else EMPTY
    old, new = (catalog.roots(root, instance.uuid) if root != EMPTY else {} for root in (before, base))
    for key, _, value in diff(catalog.nodes, old.get(space, EMPTY), new.get(space, EMPTY)):
        if value == b"":
            yield key
