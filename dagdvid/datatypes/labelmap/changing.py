"""The endpoints that change bodies: merge, cleave, renumber, posted indices and mappings, labels to be given out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from dagdvid.datatype import Instance, Txn
from dagdvid.datatypes.labelmap.asked import label_of, labels_of, number_of, unsigned
from dagdvid.datatypes.labelmap.index import post_index
from dagdvid.datatypes.labelmap.labels import MAX_LABEL, new_labels, start_after
from dagdvid.datatypes.labelmap.mapping import set_mapping
from dagdvid.datatypes.labelmap.maxima import raise_max
from dagdvid.datatypes.labelmap.oplog import who_of
from dagdvid.datatypes.labelmap.proofread import cleave, merge, renumber
from dagdvid.datatypes.labelmap.properties import layout
from dagdvid.datatypes.labelmap.splitting import split_body, split_supervoxel
from dagdvid.errors import BadRequest
from dagdvid.interchange.labelindex import read_index, read_indices, read_mappings
from dagdvid.routes import Reply, Request, json_reply

__all__ = [
    "post_cleave",
    "post_index_of",
    "post_indices",
    "post_mappings",
    "post_maxlabel",
    "post_merge",
    "post_nextlabel",
    "post_renumber",
    "post_set_nextlabel",
    "post_split",
    "post_split_supervoxel",
    "with_mutation",
]

SPLIT = "allowLabelmapSplit"
"""The server's switch for POST split."""


def with_mutation(**members: Any) -> Reply:
    """An answer with the mutation id of the one thing that was done."""

    def finish(given: Sequence[int]) -> bytes:
        return json.dumps({**members, "MutationID": given[0]}).encode()

    return Reply(content_type="application/json", finish=finish)


def post_merge(instance: Instance, txn: Txn, request: Request) -> Reply:  # noqa: ARG001
    """POST merge."""
    target, *labels = labels_of(request.body, "POST merge") or [0]
    if not labels:
        raise BadRequest(f"invalid merge tuple {request.body[:80]!r}, need at least target and to-merge labels")
    if not target or 0 in labels:
        raise BadRequest("Error on merge: label 0 is the background and can be neither merged nor merged into")
    merge(txn, target, labels, who_of(request))
    return with_mutation()


def post_cleave(instance: Instance, txn: Txn, request: Request) -> Reply:  # noqa: ARG001
    """POST cleave/{label}."""
    label = label_of(request)
    made = cleave(txn, label, labels_of(request.body, "POST cleave"), who_of(request))
    return with_mutation(CleavedLabel=made)


def post_renumber(instance: Instance, txn: Txn, request: Request) -> Reply:  # noqa: ARG001
    """POST renumber."""
    labels = labels_of(request.body, "POST renumber")
    if len(labels) % 2:
        raise BadRequest("Bad renumber op JSON, must be even list of numbers [new1, old1, new2, old2, ...]")
    for new, old in zip(labels[::2], labels[1::2], strict=True):
        renumber(txn, new, old, who_of(request))
    return Reply()


def post_split_supervoxel(instance: Instance, txn: Txn, request: Request) -> Reply:
    """POST split-supervoxel/{supervoxel}."""
    supervoxel = label_of(request, "supervoxel")
    wanted = number_of(request, "split", 0) or 0, number_of(request, "remain", 0) or 0
    made = split_supervoxel(txn, layout(instance), supervoxel, request.body, wanted, who_of(request))
    return with_mutation(SplitSupervoxel=made.split, RemainSupervoxel=made.remain)


def post_split(instance: Instance, txn: Txn, request: Request) -> Reply:
    """POST split/{label}."""
    if SPLIT not in request.switches:
        raise BadRequest(f"split of bodies is switched off: {SPLIT} = true in [server] of the configuration allows it")
    made = split_body(txn, layout(instance), label_of(request), request.body, who_of(request))
    return with_mutation(label=made)


def post_index_of(instance: Instance, txn: Txn, request: Request) -> Reply:  # noqa: ARG001
    """POST index/{label}."""
    label = label_of(request)
    index = read_index(request.body)
    if index.label != label:
        raise BadRequest(f"the index in the body is of label {index.label}, that in the path is {label}")
    post_index(txn, index)
    return Reply()


def post_indices(instance: Instance, txn: Txn, request: Request) -> Reply:  # noqa: ARG001
    """POST indices."""
    for index in read_indices(request.body):
        post_index(txn, index)
    return Reply()


def post_mappings(instance: Instance, txn: Txn, request: Request) -> Reply:  # noqa: ARG001
    """POST mappings."""
    for operation in read_mappings(request.body):
        if (operation.supervoxels == 0).any():
            raise BadRequest("label 0 is the background and cannot be mapped")
        set_mapping(txn, np.unique(operation.supervoxels), operation.body)
    return Reply()


def post_maxlabel(instance: Instance, txn: Txn, request: Request) -> Reply:  # noqa: ARG001
    """POST maxlabel/{label}."""
    label = label_of(request)
    if label > MAX_LABEL:
        raise BadRequest(f"label {label} is above {MAX_LABEL}, the greatest that can be posted")
    raise_max(txn, label)
    return Reply()


def post_nextlabel(instance: Instance, txn: Txn, request: Request) -> Reply:  # noqa: ARG001
    """POST nextlabel/{number}."""
    labels = new_labels(txn, unsigned(request.args["number"], "the number of labels"))
    if labels[-1] - labels[0] != len(labels) - 1:
        raise BadRequest(f"{len(labels)} labels in a row are not left in a range of this server: ask for fewer")
    return json_reply({"start": labels[0], "end": labels[-1]})


def post_set_nextlabel(instance: Instance, txn: Txn, request: Request) -> Reply:  # noqa: ARG001
    """POST set-nextlabel/{label}."""
    start_after(txn, label_of(request), number_of(request, "ceiling", None))
    return Reply()
