"""The endpoints of sparse volumes: the voxels of a body or a supervoxel as runs or bits, its blocks, its extent."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

import lz4.block
import numpy as np
from isal import igzip
from numpy.typing import NDArray

from dagdvid.datatype import Instance, Snapshot
from dagdvid.datatypes.grid import SPACE
from dagdvid.datatypes.labelmap import bodies, pyramid
from dagdvid.datatypes.labelmap.asked import label_of
from dagdvid.datatypes.labelmap.extent import Bounds, Lies, bounds_of, coarse_runs, where
from dagdvid.datatypes.labelmap.index import tables
from dagdvid.datatypes.labelmap.properties import Layout, layout
from dagdvid.datatypes.labelmap.voxels import Reading, read_points
from dagdvid.datatypes.settings import integer
from dagdvid.datatypes.streaming import streamed
from dagdvid.errors import BadRequest
from dagdvid.geometry import parse_point
from dagdvid.interchange import sparsevols
from dagdvid.kernels import labelblocks, morton, runs
from dagdvid.routes import Reply, Request, json_reply

__all__ = [
    "get_by_point",
    "get_coarse",
    "get_coarses",
    "get_size",
    "get_sparsevol",
    "head_sparsevol",
]

_OCTETS = "application/octet-stream"
_NOT_FOUND = Reply(status=404)
_BATCH = 64
"""Blocks that are loaded together."""
_BODIES = 256
_BACKGROUND = "Label 0 is protected background value and cannot be used as sparse volume."


class Wanted(NamedTuple):
    """What of which sparse volume is wanted."""

    layout: Layout
    label: int
    supervoxel: bool
    scale: int
    bounds: Bounds
    exact: bool
    form: str
    """"rles", "srles" or "blocks"."""
    compression: str


def _wanted(instance: Instance, request: Request, label: int) -> Wanted:
    compression = request.query.get("compression", "")
    if compression not in ("", "lz4", "gzip"):
        raise BadRequest(f"unknown compression {compression[:40]!r}: use lz4 or gzip, or none")
    form = request.query.get("format", "rles")
    return Wanted(
        layout(instance),
        label,
        request.query.get("supervoxels") == "true",
        _scale(request),
        bounds_of(request),
        request.query.get("exact") != "false",
        form if form in ("srles", "blocks") else "rles",
        compression,
    )


def _scale(request: Request) -> int:
    text = request.query.get("scale", "")
    return integer(text, "scale", 0, 255) if text else 0


def get_sparsevol(instance: Instance, view: Snapshot, request: Request) -> Reply:
    """GET sparsevol/{label}."""
    return _sparsevol(view, _wanted(instance, request, label_of(request)))


def get_by_point(instance: Instance, view: Snapshot, request: Request) -> Reply:
    """GET sparsevol-by-point/{point}."""
    wanted = _wanted(instance, request, 0)
    point = np.array([parse_point(request.args["point"], "point").as_list()], np.int64)
    label = int(read_points(view, Reading(wanted.layout, wanted.scale, wanted.supervoxel), point)[0])
    if not label:
        raise BadRequest(_BACKGROUND)
    return _sparsevol(view, wanted._replace(label=label))


def head_sparsevol(instance: Instance, view: Snapshot, request: Request) -> Reply:
    """HEAD sparsevol/{label}."""
    wanted = _wanted(instance, request, label_of(request))
    lies = where(view, wanted.label, supervoxel=wanted.supervoxel)
    there = lies is not None and wanted.bounds.keeps(lies.blocks(), wanted.layout.block.as_list()).any()
    return Reply(content_type="text/html", status=200 if there else 204)


def _sparsevol(view: Snapshot, wanted: Wanted) -> Reply:
    lies = where(view, wanted.label, supervoxel=wanted.supervoxel)
    if lies is None:
        return _NOT_FOUND
    blocks = lies.blocks(wanted.scale)
    blocks = blocks[wanted.bounds.keeps(blocks, wanted.layout.block.as_list())]
    if not len(blocks):
        return _NOT_FOUND
    view.expect(len(blocks) * wanted.layout.block_bytes // 16)
    if wanted.form == "blocks":
        return streamed(_bits(view, wanted, lies, blocks), _OCTETS)
    if wanted.form == "srles":
        return streamed(map(sparsevols.write_srles, _runs(view, wanted, lies, blocks)), _OCTETS)
    found = list(_runs(view, wanted, lies, blocks))
    if not any(map(len, found)):
        return Reply(content_type=_OCTETS)
    data = sparsevols.write_rles(np.concatenate(found))
    if wanted.compression == "lz4":
        data = lz4.block.compress(data, store_size=False)
    elif wanted.compression == "gzip":
        data = igzip.compress(data, compresslevel=1, mtime=0)
    return Reply(data, _OCTETS)


Placed = tuple[tuple[int, int, int], bytes]
"""A block's coordinates z, y, x, and what is stored."""


