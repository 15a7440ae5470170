"""What was before: the index of a body before some mutation, by undoing what was done since."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dagdvid.datatype import Logged, Snapshot
from dagdvid.datatypes.labelevents import Cleave, Merge, Operation, Renumber, Split, SplitSupervoxel
from dagdvid.datatypes.labelmap import bodies, counts
from dagdvid.datatypes.labelmap.counts import Table
from dagdvid.datatypes.labelmap.index import Changed, last_changes
from dagdvid.datatypes.labelmap.oplog import parse
from dagdvid.interchange.labelindex import LabelIndex
from dagdvid.kernels import morton

__all__ = ["index_before", "touched"]


def index_before(view: Snapshot, label: int, mutation: int) -> LabelIndex | None:
    """The index that a body had before a mutation that was made in this version or one before it.

    Voxels that were written since are counted as they are now. None if there was no such mutation or no such body.
    """
    for version in view.line():
        there = view.at(version)
        records = list(there.history())
        if any(each.mutation == mutation for each in records):
            return _undone(there, label, mutation, records)
    return None


def _undone(view: Snapshot, label: int, mutation: int, records: list[Logged]) -> LabelIndex | None:
    past = _Past(view)
    changed: Changed | None = None
    for each in reversed(records):
        operation = parse(each.record)
        if each.mutation >= mutation:
            past.undo(operation)
        elif changed is None and label in touched(operation):
            changed = Changed(each.mutation, *(each.record.get(name, "") for name in ("time", "user", "app")))
    rows = past.rows(label)
    if not rows.counts.size:
        return None
    if changed is None:
        changed = _earlier(view, label)
    return LabelIndex(label, morton.decode(rows.codes), rows.supervoxels, rows.counts, *changed)


def _earlier(view: Snapshot, label: int) -> Changed:
    """Who had changed a body last when its version was begun."""
    before = view.line()[1:2]
    body = bodies.find(parent := view.at(before[0]), np.array([label], np.uint64))[0] if before else None
    return last_changes(parent, [body])[0] if body else Changed()


def touched(operation: Operation) -> set[int]:
    """The labels of the bodies that an operation changed, made or removed."""
    if isinstance(operation, Merge):
        return {operation.target, *operation.labels}
    if isinstance(operation, Renumber):
        return {operation.new, operation.old}
    if isinstance(operation, SplitSupervoxel):
        return {operation.body}
    return {operation.body, operation.made}


@dataclass
class _Past:
    """Bodies as they were, as far as something was done to them since."""

    view: Snapshot
    had: dict[int, set[int]] = field(default_factory=dict)
    """The supervoxels of bodies."""
    was: dict[int, int] = field(default_factory=dict)
    """Of what supervoxel another one is a part."""

    def members(self, label: int) -> set[int]:
        """The supervoxels of a body."""
        if label not in self.had:
            body = bodies.find(self.view, np.array([label], np.uint64))[0]
            self.had[label] = set(bodies.supervoxels_of(self.view, body).tolist()) if body else set()
        return self.had[label]

    def undo(self, operation: Operation) -> None:
        """Go back over one operation."""
        if isinstance(operation, Merge):
            for label, part in zip(operation.labels, operation.supervoxels, strict=True):
                self.members(operation.target).difference_update(part.tolist())
                self.had[label] = set(part.tolist())
        elif isinstance(operation, Cleave):
            self.members(operation.body).update(operation.supervoxels)
            self.had[operation.made] = set()
        elif isinstance(operation, Renumber):
            self.had[operation.old] = self.members(operation.new)
            self.had[operation.new] = set()
        elif isinstance(operation, SplitSupervoxel):
            self._unsplit(operation.body, operation.supervoxel, operation.split, operation.remain)
        elif isinstance(operation, Split):
            for old, (split, remain) in operation.supervoxels.items():
                self._unsplit(operation.body, old, split, remain)
            self.had[operation.made] = set()

    def _unsplit(self, body: int, old: int, split: int, remain: int) -> None:
        self.members(body).difference_update({split, remain})
        self.members(body).add(old)
        self.was |= {split: old, remain: old}

    def rows(self, label: int) -> Table:
        """Where the supervoxels of a body lay."""
        parts: dict[int, list[int]] = {}
        for part in self.was:
            whole = part
            while whole in self.was:
                whole = self.was[whole]
            parts.setdefault(whole, []).append(part)
        mine = self.members(label)
        found = counts.read(self.view, _array(mine.union(*(parts.get(each, []) for each in mine))))
        whole_of = {part: whole for whole, each in parts.items() for part in each}
        summed: dict[tuple[int, int], int] = {}
        for supervoxel, code, count in zip(*(column.tolist() for column in found), strict=True):
            key = (whole_of.get(supervoxel, supervoxel), code)
            summed[key] = summed.get(key, 0) + count
        return Table(
            np.array([supervoxel for supervoxel, _ in summed], np.uint64),
            np.array([code for _, code in summed], np.uint64),
            np.array(list(summed.values()), np.int64),
        )


def _array(labels: set[int]) -> NDArray[np.uint64]:
    return np.array(sorted(labels), np.uint64)
