"""Indices of bodies: in which blocks their supervoxels have how many voxels, and who changed them last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dagdvid.datatype import Snapshot, Txn
from dagdvid.datatypes.labelmap import bodies, counts, members
from dagdvid.datatypes.labelmap.bodies import BODIES, NO_MARK, POSTED, Body, Posted
from dagdvid.datatypes.labelmap.counts import Table, key_of, keys_of
from dagdvid.datatypes.labelmap.mapping import stored
from dagdvid.datatypes.labelmap.maxima import raise_max
from dagdvid.errors import BadRequest
from dagdvid.interchange.labelindex import LabelIndex, read_index, write_index
from dagdvid.kernels import morton

__all__ = ["Changed", "indices", "last_changes", "post_index", "supervoxel_sizes", "table_of", "tables"]


class Changed(NamedTuple):
    """Who changed a body last; nothing of it where only its voxels were written."""

    mutation: int = 0
    time: str = ""
    user: str = ""
    app: str = ""


def last_changes(view: Snapshot, found: Sequence[Body]) -> list[Changed]:
    """Who changed each body last."""
    marks = sorted({body.mark for body in found if body.mark != NO_MARK})
    known = {NO_MARK: Changed()}
    for mark, (mutation, record) in zip(marks, view.records(marks) if marks else [], strict=True):
        texts = (record.get(name, "") for name in ("time", "user", "app"))
        known[mark] = Changed(mutation, *texts)
    said = iter(view.get_many(POSTED, [key_of(body.label) for body in found if body.posted]))
    changes = []
    for body in found:
        index = read_index(next(said) or b"") if body.posted else None
        changes.append(
            known[body.mark] if index is None else Changed(index.mutation, index.time, index.user, index.app)
        )
    return changes


def indices(view: Snapshot, found: Sequence[Body]) -> list[LabelIndex]:
    """The indices of bodies."""
    if not found:
        return []
    changes, made = last_changes(view, found), tables(view, found)
    ends = np.cumsum([len(table.codes) for table in made])
    blocks = morton.decode(np.concatenate([table.codes for table in made]))
    return [
        LabelIndex(body.label, mine, table.supervoxels, table.counts, *changed)
        for body, table, mine, changed in zip(found, made, np.split(blocks, ends[:-1]), changes, strict=True)
    ]


def table_of(view: Snapshot, body: Body) -> Table:
    """Where the supervoxels of a body lie."""
    return tables(view, [body])[0]


def tables(view: Snapshot, found: Sequence[Body]) -> list[Table]:
    """Where the supervoxels of bodies lie."""
    kept = [body.posted == Posted.WHOLE for body in found]
    nothing = np.empty(0, np.uint64)
    parts = [nothing if whole else bodies.supervoxels_of(view, body) for body, whole in zip(found, kept, strict=True)]
    wanted = np.unique(np.concatenate(parts)) if parts else np.empty(0, np.uint64)
    rows = counts.read(view, wanted)
    order = np.argsort(rows.supervoxels, kind="stable")
    rows = rows.take(order)
    made = []
    for body, whole, mine in zip(found, kept, parts, strict=True):
        if whole:
            index = read_index(view.get(POSTED, key_of(body.label)) or b"")
            made.append(Table(index.supervoxels, morton.encode(index.blocks), index.counts))
        elif len(found) == 1:
            made.append(rows)
        else:
            firsts, lasts = (np.searchsorted(rows.supervoxels, mine, side) for side in ("left", "right"))
            spans = [np.arange(first, last) for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True)]
            at = np.concatenate(spans) if spans else np.empty(0, np.int64)
            made.append(rows.take(at))
    return made


def supervoxel_sizes(view: Snapshot, supervoxels: NDArray[np.uint64]) -> list[int]:
    """The voxels of supervoxels; 0 for those that no body has."""
    owners = [
        label if body is None else body
        for label, body in zip(supervoxels.tolist(), stored(view, supervoxels), strict=True)
    ]
    found = bodies.find(view, np.array(owners, np.uint64))
    inside = members.contains(view, owners, supervoxels.tolist())
    voxels = counts.totals(view, supervoxels)
    return [
        total.voxels if total and body and (has if body.recorded else body.label == label) else 0
        for label, body, has, total in zip(supervoxels.tolist(), found, inside, voxels, strict=True)
    ]


def post_index(txn: Txn, index: LabelIndex) -> None:
    """Set the index of a body as a client has it; without blocks, remove it.

    What it says of supervoxels of which nothing is known is taken over. If it says of another one something else than
    is known, it is kept as it is until something is done to the body.

    Raises:
        BadRequest: the label is 0, a supervoxel is 0, or a block has coordinates beyond what can be stored.
    """
    label = index.label
    if not label or (index.supervoxels == 0).any():
        raise BadRequest("there is no index for protected label 0")
    body = bodies.find(txn, np.array([label], np.uint64))[0]
    if body is not None and body.recorded:
        members.clear(txn, label, members.read(txn, label))
        if body.posted:
            txn.delete(POSTED, key_of(label))
    if not index.counts.size:
        if body is not None:
            bodies.remove(txn, [label])
        return
    mine = np.unique(index.supervoxels)
    codes = morton.encode(index.blocks)
    said = Table(index.supervoxels, codes, index.counts)
    known = counts.read(txn, mine)
    fresh = np.setdiff1d(mine, known.supervoxels)
    new = np.isin(index.supervoxels, fresh)
    _take_over(txn, label, said.take(new), fresh)
    members.add(txn, label, mine)
    agrees = said.take(~new).rows() == known.rows()
    who = LabelIndex(label, mutation=index.mutation, time=index.time, user=index.user, app=index.app)
    posted = (
        (Posted.CHANGE if any((who.mutation, who.time, who.user, who.app)) else Posted.NO) if agrees else Posted.WHOLE
    )
    bodies.put(txn, [Body(label, int(index.counts.sum()), len(mine), NO_MARK, posted)])
    if posted:
        txn.put(POSTED, key_of(label), write_index(who if agrees else index))
    raise_max(txn, max(label, int(mine[-1])))


def _take_over(txn: Txn, label: int, rows: Table, fresh: NDArray[np.uint64]) -> None:
    """Enter supervoxels of which nothing is known yet; they are no bodies of their own."""
    changes: dict[int, dict[int, int]] = {}
    for supervoxel, code, count in zip(*(column.tolist() for column in rows), strict=True):
        changes.setdefault(supervoxel, {})[code] = count
    counts.update(txn, changes)
    others = fresh[fresh != label]
    recorded = txn.get_many(BODIES, keys_of(others))
    bodies.remove(txn, [other for other, raw in zip(others.tolist(), recorded, strict=True) if raw is None])
