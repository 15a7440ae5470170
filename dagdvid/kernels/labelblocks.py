"""DVID's compressed label blocks: voxels to bytes and back, and what needs no voxels. `labelblocks_ref` has the format.

Blocks are arrays [z, y, x] of uint64. Bytes that a client sent are a BadRequest where they are malformed. A few bytes
can stand for 1024^3 voxels: look at `shape` before you decode what a client sent.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dagdvid.kernels import labelblocks_ref
from dagdvid.kernels.labelblocks_ref import HEADER, SUB, Counted, Triple, labels_in, shape
from dagdvid.kernels.twins import Twin

__all__ = [
    "Counted",
    "at",
    "canonical",
    "check",
    "counts",
    "decode",
    "decode_into",
    "downres_into",
    "encode",
    "encode_counted",
    "labels_in",
    "mask",
    "mask_into",
    "relabel",
    "shape",
    "solid",
]

Mapping = tuple[NDArray[np.uint64], NDArray[np.uint64]]
"""Labels, ascending, and what each becomes."""

_decode = Twin(labelblocks_ref.decode_ref, "blockvoxels")
_encode = Twin(labelblocks_ref.encode_ref, "blockforms")
_canonical = Twin(labelblocks_ref.canonical_ref, "blockforms")
_check = Twin(labelblocks_ref.check_ref, "blockforms")
_counts = Twin(labelblocks_ref.counts_ref, "blockforms")
_mask_into = Twin(labelblocks_ref.mask_into_ref, "blockvoxels")
_at = Twin(labelblocks_ref.at_ref, "blockvoxels")
_decode_into = Twin(labelblocks_ref.decode_into_ref, "blockvoxels")
_downres_into = Twin(labelblocks_ref.downres_into_ref, "blockvoxels")


def decode(data: bytes | memoryview) -> NDArray[np.uint64]:
    """The voxels of a block, in C order.

    Raises:
        BadRequest: malformed.
    """
    return _decode(data)


def decode_into(data: bytes | memoryview, volume: NDArray[np.uint64], at: Triple, first: Triple, size: Triple) -> None:
    """Copy a box of a block's voxels to a volume [z, y, x] in C order; no other voxels are unpacked.

    Args:
        data: the block.
        volume: of uint64.
        at: z, y, x in the volume.
        first: z, y, x of the box in the block.
        size: voxels along z, y, x, all of them in the block and in the volume.

    Raises:
        BadRequest: malformed.
    """
    _decode_into(data, volume, at, first, size)


def downres_into(data: bytes | memoryview, volume: NDArray[np.uint64], at: Triple) -> None:
    """Put a block at half its resolution (`downres`) into a volume [z, y, x] in C order, at z, y, x.

    Raises:
        BadRequest: malformed.
    """
    _downres_into(data, volume, at)


def at(data: bytes | memoryview, points: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The labels of points (N, 3), x, y, z in each row, all of them within the block.

    Raises:
        BadRequest: malformed.
    """
    return _at(data, points)


def encode(block: NDArray[np.uint64]) -> bytes:
    """The canonical form of a block whose edges are multiples of 8, from 16 to 1024."""
    return _encode(block).data


def encode_counted(block: NDArray[np.uint64]) -> Counted:
    """The canonical form of such a block, and its counts: both at the price of one."""
    return _encode(block)


def canonical(data: bytes | memoryview) -> Counted:
    """The canonical form of a block as a client sent it, and its counts.

    Raises:
        BadRequest: malformed.
    """
    return _canonical(data)


def check(data: bytes | memoryview) -> bool:
    """Whether a block is in its canonical form.

    Raises:
        BadRequest: it is no block at all.
    """
    return _check(data)


def counts(data: bytes | memoryview | NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The labels of a block, or of any array of labels, ascending and without 0; and how many voxels each has.

    Raises:
        BadRequest: malformed.
    """
    return labelblocks_ref.count_ref(data) if isinstance(data, np.ndarray) else _counts(data)


def mask(data: bytes | memoryview, labels: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which voxels [z, y, x] of a block have one of some labels, which ascend.

    Raises:
        BadRequest: malformed.
    """
    found = np.empty(shape(data), bool)
    mask_into(data, labels, found)
    return found


def mask_into(data: bytes | memoryview, labels: NDArray[np.uint64], mask: NDArray[np.bool_], x: int = 0) -> None:
    """The same, written into a mask as high and deep as the block, from a place along x on.

    Raises:
        BadRequest: malformed.
    """
    _mask_into(data, labels, mask, x)


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
