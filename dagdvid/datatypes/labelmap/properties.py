"""The settings of a label volume, and the JSON that tells clients about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from dagdvid.datatype import Codec, Instance
from dagdvid.datatypes import volumes
from dagdvid.datatypes.settings import base_settings, integer
from dagdvid.errors import BadRequest
from dagdvid.geometry import Point

__all__ = ["KIND", "MAX_LEVEL", "SETTINGS_HELP", "VOXEL", "Layout", "configure", "layout", "level_property", "levels"]

VOXEL = np.dtype("<u8")
MAX_LEVEL = 21
"""Of the scale above there are but eight blocks, whatever the volume."""
_LEVEL = "max_downres_level"
"""The property that POST info sets."""

KIND = {"Values": [{"DataType": "uint64", "Label": "labelmap"}], "Interpolable": False}
"""What is said of the voxels."""

SETTINGS_HELP = {
    **volumes.SETTINGS_HELP,
    "Compression": "how label blocks are stored: gzip (default), as clients are sent them, none, snappy or lz4",
    "BlockSize": "voxels of a block along x, y, z (default 64,64,64), multiples of 16 up to 1024",
    "IndexedLabels": "true (default) or false: no indices are kept, so that bodies cannot be asked for or edited",
    "MaxDownresLevel": f"number of coarser scales that are computed, 0 (default) to {MAX_LEVEL}",
}


class Layout(NamedTuple):
    """How the labels of an instance lie in its blocks."""

    block: Point
    """Voxels of a block along each axis."""
    codec: int
    levels: int
    """Coarser scales that are computed."""
    indexed: bool
    gzipped: bool
    """Stored blocks are what clients are sent."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape (z, y, x) of a block's array."""
        return self.block.z, self.block.y, self.block.x

    @property
    def block_bytes(self) -> int:
        """Bytes of the voxels of a block."""
        return self.block.product * VOXEL.itemsize


def configure(settings: Mapping[str, str]) -> dict[str, Any]:
    """What settings mean, as `volumes.configure` says, and those of labels.

    Raises:
        BadRequest: a value that it does not take.
    """
    block = volumes.block_size(settings, "64,64,64", VOXEL.itemsize)
    if any(edge % 16 or edge > 1024 for edge in block):
        raise BadRequest(f"BlockSize {block} is not for labels: its numbers must be multiples of 16 up to 1024")
    return {
        **volumes.configure(settings, base_settings(settings, "gzip"), block),
        "IndexedLabels": _boolean(settings.get("indexedlabels", "true"), "IndexedLabels"),
        "MaxDownresLevel": integer(settings.get("maxdownreslevel", "0"), "MaxDownresLevel", 0, MAX_LEVEL),
    }


def _boolean(text: str, name: str) -> bool:
    word = text.strip().lower()
    if word not in ("true", "false", "1", "0", "on", "off"):
        raise BadRequest(f"{name} must be true or false, not {text[:40]!r}")
    return word in ("true", "1", "on")


def layout(instance: Instance) -> Layout:
    """How the labels of an instance lie in its blocks."""
    config = instance.config
    codec = config["codec"]
    return Layout(Point(*config["BlockSize"]), codec, levels(instance), config["IndexedLabels"], codec == Codec.GZIP)


def levels(instance: Instance) -> int:
    """How many coarser scales are computed: as POST info set it, else as the instance was made."""
    changed = instance.properties.get(_LEVEL)
    return int(instance.config["MaxDownresLevel"] if changed is None else changed)


def level_property(settings: Mapping[str, Any]) -> tuple[str, int] | None:
    """Name and value of the property that settings of POST info change; None if they change nothing.

    Raises:
        BadRequest: a value that MaxDownresLevel cannot have.
    """
    for name, value in settings.items():
        if not isinstance(value, str):
            raise BadRequest(f"Setting for {name!r} was not a string: {value!r}")
    text = {name.lower(): value for name, value in settings.items()}.get("maxdownreslevel")
    return None if text is None else (_LEVEL, integer(text, "MaxDownresLevel", 0, MAX_LEVEL))
