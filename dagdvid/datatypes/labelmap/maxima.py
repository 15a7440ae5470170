"""The greatest label of a version: keys of the space `maxima`, 8 bytes big-endian without a value (SPEC 9.10).

The last one counts. A write adds a key where its labels are greater and removes those that it passes, so that many
writers need not wait for each other, and versions that grew apart merge by themselves.
"""

from __future__ import annotations

from dagdvid.datatype import Snapshot, Txn
from dagdvid.datatypes.labelmap.counts import key_of

__all__ = ["MAXIMA", "max_label", "raise_max"]

MAXIMA = "maxima"


def max_label(view: Snapshot) -> int | None:
    """The greatest label of a version and those before it; None if there is none."""
    last = None
    for key in view.keys(MAXIMA):
        last = key
    return None if last is None else int.from_bytes(last, "big")


def raise_max(txn: Txn, label: int) -> None:
    """A label is there now: it is none that will be given out, and the greatest if there is no greater one."""
    txn.meet_label(label)
    stored = list(txn.keys(MAXIMA))
    key = key_of(label)
    if stored and stored[-1] >= key:
        return
    for passed in stored:
        txn.delete(MAXIMA, passed)
    txn.put(MAXIMA, key, b"")
