"""Marks on the objects of sealed packs: some ten bytes of memory each, whatever their sizes."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence

import numpy as np

from dagdvid.errors import Corrupt
from dagdvid.objects.local.pack import Entry, PackIndex
from dagdvid.objects.local.packs import Packs

__all__ = ["Marks"]

_FITS = 2**32


class Marks:
    """Up to eight flags an object. Those of packs that came later are kept by id."""

    def __init__(self, packs: Packs) -> None:
        """Marks for all packs that are sealed now, and not damaged."""
        self._packs = packs
        self._offsets: dict[int, array[int]] = {}
        self._flags: dict[int, bytearray] = {}
        self._later: dict[bytes, int] = {}
        for no, index in packs.indexes():
            if packs.view.names.get(no) in packs.damaged:
                continue
            offsets = np.sort(index.columns()[1])
            kind, code = ("<u4", "I") if not len(offsets) or offsets[-1] < _FITS else ("<u8", "Q")
            self._offsets[no] = array(code, offsets.astype(kind).tobytes())
            self._flags[no] = bytearray(index.n)

    def set(self, names: Sequence[bytes], flag: int) -> tuple[list[bytes], list[bytes]]:
        """Set a flag; those objects that had it not yet, and those that are not there."""
        fresh, missing = [], []
        found = self._packs.locate(names)
        for name in dict.fromkeys(names):
            at = found.get(name)
            if at is None:
                missing.append(name)
            elif at[0] in self._offsets:
                place = bisect_left(self._offsets[at[0]], at[1])
                flags = self._flags[at[0]]
                if not flags[place] & flag:
                    flags[place] |= flag
                    fresh.append(name)
            elif not self._later.get(name, 0) & flag:
                self._later[name] = self._later.get(name, 0) | flag
                fresh.append(name)
        return fresh, missing

    @property
    def packs(self) -> Iterable[int]:
        """The packs that it has marks for."""
        return self._offsets.keys()

    def count(self) -> int:
        """How many objects have a mark."""
        return sum(len(flags) - flags.count(0) for flags in self._flags.values()) + len(self._later)

    def sorted_out(self, no: int, index: PackIndex) -> tuple[list[Entry], list[Entry]]:
        """The entries of a pack without any mark, and the others.

        Raises:
            Corrupt: its index is not what it was.
        """
        if index.n != len(self._flags[no]):
            raise Corrupt(f"the index of pack {no} can no longer be read: run dagdvid fsck")
        flags, offsets = self._flags[no], self._offsets[no]
        dead: list[Entry] = []
        kept: list[Entry] = []
        for entry in filter(None, map(index.find, index)):
            (kept if flags[bisect_left(offsets, entry.offset)] else dead).append(entry)
        return dead, kept
