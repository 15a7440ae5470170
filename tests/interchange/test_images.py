"""Image files against Pillow, and against readers of our own where Pillow reads less."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dagdvid.errors import BadRequest, Corrupt
from dagdvid.interchange.images import (
    decode_gray_jpeg,
    encode_gray_jpeg,
    encode_image,
    image_format,
    read_image,
)
from dagdvid.interchange.png import encode_png
from dagdvid.interchange.snappy import encode_snappy
from dagdvid.interchange.tiff import encode_tiff

sizes = st.tuples(st.integers(1, 20), st.integers(1, 20))


def noise(shape, dtype):
    dtype = np.dtype(dtype)
    count = int(np.prod(shape))
    return np.frombuffer(np.random.default_rng(count).bytes(count * dtype.itemsize), dtype).reshape(shape)


def png_samples(data):
    """The samples of a PNG that was filtered by Sub alone, as [y, x, channel]; colour type and depth are checked."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        n, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + n]
        assert zlib.crc32(kind + body) == struct.unpack_from(">I", data, at + 8 + n)[0]
        chunks[kind] = body
        at += 12 + n
    width, height, depth, colour = struct.unpack_from(">IIBB", chunks[b"IHDR"])
    channels = {0: 1, 2: 3, 6: 4}[colour]
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)
    assert (lines[:, 0] == 1).all()
    step = channels * depth // 8
    deltas = lines[:, 1:].reshape(height, width, step)
    samples = np.cumsum(deltas, axis=1, dtype=np.uint8)
    return np.ascontiguousarray(samples).view(np.dtype(f">u{depth // 8}")).reshape(height, width, channels)


@given(sizes, st.sampled_from([1, 3, 4]), st.sampled_from([np.uint8, np.dtype(">u2")]))
def test_png(size, channels, dtype):
    pixels = noise((*size, channels), dtype)
    data = encode_png(pixels if channels > 1 else pixels[..., 0])
    assert (png_samples(data) == pixels).all()
    if np.dtype(dtype).itemsize == 1 or channels == 1:
        seen = np.asarray(Image.open(io.BytesIO(data)))
        assert (seen.reshape(pixels.shape) == pixels).all()


@given(sizes, st.sampled_from([1, 3, 4]), st.sampled_from([np.uint8, np.dtype(">u2")]))
def test_tiff(size, channels, dtype):
    pixels = noise((*size, channels), dtype)
    data = encode_tiff(pixels if channels > 1 else pixels[..., 0])
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == size[::-1]
        if np.dtype(dtype).itemsize == 1 or channels == 1:
            assert (np.asarray(image).reshape(pixels.shape) == pixels).all()
        strip, length = image.tag_v2[273][0], image.tag_v2[279][0]
        assert image.tag_v2[258] == (8 * np.dtype(dtype).itemsize,) * channels
    samples = np.frombuffer(zlib.decompress(data[strip : strip + length]), np.dtype(dtype).newbyteorder("<"))
    assert (samples.reshape(pixels.shape) == pixels).all()


VOXELS = {"u1": (1, 1), "<u2": (2, 1), "<u4": (1, 4), "<f4": (1, 4), "<u8": (2, 4)}


@pytest.mark.parametrize(("dtype", "seen"), VOXELS.items())
def test_what_voxels_look_like(dtype, seen):
    """8 and 16 bits are gray, the bytes of larger voxels are colours in their order."""
    plane = noise((5, 7), dtype)
    samples = png_samples(encode_image(plane, image_format("")))
    depth, channels = seen
    assert samples.dtype.itemsize == depth
    if channels == 1:
        assert (samples[..., 0] == plane).all()
    else:
        assert samples.tobytes() == plane.tobytes()


def test_alpha_that_hides_nothing_is_left_out():
    pixels = noise((4, 4, 4), "u1").copy()
    assert png_samples(encode_image(pixels, image_format("png"))).shape == (4, 4, 4)
    pixels[..., 3] = 255
    assert (png_samples(encode_image(pixels, image_format("png"))) == pixels[..., :3]).all()


def smooth(channels):
    y, x = np.mgrid[:40, :60]
    gray = (100 + 50 * np.sin(x / 9) + 40 * np.cos(y / 11)).astype(np.uint8)
    return gray if channels == 1 else np.stack([gray, gray[::-1], gray[:, ::-1], np.full_like(gray, 255)], axis=2)