def _stored(view: Snapshot, wanted: Wanted, blocks: NDArray[np.int64]) -> Iterator[Placed]:
    """Those of some blocks that are stored, all of one moment."""
    keys = morton.encode_keys(blocks, wanted.scale)
    located = view.locate(SPACE, keys)
    for at in range(0, len(blocks), _BATCH):
        found = pyramid.load(view, wanted.layout, keys[at : at + _BATCH], located[at : at + _BATCH])
        for (x, y, z), data in zip(blocks[at : at + _BATCH].tolist(), found, strict=True):
            if data is not None:
                yield (z, y, x), data


def _runs(view: Snapshot, wanted: Wanted, lies: Lies, blocks: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """The runs of voxels, row of blocks by row of blocks; those of neighbours in x are joined."""
    bounds = wanted.bounds if wanted.exact else Bounds()
    edge = wanted.layout.block
    for (z, y), row in groupby(_stored(view, wanted, blocks), lambda placed: placed[0][:2]):
        placed = [(x, data) for (_, _, x), data in row]
        found = runs.in_row(placed, lies.supervoxels, (0, y * edge.y, z * edge.z))
        yield runs.clip(found, bounds.first, bounds.last) if bounds.given else found


def _bits(view: Snapshot, wanted: Wanted, lies: Lies, blocks: NDArray[np.int64]) -> Iterator[bytes]:
    """The sparse volume as a bit for each voxel; whole blocks, whatever the bounds."""
    edge = wanted.layout.block
    yield sparsevols.binary_head(wanted.layout.shape, wanted.label)
    for (z, y, x), data in _stored(view, wanted, blocks):
        mask = labelblocks.mask(data, lies.supervoxels)
        yield sparsevols.binary_block(mask, (x * edge.x, y * edge.y, z * edge.z))


def get_size(instance: Instance, view: Snapshot, request: Request) -> Reply:
    """GET sparsevol-size/{label}."""
    lies = where(view, label_of(request), supervoxel=request.query.get("supervoxels") == "true")
    if lies is None or not lies.table.counts.size:
        return _NOT_FOUND
    blocks, edge = lies.blocks(), np.array(layout(instance).block.as_list())
    return json_reply(
        {
            "voxels": int(lies.table.counts.sum()),
            "numblocks": len(blocks),
            "minvoxel": (blocks.min(axis=0) * edge).tolist(),
            "maxvoxel": ((blocks.max(axis=0) + 1) * edge - 1).tolist(),
        }
    )


def get_coarse(instance: Instance, view: Snapshot, request: Request) -> Reply:
    """GET sparsevol-coarse/{label}."""
    label, bounds = label_of(request), bounds_of(request)
    lies = where(view, label, supervoxel=request.query.get("supervoxels") == "true")
    if lies is None:
        return _NOT_FOUND
    blocks = lies.blocks()
    blocks = blocks[bounds.keeps(blocks, layout(instance).block.as_list())]
    return Reply(sparsevols.write_rles(coarse_runs(blocks)), _OCTETS)


def get_coarses(instance: Instance, view: Snapshot, request: Request) -> Reply:
    """GET sparsevols-coarse/{start}/{end}."""
    first, last = label_of(request, "start"), label_of(request, "end")
    return streamed(_coarses(view, first, last, bounds_of(request), layout(instance)), _OCTETS)


def _coarses(view: Snapshot, first: int, last: int, bounds: Bounds, shape: Layout) -> Iterator[bytes]:
    """The blocks of each body from one label to another."""
    for labels in _between(view, first, last):
        found = [body for body in bodies.find(view, np.array(labels, np.uint64)) if body]
        for body, table in zip(found, tables(view, found), strict=True):
            blocks = Lies(table, table.supervoxels).blocks()
            blocks = blocks[bounds.keeps(blocks, shape.block.as_list())]
            yield sparsevols.write_coarse(body.label, coarse_runs(blocks))


def _between(view: Snapshot, first: int, last: int) -> Iterator[list[int]]:
    """The labels of bodies from one to another, some at a time."""
    held: list[int] = []
    for label, _ in bodies.existing(view, first):
        if label > last:
            break
        held.append(label)
        if len(held) == _BODIES:
            yield held
            held = []
    if held:
        yield held
