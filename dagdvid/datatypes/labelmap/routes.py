"""The endpoints of labelmap that are about voxels (endpoints.csv, labelmap)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

import lz4.block
import numpy as np
from isal import igzip, isal_zlib
from numpy.typing import NDArray

from dagdvid.datatype import Instance, Snapshot, Txn
from dagdvid.datatypes import extents, planes, volumes
from dagdvid.datatypes.grid import parse_blocks
from dagdvid.datatypes.labelmap import blocks, blockstream, voxels
from dagdvid.datatypes.labelmap.blocks import Incoming
from dagdvid.datatypes.labelmap.blockstream import Form, form_of
from dagdvid.datatypes.labelmap.properties import KIND, VOXEL, Layout, layout, level_property
from dagdvid.datatypes.labelmap.pseudocolor import pseudocolor
from dagdvid.datatypes.labelmap.voxels import Reading
from dagdvid.datatypes.masks import mask_of
from dagdvid.datatypes.settings import integer
from dagdvid.datatypes.streaming import streamed
from dagdvid.errors import BadRequest
from dagdvid.geometry import AXES_3D, COORDINATE_LIMIT, Box, parse_axes, parse_box, parse_point
from dagdvid.interchange.images import encode_image, image_format
from dagdvid.kernels import cseg, labelblocks
from dagdvid.routes import MAX_BODY, Cache, Example, Reply, Request, Right, Route, RouteTable, text_reply

__all__ = ["ROUTES"]

_OCTETS = "application/octet-stream"
_LZ4_BYTES = 0x7E000000
"""Bytes of the largest LZ4 block."""
_ERRORS: tuple[Any, ...] = (lz4.block.LZ4BlockError, isal_zlib.error, ValueError)


def get_raw(instance: Instance, view: Snapshot, request: Request) -> Reply:
    """The labels of a box, or a plane of them as an image."""
    axes = parse_axes(request.args["dims"])
    if axes != AXES_3D:
        return _plane(instance, view, request, axes, isotropic=False)
    reading = _reading(instance, request)
    box = parse_box(request.args["size"], request.args["offset"])
    _check_size(box)
    view.expect(_work(reading.layout, box))
    mask = mask_of(view, request, box, VOXEL)
    compression = request.query.get("compression", "")
    if compression in ("google", "googlegzip"):
        return _segmentation(voxels.read_box(view, reading, box, mask), zipped=compression == "googlegzip")
    plain = voxels.read(view, reading, box, mask)
    if compression == "":
        return streamed(plain, _OCTETS)
    if compression == "gzip":
        return streamed(_zipped(plain), _OCTETS)
    if compression == "lz4":
        if box.volume * VOXEL.itemsize > _LZ4_BYTES:
            raise BadRequest(f"size {box.size} is too large for lz4, which takes {_LZ4_BYTES} bytes: use gzip")
        return Reply(lz4.block.compress(b"".join(plain), store_size=False), _OCTETS)
    raise BadRequest(f"compression {compression[:40]!r} is not known: use lz4, gzip, google or googlegzip, or none")


def get_isotropic(instance: Instance, view: Snapshot, request: Request) -> Reply:
    """As `get_raw`, but planes with pixels that are as wide as they are high."""
    axes = parse_axes(request.args["dims"])
    if axes == AXES_3D:
        return get_raw(instance, view, request)
    return _plane(instance, view, request, axes, isotropic=True)


def get_pseudocolor(instance: Instance, view: Snapshot, request: Request) -> Reply:
    """A plane of labels, each in a colour of its own."""
    axes = parse_axes(request.args["dims"])
    if axes == AXES_3D:
        raise BadRequest("pseudocolor is for planes only: use xy, xz or yz")
    return _plane(instance, view, request, axes, isotropic=False, coloured=True)


def _plane(
    instance: Instance,
    view: Snapshot,
    request: Request,
    axes: tuple[int, ...],
    *,
    isotropic: bool,
    coloured: bool = False,
) -> Reply:
    form = image_format(request.args.get("format", ""))
    reading = _reading(instance, request)
    asked = planes.plane_box(axes, request.args["size"], request.args["offset"])
    _check_size(asked)
    view.expect(_work(reading.layout, asked))
    box = planes.isotropic_size(axes, asked, volumes.resolution(instance)) if isotropic else asked
    labels = planes.flat(voxels.read_box(view, reading, box, mask_of(view, request, box, VOXEL)), axes)
    width, height = (asked.size.as_list()[axis] for axis in axes)
    if labels.shape != (height, width):
        labels = planes.scaled(labels, height, width)
    return Reply(encode_image(pseudocolor(labels) if coloured else labels, form), form.content_type)


def _segmentation(labels: NDArray[np.uint64], *, zipped: bool) -> Reply:
    """Neuroglancer's compressed segmentation."""
    if any(edge % 8 for edge in labels.shape):
        raise BadRequest("google takes sizes that are multiples of 8")
    data = cseg.encode(labels)
    if zipped:
        return Reply(igzip.compress(data, compresslevel=1, mtime=0), _OCTETS, headers={"Content-Encoding": "gzip"})
    return Reply(data, _OCTETS)


