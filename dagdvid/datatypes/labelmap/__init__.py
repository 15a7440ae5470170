"""labelmap: segmentations, in blocks of supervoxels that belong to bodies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dagdvid.datatype import Datatype, Differ, Instance, Side, Snapshot, Txn
from dagdvid.datatypes import extents, volumes
from dagdvid.datatypes.blockdiff import block_key, blocks_between
from dagdvid.datatypes.grid import SPACE, extent_of_keys
from dagdvid.datatypes.labelmap import pyramid
from dagdvid.datatypes.labelmap.bodies import SPACES
from dagdvid.datatypes.labelmap.body_routes import BODY_ROUTES
from dagdvid.datatypes.labelmap.diff import LabelDiffer
from dagdvid.datatypes.labelmap.maxima import max_label
from dagdvid.datatypes.labelmap.oplog import shown
from dagdvid.datatypes.labelmap.properties import KIND, SETTINGS_HELP, configure, layout, levels
from dagdvid.datatypes.labelmap.rejoin import rejoin
from dagdvid.datatypes.labelmap.routes import ROUTES
from dagdvid.errors import Corrupt
from dagdvid.geometry import Point
from dagdvid.kernels import labelblocks
from dagdvid.kernels.morton import decode_keys
from dagdvid.routes import RouteTable

__all__ = ["LABELMAP", "LabelMap"]


class LabelMap(Datatype):
    """DVID's labelmap (datatype/labelmap/labelmap.go)."""

    name = "labelmap"
    url = "github.com/janelia-flyem/dvid/datatype/labelmap"
    version = "0.1"
    spaces = (SPACE, extents.SPACE, *SPACES)
    routes = RouteTable((*ROUTES, *BODY_ROUTES), surplus=True)
    summary = "Segmentations: labels of 64 bits a voxel, in blocks, with bodies made of supervoxels."
    info_methods = frozenset({"GET", "HEAD"})
    labels = logs = marks = True
    deferred = frozenset({SPACE})
    mergeable = checks = frozenset({SPACE})
    rejoined = frozenset(SPACES) - {"marks"}
    settings_help = SETTINGS_HELP

    def configure(self, settings: Mapping[str, str]) -> dict[str, Any]:
        """Block size, resolution, extents and the rest, as `properties.configure` says."""
        return configure(settings)

    def content_settings(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The size of blocks, and whether there are indices."""
        return {name: config[name] for name in ("BlockSize", "IndexedLabels")}

    def extent(self, space: str, first: bytes, last: bytes) -> dict[str, Any]:
        """As `Datatype.extent`: of blocks, the box that encloses them."""
        return extent_of_keys(first, last) if space == SPACE else super().extent(space, first, last)

    def info(self, instance: Instance, view: Snapshot) -> dict[str, Any]:
        """Extended and Extents."""
        known = extents.load(view, instance.config)
        greatest = max_label(view)
        extended = {
            **KIND,
            **volumes.extended(instance, known),
            "MaxLabel": {} if greatest is None else {view.version: greatest},
            "MaxRepoLabel": greatest or 0,
            "NextLabel": 0,
            "IndexedLabels": instance.config["IndexedLabels"],
            "MaxDownresLevel": levels(instance),
        }
        return {"Extended": extended, "Extents": known.members()}

    def rejoin(self, instance: Instance, txn: Txn, base: Snapshot, ours: Side, theirs: Side) -> None:  # noqa: ARG002
        """As `Datatype.rejoin`: what was done to their bodies is done to ours."""
        rejoin(txn, base, ours, theirs)

    def mutations(self, record: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What was done to bodies."""
        return shown(record)

    def check_value(self, settings: Mapping[str, Any], space: str, key: bytes, value: bytes) -> None:  # noqa: ARG002
        """A block is well-formed, and as large as those of the instance; of a coarser scale, it may be put off."""
        decode_keys([key])
        if not value and key[0]:
            return
        if settings.get("BlockSize") != [*labelblocks.shape(value)][::-1]:
            raise Corrupt(f"a block of {labelblocks.shape(value)} voxels along z, y, x")
        labelblocks.check(value)

    def compute(self, instance: Instance, txn: Txn, space: str, keys: Sequence[bytes]) -> None:  # noqa: ARG002
        """Blocks of coarser scales."""
        pyramid.compute(txn, layout(instance), keys)

    def merge_value(
        self, instance: Instance, space: str, key: bytes, base: bytes | None, ours: bytes | None, theirs: bytes | None
    ) -> bytes | None:
        """Blocks of coarser scales are computed from what comes of the finest."""
        if space == SPACE and key[0] > 0:
            return b""
        return super().merge_value(instance, space, key, base, ours, theirs)

    def find_key(self, instance: Instance, text: str) -> tuple[str, bytes]:  # noqa: ARG002
        """A block is named by its coordinates x,y,z."""
        return block_key(text)

    def between(self, instance: Instance, first: str, last: str) -> Callable[[str, bytes], bool]:  # noqa: ARG002
        """The blocks of the box between two corners, at every scale."""
        return blocks_between(first, last)

    def differ(self, instance: Instance) -> Differ:
        """Changed blocks, supervoxels and bodies."""
        return LabelDiffer(Point(*instance.config["BlockSize"]))


LABELMAP = LabelMap()
