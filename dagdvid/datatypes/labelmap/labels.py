"""Labels that an instance gives out, and where they may end (DVID: POST nextlabel and set-nextlabel).

They come from the instance's counter, of which no two servers have the same numbers (SPEC 6.10). An admin may move the
counter up, and set a ceiling: a property of the instance, for all versions.
"""

from __future__ import annotations

from dagdvid.datatype import Instance, Txn
from dagdvid.datatypes.labelmap.maxima import raise_max
from dagdvid.errors import BadRequest

__all__ = ["MAX_LABEL", "ceiling", "new_labels", "start_after"]

MAX_LABEL = 1 << 48
"""The greatest label that can be posted as one that is there."""
_MOST = 1 << 20
_CEILING = "NextLabelCeiling"


def new_labels(txn: Txn, n: int) -> list[int]:
    """The next labels, which are then the greatest of the version.

    Raises:
        BadRequest: none, too many, or beyond the ceiling.
        OutOfIds: this server has not so many left.
    """
    if not 0 < n <= _MOST:
        raise BadRequest(f"between 1 and {_MOST} labels can be had at once, not {n}")
    taken = txn.take_labels(n)
    highest = ceiling(txn.instance)
    if highest and taken[-1] > highest:
        raise BadRequest(f"allocating {n} labels would exceed the ceiling of {highest}: the last would be {taken[-1]}")
    raise_max(txn, taken[-1])
    return taken


def ceiling(instance: Instance) -> int:
    """The greatest label that may be given out; 0 if there is no limit."""
    return int(instance.properties.get(_CEILING, 0))


def start_after(txn: Txn, label: int, highest: int | None) -> None:
    """Give out labels above one from now on; labels that were given out are not given out again.

    highest: sets the ceiling; 0 removes it, None leaves it.

    Raises:
        BadRequest: the label is 0 or too great, or not below the ceiling.
    """
    if not 0 < label < MAX_LABEL:
        raise BadRequest(f"labels can start after 1 to {MAX_LABEL - 1}, not {label}")
    limit = ceiling(txn.instance) if highest is None else highest
    if limit and limit <= label:
        raise BadRequest(f"the ceiling of labels, {limit}, must be above {label}, after which they start")
    txn.meet_label(label)
    if highest is not None:
        txn.set_property(_CEILING, min(highest, MAX_LABEL) or None)  # beyond that one none is given out in any case