def _zipped(chunks: Iterable[bytes]) -> Iterator[bytes]:
    deflate = isal_zlib.compressobj(1, isal_zlib.DEFLATED, 16 + isal_zlib.MAX_WBITS)
    for chunk in chunks:
        yield deflate.compress(chunk)
    yield deflate.flush()


def post_raw(instance: Instance, txn: Txn, request: Request) -> Reply:
    """Store the labels of a box of whole blocks."""
    if parse_axes(request.args["dims"]) != AXES_3D:
        raise BadRequest("2-d images cannot be stored: send whole blocks, as in raw/0_1_2/SIZEX_SIZEY_SIZEZ/X_Y_Z")
    box = parse_box(request.args["size"], request.args["offset"])
    _check_size(box)
    data = _plain(request.body, request.query.get("compression", ""), box.volume * VOXEL.itemsize)
    voxels.write(txn, layout(instance), box, data, mask_of(txn, request, box, VOXEL))
    extents.grow(txn, instance.config, box)
    return Reply()


def _plain(body: bytes, compression: str, size: int) -> bytes:
    """A body of so many bytes, unpacked."""
    data = body
    try:
        if compression == "lz4":
            data = lz4.block.decompress(body, uncompressed_size=size)
        elif compression == "gzip":
            inflate = isal_zlib.decompressobj(16 + isal_zlib.MAX_WBITS)
            data = inflate.decompress(body, size)
            if not inflate.eof and inflate.decompress(inflate.unconsumed_tail, 1):
                raise BadRequest(f"the body has more than {size} bytes, which the size takes")
            if not inflate.eof:
                raise BadRequest("the body is gzip that is cut short")
        elif compression:
            raise BadRequest(f"compression {compression[:40]!r} is not known: use lz4 or gzip, or none")
    except _ERRORS as error:
        raise BadRequest(f"the body is not {compression}: {error}") from None
    return data


def get_blocks(instance: Instance, view: Snapshot, request: Request) -> Reply:
    """The stored blocks of a box."""
    reading = _reading(instance, request)
    box = parse_box(request.args["size"], request.args["offset"])
    form = form_of(request.query.get("compression", ""), Form.LZ4)
    block = reading.layout.block
    if not box.aligned(block):
        raise BadRequest(f"size {box.size} at offset {box.offset} is not made of whole blocks of {block}")
    view.expect(_work(reading.layout, box))
    return streamed(blockstream.stream(view, reading, box.blocks(block), form), _OCTETS)


def get_specificblocks(instance: Instance, view: Snapshot, request: Request) -> Reply:
    """The stored ones of some blocks."""
    reading = _reading(instance, request)
    form = form_of(request.query.get("compression", ""), Form.BLOCKS)
    wanted = parse_blocks(request.query.get("blocks", ""))
    view.expect(len(wanted) * reading.layout.block_bytes)
    if request.query.get("prefetch") in ("on", "true"):
        return Reply(b"", _OCTETS)
    return streamed(blockstream.listed(view, reading, wanted, form), _OCTETS)


