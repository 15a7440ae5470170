"""The endpoints that say what is known of bodies: sizes, supervoxels, lists, indices, mappings, labels."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import lz4.block
import numpy as np

from dagdvid.datatype import Instance, Snapshot
from dagdvid.datatypes.labelmap import bodies, counts, mapping
from dagdvid.datatypes.labelmap.asked import array, check_hash, label_of, labels_of, number_of
from dagdvid.datatypes.labelmap.before import index_before
from dagdvid.datatypes.labelmap.bodies import Body
from dagdvid.datatypes.labelmap.extent import check_not_retired
from dagdvid.datatypes.labelmap.index import indices, last_changes, supervoxel_sizes
from dagdvid.datatypes.labelmap.maxima import max_label
from dagdvid.datatypes.streaming import streamed
from dagdvid.errors import BadRequest
from dagdvid.interchange.labelindex import LabelIndex, write_each, write_index
from dagdvid.interchange.protowire import delimited
from dagdvid.routes import Reply, Request, json_reply

__all__ = [
    "get_existing_labels",
    "get_index",
    "get_indices",
    "get_indices_compressed",
    "get_lastmod",
    "get_listlabels",
    "get_map_stats",
    "get_mapping",
    "get_mappings",
    "get_maxlabel",
    "get_nextlabel",
    "get_size",
    "get_sizes",
    "get_supervoxel_sizes",
    "get_supervoxels",
]

_OCTETS = "application/octet-stream"
_MOST_LISTED = 10_000_000
_MOST_INDICES = 50_000
_BATCH = 256
_LZ4 = 0x80
"""The first byte of a value that DVID compressed with LZ4, without a checksum (dvid/serialize.go)."""
_NOT_FOUND = Reply(status=404)


def body_of(view: Snapshot, label: int) -> Body | None:
    """The body of a label."""
    return bodies.find(view, array([label]))[0]


def get_size(instance: Instance, view: Snapshot, request: Request) -> Reply:  # noqa: ARG001
    """GET size/{label}."""
    label = label_of(request)
    if request.query.get("supervoxels") == "true":
        check_not_retired(view, label)
        voxels = supervoxel_sizes(view, array([label]))[0]
    else:
        body = body_of(view, label)
        voxels = body.voxels if body else 0
    return json_reply({"voxels": voxels}) if voxels else _NOT_FOUND


def get_sizes(instance: Instance, view: Snapshot, request: Request) -> Reply:  # noqa: ARG001
    """GET sizes."""
    check_hash(request)
    labels = array(labels_of(request.body, "GET sizes"))
    if request.query.get("supervoxels") == "true":
        return json_reply(supervoxel_sizes(view, labels))
    return json_reply([body.voxels if body else 0 for body in bodies.find(view, labels)])


def get_supervoxels(instance: Instance, view: Snapshot, request: Request) -> Reply:  # noqa: ARG001
    """GET supervoxels/{label}."""
    body = body_of(view, label_of(request))
    return json_reply(bodies.supervoxels_of(view, body).tolist()) if body else _NOT_FOUND


def get_supervoxel_sizes(instance: Instance, view: Snapshot, request: Request) -> Reply:  # noqa: ARG001
    """GET supervoxel-sizes/{label}."""
    body = body_of(view, label_of(request))
    if body is None:
        return _NOT_FOUND
    supervoxels = bodies.supervoxels_of(view, body)
    sizes = [total.voxels if total else 0 for total in counts.totals(view, supervoxels)]
    return json_reply({"supervoxels": supervoxels.tolist(), "sizes": sizes})


def get_lastmod(instance: Instance, view: Snapshot, request: Request) -> Reply:  # noqa: ARG001
    """GET lastmod/{label}."""
    body = body_of(view, label_of(request))
    if body is None:
        return _NOT_FOUND
    changed = last_changes(view, [body])[0]
    return json_reply(
        {
            "mutation id": changed.mutation,
            "last mod user": changed.user,
            "last mod app": changed.app,
            "last mod time": changed.time,
        }
    )


def get_existing_labels(instance: Instance, view: Snapshot, request: Request) -> Reply:  # noqa: ARG001
    """GET existing-labels."""
    return streamed(_listed(view), "application/json")


def _listed(view: Snapshot) -> Iterator[bytes]:
    labels = (label for label, _ in bodies.existing(view))
    lead = b"["
    while batch := list(islice(labels, _BATCH)):
        yield lead + ",".join(map(str, batch)).encode()
        lead = b","
    yield b"]" if lead == b"," else b"[]"


def get_listlabels(instance: Instance, view: Snapshot, request: Request) -> Reply:  # noqa: ARG001
    """GET listlabels."""
    start = number_of(request, "start", 0) or 0
    most = min(number_of(request, "number", _MOST_LISTED) or 0, _MOST_LISTED)
    found = islice(bodies.existing(view, start), most)
    if request.query.get("sizes") == "true":
        return streamed(_pairs(found, 2), _OCTETS)
    return streamed(_pairs(found, 1), _OCTETS)


def _pairs(found: Iterator[tuple[int, int]], columns: int) -> Iterator[bytes]:
    while batch := list(islice(found, _BATCH)):
        yield np.array(batch, "<u8")[:, :columns].tobytes()


def get_mapping(instance: Instance, view: Snapshot, request: Request) -> Reply:  # noqa: ARG001
    """GET mapping."""
    check_hash(request)
    labels = array(labels_of(request.body, "GET mapping"))
    known = mapping.stored(view, labels)
    sizes = [1] * len(labels) if request.query.get("nolookup") == "true" else supervoxel_sizes(view, labels)
    return json_reply(
        [
            (label if size else 0) if body is None else body
            for label, body, size in zip(labels.tolist(), known, sizes, strict=True)
        ]
    )


def get_mappings(instance: Instance, view: Snapshot, request: Request) -> Reply:  # noqa: ARG001
    """GET mappings."""
    parts = mapping.entries(view)
    if request.query.get("format") == "binary":
        chunks = (np.stack(part, axis=1).astype("<u8").tobytes() for part in parts)
        return streamed(chunks, _OCTETS)
    lines = ("".join(f"{label} {body}\n" for label, body in zip(*_lists(part), strict=True)) for part in parts)
    reply = streamed((text.encode() for text in lines), "text/plain")
    return reply if reply.body else Reply()


def _lists(part: tuple[mapping.Labels, mapping.Labels]) -> tuple[list[int], list[int]]:
    return part[0].tolist(), part[1].tolist()


def get_map_stats(instance: Instance, view: Snapshot, request: Request) -> Reply:  # noqa: ARG001
    """GET map-stats."""
    n = view.count(mapping.MAPPING)
    size = f"{16 * n / 1e6:.1f} MB" if n > 62_500 else f"{16 * n / 1e3:.1f} kB"
    return json_reply(
        {instance.name: {"MapEntries": n, "MapSize": size, "NumVersions": len(view.line()), "MaxVersion": 0}}
    )


def get_maxlabel(instance: Instance, view: Snapshot, request: Request) -> Reply:  # noqa: ARG001
    """GET maxlabel."""
    label = max_label(view)
    if label is None:
        raise BadRequest(f"No maximum label found for {instance.name} version {view.version}")
    return json_reply({"maxlabel": label})


def get_nextlabel(instance: Instance, view: Snapshot, request: Request) -> Reply:  # noqa: ARG001
    """GET nextlabel."""
    return json_reply({"nextlabel": view.next_label()})


def get_index(instance: Instance, view: Snapshot, request: Request) -> Reply:  # noqa: ARG001
    """GET index/{label}."""
    label = label_of(request)
    mutation = number_of(request, "mutid", None)
    if mutation is not None:
        index = index_before(view, label, mutation)
    else:
        body = body_of(view, label)
        index = indices(view, [body])[0] if body else None
    if index is None:
        return _NOT_FOUND
    if request.query.get("metadata-only") == "true":
        return json_reply(
            {
                "num_voxels": int(index.counts.sum()),
                "last_mutid": index.mutation,
                "last_mod_time": index.time,
                "last_mod_user": index.user,
                "last_mod_app": index.app,
            }
        )
    return Reply(write_index(index), _OCTETS)


def get_indices(instance: Instance, view: Snapshot, request: Request) -> Reply:  # noqa: ARG001
    """GET indices."""
    found = _messages(view, _asked(request, "GET indices"))
    return streamed((delimited(1, message) for _, message in found), _OCTETS)


def get_indices_compressed(instance: Instance, view: Snapshot, request: Request) -> Reply:  # noqa: ARG001
    """GET indices-compressed."""
    return streamed(
        (
            b"".join((len(value).to_bytes(8, "little"), label.to_bytes(8, "little"), value))
            for label, value in _values(view, _asked(request, "GET indices-compressed"))
        ),
        _OCTETS,
    )


def _values(view: Snapshot, labels: list[int]) -> Iterator[tuple[int, bytes]]:
    """The indices of labels as DVID stores them; nothing where there is none."""
    for index, message in _messages(view, labels):
        if not index.counts.size:
            yield index.label, b""
            continue
        packed = lz4.block.compress(message, store_size=False)
        yield index.label, bytes([_LZ4]) + len(message).to_bytes(4, "little") + packed


def _asked(request: Request, what: str) -> list[int]:
    labels = labels_of(request.body, what)
    if len(labels) > _MOST_INDICES:
        raise BadRequest(f"only 50,000 label indices can be returned at a time, {len(labels)} given")
    return labels


def _messages(view: Snapshot, labels: list[int]) -> Iterator[tuple[LabelIndex, bytes]]:
    """The indices of labels, in their order, and their messages; with nothing but the label where there is none."""
    for i in range(0, len(labels), _BATCH):
        part = labels[i : i + _BATCH]
        found = bodies.find(view, array(part))
        made = iter(indices(view, [body for body in found if body]))
        each = [next(made) if body else LabelIndex(label) for label, body in zip(part, found, strict=True)]
        yield from zip(each, write_each(each), strict=True)
