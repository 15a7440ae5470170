"""The settings of an image volume, and the JSON that tells clients about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dagdvid.datatype import Instance
from dagdvid.datatypes import volumes
from dagdvid.datatypes.extents import Extents
from dagdvid.datatypes.imageblk.blocks import BlockLayout
from dagdvid.datatypes.imageblk.formats import FORMATS, VoxelFormat
from dagdvid.datatypes.settings import BASE_HELP, base_settings
from dagdvid.errors import BadRequest
from dagdvid.geometry import Point
from dagdvid.interchange.images import JPEG_QUALITY, MAX_SIDE

__all__ = ["SETTINGS_HELP", "configure", "extended", "kind", "layout"]

SETTINGS_HELP = {
    **volumes.SETTINGS_HELP,
    "Compression": f"{BASE_HELP['Compression']}; or jpeg: blocks are stored as gray JPEG of quality {JPEG_QUALITY}",
    "BlockSize": "voxels of a block along x, y, z (default 32,32,32)",
}


def configure(settings: Mapping[str, str], voxels: VoxelFormat) -> dict[str, Any]:
    """What settings mean, as `volumes.configure` says.

    Raises:
        BadRequest: a value that it does not take.
    """
    base = base_settings(settings, "lz4", jpeg=True)
    block = volumes.block_size(settings, "32,32,32", voxels.voxel.itemsize)
    rows = block.y * block.z * voxels.voxel.itemsize
    if base.compression == "jpeg" and max(block.x, rows) > MAX_SIDE:
        raise BadRequest(f"BlockSize {block} is too large for jpeg: {block.x} by {rows} pixels, and {MAX_SIDE} fit")
    return volumes.configure(settings, base, block)


def layout(instance: Instance) -> BlockLayout:
    """How the voxels of an instance lie in its blocks."""
    config = instance.config
    voxel = FORMATS[instance.typename].voxel
    return BlockLayout(Point(*config["BlockSize"]), voxel, config["Background"], config["stored"] == "jpeg")


def kind(instance: Instance) -> dict[str, Any]:
    """What is said of the voxels."""
    values = [{"DataType": each, "Label": label} for each, label in FORMATS[instance.typename].values]
    return {"Values": values, "Interpolable": True}


def extended(instance: Instance, shown: Extents) -> dict[str, Any]:
    """The member Extended of an instance's JSON, with the extents of one version."""
    return {**kind(instance), **volumes.extended(instance, shown)}
