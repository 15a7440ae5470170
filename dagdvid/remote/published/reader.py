"""A published store as a base: each level of a tree in one round of range requests (SPEC 8.10)."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from dagdvid.errors import Corrupt, Offline, RemoteError
from dagdvid.objects.layered import Counts, Fetched, Found
from dagdvid.objects.store import Object
from dagdvid.remote.published.form import Item, Locator, decode_locators, pack_path, split_item
from dagdvid.remote.published.index import INDEX_HEAD, ROW, Index, page_range, read_head, rows_of
from dagdvid.remote.published.shelf import Shelf
from dagdvid.remote.published.site import Site

__all__ = ["Locators", "PublishedBase"]

_GAP, _LONGEST = 64 * 2**10, 16 * 2**20
"""Bytes between two items up to which one request for both is better than two, and bytes of the longest request."""
_AT_ONCE = 16
_KNOWN = 400_000
"""Locators that are kept: about 100 MB."""
_SMALL_INDEX = 8 * 2**20
"""Bytes of an index up to which it is fetched whole."""


class Locators:
    """Where objects lie, as the objects say that refer to them. Safe for threads."""

    def __init__(self, most: int = _KNOWN) -> None:
        self._most = most
        self._found: OrderedDict[bytes, Locator] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: bytes) -> Locator | None:
        """Where an object may lie."""
        return self._found.get(name)

    def add(self, found: Mapping[bytes, Locator]) -> None:
        """Remember; what was learned first is forgotten first."""
        with self._lock:
            for name, at in found.items():
                self._found[name] = at
                self._found.move_to_end(name)
            while len(self._found) > self._most:
                self._found.popitem(last=False)


class PublishedBase:
    """The objects of a site that some heads name."""

    def __init__(self, site: Site, shelf: Shelf, heads: Sequence[str]) -> None:
        """Nothing is read before it is needed."""
        self.name = site.name
        self.counts = Counts()
        self._site = site
        self._shelf = shelf
        self._heads = heads
        self._indexes: dict[str, int] | None = None
        self._pinned: dict[bytes, Locator] = {}
        self._items: dict[bytes, Item] = {}
        self._graphs: list[str] = []
        """Those that were not read yet."""
        self._learned = Locators()
        self._packs: frozenset[bytes] = frozenset()
        self._index_packs: dict[str, list[bytes]] = {}
        self._whole: dict[str, Index] = {}
        self._pool = ThreadPoolExecutor(_AT_ONCE, "dagdvid-base")
        self._lock = threading.Lock()
        self._busy = 0

    def fetch(self, ids: Sequence[bytes]) -> Fetched:
        """As `Base.fetch`."""
        self._open()
        with self._lock:
            self.counts.rounds += not self._busy
            self._busy += 1
        try:
            return self._fetch(ids)
        finally:
            with self._lock:
                self._busy -= 1

    def _fetch(self, ids: Sequence[bytes]) -> Fetched:
        fetched = Fetched({name: Found(*self._items[name]) for name in ids if name in self._items})
        told = {name: at for name in ids if (at := self._where(name)) is not None and name not in fetched.found}
        self._read(told, fetched)
        rest = [name for name in ids if name not in fetched.found]
        if rest:
            self._read_graphs()
            self._read({name: at for name in rest if name not in told and (at := self._where(name))}, fetched)
            rest = [name for name in rest if name not in fetched.found]
        if rest:
            self._read(self._search(rest), fetched)
        for name in fetched.found:
            fetched.bad.pop(name, None)
        return fetched

    def learn(self, item: Object, beside: bytes) -> None:
        """As `Base.learn`."""
        self._learned.add(decode_locators(beside, item))

    def lacking(self, ids: Sequence[bytes]) -> list[bytes]:
        """As `Base.lacking`: by the indexes alone."""
        self._open()
        known = [name for name in ids if name not in self._items]
        found = self._search(known)
        return [name for name in known if name not in found]

    def close(self) -> None:
        """Let the connections go."""
        self._pool.shutdown()
        self._site.close()

    def _open(self) -> None:
        with self._lock:
            if self._indexes is not None:
                return
            indexes: dict[str, int] = {}
            packs: set[bytes] = set()
            for head in map(self._shelf.head, self._heads):
                for item in head.items:
                    self._pinned.update(decode_locators(item.locators, item.object))
                    self._items[item.object.id] = item
                packs.update(bytes.fromhex(name) for name in head.facts["packs"])
                indexes.update({each["id"]: each["n"] for each in head.facts["indexes"]})
                self._graphs += [each["id"] for each in head.facts["graphs"]]
            self._packs = frozenset(packs)
            self._indexes = indexes

    def _read_graphs(self) -> None:
        """Learn where the trees of all versions begin."""
        with self._lock:
            while self._graphs:
                for item in self._shelf.graph(self._graphs[-1]):
                    self._pinned.update(decode_locators(item.locators, item.object))
                self._graphs.pop()

    def _where(self, name: bytes) -> Locator | None:
        at = self._pinned.get(name) or self._learned.get(name)
        return at if at is not None and at.pack in self._packs else None

    # --- reading -----------------------------------------------------------------------------------------------------

    def _read(self, wanted: Mapping[bytes, Locator], fetched: Fetched) -> None:
        """Read items; what is not as it should be is noted as bad."""
        jobs = [(pack, part) for pack, spans in _spans(wanted) for part in _shared_out(spans)]
        if not jobs:
            return
        self.counts.requests += sum(len(spans) for _, spans in jobs)
        self.counts.bytes += sum(span.end - span.start for _, spans in jobs for span in spans)
        results = (
            self._pool.map(lambda job: self._read_pack(*job), jobs) if len(jobs) > 1 else [self._read_pack(*jobs[0])]
        )
        for found, bad in results:
            self.counts.objects += len(found)
            for name, item in found.items():
                fetched.found[name] = Found(*item)
                self.learn(*item)
            fetched.bad.update(bad)

    def _read_pack(self, pack: bytes, spans: Sequence[_Span]) -> tuple[dict[bytes, Item], dict[bytes, str]]:
        found: dict[bytes, Item] = {}
        bad: dict[bytes, str] = {}
        try:
            parts = self._site.read_ranges(pack_path(pack), [(span.start, span.end) for span in spans])
        except Offline:
            raise
        except RemoteError as error:
            return {}, {name: str(error) for span in spans for name, _ in span.items}
        for span, part in zip(spans, parts, strict=True):
            for name, at in span.items:
                start = at.offset - span.start
                try:
                    found[name] = split_item(name, part[start : start + at.size])
                except Corrupt as error:
                    bad[name] = f"pack {pack.hex()} of {self.name} is damaged at byte {at.offset}: {error}"
        return found, bad

    # --- searching ---------------------------------------------------------------------------------------------------

    def _search(self, ids: Sequence[bytes]) -> dict[bytes, Locator]:
        """Where objects lie that nothing has told of, by the indexes."""
        found: dict[bytes, Locator] = {}
        large = []
        for index, n in (self._indexes or {}).items():
            if n * ROW <= _SMALL_INDEX:
                found |= self._whole_index(index).find([name for name in ids if name not in found])
            else:
                large.append(index)
        rest = [name for name in ids if name not in found]
        if rest:
            for part in self._pool.map(lambda index: self._search_pages(index, rest), large):
                found |= part
        return {name: at for name, at in found.items() if at.pack in self._packs}

    def _whole_index(self, name: str) -> Index:
        if name not in self._whole:
            self._whole[name] = self._shelf.index(name)
        return self._whole[name]

    def _search_pages(self, index: str, ids: Sequence[bytes]) -> dict[bytes, Locator]:
        path = f"indexes/{index}"
        packs, n = read_head(self._site.read_ranges(path, [(0, INDEX_HEAD)])[0])
        start = INDEX_HEAD + 16 * packs
        if index not in self._index_packs:
            data = self._site.read_ranges(path, [(INDEX_HEAD, start)])[0]
            self._index_packs[index] = [data[i : i + 16] for i in range(0, len(data), 16)]
        pages = _joined(page_range(n, name) for name in ids)
        self.counts.requests += len(pages)
        parts = self._site.read_ranges(path, [(start + ROW * a, start + ROW * b) for a, b in pages])
        found: dict[bytes, Locator] = {}
        for part in parts:
            rows = rows_of(part, self._index_packs[index])
            found |= {name: rows[name] for name in ids if name in rows}
        return found


class _Span:
    """Items of one pack that are read with one request."""

    __slots__ = ("end", "items", "start")

    def __init__(self, name: bytes, at: Locator) -> None:
        self.start, self.end = at.offset, at.offset + at.size
        self.items = [(name, at)]

    def takes(self, at: Locator) -> bool:
        return at.offset <= self.end + _GAP and at.offset + at.size <= self.start + _LONGEST


def _spans(wanted: Mapping[bytes, Locator]) -> list[tuple[bytes, list[_Span]]]:
    """The requests for items, by pack."""
    by_pack: dict[bytes, list[_Span]] = {}
    for name, at in sorted(wanted.items(), key=lambda item: item[1]):
        spans = by_pack.setdefault(at.pack, [])
        if spans and spans[-1].takes(at):
            spans[-1].items.append((name, at))
            spans[-1].end = max(spans[-1].end, at.offset + at.size)
        else:
            spans.append(_Span(name, at))
    return list(by_pack.items())


def _shared_out(spans: Sequence[_Span]) -> Iterable[list[_Span]]:
    """Requests of one pack in parts that threads take."""
    step = max(1, -(-len(spans) // _AT_ONCE))
    for start in range(0, len(spans), step):
        yield list(spans[start : start + step])


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    result: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if result and start <= result[-1][1]:
            result[-1] = result[-1][0], max(end, result[-1][1])
        else:
            result.append((start, end))
    return result
