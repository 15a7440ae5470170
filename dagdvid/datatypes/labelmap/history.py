"""The endpoints that say what was done: to a body, to supervoxels, and in which version an index last changed."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from dagdvid.datatype import Instance, Snapshot
from dagdvid.datatypes.labelevents import Cleave, Merge, Operation, Split, SplitSupervoxel
from dagdvid.datatypes.labelmap import bodies
from dagdvid.datatypes.labelmap.asked import array, label_of
from dagdvid.datatypes.labelmap.bodies import BODIES
from dagdvid.datatypes.labelmap.counts import SUPERVOXELS, key_of
from dagdvid.datatypes.labelmap.mapping import mapped
from dagdvid.datatypes.labelmap.oplog import parse
from dagdvid.errors import BadRequest
from dagdvid.routes import Reply, Request, json_reply, text_reply

__all__ = ["get_history", "get_index_version", "get_splits"]


def get_history(instance: Instance, view: Snapshot, request: Request) -> Reply:  # noqa: ARG001
    """GET history/{label}/{fromuuid}/{touuid}: JSON objects one after the other, oldest first.

    Of the bodies at the first version whose supervoxels the body has at the last one.
    """
    label = label_of(request)
    first, last = (view.at(request.args[name]) for name in ("fromuuid", "touuid"))
    body = bodies.find(last, array([label]))[0]
    supervoxels = bodies.supervoxels_of(last, body) if body else np.empty(0, np.uint64)
    origins = set(mapped(first, supervoxels).tolist())
    mine = set(supervoxels.tolist())
    line = last.line()
    versions = reversed(line[: line.index(first.version) + 1]) if first.version in line else ()
    texts = []
    for version in versions:
        for each in last.at(version).history():
            told = _told(parse(each.record), origins, mine)
            if told:
                texts.append(json.dumps(told, separators=(",", ":")))
    return text_reply("".join(texts)) if texts else Reply()


def _told(operation: Operation, origins: set[int], supervoxels: set[int]) -> dict[str, Any] | None:
    """How the history of a body tells an operation; None if it is not of it."""
    if isinstance(operation, Merge) and operation.target in origins:
        return {"Action": "merge", "Target": operation.target, "Labels": sorted(operation.labels)}
    if isinstance(operation, Cleave) and operation.body in origins:
        return {
            "Action": "cleave",
            "OrigLabel": operation.body,
            "CleavedLabel": operation.made,
            "CleavedSupervoxels": list(operation.supervoxels),
        }
    if isinstance(operation, Split) and operation.body in origins:
        return {"Action": "split", "Target": operation.body, "NewLabel": operation.made, "Coarse": False}
    if isinstance(operation, SplitSupervoxel) and operation.supervoxel in supervoxels:
        return {
            "Action": "split-supervoxel",
            "Supervoxel": operation.supervoxel,
            "SplitSupervoxel": operation.split,
            "RemainSupervoxel": operation.remain,
        }
    return None


def get_splits(instance: Instance, view: Snapshot, request: Request) -> Reply:  # noqa: ARG001
    """GET supervoxel-splits: [UUID, [[mutation id, old, remain, split], ...], ...], from this version to the root."""
    found: list[Any] = []
    for version in view.line():
        rows = []
        for each in view.at(version).history():
            operation = parse(each.record)
            if isinstance(operation, SplitSupervoxel):
                rows.append([each.mutation, operation.supervoxel, operation.remain, operation.split])
            elif isinstance(operation, Split):
                rows += [[each.mutation, old, rest, split] for old, (split, rest) in operation.supervoxels.items()]
        found += [version, rows] if rows else []
    return json_reply(found)


def get_index_version(instance: Instance, view: Snapshot, request: Request) -> Reply:
    """GET index-version/{label}: the version in which the index of a body came to be as it is."""
    label = label_of(request)
    state = _state(view, label)
    if bodies.find(view, array([label]))[0] is None:
        raise BadRequest(f"there is no index of label {label} in {instance.name}")
    line = view.line()
    found = line[0]
    for version in line[1:]:
        if _state(view.at(version), label) != state:
            break
        found = version
    return text_reply(found)


def _state(view: Snapshot, label: int) -> tuple[bytes | None, bytes | None]:
    """What changes with the index of a body."""
    record = view.get(BODIES, key_of(label))
    return record, view.get(SUPERVOXELS, key_of(label)) if record is None else None
