"""Settings that instances of every type take at creation, and parsers that several types share.

Names arrive in lower case, values as text (behaviours.md, section 7).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from dagdvid.datatype import Codec
from dagdvid.errors import BadRequest

__all__ = ["BASE_HELP", "BaseSettings", "base_settings", "integer", "numbers"]

BASE_HELP = {
    "Compression": "how stored values are compressed: none, snappy, lz4, gzip or gzip:LEVEL (-1 to 9)",
    "Checksum": "none or crc32; kept for clients that ask, since every stored object is checked by its hash anyway",
    "Versioned": "true (default) or false: one state shared by all versions",
    "Tags": "labels for people and programs, as in type=meshes,who=me",
}

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_GZIP_LEVEL = re.compile(r"-1|[0-9]", re.ASCII)

# What DVID calls each choice in an instance's Base JSON, and the nearest codec of the store.
_COMPRESSIONS = {
    "none": ("No compression", Codec.RAW),
    "snappy": ("Go Snappy compression", Codec.LZ4),
    "lz4": ("LZ4 compression", Codec.LZ4),
    "gzip": ("gzip compression", Codec.GZIP),
    "jpeg": ("jpeg compression", Codec.RAW),
}
_CHECKSUMS = {"none": "No checksum", "crc32": "CRC32 checksum"}


class BaseSettings(NamedTuple):
    """What `Compression` and `Checksum` mean."""

    compression_text: str
    """DVID's words for it, as in "LZ4 compression, level -1"."""
    checksum_text: str
    codec: int
    """The `Codec` for values of types that choose one."""
    compression: str
    """The choice without its level."""


def base_settings(settings: Mapping[str, str], default_compression: str, *, jpeg: bool = False) -> BaseSettings:
    """The compression and checksum of an instance.

    jpeg: the type stores JPEG where it is told to. DVID's words for it name the first number of BlockSize.

    Raises:
        BadRequest: a choice that is not known.
    """
    choice = settings.get("compression", default_compression).strip().lower()
    name, _, level = choice.partition(":")
    known = name in _COMPRESSIONS and (jpeg or name != "jpeg")
    if not known or (":" in choice and (name != "gzip" or not _GZIP_LEVEL.fullmatch(level))):
        kinds = "none, snappy, lz4, gzip, gzip:LEVEL (-1 to 9)" + (" or jpeg" if jpeg else "")
        raise BadRequest(f"Compression {choice[:40]!r} is not known here: use {kinds}")
    text, codec = _COMPRESSIONS[name]
    if name == "jpeg":
        level = settings.get("blocksize", "32").partition(",")[0].strip()
    checksum = settings.get("checksum", "none").strip().lower()
    if checksum not in _CHECKSUMS:
        raise BadRequest(f"Checksum {checksum[:40]!r} is not known: use none or crc32")
    return BaseSettings(f"{text}, level {level or -1}", _CHECKSUMS[checksum], codec, name)


def integer(text: str, name: str, least: int, most: int) -> int:
    """An integer setting between two bounds, both allowed.

    Raises:
        BadRequest: anything else.
    """
    text = text.strip()
    if not _INTEGER.fullmatch(text) or not least <= int(text) <= most:
        raise BadRequest(f"{name} must be an integer between {least} and {most}, not {text[:40]!r}")
    return int(text)


def numbers(text: str, name: str) -> list[float]:
    """One to three numbers with commas between them, as in "4.5,4.5,40"; whole ones come as int, for JSON.

    Raises:
        BadRequest: anything else.
    """
    values: list[float] = []
    for part in text.split(","):
        try:
            value = float(part)
        except ValueError:
            raise BadRequest(f"{name} must be numbers with commas between them, not {text[:80]!r}") from None
        if not math.isfinite(value):
            raise BadRequest(f"{name} must be finite numbers, not {text[:80]!r}")
        values.append(int(value) if value.is_integer() else value)
    if len(values) > 3:
        raise BadRequest(f"{name} takes one number for each of three axes, not {len(values)}")
    return values
