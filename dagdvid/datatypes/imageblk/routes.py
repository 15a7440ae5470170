"""The endpoints of the imageblk family (endpoints.csv, imageblk)."""

from __future__ import annotations

from dagdvid.datatype import Instance, Snapshot, Txn
from dagdvid.datatypes import extents, planes, volumes
from dagdvid.datatypes.grid import parse_blocks
from dagdvid.datatypes.imageblk import blockstream, ops
from dagdvid.datatypes.imageblk.arbitrary import parse_slanted, sample
from dagdvid.datatypes.imageblk.blocks import BlockLayout
from dagdvid.datatypes.imageblk.blockstream import Form, form_of
from dagdvid.datatypes.imageblk.formats import FORMATS
from dagdvid.datatypes.imageblk.properties import kind, layout
from dagdvid.datatypes.masks import mask_of
from dagdvid.datatypes.settings import integer
from dagdvid.datatypes.streaming import streamed
from dagdvid.errors import BadRequest
from dagdvid.geometry import AXES_3D, COORDINATE_LIMIT, Box, Point, parse_axes, parse_box, parse_point
from dagdvid.interchange.images import encode_image, image_format
from dagdvid.routes import MAX_BODY, Cache, Example, Reply, Request, Right, Route, RouteTable

__all__ = ["ROUTES"]

_OCTETS = "application/octet-stream"


def get_raw(instance: Instance, view: Snapshot, request: Request) -> Reply:
    """The voxels of a box, or a plane of them as an image."""
    axes = parse_axes(request.args["dims"])
    if axes != AXES_3D:
        return _plane(instance, view, request, axes, isotropic=False)
    blocks = layout(instance)
    box = _box(request, blocks)
    _expect(view, blocks, box)
    mask = mask_of(view, request, box, blocks.voxel)
    form = request.args.get("format", "")
    if form in ("jpg", "jpeg"):
        return _image(instance, planes.flat(ops.read_box(view, blocks, box, mask), axes), form)
    return streamed(ops.read(view, blocks, box, mask), _OCTETS)


def get_isotropic(instance: Instance, view: Snapshot, request: Request) -> Reply:
    """As `get_raw`, but planes with pixels that are as wide as they are high."""
    axes = parse_axes(request.args["dims"])
    if axes == AXES_3D:
        return get_raw(instance, view, request)
    return _plane(instance, view, request, axes, isotropic=True)


def _plane(instance: Instance, view: Snapshot, request: Request, axes: tuple[int, ...], *, isotropic: bool) -> Reply:
    blocks = layout(instance)
    asked = planes.plane_box(axes, request.args["size"], request.args["offset"])
    _check_size(asked, blocks)
    _expect(view, blocks, asked)
    box = planes.isotropic_size(axes, asked, volumes.resolution(instance)) if isotropic else asked
    plane = planes.flat(ops.read_box(view, blocks, box, mask_of(view, request, box, blocks.voxel)), axes)
    width, height = (asked.size.as_list()[axis] for axis in axes)
    return _image(instance, plane, request.args.get("format", ""), (height, width))


def _image(instance: Instance, plane: planes.Plane, form: str, size: tuple[int, int] | None = None) -> Reply:
    wanted = image_format(form)
    pixels = FORMATS[instance.typename].channels(plane)
    if size is not None and pixels.shape[:2] != size:
        pixels = planes.scaled(pixels, *size)
    return Reply(encode_image(pixels, wanted), wanted.content_type)


def post_raw(instance: Instance, txn: Txn, request: Request) -> Reply:
    """Store the voxels of a box of whole blocks."""
    if parse_axes(request.args["dims"]) != AXES_3D:
        raise BadRequest("2-d images cannot be stored: send whole blocks, as in raw/0_1_2/SIZEX_SIZEY_SIZEZ/X_Y_Z")
    blocks = layout(instance)
    box = _box(request, blocks)
    ops.write(txn, blocks, box, request.body, instance.config["codec"], mask_of(txn, request, box, blocks.voxel))
    extents.grow(txn, instance.config, box)
    return Reply()


def get_arb(instance: Instance, view: Snapshot, request: Request) -> Reply:
    """A plane of any orientation."""
    form = image_format(request.args.get("format", ""))
    plane = parse_slanted(*(request.args[name] for name in ("top_left", "top_right", "bottom_left", "pixel")))
    pixels = sample(view, layout(instance), FORMATS[instance.typename], volumes.resolution(instance), plane)
    return Reply(encode_image(pixels, form), form.content_type)


