"""Planes of voxels as image files and back.

A plane is an array [y, x] of one of the voxel types, or [y, x, 4] of uint8 for colours. What it looks like follows DVID
(datatype/imageblk/imageblk.go, GetImage2d): 8 and 16 bits are gray; the four bytes of a 32-bit voxel, little-endian,
are red, green, blue and alpha; of a 64-bit voxel each two bytes are one of them.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from dagdvid.errors import BadRequest, Corrupt
from dagdvid.interchange.png import encode_png
from dagdvid.interchange.tiff import encode_tiff

__all__ = [
    "JPEG_QUALITY",
    "MAX_SIDE",
    "ImageFormat",
    "decode_gray_jpeg",
    "encode_gray_jpeg",
    "encode_image",
    "image_format",
    "image_size",
    "read_image",
]

JPEG_QUALITY = 80
_READ = ("PNG", "JPEG", "TIFF", "BMP")
MAX_SIDE = 65535
"""Pixels along a side of the largest JPEG."""


class ImageFormat(NamedTuple):
    """What kind of image file is asked for."""

    kind: str
    quality: int

    @property
    def content_type(self) -> str:
        """Its media type."""
        return f"image/{self.kind}"


_KINDS = {"": "png", "png": "png", "jpg": "jpeg", "jpeg": "jpeg", "tif": "tiff", "tiff": "tiff", "bmp": "bmp"}


def image_format(text: str) -> ImageFormat:
    """The format that a URL asks for, as in "", "png" and "jpg:90" (dvid/image.go, WriteImageHttp).

    Raises:
        BadRequest: no such format, or a quality that is no integer.
    """
    name, colon, rest = text.partition(":")
    quality = rest.partition(":")[0]
    try:
        level = int(quality) if colon else JPEG_QUALITY
    except ValueError:
        raise BadRequest(f"the quality of an image must be an integer, as in jpg:80, not {quality[:40]!r}") from None
    if name not in _KINDS:
        raise BadRequest(f"image format {name[:40]!r} is not known: use png, jpg, tiff or bmp")
    return ImageFormat(_KINDS[name], min(100, max(1, level)))


def encode_image(plane: NDArray[Any], form: ImageFormat) -> bytes:
    """The image file of a plane.

    Raises:
        BadRequest: larger than the format can hold.
    """
    pixels = _pixels(plane)
    if form.kind == "jpeg" and max(pixels.shape[:2]) > MAX_SIDE:
        raise BadRequest(f"a JPEG has at most {MAX_SIDE} pixels a side, and this one has {max(pixels.shape[:2])}")
    return _ENCODERS[form.kind](pixels, form.quality)


def _pixels(plane: NDArray[Any]) -> NDArray[Any]:
    """[y, x] or [y, x, channel] of uint8 or big-endian uint16. Alpha that hides nothing is left out, as Go does."""
    if plane.ndim == 2:
        size = plane.dtype.itemsize
        if size == 1:
            return plane.view(np.uint8)
        if size == 2:
            return plane.astype(">u2")
        plane = np.ascontiguousarray(plane)[..., None].view(np.uint8 if size == 4 else ">u2")
    return plane[..., :3] if (plane[..., 3] == np.iinfo(plane.dtype).max).all() else plane


def _png(pixels: NDArray[Any], quality: int) -> bytes:  # noqa: ARG001
    return encode_png(pixels)


def _tiff(pixels: NDArray[Any], quality: int) -> bytes:  # noqa: ARG001
    return encode_tiff(pixels)


def _jpeg(pixels: NDArray[Any], quality: int) -> bytes:
    return _saved(_opaque(pixels), "JPEG", quality=quality)


def _bmp(pixels: NDArray[Any], quality: int) -> bytes:  # noqa: ARG001
    return _saved(_opaque(pixels), "BMP")


def _opaque(pixels: NDArray[Any]) -> Image.Image:
    """What formats of 8 bits without alpha show, as with Go: colours on black, and 16 bits of gray in colour."""
    gray16 = pixels.ndim == 2 and pixels.dtype.itemsize == 2
    upper = _upper(pixels)
    if upper.ndim == 3 and upper.shape[2] == 4:
        alpha = upper[..., 3:].astype(np.uint16)
        upper = (upper[..., :3] * alpha // 255).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(upper))
    return image.convert("RGB") if gray16 else image


_ENCODERS: dict[str, Callable[[NDArray[Any], int], bytes]] = {"png": _png, "jpeg": _jpeg, "tiff": _tiff, "bmp": _bmp}


def _upper(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """The upper byte of each channel."""
    return pixels if pixels.dtype.itemsize == 1 else (pixels >> 8).astype(np.uint8)


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def encode_gray_jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """The JPEG of a gray image [y, x], of quality JPEG_QUALITY."""
    return _saved(Image.fromarray(pixels), "JPEG", quality=JPEG_QUALITY)


def decode_gray_jpeg(data: bytes, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """The pixels [y, x] of a gray JPEG of a known shape.

    Raises:
        Corrupt: not such a JPEG.
    """
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            if image.mode != "L" or image.size != shape[::-1]:
                raise Corrupt(f"a stored JPEG is {image.mode} of {image.size}, not gray of {shape[::-1]}")
            return np.asarray(image)
    except (OSError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise Corrupt(f"a stored JPEG cannot be read: {error}") from None


def read_image(data: bytes, voxel: np.dtype[Any]) -> NDArray[Any]:
    """An image file as a plane of a voxel type, with that type's bytes.

    Raises:
        BadRequest: no image that can be read, or not of that many bytes a pixel.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_READ) as image:
            pixels = _voxels(image)
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise BadRequest(f"the image cannot be read: {error}") from None
    size = pixels.dtype.itemsize * (pixels.shape[2] if pixels.ndim == 3 else 1)
    wanted = voxel.itemsize
    if size != wanted:
        raise BadRequest(f"an image of {size} bytes a pixel does not fit voxels of {wanted}")
    plane = np.ascontiguousarray(pixels)
    return plane.reshape(*plane.shape[:2], -1).view(voxel)[..., 0]


def image_size(file: Path) -> tuple[int, int]:
    """The width and height of an image file; only its head is read.

    Raises:
        BadRequest: no image that can be read.
    """
    try:
        with Image.open(file, formats=_READ) as image:
            return image.size
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise BadRequest(f"the image {file.name} cannot be read: {error}") from None


def _voxels(image: Image.Image) -> NDArray[Any]:
    """The pixels of an opened image, gray as little-endian integers or floats, colours as RGBA."""
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype("<u2")
    if image.mode == "I":
        return np.asarray(image).astype("<u4")
    if image.mode == "F":
        return np.asarray(image).astype("<f4")
    return np.asarray(image.convert("RGBA"))
