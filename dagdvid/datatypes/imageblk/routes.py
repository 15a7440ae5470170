"""The endpoints of the imageblk family (endpoints.csv, imageblk)."""

from __future__ import annotations

from dagdvid.datatype import Instance, Snapshot, Txn
from dagdvid.datatypes.imageblk import extents, ops
from dagdvid.datatypes.imageblk.blocks import BlockLayout
from dagdvid.datatypes.imageblk.properties import layout, metadata
from dagdvid.datatypes.streaming import streamed
from dagdvid.errors import BadRequest
from dagdvid.geometry import AXES_3D, Box, parse_axes, parse_box
from dagdvid.routes import MAX_BODY, Cache, Reply, Request, Right, Route, RouteTable, json_reply

__all__ = ["ROUTES"]

_METADATA_TYPE = "application/vnd.dvid-nd-data+json"


def get_raw(instance: Instance, view: Snapshot, request: Request) -> Reply:
    """The voxels of a box."""
    blocks = layout(instance)
    box = _box(request, blocks)
    if request.args.get("format", "").lower() in ("jpg", "jpeg"):
        raise BadRequest("JPEG is not served yet: leave the format out for the voxels themselves")
    return streamed(ops.read(view, blocks, box), "application/octet-stream")


def post_raw(instance: Instance, txn: Txn, request: Request) -> Reply:
    """Store the voxels of a box of whole blocks."""
    blocks = layout(instance)
    box = _box(request, blocks)
    ops.write(txn, blocks, box, request.body, instance.config["codec"])
    known = extents.load(txn, instance.config)
    grown = known.grown(box)
    if (grown.offset, grown.last) != known:
        extents.save(txn, grown)
    return Reply()


def get_metadata(instance: Instance, view: Snapshot, request: Request) -> Reply:  # noqa: ARG001
    """Axes and properties."""
    reply = json_reply(metadata(instance, view))
    return Reply(reply.body, _METADATA_TYPE)


def post_extents(instance: Instance, txn: Txn, request: Request) -> Reply:  # noqa: ARG001
    """Set the extents."""
    extents.save(txn, extents.of_json(request.json_object()))
    return Reply()


def _box(request: Request, blocks: BlockLayout) -> Box:
    """The box of a request for a volume.

    Raises:
        BadRequest: malformed, a plane, above the limit, or masked.
    """
    if parse_axes(request.args["dims"]) != AXES_3D:
        raise BadRequest(
            "2-d images are not served yet: ask for a volume, as in raw/0_1_2/SIZEX_SIZEY_SIZEZ/X_Y_Z, one voxel thick"
        )
    if request.query.get("roi"):
        raise BadRequest("masking by an ROI is not served yet: leave roi out")
    box = parse_box(request.args["size"], request.args["offset"])
    if box.volume * blocks.voxel.itemsize > MAX_BODY:
        raise BadRequest(f"size {box.size} is too large: a volume may have {MAX_BODY} bytes at most")
    return box


_VOXELS = (
    "The voxels of a box as little-endian bytes, x fastest, then y, then z. dims is 0_1_2; size and offset are "
    "X_Y_Z in voxels, and any box may be asked for: what was never stored is 0."
)

ROUTES = RouteTable(
    (
        Route(("GET",), "raw/{dims}/{size}/{offset}/{format?}", get_raw, _VOXELS, cache=Cache.CONTENT),
        Route(
            ("POST",),
            "raw/{dims}/{size}/{offset}",
            post_raw,
            "Stores the voxels in the body, in the order in which GET gives them. Size and offset must be multiples of "
            "the block size. Widens the extents.",
            mutates=True,
            right=Right.WRITE,
            query={"mutate": "true says that stored voxels are overwritten; accepted, and not needed here"},
        ),
        Route(
            ("GET",),
            "isotropic/{dims}/{size}/{offset}/{format?}",
            get_raw,
            "For volumes the same as raw.",
            cache=Cache.CONTENT,
        ),
        Route(
            ("GET",),
            "metadata",
            get_metadata,
            "Axes with resolution, units, size and offset, and the properties of the volume.",
        ),
        Route(
            ("POST",),
            "extents",
            post_extents,
            'Sets the extents of this version, to wider or narrower ones: {"MinPoint": [x,y,z], "MaxPoint": [x,y,z]}, '
            "both included.",
            mutates=True,
            right=Right.WRITE,
        ),
    ),
    surplus=True,
)