def get_blocks(instance: Instance, view: Snapshot, request: Request) -> Reply:
    """Blocks along x."""
    first, count = _row(request, 0)
    blocks = layout(instance)
    if count * blocks.block_bytes > MAX_BODY:
        raise BadRequest(f"{count} blocks are too many: an answer may have {MAX_BODY} bytes at most")
    return streamed(blockstream.read_row(view, blocks, first, count), _OCTETS)


def post_blocks(instance: Instance, txn: Txn, request: Request) -> Reply:
    """Store blocks along x."""
    first, count = _row(request, 1)
    blockstream.write_row(txn, layout(instance), first, count, request.body, instance.config["codec"])
    return Reply()


def get_subvolblocks(instance: Instance, view: Snapshot, request: Request) -> Reply:
    """The stored blocks of a box."""
    blocks = layout(instance)
    box = _box(request, blocks)
    form = form_of(request.query.get("compression", ""))
    if not box.aligned(blocks.block):
        raise BadRequest(f"size {box.size} at offset {box.offset} is not made of whole blocks of {blocks.block}")
    span = box.blocks(blocks.block)
    return streamed(blockstream.stream(view, blocks, span, form, instance.config["stored"]), _OCTETS)


def get_specificblocks(instance: Instance, view: Snapshot, request: Request) -> Reply:
    """The stored ones of some blocks."""
    form = form_of(request.query.get("compression", ""))
    wanted = parse_blocks(request.query.get("blocks", ""))
    blocks = layout(instance)
    if request.query.get("prefetch") in ("on", "true") or (form is Form.JPEG and not blocks.jpeg):
        return Reply(b"", _OCTETS)
    return streamed(blockstream.listed(view, blocks, wanted, form, instance.config["stored"]), _OCTETS)


def get_metadata(instance: Instance, view: Snapshot, request: Request) -> Reply:  # noqa: ARG001
    """Axes and properties."""
    return volumes.metadata(instance, view, kind(instance))


def _is_volume(request: Request) -> bool:
    return parse_axes(request.args["dims"]) == AXES_3D


def _always(request: Request) -> bool:  # noqa: ARG001
    return True


def _box(request: Request, blocks: BlockLayout) -> Box:
    """The box of a request for a volume.

    Raises:
        BadRequest: malformed, or above the limit.
    """
    box = parse_box(request.args["size"], request.args["offset"])
    _check_size(box, blocks)
    return box


def _expect(view: Snapshot, blocks: BlockLayout, box: Box) -> None:
    """Say what a read of a box takes. To unpack a JPEG takes several times as long as anything else."""
    view.expect(box.blocks(blocks.block).volume * blocks.block_bytes * (8 if blocks.jpeg else 1))


def _check_size(box: Box, blocks: BlockLayout) -> None:
    if box.volume * blocks.voxel.itemsize > MAX_BODY:
        raise BadRequest(f"size {box.size} is too large: an answer may have {MAX_BODY} bytes at most")


def _row(request: Request, least: int) -> tuple[Point, int]:
    """The first block of a row, and how many."""
    return parse_point(request.args["block"], "block coordinate"), integer(
        request.args["span"], "the number of blocks", least, COORDINATE_LIMIT
    )


_VOXELS = (
    "The voxels of a box as little-endian bytes, x fastest, then y, then z. dims is 0_1_2; size and offset are "
    "X_Y_Z in voxels, and any box may be asked for: what was never stored is 0. With the format jpg, one JPEG of the "
    "planes below each other. Or a plane as an image: dims is xy, xz or yz (0_1, 0_2, 1_2), size WIDTH_HEIGHT, and the "
    "format png (default), jpg, tiff or bmp, with a quality as in jpg:80."
)
_THROTTLE = {"throttle": "true or on: answers 503 at once if as many such requests run as may; for volumes only"}
_MASK = {
    **_THROTTLE,
    "roi": "name of an roi instance: outside of it, stored voxels are shown as the background",
    "attenuation": "1 to 7: outside the roi, voxels of 8 bits are divided by 2 to the power of this instead",
}

