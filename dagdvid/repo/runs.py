"""Runs: many staged changes as immutable trees, where rows of the database would cost too much (SPEC 6.5)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dagdvid.objects.tree import read as tree
from dagdvid.objects.tree.builder import Builder
from dagdvid.objects.tree.node import Value
from dagdvid.objects.tree.nodes import EMPTY, Nodes, NodeWriter
from dagdvid.repo.batches import Batch, Batches, overlaid, present

__all__ = ["RUN", "NewRun", "Run", "changes_of", "make_run", "pile", "settle"]

RUN = 4096
"""Changes of one key space in one transaction, above which they are a run and not rows."""


class NewRun(NamedTuple):
    """Changes of one key space, in the store but not yet staged."""

    space: str
    entries: int
    size: int
    """Bytes of the keys and values."""
    held: bytes
    """Root of the tree of the keys that were set."""
    removed: bytes
    """Root of the tree of the keys that were removed, with empty values."""


@dataclass(frozen=True)
class Run:
    """A staged run: all changes with sequence numbers above `after` up to `last`, as far as they are not rows yet."""

    id: int
    after: int
    last: int
    entries: int
    held: bytes
    removed: bytes


def make_run(writer: NodeWriter, space: str, changes: Iterable[Batch]) -> NewRun:
    """Write changes, ascending by key, as a run. Its nodes go to `writer`, as the changes come."""
    held, removed = Builder(writer), Builder(writer)
    sets = removes = False
    for keys, values in changes:
        if None in values:
            gone = [key for key, value in zip(keys, values, strict=True) if value is None]
            removed.entries(gone, [b""] * len(gone))
            removes = True
        for kept, there in present(iter([(keys, values)])):
            held.entries(kept, there)
            sets = True
    roots = held.finish() if sets else EMPTY, removed.finish() if removes else EMPTY
    totals = [writer.read(root).totals() for root in roots]
    return NewRun(space, sum(n for n, _ in totals), sum(size for _, size in totals), *roots)


def changes_of(nodes: Nodes, run: Run, lo: bytes = b"", hi: bytes | None = None) -> Batches:
    """The changes of a run with lo <= key < hi, in order; some leaves in memory, whatever its size."""
    held = tree.scan(nodes, run.held, lo, hi)
    if run.removed == EMPTY:
        return held
    gone = ((keys, [None] * len(keys)) for keys, _ in tree.scan(nodes, run.removed, lo, hi))
    return overlaid([held, gone])


def settle(
    nodes: Nodes, keys: Sequence[bytes], rows: dict[bytes, tuple[Value | None, int]], runs: Sequence[Run]
) -> dict[bytes, Value | None]:
    """What is staged under keys, by rows with their sequence numbers and by runs, newest first; only keys that are.

    A run holds what is newer than any row up to its `last`, so a row counts where no run from there on has its key.
    """
    found: dict[bytes, Value | None] = {}
    rest = sorted(set(keys))
    for run in runs:
        for key in [key for key in rest if key in rows and rows[key][1] > run.last]:
            found[key] = rows[key][0]
        rest = [key for key in rest if key not in found]
        for key, value in zip(rest, tree.get_many(nodes, run.held, rest), strict=True):
            if value is not None:
                found[key] = value
        if run.removed != EMPTY:
            for key, mark in zip(rest, tree.get_many(nodes, run.removed, rest), strict=True):
                if mark is not None:
                    found[key] = None
        rest = [key for key in rest if key not in found]
        if not rest:
            break
    found.update((key, rows[key][0]) for key in rest if key in rows)
    return found


def pile(rows: Sequence[Batches], runs: Sequence[Batches]) -> list[Batches]:
    """Rows and runs in the order in which they count: rows[i] are newer than runs[i], not newer than runs[i - 1]."""
    found = [rows[0]]
    for run, older in zip(runs, rows[1:], strict=True):
        found += [run, older]
    return found
