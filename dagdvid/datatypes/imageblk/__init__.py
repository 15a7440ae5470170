"""The imageblk family: volumes of voxels in blocks, one datatype for each voxel format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dagdvid.datatype import Datatype, Differ, Instance, Snapshot
from dagdvid.datatypes import extents
from dagdvid.datatypes.blockdiff import BlockDiffer, block_key, blocks_between
from dagdvid.datatypes.grid import SPACE, extent_of_keys
from dagdvid.datatypes.imageblk.commands import COMMANDS
from dagdvid.datatypes.imageblk.formats import FORMATS, VoxelFormat
from dagdvid.datatypes.imageblk.properties import SETTINGS_HELP, configure, extended
from dagdvid.datatypes.imageblk.routes import ROUTES
from dagdvid.geometry import Point

__all__ = ["FLOAT32BLK", "RGBA8BLK", "UINT8BLK", "UINT16BLK", "UINT32BLK", "UINT64BLK", "ImageBlk"]


class ImageBlk(Datatype):
    """DVID's imageblk (datatype/imageblk/imageblk.go) for one voxel format."""

    spaces = ("blocks", "meta")
    info_methods = frozenset({"GET"})
    routes = ROUTES
    commands = COMMANDS
    settings_help = SETTINGS_HELP

    def __init__(self, voxels: VoxelFormat) -> None:
        self.voxels = voxels
        self.name = voxels.typename
        self.url = voxels.url
        self.version = voxels.version
        self.summary = voxels.summary

    def configure(self, settings: Mapping[str, str]) -> dict[str, Any]:
        """Block size, resolution, extents and the rest, as `properties.configure` says."""
        return configure(settings, self.voxels)

    def content_settings(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The size of blocks, and whether they are JPEG: all else leaves the stored bytes as they are."""
        kept = {"BlockSize": config["BlockSize"]}
        return {**kept, "Compression": "jpeg"} if config["stored"] == "jpeg" else kept

    def extent(self, space: str, first: bytes, last: bytes) -> dict[str, Any]:
        """As `Datatype.extent`: of blocks, the box that encloses them."""
        return extent_of_keys(first, last) if space == SPACE else super().extent(space, first, last)

    def info(self, instance: Instance, view: Snapshot) -> dict[str, Any]:
        """Extended and Extents."""
        shown = extents.load(view, instance.config)
        return {"Extended": extended(instance, shown), "Extents": shown.members()}

    def find_key(self, instance: Instance, text: str) -> tuple[str, bytes]:  # noqa: ARG002
        """A block is named by its coordinates x,y,z."""
        return block_key(text)

    def between(self, instance: Instance, first: str, last: str) -> Callable[[str, bytes], bool]:  # noqa: ARG002
        """The blocks of the box between two corners, at every scale."""
        return blocks_between(first, last)

    def differ(self, instance: Instance) -> Differ:
        """Changed blocks and their boxes."""
        return BlockDiffer(Point(*instance.config["BlockSize"]))


UINT8BLK = ImageBlk(FORMATS["uint8blk"])
UINT16BLK = ImageBlk(FORMATS["uint16blk"])
UINT32BLK = ImageBlk(FORMATS["uint32blk"])
UINT64BLK = ImageBlk(FORMATS["uint64blk"])
FLOAT32BLK = ImageBlk(FORMATS["float32blk"])
RGBA8BLK = ImageBlk(FORMATS["rgba8blk"])
