"""The endpoints of labelmap that are about bodies (endpoints.csv, labelmap)."""

from __future__ import annotations

from dagdvid.datatypes.labelmap import changing, history, knowing, sparsevol
from dagdvid.routes import Cache, Handler, Request, Right, Route

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
_VOLUME = "The voxels of a body, as a sparse volume; 404 if there is none."


def _always(request: Request) -> bool:  # noqa: ARG001
    return True


def _get(pattern: str, handler: Handler, doc: str, query: dict[str, str] | None = None, *, live: bool = False) -> Route:
    throttled = _always if query and "throttle" in query else None
    cache = Cache.LIVE if live else Cache.CONTENT
    return Route(("GET",), pattern, handler, doc, cache=cache, query=query or {}, throttled=throttled)


def _post(pattern: str, handler: Handler, doc: str, query: dict[str, str] | None = None) -> Route:
    throttled = _always if query and "throttle" in query else None
    return Route(
        ("POST",), pattern, handler, doc, mutates=True, right=Right.WRITE, query=query or {}, throttled=throttled
    )


BODY_ROUTES = (
    _get("size/{label}", knowing.get_size, "The voxels of a body, as JSON; 404 if there is none.", _SUPERVOXELS),
    _get(
        "sizes",
        knowing.get_sizes,
        "Takes a JSON list of labels in the body and answers the list of their voxels, 0 where there is none.",
        _SUPERVOXELS | _HASH,
    ),
    _get("supervoxels/{label}", knowing.get_supervoxels, "The supervoxels of a body, as a JSON list."),
    _get(
        "supervoxel-sizes/{label}",
        knowing.get_supervoxel_sizes,
        "The supervoxels of a body and their voxels, as two JSON lists in the same order.",
    ),
    _get("lastmod/{label}", knowing.get_lastmod, "Who last changed a body, when, and under which mutation id."),
    _get("existing-labels", knowing.get_existing_labels, "The labels of all bodies, as a JSON list, ascending."),
    _get(
        "listlabels",
        knowing.get_listlabels,
        "The labels of bodies, ascending: u64 little-endian, each followed by its voxels if sizes are asked for.",
        {"start": "the first label", "number": "how many at most", "sizes": "true: with voxels"},
    ),
    _get(
        "mapping",
        knowing.get_mapping,
        "Takes a JSON list of supervoxels in the body and answers the list of their bodies, 0 where there is none.",
        {"nolookup": "true: what is not mapped is its own body, whether it is there or not"} | _HASH,
    ),
    _get(
        "mappings",
        knowing.get_mappings,
        "All supervoxels that are not their own body: lines of supervoxel and body.",
        {"format": "binary: pairs of u64, little-endian"} | _THROTTLE,
    ),
    _post(
        "mappings",
        changing.post_mappings,
        "Maps supervoxels to bodies: a protobuf message MappingOps. Indices stay as they are.",
        _THROTTLE,
    ),
    _get("map-stats", knowing.get_map_stats, "How many supervoxels are mapped.", live=True),
    _get(
        "index/{label}",
        knowing.get_index,
        "The index of a body: a protobuf message LabelIndex; 404 if there is no such body.",
        {
            "metadata-only": "true: JSON of its size and of who changed it last",
            "mutid": "as it was before this mutation",
        }
        | _THROTTLE,
    ),
    _post(
        "index/{label}",
        changing.post_index_of,
        "Sets the index of a body: a protobuf message LabelIndex; one without blocks removes the body.",
        _THROTTLE,
    ),
    _get(
        "indices",
        knowing.get_indices,
        "Takes a JSON list of at most 50,000 labels in the body and answers a protobuf message LabelIndices.",
        _THROTTLE,
    ),
    _post("indices", changing.post_indices, "Sets the indices of bodies: a protobuf message LabelIndices.", _THROTTLE),
    _get(
        "indices-compressed",
        knowing.get_indices_compressed,
        "As indices, for each label: u64 bytes, u64 label, then the message compressed with LZ4 as DVID stores it.",
        _THROTTLE,
    ),
    _get("index-version/{label}", history.get_index_version, "The version in which the index of a body last changed."),
    _get("maxlabel", knowing.get_maxlabel, "The greatest label of this version and those before it."),
    _post("maxlabel/{label}", changing.post_maxlabel, "Raises the greatest label; for admins."),
    _get("nextlabel", knowing.get_nextlabel, "The label that would be given out next.", live=True),
    _post(
        "nextlabel/{number}",
        changing.post_nextlabel,
        "Reserves so many new labels, and answers the first and the last of them.",
    ),
    _post(
        "set-nextlabel/{label}",
        changing.post_set_nextlabel,
        "Has new labels start after this one; for admins.",
        {"ceiling": "the greatest label that may be given out; 0 for no limit"},
    ),
    _post(
        "merge",
        changing.post_merge,
        "Merges bodies: a JSON list, the body that stays first. Answers the mutation id.",
        _WHO,
    ),
    _post(
        "cleave/{label}",
        changing.post_cleave,
        "Makes a new body of some supervoxels of a body, given as a JSON list. Answers its label and the mutation id.",
        _WHO,
    ),
    _post(
        "split-supervoxel/{supervoxel}",
        changing.post_split_supervoxel,
        "Cuts a sparse volume (rles) off a supervoxel. Answers the labels of both parts, and the mutation id.",
        {"split": "the label of what is cut off", "remain": "the label of the rest"} | _WHO,
    ),
    _post(
        "split/{label}",
        changing.post_split,
        "Makes a body of a part of another one, a sparse volume (rles); where the server's configuration allows it.",
        _WHO,
    ),
    _post(
        "renumber",
        changing.post_renumber,
        "Gives bodies new labels: a JSON list of the new label and the old one, again and again.",
        _WHO,
    ),
    _get("sparsevol/{label}", sparsevol.get_sparsevol, _VOLUME, _SPARSE),
    Route(
        ("HEAD",),
        "sparsevol/{label}",
        sparsevol.head_sparsevol,
        "200 if a body has blocks within the bounds, else 204.",
        cache=Cache.CONTENT,
        query=_BOUNDS | _SUPERVOXELS,
    ),
    _get("sparsevol-by-point/{point}", sparsevol.get_by_point, _VOLUME + " It is the one at a voxel x_y_z.", _SPARSE),
    _get(
        "sparsevol-size/{label}",
        sparsevol.get_size,
        "Voxels and blocks of a body and the corners of its blocks, as JSON.",
        _SUPERVOXELS,
    ),
    _get(
        "sparsevol-coarse/{label}",
        sparsevol.get_coarse,
        "The blocks of a body, as runs along x of block coordinates.",
        _BOUNDS | _SUPERVOXELS,
    ),
    _get(
        "sparsevols-coarse/{start}/{end}",
        sparsevol.get_coarses,
        "The blocks of each body from one label to another: u64 label, i32 runs, then the runs.",
        _BOUNDS,
    ),
    _get(
        "history/{label}/{fromuuid}/{touuid}",
        history.get_history,
        "What was done to a body between two versions, as JSON objects without anything between them, oldest first.",
    ),
    _get(
        "supervoxel-splits",
        history.get_splits,
        "Which supervoxels were split: a JSON list of versions, from this one to the root, each followed by its list "
        "of [mutation id, supervoxel, remaining, split].",
    ),
)
"""Rows for the datatype's table."""
