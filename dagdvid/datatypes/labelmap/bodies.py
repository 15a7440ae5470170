"""Bodies: which there are, how large they are, and who changed them last (SPEC 9.10).

A supervoxel is a body of its own until something is done to it: no entry says so. The space `bodies` has a record under
the label (8 bytes big-endian) of every body of which more is to be said: voxels u64, supervoxels u64, the mark of the
last change (8 bytes), and a byte `Posted`: 1 if the body has an index that a client posted and that is not what its
supervoxels have, 2 if it is but says who changed the body. Until something is done to the body, that index is kept in
the space `posted`, as its message, with blocks only in the first case. An empty record says that there is no body of
this label, although there is a supervoxel.

The supervoxels of a body (`members`) decide indices; the mapping decides what voxels show. Merges and the like change
both, clients who load in bulk each for itself.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dagdvid.datatype import Snapshot, Txn
from dagdvid.datatypes.labelmap import counts, members
from dagdvid.datatypes.labelmap.counts import SUPERVOXELS, key_of, keys_of
from dagdvid.datatypes.labelmap.mapping import MAPPING, mapped, mapping_of, stored
from dagdvid.datatypes.labelmap.maxima import MAXIMA, raise_max
from dagdvid.kernels import morton

__all__ = [
    "BODIES",
    "NO_MARK",
    "POSTED",
    "SPACES",
    "Body",
    "Posted",
    "existing",
    "find",
    "mapped",
    "mapping_of",
    "note_blocks",
    "put",
    "remove",
    "supervoxels_of",
]

BODIES, POSTED = "bodies", "posted"
SPACES = (SUPERVOXELS, counts.INDEX, MAPPING, BODIES, members.MEMBERS, POSTED, MAXIMA, "marks")
"""All key spaces of bodies."""
_RECORD = struct.Struct("<QQ8sB")
NO_MARK = bytes(8)
"""The mark of a body of which only the voxels were ever written."""


class Posted(IntEnum):
    """What the space `posted` has of a body."""

    NO = 0
    WHOLE = 1
    """An index that is not what its supervoxels have."""
    CHANGE = 2
    """Who changed it last, as the client says who posted its index."""


class Body(NamedTuple):
    """A body that is there."""

    label: int
    voxels: int
    supervoxels: int
    mark: bytes
    posted: Posted = Posted.NO
    recorded: bool = True
    """It has a record; else it is just a supervoxel."""


def find(view: Snapshot, labels: NDArray[np.uint64]) -> list[Body | None]:
    """The bodies of labels, in their order; None where there is none."""
    wanted = labels.tolist()
    found: list[Body | None] = []
    records = view.get_many(BODIES, keys_of(labels))
    plain = [label for label, raw in zip(wanted, records, strict=True) if raw is None]
    totals = iter(counts.totals(view, np.array(plain, np.uint64)))
    for label, raw in zip(wanted, records, strict=True):
        if raw is None:
            total = next(totals)
            found.append(total and Body(label, total.voxels, 1, NO_MARK, recorded=False))
        elif not raw:
            found.append(None)
        else:
            voxels, supervoxels, mark, posted = _RECORD.unpack(raw)
            found.append(Body(label, voxels, supervoxels, mark, Posted(posted)))
    return found


def supervoxels_of(view: Snapshot, body: Body) -> NDArray[np.uint64]:
    """The supervoxels of a body, ascending."""
    return members.read(view, body.label) if body.recorded else np.array([body.label], np.uint64)


def existing(view: Snapshot, start: int = 0) -> Iterator[tuple[int, int]]:
    """The labels of all bodies from one on, ascending, with their voxels."""
    lo = key_of(start)
    records = view.items(BODIES, lo)
    label, raw = next(records, (b"", b""))
    for key, total in view.items(SUPERVOXELS, lo):
        while label and label < key:
            if raw:
                yield int.from_bytes(label, "big"), int.from_bytes(raw[:8], "little")
            label, raw = next(records, (b"", b""))
        if label != key:
            yield int.from_bytes(key, "big"), int.from_bytes(total[:8], "little")
    while label:
        if raw:
            yield int.from_bytes(label, "big"), int.from_bytes(raw[:8], "little")
        label, raw = next(records, (b"", b""))


def put(txn: Txn, bodies: Iterable[Body]) -> None:
    """Set the records of bodies."""
    txn.put_many(BODIES, [(key_of(b.label), _RECORD.pack(b.voxels, b.supervoxels, b.mark, b.posted)) for b in bodies])


def remove(txn: Txn, labels: Iterable[int]) -> None:
    """There are no bodies of these labels any more; what they had is the caller's to move."""
    txn.put_many(BODIES, [(key_of(label), b"") for label in labels])


