"""Finds datatypes: entry points of the group `dagdvid.datatypes`, loaded when first used."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points

from dagdvid.datatype import Datatype
from dagdvid.errors import UnknownName

__all__ = ["GROUP", "datatype", "datatype_names", "deferred_spaces"]

GROUP = "dagdvid.datatypes"


@cache
def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def datatype_names() -> list[str]:
    """The names of all installed datatypes, sorted."""
    return sorted(_entry_points())


@cache
def datatype(name: str) -> Datatype:
    """The datatype of a name.

    Raises:
        UnknownName: none is installed under it.
    """
    point = _entry_points().get(name)
    if point is None:
        raise UnknownName(f"unknown datatype {name!r}; installed: {', '.join(datatype_names())}")
    loaded = point.load()
    if not isinstance(loaded, Datatype):
        raise TypeError(f"entry point {point.value} of {GROUP} is not a Datatype")
    return loaded


@cache
def deferred_spaces(name: str) -> tuple[str, ...]:
    """The deferred key spaces of a datatype, sorted; none if it is not installed."""
    return tuple(sorted(datatype(name).deferred)) if name in _entry_points() else ()
