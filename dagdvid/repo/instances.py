"""What a new data instance may be: its name, and the settings that all datatypes share."""

from __future__ import annotations

import uuid as uuids
from collections.abc import Mapping
from typing import Any

from dagdvid.datatype import Instance
from dagdvid.errors import BadRequest
from dagdvid.registry import datatype, datatype_names

__all__ = ["RESERVED", "TAGGED", "check_name", "new_instance", "setting_texts"]

RESERVED = frozenset({"log", "branch", "note", "commit", "newversion", "diff", "hash", "revert"})
"""Names that no instance may have: DVID's, and the node endpoints that are ours."""
TAGGED = "tagged"
"""The property of an instance whose tags were set once: it shows them even if there are none."""

_BASE = frozenset({"typename", "dataname", "versioned", "compression", "checksum", "tags"})


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
        properties={TAGGED: True} if "tags" in settings else {},
    )


def setting_texts(fields: Mapping[str, Any]) -> dict[str, str]:
    """Settings of a JSON body, names in lower case, as the texts that they must be; DVID passes over what it knows not.

    Raises:
        BadRequest: a setting that all instances or this datatype know, and that is no text.
    """
    typename = fields.get("typename")
    known = _BASE
    if isinstance(typename, str) and typename in datatype_names():
        known |= {name.lower() for name in datatype(typename).settings_help}
    texts = {}
    for key, value in fields.items():
        if key == "versioned" and isinstance(value, bool):
            texts[key] = "true" if value else "false"
        elif isinstance(value, str):
            texts[key] = value
        elif key in known:
            raise BadRequest(f"setting for {key!r} was not a string: {value!r}")
    return texts


def _tag(item: str) -> tuple[str, str]:
    name, equals, value = item.partition("=")
    if not equals or not name.strip():
        raise BadRequest(f"setting tags wants name=value pairs with commas between, not {item!r}")
    return name.strip(), value.strip()
