"""DVID's compressed label blocks: voxels to bytes and back, and what needs no voxels. `labelblocks_ref` has the format.

Blocks are arrays [z, y, x] of uint64. Bytes that a client sent are a BadRequest where they are malformed. A few bytes
can stand for 1024^3 voxels: look at `shape` before you decode what a client sent.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dagdvid.kernels import labelblocks_ref
from dagdvid.kernels.labelblocks_ref import HEADER, SUB, Counted, labels_in, shape
from dagdvid.kernels.twins import Twin

__all__ = [
    "Counted",
    "canonical",
    "check",
    "counts",
    "decode",
    "encode",
    "encode_counted",
    "labels_in",
    "mask",
    "relabel",
    "shape",
    "solid",
]

Mapping = tuple[NDArray[np.uint64], NDArray[np.uint64]]
"""Labels, ascending, and what each becomes."""

_MODULE = "labelblocks"
_decode = Twin(labelblocks_ref.decode_ref, _MODULE)
_encode = Twin(labelblocks_ref.encode_ref, _MODULE)
_canonical = Twin(labelblocks_ref.canonical_ref, _MODULE)
_check = Twin(labelblocks_ref.check_ref, _MODULE)
_counts = Twin(labelblocks_ref.counts_ref, _MODULE)
_mask = Twin(labelblocks_ref.mask_ref, _MODULE)


def decode(data: bytes | memoryview) -> NDArray[np.uint64]:
    """The voxels of a block, in C order.

    Raises:
        BadRequest: malformed.
    """
    return _decode(data)


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
    """Which voxels [z, y, x] of a block have one of some labels.

    Raises:
        BadRequest: malformed.
    """
    return _mask(data, labels)


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
