"""What differs between two versions, committed or open, in the time of the difference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from dagdvid.datatype import Instance
from dagdvid.objects.tree.diff import Change
from dagdvid.objects.tree.diff import diff as tree_diff
from dagdvid.registry import datatype
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.model import Repo, Version
from dagdvid.repo.snapshot import VersionSnapshot, merged_keys
from dagdvid.repo.staging import spaces_of

__all__ = ["Counts", "changed_instances", "changes", "kind_of"]

_BATCH = 1000


@dataclass
class Counts:
    """How many keys were added, removed and changed."""

    added: int = 0
    removed: int = 0
    changed: int = 0

    def add(self, kind: str) -> None:
        """Count one."""
        setattr(self, kind, getattr(self, kind) + 1)

    @property
    def any(self) -> bool:
        """Whether there was a change."""
        return bool(self.added or self.removed or self.changed)


def kind_of(change: Change) -> str:
    """ "added", "removed" or "changed"."""
    _, before, after = change
    return "added" if before is None else "removed" if after is None else "changed"


def changed_instances(catalog: Catalog, repo: Repo, a: Version, b: Version) -> list[Instance]:
    """The versioned instances that may differ: by the version roots, and by what is staged."""
    if a.uuid == b.uuid:
        return []
    numbers = {number: uuid for uuid, number in repo.numbers.items()}
    grounds = [catalog.ground(repo, version) for version in (a, b)]
    suspects = {key.hex() for key, _, _ in tree_diff(catalog.nodes, grounds[0][1], grounds[1][1])}
    for staged, _ in grounds:
        for version in staged:
            for number, _ in spaces_of(catalog.store.database, version.id):
                if number in numbers:  # else it was made after this state of the repo was loaded
                    suspects.add(numbers[number])
    known = repo.by_data_uuid
    return sorted((known[u] for u in suspects if u in known and known[u].versioned), key=lambda i: i.name)


def changes(a: VersionSnapshot, b: VersionSnapshot) -> Iterator[tuple[str, Change]]:
    """(space, change) from one view of an instance to another, space by space, in key order."""
    for space in datatype(a.instance.typename).spaces:
        staged = merged_keys(a.staged_keys(space), b.staged_keys(space))
        first = next(staged, None)
        trees = tree_diff(a.nodes, a.root(space), b.root(space))
        if first is None:
            for change in trees:
                yield space, change
            continue
        keys = merged_keys((key for key, _, _ in trees), iter([first]), staged)
        while batch := list(islice(keys, _BATCH)):
            for key, before, after in zip(batch, a.locate(space, batch), b.locate(space, batch), strict=True):
                if before != after:
                    yield space, (key, before, after)
