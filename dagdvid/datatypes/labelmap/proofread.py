"""Merges, cleaves and renumberings: what they do to bodies, members and the mapping (DVID: labelmap/mutate.go).

Each checks first and changes then, in the transaction that it is given, and adds its record to the mutation log. No
block and no entry of the indices changes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dagdvid.datatype import Txn
from dagdvid.datatypes.labelevents import Cleave, Merge, Renumber
from dagdvid.datatypes.labelmap import bodies, counts, members
from dagdvid.datatypes.labelmap.bodies import POSTED, Body, Posted
from dagdvid.datatypes.labelmap.counts import key_of
from dagdvid.datatypes.labelmap.labels import new_labels
from dagdvid.datatypes.labelmap.mapping import set_mapping, stored
from dagdvid.datatypes.labelmap.maxima import raise_max
from dagdvid.datatypes.labelmap.oplog import Who, log
from dagdvid.errors import BadRequest

__all__ = ["cleave", "merge", "renumber", "settled"]


def merge(txn: Txn, target: int, labels: Sequence[int], who: Who) -> None:
    """Give all that some bodies have to another one.

    Raises:
        BadRequest: one of the bodies is not there, or has a supervoxel of the target.
    """
    merged = list(dict.fromkeys(labels))
    found = bodies.find(txn, np.array([*merged, target], np.uint64))
    for label, body in zip([*merged, target], found, strict=True):
        if body is None:
            what = "into a non-existent label" if label == target else "non-existent label"
            raise BadRequest(f"Error on merge: can't merge {what} {label}")
    *taken, goal = (settled(txn, body) for body in found if body is not None)
    parts = [bodies.supervoxels_of(txn, body) for body in taken]
    supervoxels = np.sort(np.concatenate(parts))
    if target in merged or len(np.unique(supervoxels)) < len(supervoxels):
        raise BadRequest(f"Error on merge: a supervoxel would be twice in the index of target label {target}")
    _give(txn, goal, supervoxels)
    for body, part in zip(taken, parts, strict=True):
        if body.recorded:
            members.clear(txn, body.label, part)
    bodies.remove(txn, merged)
    set_mapping(txn, supervoxels, target)
    done = Merge(target, merged, parts)
    mark = log(txn, done, who)
    voxels = goal.voxels + sum(body.voxels for body in taken)
    bodies.put(txn, [Body(target, voxels, goal.supervoxels + len(supervoxels), mark)])
    txn.tell(done)


def _give(txn: Txn, body: Body, supervoxels: NDArray[np.uint64]) -> None:
    """Make supervoxels, which ascend, members of a body.

    Raises:
        BadRequest: it has one of them.
    """
    if not body.recorded:
        members.add(txn, body.label, np.array([body.label], np.uint64))
    had = members.add(txn, body.label, supervoxels)
    if had.size:
        raise BadRequest(f"Error on merge: supervoxel {had[0]} already in index for target label {body.label}")


def cleave(txn: Txn, label: int, supervoxels: Sequence[int], who: Who) -> int:
    """Make a body of some supervoxels of another. Its label.

    Raises:
        BadRequest: no such body, it has not all of the supervoxels, or no other.
    """
    body = bodies.find(txn, np.array([label], np.uint64))[0]
    if body is None:
        raise BadRequest(f"cannot cleave non-existent label {label}")
    listed = list(dict.fromkeys(supervoxels))
    asked = np.array(sorted(listed), np.uint64)
    if body.recorded:
        inside = members.contains(txn, [label] * len(asked), asked.tolist())
    else:
        inside = [supervoxel == label for supervoxel in asked.tolist()]
    if not all(inside):
        absent = asked[inside.index(False)]
        raise BadRequest(
            f"cannot cleave supervoxel {absent}, which does not exist in label {label} ({txn.instance.name})"
        )
    if len(asked) == body.supervoxels:
        raise BadRequest(f"cannot cleave all supervoxels from the label {label}")
    if not listed:
        raise BadRequest(f"no supervoxels are given to cleave from label {label}")
    body = settled(txn, body)
    (made,) = new_labels(txn, 1)
    voxels = sum(total.voxels for total in counts.totals(txn, asked) if total)
    members.remove(txn, label, asked)
    members.add(txn, made, asked)
    set_mapping(txn, np.array([made], np.uint64), 0)
    set_mapping(txn, asked, made)
    done = Cleave(label, made, listed, voxels, body.voxels - voxels)
    mark = log(txn, done, who)
    rest = Body(label, body.voxels - voxels, body.supervoxels - len(asked), mark)
    bodies.put(txn, [rest, Body(made, voxels, len(asked), mark)])
    txn.tell(done)
    return made


def renumber(txn: Txn, new: int, old: int, who: Who) -> None:
    """Give a body another label, which no body has.

    Raises:
        BadRequest: there is no such body, or one of the new label.
    """
    there, body = bodies.find(txn, np.array([new, old], np.uint64))
    if there is not None or not new:
        raise BadRequest(f"Error on merge: target label for renumber ({new}) already exists in mapping")
    if body is None:
        raise BadRequest(f"Error on merge: can't renumber non-existent body with label {old}")
    body = settled(txn, body)
    supervoxels = bodies.supervoxels_of(txn, body)
    if body.recorded:
        members.clear(txn, old, supervoxels)
    members.add(txn, new, supervoxels)
    if stored(txn, np.array([new], np.uint64))[0] is None:
        set_mapping(txn, np.array([new], np.uint64), 0)
    set_mapping(txn, supervoxels, new)
    raise_max(txn, new)
    bodies.remove(txn, [old])
    mark = log(txn, Renumber(new, old), who)
    bodies.put(txn, [Body(new, body.voxels, body.supervoxels, mark)])
    txn.tell(Renumber(new, old))


def settled(txn: Txn, body: Body) -> Body:
    """A body whose index is what its supervoxels have: one that a client posted is given up."""
    if not body.posted:
        return body
    txn.delete(POSTED, key_of(body.label))
    if body.posted == Posted.CHANGE:
        return body._replace(posted=Posted.NO)
    mine = members.read(txn, body.label)
    voxels = sum(total.voxels for total in counts.totals(txn, mine) if total)
    return body._replace(voxels=voxels, posted=Posted.NO)
