"""Masking by a region of interest: `?roi=NAME`, with `attenuation` for what lies outside."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dagdvid.datatype import Snapshot
from dagdvid.datatypes.regions import Region, region
from dagdvid.datatypes.settings import integer
from dagdvid.errors import BadRequest
from dagdvid.geometry import Box
from dagdvid.routes import Request

__all__ = ["Mask", "mask_of"]


class Mask(NamedTuple):
    """Which voxels are shown or written, and what is shown of the others."""

    region: Region
    attenuation: int
    """Outside, voxels are divided by 2 to the power of this; 0 shows the background instead."""

    def shown(self, voxels: NDArray[Any], box: Box, blank: Any) -> NDArray[Any]:
        """Stored voxels of a box, as they are to be seen: outside, they are blank or fainter."""
        inside = self.region.mask(box)
        if inside.all():
            return voxels
        outside = voxels >> np.uint8(self.attenuation) if self.attenuation else blank
        return np.where(inside, voxels, outside)


def mask_of(view: Snapshot, request: Request, box: Box, voxel: np.dtype[Any]) -> Mask | None:
    """The mask that a request asks for a box of voxels of a kind.

    Raises:
        UnknownName: no instance of that name. BadRequest: it is no region, or an attenuation that is not possible.
    """
    name = request.query.get("roi")
    if not name:
        return None
    text = request.query.get("attenuation")
    attenuation = integer(text, "attenuation", 1, 7) if text else 0
    if attenuation and voxel != np.uint8:
        raise BadRequest("attenuation is for voxels of 8 bits: leave it out")
    return Mask(region(view, name, box), attenuation)