Blocks = Iterable[tuple[tuple[int, int, int], Mapping[int, int], Mapping[int, int]]]


def note_blocks(txn: Txn, blocks: Blocks) -> None:
    """Have indices follow voxels of scale 0 that change.

    blocks: coordinates z, y, x of each block, the voxels that each supervoxel had there, and those that it has now; 0
    among them is passed over. Who changed a body last stays as it was: that is who last merged it or the like.
    """
    changes: dict[int, dict[int, int]] = {}
    listed = list(blocks)
    codes = morton.encode(np.array([at[::-1] for at, _, _ in listed], np.int64).reshape(-1, 3))
    for code, (_, before, after) in zip(codes.tolist(), listed, strict=True):
        for label in before.keys() - after.keys():
            changes.setdefault(label, {})[code] = 0
        for label, count in after.items():
            if before.get(label) != count:
                changes.setdefault(label, {})[code] = count
    changes.pop(0, None)
    if changes:
        note_changes(txn, changes)


def note_changes(txn: Txn, changes: Mapping[int, dict[int, int]]) -> None:
    """As `note_blocks`: for each supervoxel, its voxels by block code (0: none any more)."""
    moved = counts.update(txn, changes)
    labels = np.array(sorted(moved), np.uint64)
    raise_max(txn, int(labels[-1]))
    owner = {label: body or label for label, body in zip(labels.tolist(), stored(txn, labels), strict=True)}
    named = sorted({*owner, *owner.values()})
    recorded = dict(zip(named, txn.get_many(BODIES, [key_of(label) for label in named]), strict=True))
    groups: dict[int, list[int]] = {}
    for label, body in owner.items():
        groups.setdefault(body, []).append(label)
    for body in [body for body, group in groups.items() if group == [body] and recorded[body] is None]:
        del groups[body]  # a supervoxel that is its own body needs no record
    _follow(txn, groups, moved, recorded)


def _follow(
    txn: Txn,
    groups: Mapping[int, Sequence[int]],
    moved: Mapping[int, counts.Change],
    recorded: Mapping[int, bytes | None],
) -> None:
    """Give bodies the supervoxels that came, take those that went, and set their sizes."""
    gone = {
        label
        for body, group in groups.items()
        for label in group
        if body != label and recorded[label] is None and moved[label].after
    }
    made: list[Body] = []
    empty: list[int] = []
    for body, group in groups.items():
        raw = recorded[body]
        had = raw is not None
        if raw:
            voxels, n, mark, posted = _RECORD.unpack(raw)
        else:
            mark, posted = NO_MARK, Posted.NO
            total = None if had or body in moved else counts.totals(txn, np.array([body], np.uint64))[0]
            voxels, n = (total.voxels, 1) if total else (0, 0)
            members.add(txn, body, np.array([body] * n, np.uint64))
        inside = dict(zip(group, members.contains(txn, [body] * len(group), group), strict=True))
        if posted == Posted.WHOLE:  # what is known of its supervoxels counts again
            posted = Posted.NO
            txn.delete(POSTED, key_of(body))
            mine = members.read(txn, body)
            voxels = sum(t.voxels for t in counts.totals(txn, mine) if t)
            voxels -= sum(moved[label].after - moved[label].before for label in group if inside[label])
        came = [label for label in group if moved[label].after and not inside[label]]
        went = [label for label in group if not moved[label].after and inside[label]]
        members.add(txn, body, np.array(sorted(came), np.uint64))
        members.remove(txn, body, np.array(sorted(went), np.uint64))
        n += len(came) - len(went)
        voxels += sum(moved[label].after - (moved[label].before if inside[label] else 0) for label in group)
        if n:
            made.append(Body(body, voxels, n, mark, Posted(posted)))
        else:
            empty.append(body)
            if posted:
                txn.delete(POSTED, key_of(body))
    put(txn, made)
    remove(txn, sorted(gone.union(empty) - {body.label for body in made}))
