"""The mutation log (SPEC 6.6): what was done to an instance in one version, or along a line of versions."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from dagdvid.datatype import Instance, Logged
from dagdvid.objects import canonical
from dagdvid.objects.blobs import read_values
from dagdvid.objects.tree.diff import diff
from dagdvid.objects.tree.node import Value
from dagdvid.objects.tree.nodes import EMPTY
from dagdvid.registry import datatype
from dagdvid.repo.batches import overlaid, present
from dagdvid.repo.commits import read_commit
from dagdvid.repo.model import Repo, Version
from dagdvid.repo.staging import LOG, LOG_KEY, Layer, changes_at

if TYPE_CHECKING:  # which imports this module
    from dagdvid.repo.catalog import Catalog

__all__ = ["along", "logged", "mutations", "records"]

_LOAD = 256


def mutations(catalog: Catalog, repo: Repo, version: Version, instance: Instance) -> Iterator[dict[str, Any]]:
    """What was done in one version, in order, as DVID's JSON has it; all that was ever done if it is unversioned."""
    return (each for _, shown in records(catalog, repo, version, instance) for each in shown)


def records(
    catalog: Catalog, repo: Repo, version: Version, instance: Instance, first: int = 0
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """As `mutations`, request by request under their mutation ids, from one id on."""
    kind = datatype(instance.typename)
    for mutation, record in logged(catalog, repo, version, instance, first):
        common = {"Timestamp": _go_time(record["time"]), "UUID": version.uuid}
        yield mutation, [each | common for each in kind.mutations({**record, "mutation": mutation})]


def logged(catalog: Catalog, repo: Repo, version: Version, instance: Instance, first: int = 0) -> Iterator[Logged]:
    """The records of what was done in one version, in order, from one mutation id on."""
    entries = _entries(catalog, repo, version, instance, first.to_bytes(LOG_KEY // 2, "big"))
    while batch := list(islice(entries, _LOAD)):
        contents = read_values(catalog.store, [value for _, value in batch])
        for (key, _), content in zip(batch, contents, strict=True):
            yield Logged(int.from_bytes(key[: LOG_KEY // 2], "big"), canonical.decode(content))


def along(repo: Repo, first: Version, last: Version) -> list[Version]:
    """The versions from `last` back to `first` by first parents; to the root if `first` is not among them."""
    found = [last]
    while found[-1].uuid != first.uuid and found[-1].parents:
        found.append(repo.versions[found[-1].parents[0]])
    return found


def _entries(
    catalog: Catalog, repo: Repo, version: Version, instance: Instance, first: bytes
) -> Iterator[tuple[bytes, Value]]:
    """The entries of the log of one version from a key on."""
    if not instance.versioned:
        for keys, values in catalog.snapshot(repo, version, instance).scan(LOG, first):
            yield from zip(keys, values, strict=True)
        return
    current = version
    while current.commit is None:
        layers = [Layer(current.id, current.epoch)]
        number = repo.numbers[instance.uuid]
        changes = changes_at(catalog.store.database, catalog.nodes, number, layers, LOG, first)
        if changes is not None:
            for keys, values in present(overlaid(changes)):
                yield from zip(keys, values, strict=True)
            return
        current = catalog.repos()[repo.root].versions[version.uuid]  # it was folded in between
    own = read_commit(catalog.nodes, current.commit)
    before = read_commit(catalog.nodes, own.parents[0]).root if own.parents else EMPTY
    old, new = (catalog.roots(root, instance.uuid).get(LOG, EMPTY) for root in (before, own.root))
    for key, _, value in diff(catalog.nodes, old, new):
        if value is not None and key >= first:
            yield key, value


def _go_time(stamp: str) -> str:
    """RFC 3339 as Go prints a time."""
    return stamp.replace("T", " ").removesuffix("Z") + " +0000 UTC"