ROUTES = RouteTable(
    (
        Route(
            ("GET",),
            "raw/{dims}/{size}/{offset}/{format?}",
            get_raw,
            _VOXELS,
            cache=Cache.CONTENT,
            query=_MASK,
            throttled=_is_volume,
            hot=True,
            examples=(
                Example("raw/0_1_2/64_64_64/0_0_0", 64**3),
                Example("raw/xy/64_64/0_0_10/png", "..."),
                Example("raw/0_1_2/64_64_64/0_0_0?roi=region&attenuation=3", 64**3),
            ),
        ),
        Route(
            ("POST",),
            "raw/{dims}/{size}/{offset}",
            post_raw,
            "Stores the voxels in the body, in the order in which GET gives them. Size and offset must be multiples of "
            "the block size. Widens the extents.",
            mutates=True,
            right=Right.WRITE,
            query={
                "mutate": "true says that stored voxels are overwritten; accepted, and not needed here",
                "roi": "name of an roi instance: only voxels inside of it are stored",
                **_THROTTLE,
            },
            throttled=_is_volume,
            examples=(Example("raw/0_1_2/64_32_32/64_0_0", body=64 * 32 * 32),),
        ),
        Route(
            ("GET",),
            "isotropic/{dims}/{size}/{offset}/{format?}",
            get_isotropic,
            "As raw; but of planes whose axes differ in resolution, the pixels are as small as the finer axis has "
            "them: fewer voxels are read along the other one, and scaled to the size asked for.",
            cache=Cache.CONTENT,
            query=_MASK,
            throttled=_is_volume,
            examples=(Example("isotropic/xz/64_64/0_10_0/jpg:80", "..."),),
        ),
        Route(
            ("GET",),
            "arb/{top_left}/{top_right}/{bottom_left}/{pixel}/{format?}",
            get_arb,
            "A plane of any orientation as an image: its corners, as X_Y_Z in the units of the resolution, and the "
            "size of a pixel in these. Values are interpolated; formats are those of raw.",
            cache=Cache.CONTENT,
            query=_THROTTLE,
            throttled=_always,
            examples=(Example("arb/0_0_0/400_0_400/0_400_0/8/png", "..."),),
        ),
        Route(
            ("GET",),
            "blocks/{block}/{span}",
            get_blocks,
            "A number of blocks along x, from the block at X_Y_Z (in blocks) on: the voxels of one after those of the "
            "other. Each byte of a block that was never stored is the background.",
            cache=Cache.CONTENT,
            examples=(Example("blocks/0_0_0/2", 2 * 32**3),),
        ),
        Route(
            ("POST",),
            "blocks/{block}/{span}",
            post_blocks,
            "Stores blocks along x, in the order in which GET gives them. Leaves the extents as they are.",
            mutates=True,
            right=Right.WRITE,
            query={"mutate": "true says that stored voxels are overwritten; accepted, and not needed here"},
            examples=(Example("blocks/0_0_0/2", body=2 * 32**3),),
        ),
        Route(
            ("GET",),
            "subvolblocks/{size}/{offset}",
            get_subvolblocks,
            "The stored blocks of a box of whole blocks, size and offset X_Y_Z in voxels: for each one int32 x, y, z "
            "of the block, int32 length, and that many bytes. Blocks that were never stored are left out.",
            cache=Cache.CONTENT,
            query={
                "compression": "uncompressed for plain voxels, jpeg where they are stored so; else as they are stored",
                **_THROTTLE,
            },
            throttled=_always,
            examples=(
                Example("subvolblocks/64_64_64/0_0_0?compression=uncompressed", 8 * (16 + 32**3)),
                Example("subvolblocks/32_32_32/640_0_0"),
            ),
        ),
        Route(
            ("GET",),
            "specificblocks",
            get_specificblocks,
            "Some blocks, in the form of subvolblocks.",
            cache=Cache.CONTENT,
            query={
                "blocks": "x,y,z,x,y,z,... in blocks",
                "compression": "as for subvolblocks",
                "prefetch": "on or true: nothing is sent",
            },
            examples=(Example("specificblocks?blocks=0,0,0,1,0,0&compression=uncompressed", 2 * (16 + 32**3)),),
        ),
        Route(
            ("GET",),
            "metadata",
            get_metadata,
            "Axes with resolution, units, size and offset, and the properties of the volume.",
            examples=(Example("metadata", '{"Axes":[...],"Properties":{...}}'),),
        ),
        *volumes.ROUTES,
    ),
    surplus=True,
)
