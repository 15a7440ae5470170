"""Sets of blocks as spans along x: rows (z, y, x0, x1) in block coordinates, x1 included, as DVID's ROIs have them.

An array of spans is int64 of shape (N, 4). Coordinates lie in [-2^31, 2^31). Spans may overlap and touch; a set is what
they cover together.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dagdvid.errors import BadRequest
from dagdvid.geometry import COORDINATE_LIMIT

__all__ = ["SpanSet", "Spans", "in_order", "joined", "merged", "of_json", "rows_of_json"]

Spans = NDArray[np.int64]

_LOW = -COORDINATE_LIMIT
_X_BITS = 33
"""Bits of an x, biased, in an ordinal; one more than 32, so that the x after the last one fits."""


def of_json(body: bytes) -> Spans:
    """The spans of a JSON list of [z, y, x0, x1], in order, each once.

    Raises:
        BadRequest: anything else, a span that ends before it begins, or coordinates beyond 32 bits.
    """
    spans = rows_of_json(body, "span", ("z", "y", "x0", "x1"))
    wrong = spans[spans[:, 3] < spans[:, 2]]
    if len(wrong):
        raise BadRequest(f"span {wrong[0].tolist()} ends before it begins: x1 must not be below x0")
    return in_order(spans)


def rows_of_json(body: bytes, what: str, names: Sequence[str]) -> NDArray[np.int64]:
    """Coordinates of a JSON list of lists, each with as many integers as there are names: int64 (N, names).

    Raises:
        BadRequest: anything else, or coordinates beyond 32 bits; `what` says what each row is.
    """
    form = f"[{', '.join(names)}]"
    try:
        rows = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"malformed JSON in the request body: {error}") from None
    if not isinstance(rows, list):
        raise BadRequest(f"{what}s must be a JSON list of {form}")
    for row in rows:
        if not isinstance(row, list) or len(row) != len(names) or any(type(v) is not int for v in row):
            raise BadRequest(f"a {what} must be {len(names)} integers {form}, not {json.dumps(row)[:80]}")
        if min(row) < _LOW or max(row) >= COORDINATE_LIMIT:
            raise BadRequest(f"coordinates of a {what} must fit 32 bits: {row}")
    return np.array(rows, np.int64).reshape(-1, len(names))


def in_order(spans: Spans) -> Spans:
    """The spans by z, y, x0, x1, each once."""
    return np.unique(spans, axis=0) if len(spans) else spans


class SpanSet:
    """The blocks that spans cover, ready to be asked for."""

    def __init__(self, spans: Spans) -> None:
        self._rows, ranks = np.unique(_row_keys(spans), return_inverse=True)
        ranks = ranks.astype(np.int64)
        starts, ends = _ordinals(ranks, spans[:, 2]), _ordinals(ranks, spans[:, 3])
        order = np.argsort(starts, kind="stable")
        starts, ends = starts[order], np.maximum.accumulate(ends[order]) if len(order) else ends
        first = np.ones(len(starts), bool)
        first[1:] = starts[1:] > ends[:-1] + 1  # not touching: a new run; rows never touch, for x has a bit to spare
        self._starts = starts[first]
        last = np.append(first[1:], True) if len(first) else first
        self._ends = ends[last]

    def __len__(self) -> int:
        """The number of blocks."""
        return int((self._ends - self._starts + 1).sum())

    def holds(self, blocks: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each of the block coordinates (N, 3), in x, y, z order, is in the set."""
        if not len(self._starts):
            return np.zeros(len(blocks), bool)
        keys = _row_keys(blocks[:, [2, 1]])
        ranks = np.minimum(np.searchsorted(self._rows, keys), len(self._rows) - 1)
        ordinals = _ordinals(ranks.astype(np.int64), blocks[:, 0])
        at = np.searchsorted(self._starts, ordinals, "right") - 1
        return np.asarray((self._rows[ranks] == keys) & (at >= 0) & (ordinals <= self._ends[at]))

    def spans(self) -> Spans:
        """The fewest spans that cover the set, in order."""
        keys = self._rows[self._starts >> _X_BITS]
        x0 = (self._starts & ((1 << _X_BITS) - 1)) + _LOW
        x1 = (self._ends & ((1 << _X_BITS) - 1)) + _LOW
        z, y = (keys >> np.uint64(32)).astype(np.int64) + _LOW, (keys & np.uint64(0xFFFFFFFF)).astype(np.int64) + _LOW
        return np.stack([z, y, x0, x1], axis=1)


def _row_keys(rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    """One number for each (z, y), in their order."""
    biased = (rows[:, :2] - _LOW).astype(np.uint64)
    return np.asarray((biased[:, 0] << np.uint64(32)) | biased[:, 1])


def _ordinals(ranks: NDArray[np.int64], x: NDArray[np.int64]) -> NDArray[np.int64]:
    """One number for each block of rows, by the rank of its row and its x."""
    return (ranks << _X_BITS) | (x - _LOW)


def joined(spans: Spans) -> Spans:
    """The fewest spans that cover the same blocks."""
    return SpanSet(spans).spans()


def merged(base: Spans, ours: Spans, theirs: Spans) -> Spans:
    """The three-way merge of sets: each block as the side has it that changed it. The fewest spans."""
    every = np.concatenate([base, ours, theirs])
    cuts = np.unique(np.concatenate([every[:, [0, 1, 2]], every[:, [0, 1, 3]] + [0, 0, 1]]), axis=0)
    if not len(cuts):
        return every
    # between two cuts of a row nothing begins or ends, so that its first block speaks for all
    same_row = (cuts[1:, :2] == cuts[:-1, :2]).all(axis=1)
    pieces = np.concatenate([cuts[:-1], cuts[1:, 2:] - 1], axis=1)[same_row]
    firsts = pieces[:, [2, 1, 0]]
    before, here, there = (SpanSet(side).holds(firsts) for side in (base, ours, theirs))
    return joined(pieces[np.where(here == there, here, ~before)])