def post_blocks(instance: Instance, txn: Txn, request: Request) -> Reply:
    """Store label blocks."""
    scale, shape = _stored_scale(request), layout(instance)
    if request.query.get("compression", "") not in ("", "blocks"):
        raise BadRequest("blocks are stored as label blocks only: use compression=blocks, or none")
    downres = request.flag("downres")
    if downres and scale:
        raise BadRequest("downres is for scale 0 only: coarser scales follow from it")
    incoming = _incoming(shape, request)
    blocks.store(txn, shape, scale, incoming, index=not request.flag("noindexing"), downres=downres)
    if scale == 0 and incoming:
        extents.grow(txn, instance.config, _around(shape, incoming))
    return Reply()


def post_supervoxels(instance: Instance, txn: Txn, request: Request) -> Reply:
    """Store label blocks, and nothing else."""
    shape = layout(instance)
    blocks.store(txn, shape, _stored_scale(request), _incoming(shape, request), index=False, downres=False)
    return Reply()


def _incoming(shape: Layout, request: Request) -> list[Incoming]:
    """All blocks of a body: nothing is stored before the last of them is known to be sound."""
    if not shape.gzipped:
        raise BadRequest("blocks can be posted only to instances with the Compression gzip")
    return list(blockstream.parse(shape, request.body))


def _around(shape: Layout, incoming: Iterable[Incoming]) -> Box:
    """The voxels of the box that blocks span."""
    places = [block.place for block in incoming]
    first = last = places[0]
    for place in places:
        first, last = first.smallest(place), last.largest(place)
    return Box.spanning(first, last).voxels(shape.block)


def get_label(instance: Instance, view: Snapshot, request: Request) -> Reply:
    """The label at a point."""
    point = parse_point(request.args["coord"], "coordinate")
    found = voxels.read_points(view, _reading(instance, request), np.array([point.as_list()], np.int64))
    return Reply(b'{"Label": %d}' % found[0], "application/json")


def get_labels(instance: Instance, view: Snapshot, request: Request) -> Reply:
    """The labels at points."""
    check_hash(request)
    points = _points(request.body)
    found = voxels.read_points(view, _reading(instance, request), points)
    return Reply(("[" + ",".join(map(str, found.tolist())) + "]").encode(), "application/json")


def check_hash(request: Request) -> None:
    """Raises BadRequest: the body does not have the MD5 that `?hash=` states."""
    stated = request.query.get("hash")
    if stated:
        found = hashlib.md5(request.body, usedforsecurity=False).hexdigest()
        if found != stated:
            raise BadRequest(f"content hash incorrect: {stated[:40]} is stated, the body has {found}")


def _points(body: bytes) -> NDArray[np.int64]:
    try:
        rows = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"malformed JSON in the request body: {error}") from None
    if not isinstance(rows, list) or not all(_is_point(row) for row in rows):
        raise BadRequest("points must be a JSON list of [x,y,z], integers of 32 bits")
    return np.array(rows, np.int64).reshape(-1, 3)


def _is_point(row: Any) -> bool:
    return (
        isinstance(row, list)
        and len(row) == 3
        and all(type(value) is int and -COORDINATE_LIMIT <= value < COORDINATE_LIMIT for value in row)
    )


def get_metadata(instance: Instance, view: Snapshot, request: Request) -> Reply:  # noqa: ARG001
    """Axes and properties."""
    return volumes.metadata(instance, view, KIND)


def post_info(instance: Instance, txn: Txn, request: Request) -> Reply:
    """Change settings."""
    changed = level_property(request.json_object())
    if changed is not None:
        txn.set_property(*changed)
    return text_reply(f"Changed {instance.name!r} according to the settings of the request")


def _reading(instance: Instance, request: Request) -> Reading:
    return Reading(layout(instance), _scale(request) & 0xFF, request.flag("supervoxels"))


