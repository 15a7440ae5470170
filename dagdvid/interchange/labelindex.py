"""DVID's messages of label indices and mappings (datatype/common/proto/labelops.proto), as columns.

    LabelIndex { map<uint64, SVCount> blocks = 1; uint64 label = 2; uint64 last_mutid = 3;
                 string last_mod_time = 4; string last_mod_user = 5; string last_mod_app = 6 }
    SVCount { map<uint64, uint32> counts = 1; uint64 surface_mutid = 2 }
    LabelIndices { repeated LabelIndex indices = 1 }
    MappingOps { repeated MappingOp mappings = 1 }
    MappingOp { uint64 mutid = 1; uint64 mapped = 2; repeated uint64 original = 3 }

The key of a block packs its coordinates, x lowest, in 21 bits each: 20 of magnitude and one, the highest, of sign.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dagdvid.errors import BadRequest
from dagdvid.interchange.protowire import (
    LEN,
    VARINT,
    delimited,
    delimited_value,
    fields,
    unsigned_value,
    unsigned_values,
    varint,
    varint_field,
)
from dagdvid.kernels.twins import Twin

__all__ = [
    "LabelIndex",
    "MappingOp",
    "block_coords",
    "block_keys",
    "read_index",
    "read_indices",
    "read_mappings",
    "write_each",
    "write_index",
    "write_indices",
    "write_mappings",
]

Columns = tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64], bytes]

_BITS = 21
_SIGN = 1 << _BITS - 1
_MAX_COUNT = (1 << 32) - 1


def _no_blocks() -> NDArray[np.int64]:
    return np.empty((0, 3), np.int64)


def _no_labels() -> NDArray[np.uint64]:
    return np.empty(0, np.uint64)


def _no_counts() -> NDArray[np.int64]:
    return np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class LabelIndex:
    """What DVID knows of a body: N triples of block, supervoxel and voxels, and who changed it last."""

    label: int
    blocks: NDArray[np.int64] = field(default_factory=_no_blocks)
    """(N, 3): the coordinates x, y, z of each triple's block."""
    supervoxels: NDArray[np.uint64] = field(default_factory=_no_labels)
    counts: NDArray[np.int64] = field(default_factory=_no_counts)
    """Voxels, below 2^32."""
    mutation: int = 0
    time: str = ""
    """RFC 3339."""
    user: str = ""
    app: str = ""


class MappingOp(NamedTuple):
    """Supervoxels that get one body."""

    mutation: int
    body: int
    supervoxels: NDArray[np.uint64]


