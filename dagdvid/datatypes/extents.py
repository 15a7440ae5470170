"""Extents: the box of all voxels that were ever written over `raw`, kept with each version.

They are a set of faces, entries without a value in the space `meta`: `-` or `+` for the lower or upper end, the axis as
`x`, `y` or `z`, and the outermost voxel biased by 2^31 as 4 bytes big-endian (SPEC 9.4). The extents reach to the
outermost faces. A write adds the faces that it moves and removes those that it passes: many writers need not wait for
each other, nor run again, and versions that grew apart merge by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from dagdvid.datatype import Snapshot, Txn
from dagdvid.errors import BadRequest, Corrupt
from dagdvid.geometry import COORDINATE_LIMIT, Box, Point, point_of

__all__ = ["SPACE", "Extents", "grow", "load", "of_json", "save"]

SPACE = "meta"
_LOCK = b"!"
"""Never there; POST /extents reads and removes it."""
_FACES = tuple((side, axis) for side in (b"+", b"-") for axis in (b"x", b"y", b"z"))


class Extents(NamedTuple):
    """The first and last voxel, both included; None where nothing is known."""

    first: Point | None
    last: Point | None

    def members(self) -> dict[str, list[int] | None]:
        """MinPoint and MaxPoint, as DVID's JSON has them."""
        return {
            "MinPoint": self.first.as_list() if self.first else None,
            "MaxPoint": self.last.as_list() if self.last else None,
        }


def load(view: Snapshot, config: Mapping[str, Any]) -> Extents:
    """The extents of a version: what writes and POST /extents left, else what the instance was made with.

    Raises:
        Corrupt: the stored extents cannot be read.
    """
    stored = list(view.keys(SPACE))
    if stored:
        box = _box(stored)
        return Extents(box.offset, box.last)
    first, last = config["MinPoint"], config["MaxPoint"]
    return Extents(Point(*first) if first else None, Point(*last) if last else None)


def save(txn: Txn, box: Box) -> None:
    """Set the extents of a version, to wider or narrower ones."""
    stored = list(txn.keys(SPACE))
    txn.get_many(SPACE, [*stored, _LOCK])  # so that of two that set them at the same time one is run again
    for key in (*stored, _LOCK):
        txn.delete(SPACE, key)
    txn.put_many(SPACE, [(key, b"") for key in _faces(box)])


def grow(txn: Txn, config: Mapping[str, Any], box: Box) -> None:
    """Widen the extents of a version to hold a box. They may change meanwhile: the outermost face counts."""
    stored = list(txn.keys(SPACE))
    known = load(txn, config)
    first = known.first.smallest(box.offset) if known.first else box.offset
    last = known.last.largest(box.last) if known.last else box.last
    moved = set(_faces(Box.spanning(first, last))).difference(stored)
    passed = {face[:2] for face in moved}
    for key in stored:
        if key[:2] in passed:
            txn.delete(SPACE, key)
    if moved:
        txn.put_many(SPACE, [(key, b"") for key in sorted(moved)])


def _faces(box: Box) -> Iterator[bytes]:
    """The keys of the six faces of a box."""
    for value, (side, axis) in zip((*box.last, *box.offset), _FACES, strict=True):
        yield side + axis + (value + COORDINATE_LIMIT).to_bytes(4, "big")


def _box(stored: list[bytes]) -> Box:
    """The box of the outermost faces."""
    ends: dict[bytes, int] = {}
    for key in stored:  # in order, so that the last of `+` and the first of `-` are the outermost
        at = int.from_bytes(key[2:], "big") - COORDINATE_LIMIT
        if key[:1] == b"+":
            ends[key[:2]] = at
        else:
            ends.setdefault(key[:2], at)
    if len(ends) != len(_FACES) or any(len(key) != 6 for key in stored):
        raise Corrupt("the stored extents are not made of faces")
    x1, y1, z1, x0, y0, z0 = (ends.get(side + axis, 0) for side, axis in _FACES)
    try:
        return Box.spanning(Point(x0, y0, z0), Point(x1, y1, z1))
    except ValueError as error:
        raise Corrupt(f"the stored extents cannot be: {error}") from None


def of_json(value: Mapping[str, Any]) -> Box:
    """The box of {"MinPoint": [x,y,z], "MaxPoint": [x,y,z]}.

    Raises:
        BadRequest: a corner that is missing or malformed, or a box that is empty.
    """
    corners = []
    for name in ("MinPoint", "MaxPoint"):
        corner = value.get(name)
        if not isinstance(corner, list):
            raise BadRequest(f"{name} must be a list of three integers")
        corners.append(point_of(corner, name))
    first, last = corners
    if first.smallest(last) != first:
        raise BadRequest(f"MinPoint {first} must not be above MaxPoint {last}")
    return Box.spanning(first, last)