def _scale(request: Request) -> int:
    text = request.query.get("scale", "")
    return integer(text, "scale", -(2**63), 2**63 - 1) if text else 0


def _stored_scale(request: Request) -> int:
    scale = _scale(request)
    if not 0 <= scale <= 0xFF:
        raise BadRequest(f"scale must lie between 0 and 255, not {scale}")
    return scale


def _check_size(box: Box) -> None:
    if box.volume * VOXEL.itemsize > MAX_BODY:
        raise BadRequest(f"size {box.size} is too large: a volume may have {MAX_BODY} bytes at most")


def _work(shape: Layout, box: Box) -> int:
    """What a read of a box takes, in bytes of voxels: every block that it touches is unpacked."""
    return box.blocks(shape.block).volume * shape.block_bytes


def _is_volume(request: Request) -> bool:
    return parse_axes(request.args["dims"]) == AXES_3D


def _always(request: Request) -> bool:  # noqa: ARG001
    return True


_THROTTLE = {"throttle": "true or on: answers 503 at once if as many such requests run as may"}
_SCALE = {"scale": "level of the pyramid, 0 (default) for full resolution; where there is none, all is 0"}
_READ = {**_SCALE, "supervoxels": "true: labels as they are stored, instead of the bodies that they belong to"}
_MASK = {"roi": "name of an roi instance: outside of it, labels are shown as 0"}
_SENT = "lz4, gzip or uncompressed: voxels; blocks: gzip of DVID's label blocks"
_TAKEN = (
    "The body is, for each block, int32 x, y, z of the block, int32 length, and that many bytes: the gzip of a label "
    "block of DVID."
)
_VOLUME = (
    "The labels of a box as little-endian uint64, x fastest, then y, then z. dims is 0_1_2; size and offset are X_Y_Z "
    "in voxels of the scale, and any box may be asked for: what was never stored is 0. Or a plane as an image: dims is "
    "xy, xz or yz (0_1, 0_2, 1_2), size WIDTH_HEIGHT, and the format png (default), jpg, tiff or bmp."
)
_FORMS = {"compression": "of a volume: lz4 (one bare block), gzip, or neuroglancer's google and googlegzip"}
_SOLID = igzip.compress(labelblocks.solid(9, (64, 64, 64)), compresslevel=1, mtime=0)
_STREAM = np.array([1, 0, 0, len(_SOLID)], "<i4").tobytes() + _SOLID
"""For the help: a block of 64^3 voxels, all of label 9."""

