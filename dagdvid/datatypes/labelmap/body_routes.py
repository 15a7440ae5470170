"""The endpoints of labelmap that are about bodies (endpoints.csv, labelmap)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from dagdvid.datatype import Instance, Snapshot
from dagdvid.datatypes.labelmap import changing, history, knowing, sparsevol
from dagdvid.errors import BadRequest
from dagdvid.routes import Cache, Example, Handler, Reply, Request, Right, Route

__all__ = ["BODY_ROUTES"]

_SUPERVOXELS = {"supervoxels": "true: labels are those of supervoxels"}
_HASH = {"hash": "MD5 of the body, hexadecimal, to be checked"}
_THROTTLE = {"throttle": "true: 503 if too many requests that say so run already"}
_WHO = {"u": "who asks, for the mutation log", "app": "with what program"}
_BOUNDS = {
    side + axis: f"{word} {axis} of the voxels wanted, included"
    for side, word in (("min", "lowest"), ("max", "highest"))
    for axis in "xyz"
}
_SPARSE = {
    "format": "rles (default): runs along x; srles: the same without a head; blocks: a bit for each voxel",
    "exact": "false: whole blocks, whatever the bounds",
    "compression": "lz4 or gzip, of rles only",
    "scale": "0 (default) to 255: each halves the resolution",
    **_BOUNDS,
    **_SUPERVOXELS,
}
_RUN = bytes.fromhex("00030000 00000000 01000000 00000000 00000000 00000000 0a000000")
"""A sparse volume of one run: the ten voxels from 0,0,0."""
_VOLUME = "The voxels of a body, as a sparse volume; 404 if there is none."


def _always(request: Request) -> bool:  # noqa: ARG001
    return True


def _get(
    pattern: str,
    handler: Handler,
    doc: str,
    *examples: Example,
    query: Mapping[str, str] = MappingProxyType({}),
    live: bool = False,
) -> Route:
    throttled = _always if "throttle" in query else None
    cache = Cache.LIVE if live else Cache.CONTENT
    return Route(("GET",), pattern, handler, doc, cache=cache, query=query, throttled=throttled, examples=examples)


def _post(
    pattern: str,
    handler: Handler,
    doc: str,
    *examples: Example,
    query: Mapping[str, str] = MappingProxyType({}),
    right: Right = Right.WRITE,
) -> Route:
    throttled = _always if "throttle" in query else None
    return Route(
        ("POST",),
        pattern,
        handler,
        doc,
        mutates=True,
        right=right,
        query=query,
        throttled=throttled,
        examples=examples,
    )


_OF_BODIES = (
    _get(
        "size/{label}",
        knowing.get_size,
        "The voxels of a body, as JSON; 404 if there is none.",
        Example("size/5", '{"voxels":163840}'),
        query=_SUPERVOXELS,
    ),
    _get(
        "sizes",
        knowing.get_sizes,
        "Takes a JSON list of labels in the body and answers the list of their voxels, 0 where there is none.",
        Example("sizes", "[163840,0]", "[5,6]"),
        query=_SUPERVOXELS | _HASH,
    ),
    _get(
        "supervoxels/{label}",
        knowing.get_supervoxels,
        "The supervoxels of a body, as a JSON list.",
        Example("supervoxels/7", "[7,9]"),
    ),
    _get(
        "supervoxel-sizes/{label}",
        knowing.get_supervoxel_sizes,
        "The supervoxels of a body and their voxels, as two JSON lists in the same order.",
        Example("supervoxel-sizes/5", '{"supervoxels":[5],"sizes":[163840]}'),
    ),
    _get(
        "lastmod/{label}",
        knowing.get_lastmod,
        "Who last changed a body, when, and under which mutation id.",
        Example("lastmod/7", '{"mutation id":...,"last mod user":"ann",...}'),
    ),
    _get(
        "existing-labels",
        knowing.get_existing_labels,
        "The labels of all bodies, as a JSON list, ascending.",
        Example("existing-labels", "[5,7]"),
    ),
    _get(
        "listlabels",
        knowing.get_listlabels,
        "The labels of bodies, ascending: u64 little-endian, each followed by its voxels if sizes are asked for.",
        Example("listlabels", 16),
        Example("listlabels?start=6&sizes=true", 16),
        query={"start": "the first label", "number": "how many at most", "sizes": "true: with voxels"},
    ),
    _get(
        "mapping",
        knowing.get_mapping,
        "Takes a JSON list of supervoxels in the body and answers the list of their bodies, 0 where there is none.",
        Example("mapping", "[5,7,0]", "[5,9,6]"),
        query={"nolookup": "true: what is not mapped is its own body, whether it is there or not"} | _HASH,
    ),
    _get(
        "mappings",
        knowing.get_mappings,
        "All supervoxels that are not their own body: lines of supervoxel and body.",
        Example("mappings", "9 7"),
        query={"format": "binary: pairs of u64, little-endian"} | _THROTTLE,
    ),
    _post(
        "mappings",
        changing.post_mappings,
        "Maps supervoxels to bodies: a protobuf message MappingOps. Indices stay as they are.",
        Example("mappings", body=b"\x0a\x07\x08\x01\x10\x07\x1a\x01\x05"),
        query=_THROTTLE,
    ),
    _get(
        "map-stats",
        knowing.get_map_stats,
        "How many supervoxels are mapped.",
        Example("map-stats", '{"seg":{"MapEntries":1,...}}'),
        live=True,
    ),
    _get(
        "index/{label}",
        knowing.get_index,
        "The index of a body: a protobuf message LabelIndex; 404 if there is no such body.",
        Example("index/5", "..."),
        Example("index/5?metadata-only=true", '{"num_voxels":163840,...}'),
        query={
            "metadata-only": "true: JSON of its size and of who changed it last",
            "mutid": "as it was before this mutation",
        }
        | _THROTTLE,
    ),
    _post(
        "index/{label}",
        changing.post_index_of,
        "Sets the index of a body: a protobuf message LabelIndex; one without blocks removes the body.",
        Example("index/9", body=b"\x0a\x08\x12\x06\x0a\x04\x08\x09\x10\x64\x10\x09"),
        query=_THROTTLE,
    ),
    _get(
        "indices",
        knowing.get_indices,
        "Takes a JSON list of at most 50,000 labels in the body and answers a protobuf message LabelIndices.",
        Example("indices", "...", "[5,7]"),
        query=_THROTTLE,
    ),
    _post(
        "indices",
        changing.post_indices,
        "Sets the indices of bodies: a protobuf message LabelIndices.",
        Example("indices", body=b"\x0a\x0c\x0a\x08\x12\x06\x0a\x04\x08\x09\x10\x64\x10\x09"),
        query=_THROTTLE,
    ),
    _get(
        "indices-compressed",
        knowing.get_indices_compressed,
        "As indices, for each label: u64 bytes, u64 label, then the message compressed with LZ4 as DVID stores it.",
        Example("indices-compressed", 16, "[6]"),
        query=_THROTTLE,
    ),
    _get(
        "index-version/{label}",
        history.get_index_version,
        "The version in which the index of a body last changed.",
        Example("index-version/5", "{root}"),
    ),
    _get(
        "maxlabel",
        knowing.get_maxlabel,
        "The greatest label of this version and those before it.",
        Example("maxlabel", '{"maxlabel":9}'),
    ),
    _post(
        "maxlabel/{label}",
        changing.post_maxlabel,
        "Raises the greatest label; for admins.",
        Example("maxlabel/100"),
        right=Right.ADMIN,
    ),
    _get(
        "nextlabel",
        knowing.get_nextlabel,
        "The label that would be given out next.",
        Example("nextlabel", '{"nextlabel":10}'),
        live=True,
    ),
    _post(
        "nextlabel/{number}",
        changing.post_nextlabel,
        "Reserves so many new labels, and answers the first and the last of them.",
        Example("nextlabel/3", '{"start":10,"end":12}'),
    ),
    _post(
        "set-nextlabel/{label}",
        changing.post_set_nextlabel,
        "Has new labels start after this one; for admins.",
        Example("set-nextlabel/1000?ceiling=2000"),
        query={"ceiling": "the greatest label that may be given out; 0 for no limit"},
        right=Right.ADMIN,
    ),
    _post(
        "merge",
        changing.post_merge,
        "Merges bodies: a JSON list, the body that stays first. Answers the mutation id.",
        Example("merge", '{"MutationID": ...}', "[5,7]"),
        query=_WHO,
    ),
    _post(
        "cleave/{label}",
        changing.post_cleave,
        "Makes a new body of some supervoxels of a body, given as a JSON list. Answers its label and the mutation id.",
        Example("cleave/7", '{"CleavedLabel": 10, "MutationID": ...}', "[9]"),
        query=_WHO,
    ),
    _post(
        "split-supervoxel/{supervoxel}",
        changing.post_split_supervoxel,
        "Cuts a sparse volume (rles) off a supervoxel. Answers the labels of both parts, and the mutation id.",
        Example("split-supervoxel/5", '{"SplitSupervoxel": 10, ...}', _RUN),
        query={"split": "the label of what is cut off", "remain": "the label of the rest"} | _WHO,
    ),
    _post(
        "split/{label}",
        changing.post_split,
        "Makes a body of a part of another one, a sparse volume (rles); where the server's configuration allows it.",
        Example("split/5", "...", _RUN, status=400),
        query=_WHO,
    ),
    _post(
        "renumber",
        changing.post_renumber,
        "Gives bodies new labels: a JSON list of the new label and the old one, again and again.",
        Example("renumber", body="[20,5]"),
        query=_WHO,
    ),
    _get(
        "sparsevol/{label}",
        sparsevol.get_sparsevol,
        _VOLUME,
        Example("sparsevol/5", 12 + 16 * 64 * 40),
        Example("sparsevol/5?format=srles&minz=0&maxz=0", 16 * 64),
        query=_SPARSE,
    ),
    Route(
        ("HEAD",),
        "sparsevol/{label}",
        sparsevol.head_sparsevol,
        "200 if a body has blocks within the bounds, else 204.",
        cache=Cache.CONTENT,
        query=_BOUNDS | _SUPERVOXELS,
        examples=(Example("sparsevol/5"),),
    ),
    _get(
        "sparsevol-by-point/{point}",
        sparsevol.get_by_point,
        _VOLUME + " It is the one at a voxel x_y_z.",
        Example("sparsevol-by-point/10_20_30", 12 + 16 * 64 * 40),
        query=_SPARSE,
    ),
    _get(
        "sparsevol-size/{label}",
        sparsevol.get_size,
        "Voxels and blocks of a body and the corners of its blocks, as JSON.",
        Example("sparsevol-size/5", '{"voxels":163840,"numblocks":1,...}'),
        query=_SUPERVOXELS,
    ),
    _get(
        "sparsevol-coarse/{label}",
        sparsevol.get_coarse,
        "The blocks of a body, as runs along x of block coordinates.",
        Example("sparsevol-coarse/5", 28),
        query=_BOUNDS | _SUPERVOXELS,
    ),
    _get(
        "sparsevols-coarse/{start}/{end}",
        sparsevol.get_coarses,
        "The blocks of each body from one label to another: u64 label, i32 runs, then the runs.",
        Example("sparsevols-coarse/5/6", 28),
        query=_BOUNDS,
    ),
    _get(
        "history/{label}/{fromuuid}/{touuid}",
        history.get_history,
        "What was done to a body between two versions, as JSON objects without anything between them, oldest first.",
        Example("history/7/{root}/{open}", '{"Action":"merge","Target":7,"Labels":[9]}'),
    ),
    _get(
        "supervoxel-splits",
        history.get_splits,
        "Which supervoxels were split: a JSON list of versions, from this one to the root, each followed by its list "
        "of [mutation id, supervoxel, remaining, split].",
        Example("supervoxel-splits", "[]"),
    ),
)
"""Rows for the datatype's table."""


_INDEXED = frozenset(
    {"merge", "cleave", "split", "split-supervoxel", "renumber", "maxlabel", "nextlabel", "set-nextlabel"}
    | {"sparsevol", "sparsevol-by-point", "sparsevol-size", "sparsevol-coarse", "sparsevols-coarse"}
)
"""Endpoints that an instance with IndexedLabels=false refuses."""


def _with_index(route: Route) -> Route:
    """A route that is refused where there are no indices."""
    handler, word = route.handler, route.segments[0]

    def checked(instance: Instance, view: Snapshot, request: Request) -> Reply:
        if not instance.config["IndexedLabels"]:
            raise BadRequest(
                f"data {instance.name!r} is not label indexed (IndexedLabels=false): it has no endpoint {word!r}"
            )
        return handler(instance, view, request)

    return replace(route, handler=checked) if word in _INDEXED else route


BODY_ROUTES = tuple(map(_with_index, _OF_BODIES))
