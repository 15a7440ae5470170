"""The settings of an image volume, and the JSON that tells clients about it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from dagdvid.datatype import Instance, Snapshot
from dagdvid.datatypes.imageblk import extents
from dagdvid.datatypes.imageblk.blocks import BlockLayout
from dagdvid.datatypes.imageblk.formats import FORMATS, VoxelFormat
from dagdvid.datatypes.settings import BASE_HELP, base_settings, integer, numbers
from dagdvid.errors import BadRequest
from dagdvid.geometry import ONE, ORIGIN, Point, parse_point
from dagdvid.interchange.images import JPEG_QUALITY, MAX_SIDE
from dagdvid.routes import MAX_BODY

__all__ = [
    "RESOLUTION",
    "SETTINGS_HELP",
    "configure",
    "extended",
    "layout",
    "metadata",
    "resolution",
    "resolution_of_json",
]

RESOLUTION = "resolution"
"""The property that POST resolution sets: the size of a voxel along x, y and z, as in "4,4,40.5"."""

SETTINGS_HELP = {
    **BASE_HELP,
    "Compression": f"{BASE_HELP['Compression']}; or jpeg: blocks are stored as gray JPEG of quality {JPEG_QUALITY}",
    "BlockSize": "voxels of a block along x, y, z (default 32,32,32)",
    "VoxelSize": "resolution along x, y, z (default 8,8,8)",
    "VoxelUnits": "units of the resolution (default nanometers,nanometers,nanometers)",
    "MinPoint": "first voxel of the extents before anything is written, as in 0,0,0",
    "MaxPoint": "last voxel of those extents",
    "Background": "0 to 255, what clients should take for empty space (default 0)",
    "ScaleLevel": "level of a pyramid that this volume is, 0 for full resolution (default 0)",
}


def configure(settings: Mapping[str, str], voxels: VoxelFormat) -> dict[str, Any]:
    """What settings mean, with DVID's names and defaults, and "codec" for stored blocks. Unknown names are ignored.

    Raises:
        BadRequest: a value that it does not take.
    """
    base = base_settings(settings, "lz4", jpeg=True)
    if settings.get("gridstore"):
        raise BadRequest("GridStore is not served: this server has no store of that kind; leave the setting out")
    block = parse_point(settings.get("blocksize", "32,32,32"), "BlockSize", ",")
    if min(block) < 1:
        raise BadRequest(f"BlockSize {block} is empty: each of its numbers must be at least 1")
    if block.product * voxels.voxel.itemsize > MAX_BODY:
        raise BadRequest(f"BlockSize {block} is too large: a block may have {MAX_BODY} bytes at most")
    rows = block.y * block.z * voxels.voxel.itemsize
    if base.compression == "jpeg" and max(block.x, rows) > MAX_SIDE:
        raise BadRequest(f"BlockSize {block} is too large for jpeg: {block.x} by {rows} pixels, and {MAX_SIDE} fit")
    first, last = _corner(settings, "MinPoint"), _corner(settings, "MaxPoint")
    if first and last and first.smallest(last) != first:
        raise BadRequest(f"MinPoint {first} must not be above MaxPoint {last}")
    return {
        "Compression": base.compression_text,
        "Checksum": base.checksum_text,
        "codec": base.codec,
        "stored": base.compression,
        "BlockSize": block.as_list(),
        "VoxelSize": numbers(settings.get("voxelsize", "8,8,8"), "VoxelSize"),
        "VoxelUnits": _units(settings.get("voxelunits", "nanometers,nanometers,nanometers")),
        "MinPoint": first.as_list() if first else None,
        "MaxPoint": last.as_list() if last else None,
        "Background": integer(settings.get("background", "0"), "Background", 0, 255),
        "GridStore": "",
        "ScaleLevel": integer(settings.get("scalelevel", "0"), "ScaleLevel", 0, 255),
    }


def _units(text: str) -> list[str]:
    units = [unit.strip() for unit in text.split(",")]
    if len(units) > 3:
        raise BadRequest(f"VoxelUnits takes one unit for each of three axes, not {len(units)}")
    return units


def _corner(settings: Mapping[str, str], name: str) -> Point | None:
    text = settings.get(name.lower())
    return None if text is None else parse_point(text, name, ",")


def layout(instance: Instance) -> BlockLayout:
    """How the voxels of an instance lie in its blocks."""
    config = instance.config
    voxel = FORMATS[instance.typename].voxel
    return BlockLayout(Point(*config["BlockSize"]), voxel, config["Background"], config["stored"] == "jpeg")


def resolution(instance: Instance) -> list[float]:
    """The size of a voxel along x, y and z; the last one stands for those that are not given."""
    sizes = _voxel_size(instance)
    return [_of_axis(sizes, axis) for axis in range(3)]


def _voxel_size(instance: Instance) -> list[float]:
    changed = instance.properties.get(RESOLUTION)
    sizes: list[float] = numbers(changed, RESOLUTION) if changed else instance.config["VoxelSize"]
    return sizes


def resolution_of_json(body: bytes) -> str:
    """The property RESOLUTION for a JSON list of three numbers.

    Raises:
        BadRequest: anything else, or a number that is not above 0.
    """
    try:
        sizes = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"malformed JSON in the request body: {error}") from None
    if not isinstance(sizes, list) or len(sizes) != 3 or any(type(size) not in (int, float) for size in sizes):
        raise BadRequest("a resolution must be a JSON list of three numbers, along x, y and z")
    if min(sizes) <= 0 or not all(map(math.isfinite, sizes)):
        raise BadRequest(f"the numbers of a resolution must be finite and above 0: {sizes}")
    return ",".join(map(repr, sizes))


def extended(instance: Instance, shown: extents.Extents) -> dict[str, Any]:
    """The member Extended of an instance's JSON, with the extents of one version."""
    config = instance.config
    block = Point(*config["BlockSize"])
    first, last = shown
    return {
        "Values": [{"DataType": kind, "Label": label} for kind, label in FORMATS[instance.typename].values],
        "Interpolable": True,
        "BlockSize": config["BlockSize"],
        "VoxelSize": _voxel_size(instance),
        "VoxelUnits": config["VoxelUnits"],
        **shown.members(),
        "MinIndex": (first // block).as_list() if first else None,
        "MaxIndex": (last // block).as_list() if last else None,
        "Background": config["Background"],
        "GridStore": config["GridStore"],
        "ScaleLevel": config["ScaleLevel"],
    }


def metadata(instance: Instance, view: Snapshot) -> dict[str, Any]:
    """Axes and properties of one version: DVID's nd-data JSON. An axis without extents has size 0."""
    shown = extents.load(view, instance.config)
    properties = extended(instance, shown)
    size = offset = ORIGIN
    if shown.first and shown.last:
        size, offset = shown.last - shown.first + ONE, shown.first
    axes = [
        {
            "Label": label,
            "Resolution": _of_axis(properties["VoxelSize"], axis),
            "Units": _of_axis(properties["VoxelUnits"], axis),
            "Size": size.as_list()[axis],
            "Offset": offset.as_list()[axis],
        }
        for axis, label in enumerate("XYZ")
    ]
    return {"Axes": axes, "Properties": properties}


def _of_axis(values: list[Any], axis: int) -> Any:
    """The value of an axis; DVID lets fewer than three be given, so the last one stands for the rest."""
    return values[min(axis, len(values) - 1)]
