"""Splits: voxels of a supervoxel, or of a body, that become supervoxels of their own (DVID: labelmap/mutate.go).

A split gives new labels to the voxels that are cut off and to those that stay; the old supervoxel is no more. All is
checked before anything changes: that the sparse volume lies within what it cuts, and is not all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dagdvid.datatype import Txn
from dagdvid.datatypes.grid import SPACE
from dagdvid.datatypes.labelevents import Block, Split, SplitSupervoxel
from dagdvid.datatypes.labelmap import blocks, bodies, counts, members
from dagdvid.datatypes.labelmap.blocks import Incoming
from dagdvid.datatypes.labelmap.bodies import Body
from dagdvid.datatypes.labelmap.index import supervoxel_sizes
from dagdvid.datatypes.labelmap.labels import MAX_LABEL, new_labels
from dagdvid.datatypes.labelmap.mapping import set_mapping, stored
from dagdvid.datatypes.labelmap.maxima import raise_max
from dagdvid.datatypes.labelmap.oplog import Who, log
from dagdvid.datatypes.labelmap.proofread import settled
from dagdvid.datatypes.labelmap.properties import Layout
from dagdvid.errors import BadRequest
from dagdvid.geometry import Point
from dagdvid.interchange.sparsevols import read_rles
from dagdvid.kernels import labelblocks, morton, runs
from dagdvid.kernels.labelblocks import Counted

__all__ = ["Parts", "split_body", "split_supervoxel"]

_BATCH = 64
"""Blocks that are loaded together."""


class Parts(NamedTuple):
    """What became of a supervoxel."""

    split: int
    remain: int


def split_supervoxel(
    txn: Txn, layout: Layout, supervoxel: int, volume: bytes, wanted: tuple[int, int], who: Who
) -> Parts:
    """Cut a sparse volume off a supervoxel. wanted: the labels of what is cut off and of the rest; 0 for new ones.

    Raises:
        BadRequest: no such supervoxel, a malformed volume, one that is empty, all of the supervoxel or goes beyond it,
            or a label that is there already.
    """
    cut = _volume(volume)
    body = _owner(txn, supervoxel)
    size = supervoxel_sizes(txn, np.array([supervoxel], np.uint64))[0]
    voxels = int(cut[:, 3].sum())
    if voxels >= size:
        raise BadRequest(f"split on supervoxel {supervoxel} was given split volume of {voxels} >= {size} of supervoxel")
    _check_free(txn, wanted)
    parts = Parts(*(label or new_labels(txn, 1)[0] for label in wanted))
    body = settled(txn, body)
    changed = _cut(txn, layout, {supervoxel: parts}, cut)
    _replace(txn, body.label, body.label, {supervoxel: parts})
    kept = txn.keep(volume)
    done = SplitSupervoxel(body.label, supervoxel, *parts, voxels, size - voxels, kept, changed)
    mark = log(txn, done, who)
    bodies.put(txn, [Body(body.label, body.voxels, body.supervoxels + 1, mark)])
    txn.tell(done)
    return parts


def split_body(txn: Txn, layout: Layout, label: int, volume: bytes, who: Who) -> int:
    """Cut a sparse volume off a body: its label. Supervoxels that it touches are split.

    Raises:
        BadRequest: as `split_supervoxel`.
    """
    cut = _volume(volume)
    body = bodies.find(txn, np.array([label], np.uint64))[0]
    if body is None:
        raise BadRequest(f"split label {label}: there is no such body")
    voxels = int(cut[:, 3].sum())
    if voxels >= body.voxels:
        raise BadRequest(f"split label {label}: split volume of {voxels} voxels >= {body.voxels} of label {label}")
    touched = _touched(txn, layout, cut)
    mine = bodies.supervoxels_of(txn, body)
    foreign = np.setdiff1d(touched, mine)
    if foreign.size:
        raise BadRequest(
            f"split label {label}: supervoxel {foreign[0]} was part of split volume yet not of body {label}"
        )
    made = new_labels(txn, 1)[0]
    fresh = new_labels(txn, 2 * len(touched))
    parts = {old: Parts(*fresh[2 * i : 2 * i + 2]) for i, old in enumerate(touched.tolist())}
    body = settled(txn, body)
    changed = _cut(txn, layout, parts, cut)
    _replace(txn, label, made, parts)
    pairs = {old: (new.split, new.remain) for old, new in parts.items()}
    done = Split(label, made, pairs, txn.keep(volume), changed)
    mark = log(txn, done, who)
    rest = members.read(txn, label)
    bodies.put(
        txn,
        [
            Body(label, body.voxels - voxels, len(rest), mark),
            Body(made, voxels, len(parts), mark),
        ],
    )
    txn.tell(done)
    return made


def _volume(data: bytes) -> NDArray[np.int64]:
    """The runs of a sparse volume, each voxel once.

    Raises:
        BadRequest: malformed, or empty.
    """
    cut = read_rles(data)
    if not len(cut):
        raise BadRequest("the split volume has no voxels")
    return runs.join(cut)


def _owner(txn: Txn, supervoxel: int) -> Body:
    """The body of a supervoxel.

    Raises:
        BadRequest: there is no such supervoxel.
    """
    mapped = stored(txn, np.array([supervoxel], np.uint64))[0]
    if mapped == 0:
        raise BadRequest(
            f"cannot get label for supervoxel {supervoxel}, which has been split and doesn't exist anymore"
        )
    label = supervoxel if mapped is None else mapped
    body = bodies.find(txn, np.array([label], np.uint64))[0]
    if body is None or not supervoxel_sizes(txn, np.array([supervoxel], np.uint64))[0]:
        raise BadRequest(f"unable to split supervoxel {supervoxel}: it is not in the index of label {label}")
    return body


def _check_free(txn: Txn, wanted: tuple[int, int]) -> None:
    """Raises BadRequest: a label that was asked for is there, or cannot be."""
    given = [label for label in wanted if label]
    labels = np.array(given, np.uint64)
    taken = [
        label
        for label, total, body, mapped in zip(
            given, counts.totals(txn, labels), bodies.find(txn, labels), stored(txn, labels), strict=True
        )
        if total or body or mapped is not None or label > MAX_LABEL
    ]
    if taken or len(set(given)) < len(given):
        raise BadRequest(f"the label {(taken or given)[0]} cannot be given: there is one already, or it is too great")
    if given:
        raise_max(txn, max(given))


def _touched(txn: Txn, layout: Layout, cut: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The supervoxels under a sparse volume, ascending."""
    found = [np.empty(0, np.uint64)]
    cuts = dict(runs.by_block(cut, layout.block.as_list()))
    for at, data in _loaded(txn, [at[::-1] for at in cuts]):
        found.append(np.unique(_decoded(layout, data)[runs.paint(cuts[at], layout.shape)]))
    return np.unique(np.concatenate(found))


