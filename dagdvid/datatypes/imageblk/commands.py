"""The command words of the imageblk family (DVID: imageblk.go, DoRPC; ingest.go)."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np

from dagdvid.datatype import Instance, Snapshot, Step, Txn
from dagdvid.datatypes import extents
from dagdvid.datatypes.grid import SPACE, block_coordinates
from dagdvid.datatypes.imageblk import ops
from dagdvid.datatypes.imageblk.blocks import BlockLayout
from dagdvid.datatypes.imageblk.properties import layout
from dagdvid.datatypes.regions import TYPENAME, replace
from dagdvid.datatypes.settings import integer
from dagdvid.datatypes.spans import Spans, joined
from dagdvid.errors import BadRequest
from dagdvid.geometry import COORDINATE_LIMIT, Box, Point, parse_point
from dagdvid.interchange.images import image_size, read_image
from dagdvid.kernels.morton import decode_keys
from dagdvid.words import Call, Command, CommandTable

__all__ = ["COMMANDS"]

_BAND_BYTES = 512 << 20
"""Voxels that one transaction of a load holds, as far as whole rows of blocks allow."""
_JOIN = 1 << 16
"""Blocks after which spans are joined, so that they stay few."""

Slices = Sequence[tuple[int, Path]]
"""The z of images, and their files."""


def load(instance: Instance, view: Snapshot, call: Call) -> Iterator[Step | str]:  # noqa: ARG001
    """load OFFSET GLOB..."""
    offset = parse_point(call.args["offset"], "offset", ",")
    files = [Path(name) for pattern in call.rest for name in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207
    if not files:
        raise BadRequest(f"the server sees no file that fits {' '.join(call.rest)!r}")
    blocks = layout(instance)
    sizes = [image_size(file) for file in files]
    whole = Box(offset, Point(max(w for w, _ in sizes), max(h for _, h in sizes), len(files)))
    if max(whole.last) >= COORDINATE_LIMIT:
        raise BadRequest(f"images at offset {offset} reach beyond 32-bit coordinates")
    block_coordinates(whole.blocks(blocks.block))
    for _, layer in groupby(enumerate(files, offset.z), lambda item: item[0] // blocks.block.z):
        slices = list(layer)
        for first, end in _bands(blocks, whole):
            yield Step(partial(_load, slices=slices, corner=offset, width=whole.size.x, rows=range(first, end)))
    yield f"Loaded {len(files)} images into {instance.name!r} from {offset} on"


def _bands(blocks: BlockLayout, whole: Box) -> Iterator[tuple[int, int]]:
    """A box of voxels in pieces along y, of whole rows of blocks but at the ends: the first y, and the one after."""
    edge = blocks.block
    row = (whole.size.x + 2 * edge.x) * edge.y * edge.z * blocks.voxel.itemsize
    step = edge.y * max(1, _BAND_BYTES // row)
    y = whole.offset.y
    while y < whole.end.y:
        upto = min(whole.end.y, y // edge.y * edge.y + step)
        yield y, upto
        y = upto


def _load(instance: Instance, txn: Txn, *, slices: Slices, corner: Point, width: int, rows: range) -> None:
    """Store the rows of images that lie in one layer of blocks. What else is in the blocks stays as it was."""
    blocks = layout(instance)
    first, last = slices[0][0], slices[-1][0]
    box = Box(Point(corner.x, rows.start, first), Point(width, len(rows), last - first + 1))
    around = box.blocks(blocks.block).voxels(blocks.block)
    volume = ops.read_over_background(txn, blocks, around)
    for z, file in slices:
        pixels = read_image(file.read_bytes(), blocks.voxel)[rows.start - corner.y : rows.stop - corner.y]
        if pixels.size:
            place = Box(Point(corner.x, rows.start, z), Point(pixels.shape[1], pixels.shape[0], 1))
            volume[place.slices(around.offset)] = pixels
    ops.write(txn, blocks, around, volume.tobytes(), instance.config["codec"])
    extents.grow(txn, instance.config, box)


def foreground(instance: Instance, view: Snapshot, call: Call) -> Iterator[Step | str]:
    """roi NEWROI VALUES."""
    blocks = layout(instance)
    if blocks.voxel.itemsize != 1:
        raise BadRequest(f"{instance.typename} has no background values: roi is for voxels of 8 bits")
    empty = np.zeros(256, bool)
    for text in call.args["values"].split(","):
        empty[integer(text, "a background value", 0, 255)] = True
    spans: Spans = np.empty((0, 4), np.int64)
    held: list[bytes] = []
    for key, data in view.items(SPACE):
        if not empty[np.frombuffer(blocks.plain(data), np.uint8)].all():
            held.append(key)
        if len(held) >= _JOIN:
            spans, held = _with_blocks(spans, held), []
    spans = _with_blocks(spans, held)
    name = call.args["newroi"]
    size = ",".join(map(str, blocks.block))

    def fill(roi: Instance, txn: Txn) -> None:
        if roi.config["BlockSize"] != instance.config["BlockSize"]:
            raise BadRequest(f"{roi.name!r} has blocks of {roi.config['BlockSize']}, and {instance.name!r} of {size}")
        replace(txn, spans)

    yield Step(fill, name, TYPENAME, {"blocksize": size})
    yield f"ROI {name!r} has {int((spans[:, 3] - spans[:, 2] + 1).sum())} blocks of {instance.name!r}"


def _with_blocks(spans: Spans, keys: Sequence[bytes]) -> Spans:
    """Spans and blocks by their keys, as the fewest spans."""
    _, coords = decode_keys(keys)
    return joined(np.concatenate([spans, coords[:, [2, 1, 0, 0]]]))


COMMANDS = CommandTable(
    (
        Command(
            "load OFFSET GLOB...",
            load,
            "Store images that the server sees, PNG, JPEG, TIFF or BMP, one a z, in the order of their names: OFFSET "
            "is the X,Y,Z of the first one's first pixel. They need not fill whole blocks. Each layer of blocks is a "
            "transaction of its own.",
            steps=True,
        ),
        Command(
            "roi NEWROI VALUES",
            foreground,
            "Make a region of all blocks that have a voxel which is none of VALUES (V1,V2,...): 8-bit voxels only.",
            steps=True,
        ),
        Command("put SOURCE PLANE OFFSET GLOB...", None, "`load` takes images from files, POST raw takes voxels"),
    )
)
