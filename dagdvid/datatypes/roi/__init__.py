"""roi: regions of interest, sets of blocks that voxel data can be masked by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dagdvid.datatype import Datatype, Differ, Instance, Snapshot
from dagdvid.datatypes import regions
from dagdvid.datatypes.roi.ops import z_range
from dagdvid.datatypes.roi.routes import ROUTES
from dagdvid.datatypes.settings import BASE_HELP, base_settings
from dagdvid.datatypes.spans import Spans, merged
from dagdvid.errors import BadRequest
from dagdvid.geometry import parse_point

__all__ = ["ROI", "Roi"]

SETTINGS_HELP = {**BASE_HELP, "BlockSize": "voxels of a block along x, y, z (default 32,32,32)"}


class Roi(Datatype):
    """DVID's roi (datatype/roi/roi.go)."""

    name = regions.TYPENAME
    url = "github.com/janelia-flyem/dvid/datatype/roi"
    version = "0.1"
    spaces = (regions.SPACE, regions.LOCK_SPACE)
    mergeable = frozenset({regions.SPACE})
    routes = ROUTES
    summary = "Regions of interest: sets of blocks that volumes are masked by and work is divided by."
    settings_help = SETTINGS_HELP

    def configure(self, settings: Mapping[str, str]) -> dict[str, Any]:
        """Block size, Compression and Checksum."""
        base = base_settings(settings, "lz4")
        block = parse_point(settings.get("blocksize", "32,32,32"), "BlockSize", ",")
        if min(block) < 1:
            raise BadRequest(f"BlockSize {block} is empty: each of its numbers must be at least 1")
        return {
            "Compression": base.compression_text,
            "Checksum": base.checksum_text,
            "BlockSize": block.as_list(),
        }

    def content_settings(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The size of blocks: without it the spans have no meaning."""
        return {"BlockSize": config["BlockSize"]}

    def info(self, instance: Instance, view: Snapshot) -> dict[str, Any]:
        """Extended: the size of blocks, and the first and last layer that has some."""
        first, last = z_range(view)
        return {"Extended": {"BlockSize": instance.config["BlockSize"], "MinZ": first, "MaxZ": last}}

    def merge_value(
        self,
        instance: Instance,  # noqa: ARG002
        space: str,  # noqa: ARG002
        key: bytes,
        base: bytes | None,
        ours: bytes | None,
        theirs: bytes | None,
    ) -> bytes | None:
        """A layer that both sides changed: each block as the side has it that changed it."""
        spans = merged(*(_spans(key, value) for value in (base, ours, theirs)))
        return regions.encode_layer(spans) if len(spans) else None

    def differ(self, instance: Instance) -> Differ:  # noqa: ARG002
        """Changed layers of blocks."""
        return _LayerDiffer()


def _spans(key: bytes, value: bytes | None) -> Spans:
    return np.empty((0, 4), np.int64) if value is None else regions.decode_layer(key, value)


class _LayerDiffer:
    """Names changed layers of blocks, and how far they reach."""

    def __init__(self) -> None:
        self._seen: list[int] = []

    def describe(self, space: str, key: bytes) -> dict[str, Any] | None:
        """{"z": layer of blocks}."""
        if space != regions.SPACE:
            return None
        z = regions.z_of_key(key)
        self._seen = [min([z, *self._seen]), max([z, *self._seen])]
        return {"z": z}

    def summary(self) -> dict[str, Any]:
        """{"layers": [first, last]} of those that changed, or {}."""
        return {"layers": self._seen} if self._seen else {}


ROI = Roi()