ROUTES = RouteTable(
    (
        Route(
            ("GET",),
            "raw/{dims}/{size}/{offset}/{format?}",
            get_raw,
            _VOLUME,
            cache=Cache.CONTENT,
            query={**_READ, **_MASK, **_FORMS, **_THROTTLE},
            throttled=_is_volume,
            hot=True,
            examples=(
                Example("raw/0_1_2/64_64_64/0_0_0", 8 * 64**3),
                Example("raw/0_1_2/32_32_32/0_0_0?scale=1&supervoxels=true&compression=googlegzip", "..."),
                Example("raw/xy/64_64/0_0_10/png", "..."),
            ),
        ),
        Route(
            ("POST",),
            "raw/{dims}/{size}/{offset}",
            post_raw,
            "Stores the supervoxels in the body, in the order in which GET gives them. Size and offset must be "
            "multiples of the block size. Indices, extents and the coarser scales follow.",
            mutates=True,
            right=Right.WRITE,
            query={
                "mutate": "true says that stored voxels are overwritten; accepted, and not needed here",
                "roi": "name of an roi instance: only voxels inside of it are stored",
                "compression": "how the body is compressed: lz4 (one bare block) or gzip",
                **_THROTTLE,
            },
            throttled=_is_volume,
            examples=(Example("raw/0_1_2/64_64_64/64_0_0", body=8 * 64**3),),
        ),
        Route(
            ("GET",),
            "isotropic/{dims}/{size}/{offset}/{format?}",
            get_isotropic,
            "As raw; but of planes whose axes differ in resolution, the pixels are as small as the finer axis has "
            "them: fewer voxels are read along the other one, and scaled to the size asked for.",
            cache=Cache.CONTENT,
            query={**_READ, **_MASK, **_FORMS, **_THROTTLE},
            throttled=_is_volume,
            examples=(Example("isotropic/xz/64_64/0_10_0/png", "..."),),
        ),
        Route(
            ("GET",),
            "pseudocolor/{dims}/{size}/{offset}/{format?}",
            get_pseudocolor,
            "A plane as an image in which each label has a colour of its own; forms are those of raw.",
            cache=Cache.CONTENT,
            query={**_READ, **_MASK},
            examples=(Example("pseudocolor/xy/64_64/0_0_10", "..."),),
        ),
        Route(
            ("GET",),
            "label/{coord}",
            get_label,
            "The label at a point X_Y_Z, in voxels of the scale.",
            cache=Cache.CONTENT,
            query=_READ,
            hot=True,
            examples=(Example("label/10_20_50", '{"Label": 7}'),),
        ),
        Route(
            ("GET",),
            "labels",
            get_labels,
            "The labels at points, a JSON list of [x,y,z] in the body of the request, as a JSON list in their order.",
            query={**_READ, "hash": "MD5 of the body, in hexadecimal: with another one, 400"},
            hot=True,
            examples=(Example("labels", "[5,7,0]", "[[10,20,30],[10,20,50],[-1,0,0]]"),),
        ),
        Route(
            ("GET",),
            "blocks/{size}/{offset}",
            get_blocks,
            "The stored blocks of a box of whole blocks, size and offset X_Y_Z in voxels of the scale: for each one "
            "int32 x, y, z of the block, int32 length, and that many bytes. Blocks never stored are left out.",
            cache=Cache.CONTENT,
            query={**_READ, "compression": f"lz4 (default), or {_SENT}", **_THROTTLE},
            throttled=_always,
            examples=(Example("blocks/64_64_64/0_0_0?compression=uncompressed", 16 + 8 * 64**3),),
        ),
        Route(
            ("GET",),
            "specificblocks",
            get_specificblocks,
            "Some blocks, in the form of blocks.",
            cache=Cache.CONTENT,
            query={
                **_READ,
                "blocks": "x,y,z,x,y,z,... in blocks",
                "compression": f"blocks (default), or {_SENT}",
                "prefetch": "on or true: nothing is sent",
            },
            examples=(Example("specificblocks?blocks=0,0,0,1,0,0&compression=uncompressed", 16 + 8 * 64**3),),
        ),
        Route(
            ("POST",),
            "blocks",
            post_blocks,
            f"Stores blocks of supervoxels. {_TAKEN} Extents follow, and indices, but for noindexing.",
            mutates=True,
            right=Right.WRITE,
            query={
                **_SCALE,
                "downres": "true: the coarser scales follow, too; for scale 0",
                "noindexing": "true: indices stay as they are",
                "compression": "blocks, or nothing",
                **_THROTTLE,
            },
            throttled=_always,
            examples=(Example("blocks?downres=true", body=_STREAM),),
        ),
        Route(
            ("POST",),
            "ingest-supervoxels",
            post_supervoxels,
            f"Stores blocks of supervoxels, and nothing else: neither indices nor extents nor other scales follow. "
            f"{_TAKEN}",
            mutates=True,
            right=Right.WRITE,
            query=_SCALE,
            examples=(Example("ingest-supervoxels?scale=1", body=_STREAM),),
        ),
        Route(
            ("GET",),
            "metadata",
            get_metadata,
            "Axes with resolution, units, size and offset, and properties.",
            examples=(Example("metadata", '{"Axes":[{"Label":"X","Resolution":8,...'),),
        ),
        Route(
            ("POST",),
            "info",
            post_info,
            'Changes settings: {"MaxDownresLevel": "3"} computes so many coarser scales from now on.',
            mutates=True,
            right=Right.WRITE,
            examples=(Example("info", "...", '{"MaxDownresLevel": "3"}'),),
        ),
        *volumes.ROUTES,
    ),
    surplus=True,
)
