"""Integer geometry of voxels and blocks: points and boxes in x, y, z order, and DVID's ways to write them in a URL.

The same types serve voxel coordinates and block coordinates; a function's docstring says which. Arrays that belong to
a box are indexed [z, y, x], so `shape` and `slices` turn the order round.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dagdvid.errors import BadRequest

__all__ = [
    "AXES_3D",
    "COORDINATE_LIMIT",
    "ONE",
    "ORIGIN",
    "Box",
    "Point",
    "parse_axes",
    "parse_box",
    "parse_plane_size",
    "parse_point",
    "point_of",
]

COORDINATE_LIMIT = 1 << 31
"""Voxel coordinates lie in [-2^31, 2^31): DVID's are 32-bit."""

AXES_3D = (0, 1, 2)

_PLANES = {"xy": (0, 1), "xz": (0, 2), "yz": (1, 2), "0_1": (0, 1), "0_2": (0, 2), "1_2": (1, 2)}
_VOLUMES = {"vol": AXES_3D, "0_1_2": AXES_3D}
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """A triple of integers: a coordinate, or a size along the three axes."""

    x: int
    y: int
    z: int

    def __iter__(self) -> Iterator[int]:
        yield self.x
        yield self.y
        yield self.z

    def __add__(self, other: Point) -> Point:
        return Point(self.x + other.x, self.y + other.y, self.z + other.z)

    def __sub__(self, other: Point) -> Point:
        return Point(self.x - other.x, self.y - other.y, self.z - other.z)

    def __mul__(self, other: Point) -> Point:
        return Point(self.x * other.x, self.y * other.y, self.z * other.z)

    def __floordiv__(self, other: Point) -> Point:
        """Rounded down, so that -1 // 32 is block -1."""
        return Point(self.x // other.x, self.y // other.y, self.z // other.z)

    def __mod__(self, other: Point) -> Point:
        return Point(self.x % other.x, self.y % other.y, self.z % other.z)

    def __str__(self) -> str:
        return f"{self.x}_{self.y}_{self.z}"

    @property
    def product(self) -> int:
        """x * y * z: the number of voxels, for a size."""
        return self.x * self.y * self.z

    def smallest(self, other: Point) -> Point:
        """The smaller of the two along each axis."""
        return Point(min(self.x, other.x), min(self.y, other.y), min(self.z, other.z))

    def largest(self, other: Point) -> Point:
        """The larger of the two along each axis."""
        return Point(max(self.x, other.x), max(self.y, other.y), max(self.z, other.z))

    def as_list(self) -> list[int]:
        """[x, y, z], for JSON."""
        return [self.x, self.y, self.z]


ORIGIN = Point(0, 0, 0)
ONE = Point(1, 1, 1)


@dataclass(frozen=True, slots=True)
class Box:
    """A box of at least one voxel (or block): from `offset` on, `size` along each axis."""

    offset: Point
    size: Point

    def __post_init__(self) -> None:
        if min(self.size) < 1:
            raise ValueError(f"a box of size {self.size} is empty")

    @classmethod
    def spanning(cls, first: Point, last: Point) -> Box:
        """The box of two corners, both inside it."""
        return cls(first, last - first + ONE)

    @property
    def end(self) -> Point:
        """The corner just outside."""
        return self.offset + self.size

    @property
    def last(self) -> Point:
        """The corner inside that is opposite to `offset`."""
        return self.end - ONE

    @property
    def volume(self) -> int:
        """The number of voxels (or blocks)."""
        return self.size.product

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape (z, y, x) of an array that holds the box."""
        return self.size.z, self.size.y, self.size.x

    def blocks(self, block: Point) -> Box:
        """The box of block coordinates that this box of voxels touches."""
        return Box.spanning(self.offset // block, self.last // block)

    def voxels(self, block: Point) -> Box:
        """The box of voxels that this box of block coordinates covers."""
        return Box(self.offset * block, self.size * block)

    def aligned(self, block: Point) -> bool:
        """Whether this box of voxels consists of whole blocks."""
        return self.offset % block == ORIGIN and self.size % block == ORIGIN

    def intersection(self, other: Box) -> Box | None:
        """What both cover, or None."""
        first, end = self.offset.largest(other.offset), self.end.smallest(other.end)
        size = end - first
        return Box(first, size) if min(size) > 0 else None

    def contains(self, other: Box) -> bool:
        """Whether all of the other lies in this one."""
        return self.intersection(other) == other

    def slices(self, origin: Point) -> tuple[slice, slice, slice]:
        """The index [z, y, x] of this box in an array whose first voxel is `origin`."""
        first, end = self.offset - origin, self.end - origin
        return slice(first.z, end.z), slice(first.y, end.y), slice(first.x, end.x)


def _integer(text: str, what: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise BadRequest(f"{what} must be an integer, not {text[:40]!r}")
    value = int(text)
    if not -COORDINATE_LIMIT <= value < COORDINATE_LIMIT:
        raise BadRequest(f"{what} {value} does not fit 32 bits")
    return value


def point_of(values: Sequence[int], what: str) -> Point:
    """Three integers from JSON as a point.

    Raises:
        BadRequest: not three integers of 32 bits; `what` names them.
    """
    if len(values) != 3:
        raise BadRequest(f"{what} must be three integers")
    for value in values:
        if type(value) is not int or not -COORDINATE_LIMIT <= value < COORDINATE_LIMIT:
            raise BadRequest(f"{what} must be three integers of 32 bits")
    return Point(*values)


def parse_point(text: str, what: str, separator: str = "_") -> Point:
    """Three integers in DVID's form, as in "10_-20_30".

    Raises:
        BadRequest: anything else; `what` names the value in the message.
    """
    parts = text.split(separator)
    if len(parts) != 3:
        raise BadRequest(f"{what} must be three integers with {separator!r} between them, not {text[:80]!r}")
    return Point(*(_integer(part.strip(), what) for part in parts))


def parse_box(size: str, offset: str) -> Box:
    """A box from the size and offset of a URL, as in "64_64_64" and "0_-32_100".

    Raises:
        BadRequest: malformed, a size below 1, or a box that reaches beyond 32-bit coordinates.
    """
    extent, first = parse_point(size, "size"), parse_point(offset, "offset")
    if min(extent) < 1:
        raise BadRequest(f"size {extent} is empty: each of its numbers must be at least 1")
    box = Box(first, extent)
    if max(box.last) >= COORDINATE_LIMIT:
        raise BadRequest(f"size {extent} at offset {first} reaches beyond 32-bit coordinates")
    return box


def parse_plane_size(text: str) -> tuple[int, int]:
    """The width and height of a plane in a URL, as in "512_256".

    Raises:
        BadRequest: malformed, or a number below 1.
    """
    parts = text.split("_")
    if len(parts) != 2:
        raise BadRequest(f"the size of a plane must be two integers with '_' between them, not {text[:80]!r}")
    width, height = (_integer(part.strip(), "size") for part in parts)
    if min(width, height) < 1:
        raise BadRequest(f"size {text[:40]} is empty: each of its numbers must be at least 1")
    return width, height


def parse_axes(text: str) -> tuple[int, ...]:
    """The axes that a URL asks for: (0, 1, 2) for "0_1_2" and "vol", two of them for a plane ("xy", "0_2", …).

    Case does not matter, and "," may stand for "_" (behaviours of DVID: surprises, images).

    Raises:
        BadRequest: no such plane or volume.
    """
    word = text.lower().replace(",", "_")
    axes = _VOLUMES.get(word) or _PLANES.get(word)
    if axes is None:
        raise BadRequest(f"unknown shape {text[:40]!r}: use 0_1_2 for a volume, or xy, xz, yz for a plane")
    return axes
