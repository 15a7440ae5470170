"""The plain form of `cseg`: neuroglancer's compressed segmentation, one channel, block by block; with the format.

The volume is cut into blocks (8^3 in DVID's answers), x running fastest; at the volume's upper ends they stick out. All
words are 32 bits, little-endian:

    1                          the words before the channel: this one
    for each block, 2 words    24 bits: where its table begins; 8 bits: bits of each voxel, 0, 1, 2, 4, 8, 16 or 32;
                               32 bits: where its voxels begin. Both in words from the first of these
    then, in any order, tables of labels (2 words each, 1 for uint32) and packed voxels: places in the block's table,
    the lowest bits first. Blocks may share a table.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dagdvid.errors import BadRequest

__all__ = ["TABLES", "decode_ref", "encode_ref", "too_large"]

EDGE = 8
TABLES = 1 << 24
"""Words in which tables can begin."""
_WIDTHS = (0, 1, 2, 4, 8, 16, 32)


def too_large() -> BadRequest:
    """What is said of a volume whose tables begin beyond TABLES."""
    return BadRequest("this volume is too large for compressed segmentation: ask for a smaller one")


def encode_ref(voxels: NDArray[np.uint64]) -> bytes:
    """As `cseg.encode`."""
    if any(edge % EDGE for edge in voxels.shape):
        raise BadRequest(f"compressed segmentation needs edges that are multiples of {EDGE}")
    grid = [range(0, edge, EDGE) for edge in voxels.shape]
    heads: list[int] = []
    words: list[NDArray[np.uint32]] = []
    end = 2 * voxels.size // EDGE**3
    last: list[int] = []
    table = 0
    for z, y, x in ((z, y, x) for z in grid[0] for y in grid[1] for x in grid[2]):
        cube = voxels[z : z + EDGE, y : y + EDGE, x : x + EDGE].reshape(-1).tolist()
        labels = list(dict.fromkeys(cube))
        width = next(width for width in _WIDTHS if len(labels) <= 1 << width)
        start = end
        if width:
            places = dict(zip(labels, range(len(labels)), strict=True))
            digits = np.array([places[label] for label in cube], np.uint32).reshape(-1, 32 // width)
            packed = np.bitwise_or.reduce(digits << np.arange(0, 32, width, dtype=np.uint32), axis=1)
            words.append(packed)
            end += len(packed)
        if labels != last:
            last, table = labels, end
            words.append(np.array(labels, "<u8").view("<u4"))
            end += 2 * len(labels)
        if table >= TABLES:
            raise too_large()
        heads += [table | width << 24, start]
    return np.concatenate([np.array([1, *heads], "<u4"), *words]).astype("<u4").tobytes()


def decode_ref(
    data: bytes | memoryview,
    shape: tuple[int, int, int],
    block: tuple[int, int, int],
    item: int,
) -> NDArray[np.uint64]:
    """As `cseg.decode`; item: words of a label in the tables."""
    found = np.zeros(shape, np.uint64)
    count = -(-shape[0] // block[0]) * -(-shape[1] // block[1]) * -(-shape[2] // block[2])
    words = np.frombuffer(data, "<u4", len(data) // 4)
    if len(words) != len(data) / 4 or not len(words) or words[0] != 1 or len(words) < 1 + 2 * count:
        raise BadRequest("malformed compressed segmentation: its head")
    words = words[1:]
    size = block[0] * block[1] * block[2]
    kind = np.uint64 if item == 2 else np.uint32
    for number, corner in enumerate(_corners(shape, block)):
        head, start = (int(word) for word in words[2 * number : 2 * number + 2])
        table, width = head % TABLES, head // TABLES
        if width not in _WIDTHS:
            raise BadRequest(f"malformed compressed segmentation: voxels of {width} bits")
        places = np.zeros(size, np.int64)
        if width:
            packed = words[start : start + -(-size * width // 32)]
            if len(packed) < -(-size * width // 32):
                raise BadRequest("malformed compressed segmentation: it ends inside the voxels of a block")
            digits = packed[:, None] >> np.arange(0, 32, width, dtype=np.uint32) & np.uint32((1 << width) - 1)
            places = digits.reshape(-1)[:size].astype(np.int64)
        labels = words[table : table + item * (int(places.max()) + 1)]
        if len(labels) < item * (int(places.max()) + 1):
            raise BadRequest("malformed compressed segmentation: it ends inside a table")
        cube = np.ascontiguousarray(labels).view(kind)[places].reshape(block)
        part = found[tuple(slice(at, at + edge) for at, edge in zip(corner, block, strict=True))]
        part[:] = cube[tuple(slice(edge) for edge in part.shape)]
    return found


def _corners(shape: tuple[int, int, int], block: tuple[int, int, int]) -> Iterator[tuple[int, int, int]]:
    for z in range(0, shape[0], block[0]):
        for y in range(0, shape[1], block[1]):
            for x in range(0, shape[2], block[2]):
                yield z, y, x