@pytest.mark.parametrize("text", ["jpg", "jpeg:95", "bmp"])
def test_colours_and_grays_keep_their_values(text):
    for channels in (1, 4):
        pixels = smooth(channels)
        form = image_format(text)
        with Image.open(io.BytesIO(encode_image(pixels, form))) as image:
            assert image.format.lower() == form.kind == form.content_type.removeprefix("image/")
            assert image.mode == ("L" if channels == 1 else "RGB")
            seen = np.asarray(image).astype(int)
        wanted = pixels if channels == 1 else pixels[..., :3]
        assert np.abs(seen - wanted).mean() < (3 if form.kind == "jpeg" else 0.001)


@pytest.mark.parametrize("kind", ["jpg:90", "bmp"])
def test_the_upper_byte_of_16_bits_and_colours_on_black(kind):
    gray = smooth(1)
    with Image.open(io.BytesIO(encode_image(gray.astype("<u2") << 8, image_format(kind)))) as image:
        assert image.mode == "RGB"
        assert np.abs(np.asarray(image).astype(int)[..., 1] - gray).mean() < 3
    half = smooth(4)
    half[..., 3] = 128
    with Image.open(io.BytesIO(encode_image(half, image_format(kind)))) as image:
        assert np.abs(np.asarray(image).astype(int) - half[..., :3].astype(int) // 2).mean() < 4


def test_quality_counts_and_is_bounded():
    gray = smooth(1)
    lengths = [len(encode_image(gray, image_format(f"jpg:{q}"))) for q in (-5, 1, 50, 80, 100, 1000)]
    assert lengths == sorted(lengths)
    assert (lengths[0], lengths[-1]) == (lengths[1], lengths[-2])
    assert lengths[3] == len(encode_image(gray, image_format("jpg")))


@pytest.mark.parametrize("text", ["gif", "PNG", "png:best", "jpg:", "jpg:8.5", " png"])
def test_unknown_formats(text):
    with pytest.raises(BadRequest):
        image_format(text)


def test_stored_jpegs():
    gray = smooth(1)
    data = encode_gray_jpeg(gray)
    assert np.abs(decode_gray_jpeg(data, gray.shape).astype(int) - gray).mean() < 2
    for bad, shape in (
        (data, (60, 40)),
        (data[: len(data) // 2], gray.shape),
        (b"", gray.shape),
        (b"x" * 99, gray.shape),
    ):
        with pytest.raises(Corrupt):
            decode_gray_jpeg(bad, shape)


@pytest.mark.parametrize(
    ("dtype", "kind"), [("u1", "PNG"), ("u1", "TIFF"), ("u1", "BMP"), ("<u2", "PNG"), ("<u2", "TIFF")]
)
def test_reading_gray_files(dtype, kind):
    plane = noise((6, 9), dtype)
    out = io.BytesIO()
    Image.fromarray(plane).save(out, kind)
    assert (read_image(out.getvalue(), np.dtype(dtype)) == plane).all()


def test_reading_colour_files():
    pixels = noise((6, 9, 4), "u1")
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    assert read_image(out.getvalue(), np.dtype("V4")).tobytes() == pixels.tobytes()
    assert read_image(out.getvalue(), np.dtype("<f4")).tobytes() == pixels.tobytes()
    with pytest.raises(BadRequest, match="4 bytes a pixel"):
        read_image(out.getvalue(), np.dtype("u1"))
    for bad in (b"", b"GIF89a", out.getvalue()[:60]):
        with pytest.raises(BadRequest, match="cannot be read"):
            read_image(bad, np.dtype("u1"))


def snappy_ref(data):
    """Decodes literals alone, as the format describes them."""
    size = shift = at = 0
    while True:
        byte, at = data[at], at + 1
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    out = b""
    while at < len(data):
        assert data[at] == 61 << 2
        n = int.from_bytes(data[at + 1 : at + 3], "little") + 1
        out += data[at + 3 : at + 3 + n]
        at += 3 + n
    assert len(out) == size
    return out


@pytest.mark.parametrize("size", [0, 1, 127, 128, 65535, 65536, 65537, 200_000])
def test_snappy(size):
    data = np.random.default_rng(size).bytes(size)
    assert snappy_ref(encode_snappy(data)) == data
