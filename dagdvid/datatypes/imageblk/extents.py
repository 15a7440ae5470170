"""Extents: the box of all voxels that were ever written over `raw`, kept with each version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from dagdvid.datatype import Snapshot, Txn
from dagdvid.errors import BadRequest, Corrupt
from dagdvid.geometry import Box, Point, point_of

__all__ = ["SPACE", "Extents", "load", "merged", "of_json", "save"]

SPACE = "meta"
KEY = b"extents"


class Extents(NamedTuple):
    """The first and last voxel, both included; None where nothing is known."""

    first: Point | None
    last: Point | None

    def grown(self, box: Box) -> Box:
        """The smallest box around these extents and a box."""
        first = self.first.smallest(box.offset) if self.first else box.offset
        last = self.last.largest(box.last) if self.last else box.last
        return Box.spanning(first, last)

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
    stored = view.get(SPACE, KEY)
    if stored is None:
        first, last = config["MinPoint"], config["MaxPoint"]
        return Extents(Point(*first) if first else None, Point(*last) if last else None)
    return _decode(stored)


def save(txn: Txn, box: Box) -> None:
    """Set the extents of a version, as canonical JSON {"max":[x,y,z],"min":[x,y,z]}."""
    txn.put(SPACE, KEY, _encode(box))


def merged(ours: bytes | None, theirs: bytes | None) -> bytes | None:
    """The extents of a merge: around those of both sides."""
    if ours is None or theirs is None:
        return ours or theirs
    other = _decode(theirs)
    if other.first is None or other.last is None:
        return ours
    return _encode(_decode(ours).grown(Box.spanning(other.first, other.last)))


def _encode(box: Box) -> bytes:
    value = {"max": box.last.as_list(), "min": box.offset.as_list()}
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _decode(stored: bytes) -> Extents:
    try:
        value = json.loads(stored)
        return Extents(point_of(value["min"], "min"), point_of(value["max"], "max"))
    except (ValueError, KeyError, TypeError, BadRequest) as error:
        raise Corrupt(f"the stored extents cannot be read: {error}") from None


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
