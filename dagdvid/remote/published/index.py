"""Indexes of published stores: where every object lies, sorted by id, so that any id is found (SPEC 8.7).

index    "dgvindx" 0x01 | u32 packs | u32 0 | u64 n | packs x 16 bytes id | n x row
row      32 bytes id | u32 pack | u32 bytes | u64 offset
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from dagdvid.errors import Corrupt
from dagdvid.objects.ids import ID_SIZE
from dagdvid.remote.published.form import PACK_ID, Locator

__all__ = ["INDEX_HEAD", "ROW", "Index", "encode_index", "merged", "page_range", "read_head", "rows_of"]

_HEAD = struct.Struct("<8sIIQ")
INDEX_HEAD = _HEAD.size
_ROW = np.dtype([("id", "V32"), ("pack", "<u4"), ("size", "<u4"), ("offset", "<u8")])
ROW = _ROW.itemsize
_MAGIC = b"dgvindx\x01"


def encode_index(found: Mapping[bytes, Locator]) -> bytes:
    """The index of objects."""
    names = sorted(found)
    packs = sorted({at.pack for at in found.values()})
    number = {pack: i for i, pack in enumerate(packs)}
    rows = np.zeros(len(names), _ROW)
    rows["id"] = np.frombuffer(b"".join(names), "V32")
    places = [found[name] for name in names]
    rows["pack"] = [number[at.pack] for at in places]
    rows["size"] = [at.size for at in places]
    rows["offset"] = [at.offset for at in places]
    return _HEAD.pack(_MAGIC, len(packs), 0, len(names)) + b"".join(packs) + rows.tobytes()


def read_head(data: bytes) -> tuple[int, int]:
    """Packs and rows that an index has, from its first INDEX_HEAD bytes.

    Raises:
        Corrupt: it is none.
    """
    if len(data) < _HEAD.size:
        raise Corrupt("an index that is cut short")
    magic, packs, _, n = _HEAD.unpack_from(data)
    if magic != _MAGIC:
        raise Corrupt("not an index of a published store")
    return packs, n


def page_range(n: int, name: bytes) -> tuple[int, int]:
    """Rows from and to which an id almost surely stands among n, ids being uniform."""
    guess = int.from_bytes(name[:8], "big") * n >> 64
    spread = 32 + 3 * int(n**0.5)
    return max(0, guess - spread), min(n, guess + spread)


def rows_of(data: bytes, packs: Sequence[bytes]) -> dict[bytes, Locator]:
    """Some rows of an index."""
    rows = np.frombuffer(data[: len(data) // ROW * ROW], _ROW)
    columns = (rows["pack"].tolist(), rows["offset"].tolist(), rows["size"].tolist())
    return {
        bytes(data[ROW * i : ROW * i + ID_SIZE]): Locator(packs[pack], offset, size)
        for i, (pack, offset, size) in enumerate(zip(*columns, strict=True))
        if pack < len(packs)
    }


class Index:
    """A whole index, in memory or in a file."""

    def __init__(self, data: bytes | mmap.mmap) -> None:
        """Raises Corrupt: it is none, or cut short."""
        packs, n = read_head(data[: _HEAD.size])
        start = _HEAD.size + PACK_ID * packs
        if len(data) != start + ROW * n:
            raise Corrupt("an index of another length than it says")
        self.packs = [data[_HEAD.size + PACK_ID * i : _HEAD.size + PACK_ID * (i + 1)] for i in range(packs)]
        self.n = n
        self._rows = np.frombuffer(data, _ROW, n, start)
        self._prefixes: np.ndarray | None = None

    @classmethod
    def open(cls, path: Path) -> Index:
        """The index in a file."""
        with path.open("rb") as file:
            return cls(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))

    def find(self, names: Sequence[bytes]) -> dict[bytes, Locator]:
        """Where objects lie, those that it has."""
        found: dict[bytes, Locator] = {}
        if not self.n or not names:
            return found
        if self._prefixes is None:
            raw = np.frombuffer(self._rows["id"].tobytes(), ">u8").reshape(-1, 4)
            self._prefixes = np.ascontiguousarray(raw[:, 0]).astype("<u8")
        wanted = np.frombuffer(b"".join(name[:8] for name in names), ">u8").astype("<u8")
        for name, i in zip(names, np.searchsorted(self._prefixes, wanted).tolist(), strict=True):
            at = i
            while at < self.n and (there := self._rows["id"][at].tobytes())[:8] == name[:8]:
                if there == name:
                    row = self._rows[at]
                    found[name] = Locator(self.packs[int(row["pack"])], int(row["offset"]), int(row["size"]))
                    break
                at += 1
        return found

    def items(self) -> dict[bytes, Locator]:
        """All of it."""
        return rows_of(self._rows.tobytes(), self.packs)


def merged(indexes: Iterable[Index]) -> dict[bytes, Locator]:
    """What several indexes have."""
    found: dict[bytes, Locator] = {}
    for index in indexes:
        found |= index.items()
    return found