def block_keys(blocks: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The keys (N,) of block coordinates (N, 3), x, y, z in each row, of less than 21 bits."""
    packed = np.abs(blocks).astype(np.uint64) | np.where(blocks < 0, np.uint64(_SIGN), np.uint64(0))
    keys: NDArray[np.uint64] = packed[:, 0] | packed[:, 1] << np.uint64(_BITS) | packed[:, 2] << np.uint64(2 * _BITS)
    return keys


def block_coords(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The block coordinates (N, 3), x, y, z in each row, of keys (N,)."""
    packed = np.stack([keys >> np.uint64(shift) for shift in (0, _BITS, 2 * _BITS)], axis=1)
    size = (packed & np.uint64(_SIGN - 1)).astype(np.int64)
    return np.where(packed & np.uint64(_SIGN), -size, size)


def write_index(index: LabelIndex) -> bytes:
    """The message of an index; ascending by the keys of blocks, then by supervoxel."""
    return _message(index, block_keys(index.blocks))


def _message(index: LabelIndex, keys: NDArray[np.uint64]) -> bytes:
    order = np.lexsort((index.supervoxels, keys))
    keys = keys[order]
    parts = [_write_blocks(keys, index.supervoxels[order], index.counts[order])]
    for number, value in ((2, index.label), (3, index.mutation)):
        parts += [varint_field(number, value)] if value else []
    for number, text in ((4, index.time), (5, index.user), (6, index.app)):
        parts += [delimited(number, text.encode())] if text else []
    return b"".join(parts)


def write_each(indices: Sequence[LabelIndex]) -> list[bytes]:
    """The messages of indices."""
    if not indices:
        return []
    keys = block_keys(np.concatenate([index.blocks for index in indices]))
    ends = np.cumsum([len(index.blocks) for index in indices])
    return [_message(index, mine) for index, mine in zip(indices, np.split(keys, ends[:-1]), strict=True)]


def write_indices(indices: Sequence[LabelIndex]) -> bytes:
    """A LabelIndices message."""
    return b"".join(delimited(1, message) for message in write_each(indices))


def write_mappings(operations: Iterable[MappingOp]) -> bytes:
    """A MappingOps message."""
    return b"".join(
        delimited(
            1,
            varint_field(1, mutation)
            + varint_field(2, body)
            + delimited(3, b"".join(varint(supervoxel) for supervoxel in supervoxels.tolist())),
        )
        for mutation, body, supervoxels in operations
    )


def read_index(message: bytes | memoryview) -> LabelIndex:
    """The index of a LabelIndex message. Counts of 0 and `surface_mutid` are dropped.

    Raises:
        BadRequest: malformed, or a supervoxel twice in a block.
    """
    keys, supervoxels, counts, rest = _read_blocks(message) or read_blocks_ref(message)
    numbers = {2: 0, 3: 0}
    texts = {4: "", 5: "", 6: ""}
    for number, wire_type, value in fields(rest):
        if number in numbers:
            numbers[number] = unsigned_value(number, wire_type, value)
        elif number in texts:
            texts[number] = _text(delimited_value(number, wire_type, value))
    order = np.lexsort((supervoxels, keys))
    keys, supervoxels, counts = keys[order], supervoxels[order], counts[order]
    if ((keys[1:] == keys[:-1]) & (supervoxels[1:] == supervoxels[:-1])).any():
        raise BadRequest(f"the index of label {numbers[2]} has a supervoxel twice in a block")
    if counts.max(initial=0) > _MAX_COUNT:
        raise BadRequest(f"the index of label {numbers[2]} has a count of more than 32 bits")
    some = counts > 0
    return LabelIndex(
        numbers[2],
        block_coords(keys[some]),
        supervoxels[some],
        counts[some].astype(np.int64),
        numbers[3],
        *texts.values(),
    )


def read_indices(message: bytes | memoryview) -> list[LabelIndex]:
    """The indices of a LabelIndices message.

    Raises:
        BadRequest: malformed.
    """
    return [read_index(delimited_value(*entry)) for entry in fields(message) if entry[0] == 1]


def read_mappings(message: bytes | memoryview) -> list[MappingOp]:
    """The operations of a MappingOps message.

    Raises:
        BadRequest: malformed.
    """
    return [_operation(delimited_value(*entry)) for entry in fields(message) if entry[0] == 1]


def _operation(message: memoryview) -> MappingOp:
    numbers = {1: 0, 2: 0}
    supervoxels: list[NDArray[np.uint64]] = []
    for number, wire_type, value in fields(message):
        if number in numbers:
            numbers[number] = unsigned_value(number, wire_type, value)
        elif number == 3 and wire_type == VARINT:  # one by one
            supervoxels.append(np.array([value], np.uint64))
        elif number == 3:
            supervoxels.append(unsigned_values(delimited_value(number, wire_type, value)))
    return MappingOp(numbers[1], numbers[2], np.concatenate(supervoxels) if supervoxels else _no_labels())


def write_blocks_ref(keys: NDArray[np.uint64], labels: NDArray[np.uint64], counts: NDArray[np.int64]) -> bytes:
    """The entries of the field `blocks`, whose keys ascend, in plain Python."""
    distinct, starts = np.unique(keys, return_index=True)
    ends = np.append(starts, len(keys))[1:]
    pairs = [
        delimited(1, varint_field(1, label) + varint_field(2, count))
        for label, count in zip(labels.tolist(), counts.tolist(), strict=True)
    ]
    return b"".join(
        delimited(1, varint_field(1, key) + delimited(2, b"".join(pairs[start:end])))
        for key, start, end in zip(distinct.tolist(), starts.tolist(), ends.tolist(), strict=True)
    )


def read_blocks_ref(message: bytes | memoryview) -> Columns:
    """The entries of the field `blocks` as keys, labels and counts, and the bytes of all other fields.

    Raises:
        BadRequest: malformed.
    """
    rows: list[tuple[int, int, int]] = []
    rest = []
    for number, wire_type, value in fields(message):
        if number == 1:
            key, counts = _entry(delimited_value(number, wire_type, value))
            rows += [(key, *pair) for pair in _counts(counts)]
        elif isinstance(value, int):
            rest.append(varint_field(number, value))
        elif wire_type == LEN:
            rest.append(delimited(number, value))
    table = np.array(rows, np.uint64).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2], b"".join(rest)


def _entry(message: memoryview) -> tuple[int, memoryview]:
    """A block's key and the message of its counts; what is missing is 0, or empty."""
    key, counts = 0, memoryview(b"")
    for number, wire_type, value in fields(message):
        if number == 1:
            key = unsigned_value(number, wire_type, value)
        elif number == 2:
            counts = delimited_value(number, wire_type, value)
    return key, counts


def _counts(message: memoryview) -> Iterator[tuple[int, int]]:
    for entry in fields(message):
        if entry[0] == 1:
            pair = {1: 0, 2: 0}
            for number, wire_type, value in fields(delimited_value(*entry)):
                if number in pair:
                    pair[number] = unsigned_value(number, wire_type, value)
            yield pair[1], pair[2]


def _text(message: memoryview) -> str:
    try:
        return bytes(message).decode()
    except UnicodeDecodeError as error:
        raise BadRequest("malformed protobuf: a string is not UTF-8") from error


_write_blocks = Twin(write_blocks_ref, "indexbytes")
_read_blocks: Twin[[bytes | memoryview], Columns | None] = Twin(read_blocks_ref, "indexbytes")
"""None: the compiled form says so of what is malformed; the plain one raises BadRequest."""
