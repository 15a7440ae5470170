"""Label blocks as they are stored: keyed by scale and place, in the canonical form of `kernels.labelblocks` (SPEC 9.8).

What is stored are supervoxels. A block that was never stored reads as label 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from dagdvid.datatype import Snapshot, Txn
from dagdvid.datatypes.grid import SPACE
from dagdvid.datatypes.labelevents import Block, Written
from dagdvid.datatypes.labelmap import bodies, pyramid
from dagdvid.datatypes.labelmap.properties import Layout
from dagdvid.geometry import Point
from dagdvid.kernels import labelblocks
from dagdvid.kernels.labelblocks import Counted
from dagdvid.kernels.morton import encode_keys

__all__ = ["Incoming", "keys_of", "mapped", "store"]

_BATCH = 256
"""Blocks whose predecessors are read together."""


class Incoming(NamedTuple):
    """A block to be stored."""

    place: Point
    """Its block coordinate."""
    content: Counted


def keys_of(places: Sequence[Point], scale: int) -> list[bytes]:
    """The keys of blocks in the order given.

    Raises:
        BadRequest: a block that no key can name.
    """
    return encode_keys(np.array([place.as_list() for place in places], np.int64).reshape(-1, 3), scale)


def mapped(view: Snapshot, blocks: Sequence[bytes | None]) -> list[bytes | None]:
    """Stored blocks with the labels of bodies in the place of supervoxels."""
    tables = [labelblocks.labels_in(data) for data in blocks if data is not None]
    if not tables:
        return list(blocks)
    mapping = bodies.mapping_of(view, np.unique(np.concatenate(tables)))
    if not len(mapping[0]):
        return list(blocks)
    return [None if data is None else labelblocks.relabel(data, mapping) for data in blocks]


def store(
    txn: Txn,
    layout: Layout,
    scale: int,
    blocks: Iterable[Incoming],
    *,
    index: bool = True,
    downres: bool = True,
    tell: bool = True,
) -> None:
    """Store blocks, each place once. At scale 0, the indices follow, and the coarser scales if that is asked for.

    tell: those who follow the instance are told.

    Raises:
        BadRequest: a block that no key can name.
    """
    changed: list[Point] = []
    told: list[Block] = []
    followed = scale == 0 and tell and txn.followed

    def stored() -> Iterator[tuple[Point, Counted, bytes | None]]:
        for batch in _batches(blocks):
            keys = keys_of([block.place for block in batch], scale)
            before = txn.get_many(SPACE, keys)
            fresh = [at for at, block in enumerate(batch) if block.content.data != before[at]]
            txn.put_many(SPACE, ((keys[at], batch[at].content.data) for at in fresh), layout.codec)
            changed.extend(batch[at].place for at in fresh)
            if followed:
                told.extend(_told(batch[at], before[at]) for at in fresh)
            for block, old in zip(batch, before, strict=True):
                yield *block, old

    if scale == 0 and index and layout.indexed:
        bodies.note_blocks(txn, (_change(*each) for each in stored()))
    else:
        for _ in stored():
            pass
    if scale == 0 and downres and changed:
        pyramid.put_off(txn, layout, changed)
    for ingest in (True, False):
        written = [block for block in told if (block.before is None) is ingest]
        if written:
            txn.tell(Written(written, ingest))


def _told(block: Incoming, before: bytes | None) -> Block:
    return Block((block.place.x, block.place.y, block.place.z), before, block.content.data)


def _batches(blocks: Iterable[Incoming]) -> Iterator[list[Incoming]]:
    held: list[Incoming] = []
    for block in blocks:
        held.append(block)
        if len(held) == _BATCH:
            yield held
            held = []
    if held:
        yield held


_Counts = dict[int, int]


def _change(place: Point, content: Counted, before: bytes | None) -> tuple[tuple[int, int, int], _Counts, _Counts]:
    """A block [z, y, x] with the counts of supervoxels that go, and of those that are there now.

    It may have been stored without an index. So what stays is said, too.
    """
    after = dict(zip(content.labels.tolist(), content.counts.tolist(), strict=True))
    gone = np.setdiff1d(labelblocks.labels_in(before), content.labels) if before is not None else content.labels[:0]
    return (place.z, place.y, place.x), dict.fromkeys(gone.tolist(), 1), after
