"""What a new data instance may be: its name, and the settings that all datatypes share."""

from __future__ import annotations

import uuid as uuids
from collections.abc import Mapping

from dagdvid.datatype import Instance
from dagdvid.errors import BadRequest
from dagdvid.registry import datatype

__all__ = ["RESERVED", "check_name", "new_instance"]

RESERVED = frozenset({"log", "branch", "note", "commit", "newversion", "diff", "hash", "revert"})
"""Names that no instance may have: DVID's, and the node endpoints that are ours."""


def check_name(name: str) -> None:
    """Raises BadRequest: a name that no data instance can have."""
    if not name or "/" in name or not name.isprintable() or name != name.strip():
        raise BadRequest(f"{name!r} cannot be the name of a data instance")
    if name in RESERVED:
        raise BadRequest(f"data instance name {name!r} is reserved")


def new_instance(settings: Mapping[str, str], origin: str) -> Instance:
    """An instance of creation settings (names in lower case), made on the version `origin`.

    Raises:
        BadRequest: a name that cannot be, or a setting that the datatype or all of them refuse.
        UnknownName: no such datatype.
    """
    name, typename = settings.get("dataname", ""), settings.get("typename", "")
    if not typename:
        raise BadRequest("'typename' is missing")
    check_name(name)
    versioned = settings.get("versioned", "true").lower()
    if versioned not in ("true", "false", "1", "0"):
        raise BadRequest(f"setting versioned must be true or false, not {versioned!r}")
    tags = dict(_tag(item) for item in settings.get("tags", "").split(",") if item)
    return Instance(
        uuid=uuids.uuid4().hex,
        name=name,
        typename=typename,
        origin=origin,
        versioned=versioned in ("true", "1"),
        settings=dict(settings),
        config=datatype(typename).configure(settings),
        tags=tags,
    )


def _tag(item: str) -> tuple[str, str]:
    name, equals, value = item.partition("=")
    if not equals or not name.strip():
        raise BadRequest(f"setting tags wants name=value pairs with commas between, not {item!r}")
    return name.strip(), value.strip()
