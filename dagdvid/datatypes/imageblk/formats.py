"""The voxel formats of the imageblk family: one row a type."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

__all__ = ["FORMATS", "VoxelFormat"]

_URL = "github.com/janelia-flyem/dvid/datatype/imageblk/"


class VoxelFormat(NamedTuple):
    """What a voxel of a type is."""

    typename: str
    url: str
    version: str
    voxel: np.dtype[Any]
    """One voxel with all its channels, little-endian; blocks are handled as arrays of it and never looked into."""
    values: tuple[tuple[str, str], ...]
    """DataType and Label of each channel."""
    summary: str


FORMATS = {
    row.typename: row
    for row in (
        VoxelFormat(
            "uint8blk",
            _URL + "uint8.go",
            "0.2",
            np.dtype("u1"),
            (("uint8", "uint8"),),
            "Grayscale volumes of 8 bits a voxel, in blocks.",
        ),
    )
}
