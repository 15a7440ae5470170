"""DVID's compressed label blocks: voxels to bytes and back, and what needs no voxels. `labelblocks_ref` has the format.

Blocks are arrays [z, y, x] of uint64 in C order. Bytes that a client sent are a BadRequest where they are malformed.
A few bytes can stand for 1024^3 voxels: look at `shape` before you decode what a client sent.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dagdvid.errors import BadRequest
from dagdvid.kernels.labelblocks_ref import HEADER, MAX_EDGE, SUB, counts_ref, decode_ref, encode_ref

__all__ = ["Counted", "canonical", "check", "counts", "decode", "encode", "labels_in", "relabel", "shape", "solid"]

Mapping = tuple[NDArray[np.uint64], NDArray[np.uint64]]
"""Labels, ascending, and what each becomes."""


class Counted(NamedTuple):
    """A block in its canonical form, and its voxels of each label."""

    data: bytes
    labels: NDArray[np.uint64]
    """Ascending, without 0."""
    counts: NDArray[np.int64]


def shape(data: bytes | memoryview) -> tuple[int, int, int]:
    """Voxels along z, y, x, from the header alone.

    Raises:
        BadRequest: there is no such header.
    """
    if len(data) < HEADER:
        raise BadRequest(f"malformed label block: {len(data)} bytes are too few")
    gx, gy, gz = (int(number) for number in np.frombuffer(data, "<u4", 3))
    if not all(2 <= edge <= MAX_EDGE for edge in (gx, gy, gz)):
        raise BadRequest(f"malformed label block: {gx} x {gy} x {gz} sub-blocks")
    return SUB * gz, SUB * gy, SUB * gx


def decode(data: bytes | memoryview) -> NDArray[np.uint64]:
    """The voxels of a block.

    Raises:
        BadRequest: malformed.
    """
    return decode_ref(data)


def encode(block: NDArray[np.uint64]) -> bytes:
    """The canonical form of a block whose edges are multiples of 8, from 16 to 1024."""
    return encode_ref(block)


def canonical(data: bytes | memoryview) -> Counted:
    """The canonical form of a block as a client sent it, and its counts.

    Raises:
        BadRequest: malformed.
    """
    block = decode(data)
    return Counted(encode(block), *counts_ref(block))


def check(data: bytes | memoryview) -> None:
    """See that a block is well-formed, canonical or not.

    Raises:
        BadRequest: malformed.
    """
    decode(data)


def labels_in(data: bytes | memoryview) -> NDArray[np.uint64]:
    """The label table alone: in canonical blocks, the labels that occur (0, too), by first appearance.

    Raises:
        BadRequest: the table is cut short.
    """
    count = int.from_bytes(data[12:HEADER], "little")
    if not count or len(data) < HEADER + 8 * count:
        raise BadRequest(f"malformed label block: {count} labels in {len(data)} bytes")
    return np.frombuffer(data, "<u8", count, HEADER)


def counts(data: bytes | memoryview | NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The labels of a block, or of any array of labels, ascending and without 0; and how many voxels each has.

    Raises:
        BadRequest: malformed.
    """
    return counts_ref(data if isinstance(data, np.ndarray) else decode(data))


def relabel(data: bytes | memoryview, mapping: Mapping) -> bytes:
    """A block with other labels: only its label table is written anew, so that it may list a label twice.

    Args:
        data: a block.
        mapping: labels, ascending, and what each becomes; others stay.

    Raises:
        BadRequest: malformed.
    """
    labels, (keys, values) = labels_in(data), mapping
    if not len(keys):
        return bytes(data)
    at = np.minimum(np.searchsorted(keys, labels), len(keys) - 1)
    mapped = np.where(keys[at] == labels, values[at], labels).astype("<u8")
    return b"".join([data[:HEADER], mapped.tobytes(), data[HEADER + mapped.nbytes :]])


def solid(label: int, size: tuple[int, int, int]) -> bytes:
    """The canonical block, of so many voxels along z, y, x, whose voxels all have one label."""
    gz, gy, gx = (edge // SUB for edge in size)
    return np.array([gx, gy, gz, 1], "<u4").tobytes() + label.to_bytes(8, "little")
