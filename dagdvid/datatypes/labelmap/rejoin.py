"""Merges of versions: what was done to bodies on one side is done again on the other (`Datatype.rejoin`).

Blocks merge one by one. Bodies cannot: what one side merged, the other may have cleaved. So the result begins with the
bodies of the first parent; the second one's operations follow in their order, by the bodies that the labels belong to
by then; and the indices of all blocks that differ are counted again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from dagdvid.datatype import Side, Snapshot, Txn
from dagdvid.datatypes.grid import SPACE
from dagdvid.datatypes.labelevents import Cleave, Merge, Operation, Renumber, Split, SplitSupervoxel
from dagdvid.datatypes.labelmap import bodies, counts, members
from dagdvid.datatypes.labelmap.bodies import Body
from dagdvid.datatypes.labelmap.mapping import MAPPING, set_mapping, stored
from dagdvid.datatypes.labelmap.maxima import MAXIMA
from dagdvid.datatypes.labelmap.oplog import parse
from dagdvid.datatypes.labelmap.proofread import settled
from dagdvid.kernels import labelblocks, morton

__all__ = ["rejoin"]

_BATCH = 64
"""Blocks that are loaded together."""


def rejoin(txn: Txn, base: Snapshot, ours: Side, theirs: Side) -> None:
    """Do to our bodies what was done to theirs. The blocks of the transaction are merged already."""
    work = _Rejoin(txn)
    for done in ours.done:
        work.note(parse(done.record))
    for done in theirs.done:
        operation = parse(done.record)
        work.repeat(operation, done.mark)
        work.note(operation)
    _map_rest(txn, base, ours.view, theirs, [parse(done.record) for done in theirs.done])
    places = [key for key in theirs.changed(SPACE) if key[0] == 0]
    bodies.note_blocks(txn, _recounted(txn, ours.view, places))
    txn.put_many(MAXIMA, [(key, b"") for key in theirs.changed(MAXIMA) if theirs.view.has(MAXIMA, key)])
    work.sign()


def _map_rest(txn: Txn, base: Snapshot, ours: Snapshot, theirs: Side, operations: Iterable[Operation]) -> None:
    """Take over what was mapped without an operation (POST mappings), where we did not map it ourselves."""
    moved: set[int] = set()
    renumbered: set[int] = set()
    for operation in operations:
        match operation:
            case Merge():
                moved.update(*(part.tolist() for part in operation.supervoxels))
            case Cleave():
                moved.update(operation.supervoxels, [operation.made])
            case Renumber():
                renumbered.add(operation.new)
                moved.add(operation.new)
            case SplitSupervoxel():
                moved.update([operation.supervoxel, operation.split, operation.remain])
            case Split():
                moved.update(operation.supervoxels, *operation.supervoxels.values(), [operation.made])
    keys = list(theirs.changed(MAPPING))
    values = [view.get_many(MAPPING, keys) for view in (base, ours, txn, theirs.view)]
    for key, before, mine, now, wanted in zip(keys, *values, strict=True):
        known = int.from_bytes(key, "big") in moved or int.from_bytes(wanted or b"", "little") in renumbered
        if before == mine == now and wanted is not None and not known:
            txn.put(MAPPING, key, wanted)


def _recounted(
    txn: Txn, ours: Snapshot, keys: list[bytes]
) -> Iterator[tuple[tuple[int, int, int], dict[int, int], dict[int, int]]]:
    """Blocks z, y, x with the labels that go and the voxels of those that are there now."""
    for i in range(0, len(keys), _BATCH):
        part = keys[i : i + _BATCH]
        places = morton.decode_keys(part)[1].tolist()
        for (x, y, z), old, new in zip(places, ours.get_many(SPACE, part), txn.get_many(SPACE, part), strict=True):
            there = {} if new is None else dict(zip(*(c.tolist() for c in labelblocks.counts(new)), strict=True))
            gone = [] if old is None else labelblocks.labels_in(old).tolist()
            yield (z, y, x), dict.fromkeys(set(gone) - there.keys(), 1), there


def _array(labels: Iterable[int]) -> NDArray[np.uint64]:
    return np.array(sorted(labels), np.uint64)


class _Rejoin:
    """Operations repeated on bodies that may have changed since."""

    def __init__(self, txn: Txn) -> None:
        self.txn = txn
        self.went: dict[int, int] = {}
        """What body a body became part of, or its new label."""
        self.marks: dict[int, bytes] = {}
        """The last of their operations on each body."""

    def note(self, operation: Operation) -> None:
        """Remember where bodies went."""
        if isinstance(operation, Merge):
            self.went |= dict.fromkeys(operation.labels, operation.target)
        elif isinstance(operation, Renumber):
            self.went[operation.old] = operation.new

    def now(self, label: int) -> int:
        """The body that one of this label is a part of by now."""
        seen = set()
        while self._find(label) is None and label in self.went and label not in seen:
            seen.add(label)
            label = self.went[label]
        return label

    def repeat(self, operation: Operation, mark: bytes) -> None:
        """Do an operation again."""
        if isinstance(operation, Merge):
            target = self.now(operation.target)
            for label in dict.fromkeys(map(self.now, operation.labels)):
                self._merge(target, label, mark)
        elif isinstance(operation, Cleave):
            self._move(operation.made, operation.supervoxels, mark)
        elif isinstance(operation, Renumber):
            old = self.now(operation.old)
            body = self._find(old)
            if body is not None and self._find(operation.new) is None:
                self._move(operation.new, bodies.supervoxels_of(self.txn, body).tolist(), mark)
                self.went[old] = operation.new
        elif isinstance(operation, SplitSupervoxel):
            self._split(operation.supervoxel, operation.split, operation.remain, 0, mark)
        elif isinstance(operation, Split):
            set_mapping(self.txn, _array([operation.made]), 0)
            for old, (split, remain) in operation.supervoxels.items():
                self._split(old, split, remain, operation.made, mark)

    def sign(self) -> None:
        """Say who changed bodies last."""
        found = bodies.find(self.txn, _array(self.marks))
        bodies.put(self.txn, [b._replace(mark=self.marks[b.label]) for b in found if b and b.recorded])

    def _find(self, label: int) -> Body | None:
        return bodies.find(self.txn, _array([label]))[0]

    def _merge(self, target: int, label: int, mark: bytes) -> None:
        body = self._find(label)
        if label == target or body is None or self._find(target) is None:
            return
        self._move(target, bodies.supervoxels_of(self.txn, body).tolist(), mark)
        self.went[label] = target

    def _move(self, target: int, supervoxels: Iterable[int], mark: bytes) -> None:
        """Give supervoxels, as far as they are there, to a body, which is made if it is not there."""
        txn = self.txn
        owners: dict[int, list[int]] = {}
        labels = _array(set(supervoxels))
        for label, mapped in zip(labels.tolist(), stored(txn, labels), strict=True):
            owner = label if mapped is None else mapped
            if owner and owner != target and self._find(owner) is not None:
                owners.setdefault(owner, []).append(label)
        moved = [label for group in owners.values() for label in group]
        if not moved:
            return
        for owner, group in owners.items():
            self._take(owner, group, mark)
        there = self._opened(target)
        if there is None and stored(txn, _array([target]))[0] is None:
            set_mapping(txn, _array([target]), 0)
        members.add(txn, target, _array(moved))
        set_mapping(txn, _array(moved), target)
        self._put(target, there, self._voxels(moved), len(moved), mark)

    def _take(self, owner: int, group: list[int], mark: bytes) -> None:
        """Take supervoxels from a body."""
        body = self._opened(owner)
        members.remove(self.txn, owner, _array(group))
        self._put(owner, body, -self._voxels(group), -len(group), mark)

    def _opened(self, label: int) -> Body | None:
        """A body with entries of its own for its supervoxels."""
        body = self._find(label)
        if body is None:
            return None
        if not body.recorded:
            members.add(self.txn, label, _array([label]))
        return settled(self.txn, body)

    def _put(self, label: int, body: Body | None, voxels: int, n: int, mark: bytes) -> None:
        voxels, n = voxels + (body.voxels if body else 0), n + (body.supervoxels if body else 0)
        self.marks[label] = mark
        if n:
            bodies.put(self.txn, [Body(label, voxels, n, mark)])
        else:
            bodies.remove(self.txn, [label])

    def _voxels(self, supervoxels: Iterable[int]) -> int:
        return sum(total.voxels for total in counts.totals(self.txn, _array(supervoxels)) if total)

    def _split(self, old: int, split: int, remain: int, made: int, mark: bytes) -> None:
        """A supervoxel became two, which are counted with the blocks. made: the body of the split one, if another."""
        mapped = stored(self.txn, _array([old]))[0]
        owner = old if mapped is None else mapped
        if not owner:
            return
        if self._find(owner) is not None:
            self._take(owner, [old], mark)
        set_mapping(self.txn, _array([old]), 0)
        set_mapping(self.txn, _array([remain]), owner)
        set_mapping(self.txn, _array([split]), made or owner)
        self.marks |= {owner: mark} | ({made: mark} if made else {})
