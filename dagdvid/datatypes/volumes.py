"""What volumes of voxels have in common, of images and of labels: settings, extents and resolution, and the JSON that
tells clients about them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from dagdvid.datatype import Instance, Snapshot, Txn
from dagdvid.datatypes import extents
from dagdvid.datatypes.settings import BASE_HELP, BaseSettings, integer, numbers
from dagdvid.errors import BadRequest
from dagdvid.geometry import ONE, ORIGIN, Point, parse_point
from dagdvid.routes import MAX_BODY, Example, Reply, Request, Right, Route, json_reply

__all__ = [
    "ROUTES",
    "SETTINGS_HELP",
    "block_size",
    "configure",
    "extended",
    "metadata",
    "resolution",
    "resolution_of_json",
]

_RESOLUTION = "resolution"
"""The property that POST resolution sets: the size of a voxel along x, y and z, as in "4,4,40.5"."""
_METADATA_TYPE = "application/vnd.dvid-nd-data+json"

SETTINGS_HELP = {
    **BASE_HELP,
    "VoxelSize": "resolution along x, y, z (default 8,8,8)",
    "VoxelUnits": "units of the resolution (default nanometers,nanometers,nanometers)",
    "MinPoint": "first voxel of the extents before anything is written, as in 0,0,0",
    "MaxPoint": "last voxel of those extents",
    "Background": "0 to 255, what clients should take for empty space (default 0)",
    "ScaleLevel": "level of a pyramid that this volume is, 0 for full resolution (default 0)",
}


def block_size(settings: Mapping[str, str], default: str, voxel_bytes: int) -> Point:
    """The setting BlockSize.

    Raises:
        BadRequest: malformed, empty or too large.
    """
    block = parse_point(settings.get("blocksize", default), "BlockSize", ",")
    if min(block) < 1:
        raise BadRequest(f"BlockSize {block} is empty: each of its numbers must be at least 1")
    if block.product * voxel_bytes > MAX_BODY:
        raise BadRequest(f"BlockSize {block} is too large: a block may have {MAX_BODY} bytes at most")
    return block


def configure(settings: Mapping[str, str], base: BaseSettings, block: Point) -> dict[str, Any]:
    """What settings mean, with DVID's names and defaults, and "codec" for stored blocks. Unknown names are ignored.

    Raises:
        BadRequest: a value that no volume takes.
    """
    if settings.get("gridstore"):
        raise BadRequest("GridStore is not served: this server has no store of that kind; leave the setting out")
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


def resolution(instance: Instance) -> list[float]:
    """The size of a voxel along x, y and z; the last one stands for those that are not given."""
    sizes = _voxel_size(instance)
    return [_of_axis(sizes, axis) for axis in range(3)]


def _voxel_size(instance: Instance) -> list[float]:
    changed = instance.properties.get(_RESOLUTION)
    sizes: list[float] = numbers(changed, _RESOLUTION) if changed else instance.config["VoxelSize"]
    return sizes


def resolution_of_json(body: bytes) -> str:
    """The property `resolution` for a JSON list of three numbers.

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
    """The part of the member Extended of an instance's JSON that all volumes have, with the extents of one version."""
    config = instance.config
    block = Point(*config["BlockSize"])
    first, last = shown
    return {
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


def metadata(instance: Instance, view: Snapshot, kind: Mapping[str, Any]) -> Reply:
    """Axes and properties of one version: DVID's nd-data JSON. An axis without extents has size 0.

    kind: further properties, of the voxels.
    """
    shown = extents.load(view, instance.config)
    properties = {**kind, **extended(instance, shown)}
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
    return Reply(json_reply({"Axes": axes, "Properties": properties}).body, _METADATA_TYPE)


def _of_axis(values: list[Any], axis: int) -> Any:
    """The value of an axis; DVID lets fewer than three be given, so the last one stands for the rest."""
    return values[min(axis, len(values) - 1)]


def post_extents(instance: Instance, txn: Txn, request: Request) -> Reply:  # noqa: ARG001
    """Set the extents."""
    extents.save(txn, extents.of_json(request.json_object()))
    return Reply()


def post_resolution(instance: Instance, txn: Txn, request: Request) -> Reply:  # noqa: ARG001
    """Set the size of voxels."""
    txn.set_property(_RESOLUTION, resolution_of_json(request.body))
    return Reply()


ROUTES = (
    Route(
        ("POST",),
        "extents",
        post_extents,
        'Sets the extents of this version, to wider or narrower ones: {"MinPoint": [x,y,z], "MaxPoint": [x,y,z]}, '
        "both included.",
        mutates=True,
        right=Right.WRITE,
        examples=(Example("extents", body='{"MinPoint":[0,0,0],"MaxPoint":[127,63,63]}'),),
    ),
    Route(
        ("POST",),
        "resolution",
        post_resolution,
        "Sets the size of a voxel along x, y and z, a JSON list of three numbers, for all versions at once.",
        mutates=True,
        right=Right.WRITE,
        examples=(Example("resolution", body="[8,8,8]"),),
    ),
)
