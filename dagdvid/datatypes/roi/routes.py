"""The endpoints of roi (endpoints.csv, roi)."""

from __future__ import annotations

import json

from dagdvid.datatype import Instance, Snapshot, Txn
from dagdvid.datatypes.regions import read_spans, replace
from dagdvid.datatypes.roi import ops
from dagdvid.datatypes.roi.partition import fitted, of_one_size
from dagdvid.datatypes.settings import integer
from dagdvid.datatypes.spans import of_json
from dagdvid.datatypes.streaming import streamed
from dagdvid.errors import BadRequest
from dagdvid.geometry import AXES_3D, COORDINATE_LIMIT, Point, parse_axes, parse_box
from dagdvid.routes import MAX_BODY, Cache, Example, Reply, Request, Right, Route, RouteTable, json_reply

__all__ = ["ROUTES"]


def get_roi(instance: Instance, view: Snapshot, request: Request) -> Reply:  # noqa: ARG001
    """All spans."""
    return json_reply(read_spans(view).tolist())


def post_roi(instance: Instance, txn: Txn, request: Request) -> Reply:  # noqa: ARG001
    """Replace the region."""
    replace(txn, of_json(request.body))
    return Reply()


def delete_roi(instance: Instance, txn: Txn, request: Request) -> Reply:  # noqa: ARG001
    """Empty the region."""
    replace(txn, of_json(b"[]"))
    return Reply()


def get_mask(instance: Instance, view: Snapshot, request: Request) -> Reply:
    """A volume of 1 inside and 0 outside."""
    if parse_axes(request.args["dims"]) != AXES_3D:
        raise BadRequest("masks are volumes only: ask for mask/0_1_2/SIZEX_SIZEY_SIZEZ/X_Y_Z")
    box = parse_box(request.args["size"], request.args["offset"])
    if box.volume > MAX_BODY:
        raise BadRequest(f"size {box.size} is too large: a mask may have {MAX_BODY} voxels at most")
    return streamed(ops.mask(view, _block(instance), box), "application/octet-stream")


def post_ptquery(instance: Instance, view: Snapshot, request: Request) -> Reply:
    """Which of the voxels in the body are inside."""
    return json_reply(ops.inside(view, _block(instance), request.body))


def get_partition(instance: Instance, view: Snapshot, request: Request) -> Reply:
    """The region in boxes of blocks."""
    batch = integer(request.query.get("batchsize", ""), "batchsize", 1, COORDINATE_LIMIT - 1)
    divide = fitted if request.query.get("optimized") in ("true", "on") else of_one_size
    text = json.dumps(divide(read_spans(view), batch, _block(instance)), indent=4)
    return Reply(text.encode(), "application/json")


def _block(instance: Instance) -> Point:
    return Point(*instance.config["BlockSize"])


ROUTES = RouteTable(
    (
        Route(
            ("GET", "HEAD"),
            "roi",
            get_roi,
            "The region as a JSON list of spans of blocks, [z, y, x0, x1], x1 included, in this order.",
            cache=Cache.CONTENT,
            examples=(Example("roi", "[[0,0,0,1],[0,1,0,0]]"),),
        ),
        Route(
            ("POST",),
            "roi",
            post_roi,
            "Makes the region of the spans in the body, as GET gives them, in any order, in place of what it was.",
            mutates=True,
            right=Right.WRITE,
            examples=(Example("roi", body="[[0,0,0,1],[1,0,0,1]]"),),
        ),
        Route(
            ("DELETE",),
            "roi",
            delete_roi,
            "Empties the region.",
            mutates=True,
            right=Right.WRITE,
            examples=(Example("roi"),),
        ),
        Route(
            ("GET",),
            "mask/{dims}/{size}/{offset}",
            get_mask,
            "A byte for each voxel of a box, x fastest, then y, then z: 1 inside the region, 0 outside. dims is 0_1_2.",
            cache=Cache.CONTENT,
            examples=(Example("mask/0_1_2/64_64_32/0_0_0", 64 * 64 * 32),),
        ),
        Route(
            ("POST",),
            "ptquery",
            post_ptquery,
            "Takes a JSON list of voxels [x, y, z] and answers a list of true and false: which are inside the region.",
            on_locked=True,
            examples=(Example("ptquery", "[true,false]", "[[10,10,10],[40,40,10]]"),),
        ),
        Route(
            ("GET",),
            "partition",
            get_partition,
            "Boxes of blocks that cover the region, with the number of its blocks in each, as JSON.",
            cache=Cache.CONTENT,
            query={
                "batchsize": "blocks of a box along each axis; must be given",
                "optimized": "true or on: boxes fitted to the region, of at most that size, not cubes on a grid",
            },
            examples=(Example("partition?batchsize=2", "{...}"),),
        ),
    ),
    surplus=True,
)
