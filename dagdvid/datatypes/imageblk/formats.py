"""The voxel formats of the imageblk family: one row a type (DVID: datatype/imageblk/uint8.go and its likes)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["FORMATS", "VoxelFormat"]

_URL = "github.com/janelia-flyem/dvid/datatype/imageblk/"


class VoxelFormat(NamedTuple):
    """What a voxel of a type is."""

    typename: str
    url: str
    version: str
    voxel: np.dtype[Any]
    """One voxel with all its channels, little-endian; blocks are handled as arrays of it and never looked into."""
    channel: np.dtype[Any]
    """One of its channels."""
    values: tuple[tuple[str, str], ...]
    """DataType and Label of each channel."""
    summary: str

    def channels(self, voxels: NDArray[Any]) -> NDArray[Any]:
        """Voxels as numbers, with one more axis at the end if there are several channels."""
        if self.voxel == self.channel:
            return voxels
        return np.ascontiguousarray(voxels)[..., None].view(self.channel)


def _scalar(bits: str, version: str, summary: str) -> VoxelFormat:
    voxel = np.dtype(bits).newbyteorder("<")
    return VoxelFormat(f"{bits}blk", f"{_URL}{bits}.go", version, voxel, voxel, ((bits, bits),), summary)


_COLOURS = tuple(("uint8", label) for label in ("red", "green", "blue", "alpha"))

FORMATS = {
    row.typename: row
    for row in (
        _scalar("uint8", "0.2", "Grayscale volumes of 8 bits a voxel, in blocks."),
        _scalar("uint16", "0.1", "Volumes of 16 bits a voxel, in blocks."),
        _scalar("uint32", "0.1", "Volumes of 32 bits a voxel, in blocks."),
        _scalar("uint64", "0.1", "Volumes of 64 bits a voxel, in blocks."),
        _scalar("float32", "0.1", "Volumes of floating-point numbers of 32 bits, in blocks."),
        VoxelFormat(
            "rgba8blk",
            f"{_URL}rgba8.go",
            "0.2",
            np.dtype("V4"),
            np.dtype("u1"),
            _COLOURS,
            "Colour volumes: red, green, blue and alpha of 8 bits each, in blocks.",
        ),
    )
}