def _decoded(layout: Layout, data: bytes | None) -> NDArray[np.uint64]:
    return np.zeros(layout.shape, np.uint64) if data is None else labelblocks.decode(data)


def _loaded(txn: Txn, places: list[tuple[int, int, int]]) -> Iterator[tuple[tuple[int, int, int], bytes | None]]:
    """Blocks x, y, z of scale 0, under their coordinates z, y, x."""
    for i in range(0, len(places), _BATCH):
        part = places[i : i + _BATCH]
        found = txn.get_many(SPACE, morton.encode_keys(np.array(part, np.int64).reshape(-1, 3)))
        yield from zip([place[::-1] for place in part], found, strict=True)


def _cut(txn: Txn, layout: Layout, parts: Mapping[int, Parts], cut: NDArray[np.int64]) -> list[Block]:
    """Write the new labels in the place of the old ones, in blocks and indices. The blocks, if somebody is to be told.

    Raises:
        BadRequest: the cut goes beyond the supervoxels that it splits.
    """
    old = np.array(sorted(parts), np.uint64)
    rows = counts.read(txn, old)
    where = morton.decode(np.unique(rows.codes))
    cuts = dict(runs.by_block(cut, layout.block.as_list()))
    places = list(dict.fromkeys([*map(tuple, where.tolist()), *(at[::-1] for at in cuts)]))
    changes: dict[int, dict[int, int]] = {}
    told: list[Block] = []

    def written() -> Iterator[Incoming]:
        for at, data in _loaded(txn, places):
            inside = cuts.get(at)
            if data is None and inside is None:
                continue  # the index is what a client posted, without voxels
            mask = None if inside is None else runs.paint(inside, layout.shape)
            made, code = _split_block(_decoded(layout, data), mask, parts, old), morton.encode_ref(*at[::-1])
            for label in old.tolist():
                changes.setdefault(label, {})[code] = 0
            there = dict(zip(made.labels.tolist(), made.counts.tolist(), strict=True))
            for new in parts.values():
                for label in new:
                    if label in there:
                        changes.setdefault(label, {})[code] = there[label]
            if txn.followed:
                told.append(Block((at[2], at[1], at[0]), data, made.data))
            yield Incoming(Point(*at[::-1]), made)

    blocks.store(txn, layout, 0, written(), index=False, tell=False)
    gone: dict[int, dict[int, int]] = {}
    for label, code in zip(rows.supervoxels.tolist(), rows.codes.tolist(), strict=True):
        gone.setdefault(label, {})[code] = 0
    counts.update(txn, {**changes, **gone})
    return told


def _split_block(
    block: NDArray[np.uint64], mask: NDArray[np.bool_] | None, parts: Mapping[int, Parts], old: NDArray[np.uint64]
) -> Counted:
    """A block with the new labels."""
    if mask is not None and not np.isin(block[mask], old).all():
        raise BadRequest("the split volume has voxels that are not of what it splits")
    made = block.copy()
    for label, new in parts.items():
        mine = block == label
        made[mine] = new.remain
        if mask is not None:
            made[mine & mask] = new.split
    return Counted(labelblocks.encode(made), *labelblocks.counts(made))


def _replace(txn: Txn, label: int, made: int, parts: Mapping[int, Parts]) -> None:
    """Give the new supervoxels their bodies: what stays to one, what is cut off to the other."""
    old = np.array(sorted(parts), np.uint64)
    split = np.array(sorted(new.split for new in parts.values()), np.uint64)
    remain = np.array(sorted(new.remain for new in parts.values()), np.uint64)
    members.remove(txn, label, old)
    kept = [total is not None for total in counts.totals(txn, remain)]
    members.add(txn, label, remain[kept])
    members.add(txn, made, split)
    bodies.remove(txn, [*split.tolist(), *remain[kept].tolist()])
    if made != label:
        set_mapping(txn, np.array([made], np.uint64), 0)
    set_mapping(txn, remain, label)
    set_mapping(txn, split, made)
    set_mapping(txn, old, 0)
