"""The bases of the repos of a store: which there are, and reading from them."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from dagdvid.errors import Unverified
from dagdvid.objects.cache import CACHE, ObjectCache
from dagdvid.objects.ids import TYPES
from dagdvid.objects.layered import Base, Counts, Fetched, Found, Layers
from dagdvid.objects.local.store import LocalStore
from dagdvid.objects.store import Object
from dagdvid.remote.objects import read_objects
from dagdvid.remote.peer import Peer
from dagdvid.remote.published.reader import PublishedBase
from dagdvid.remote.published.shelf import SHELF, Shelf
from dagdvid.remote.published.site import open_site
from dagdvid.repo.bases import SERVER, base_rows

__all__ = ["ServerBase", "open_layers"]

_BATCH, _AT_ONCE = 512, 4


class ServerBase:
    """Another dagdvid server as a base."""

    def __init__(self, url: str) -> None:
        self._peer = Peer(url)
        self.name = self._peer.name
        self.counts = Counts()
        self._pool = ThreadPoolExecutor(_AT_ONCE, "dagdvid-base")

    def fetch(self, ids: Sequence[bytes]) -> Fetched:
        """As `Base.fetch`."""
        step = max(1, min(_BATCH, -(-len(ids) // _AT_ONCE)))
        parts = [ids[start : start + step] for start in range(0, len(ids), step)]
        fetched = Fetched()
        self.counts.rounds += 1
        self.counts.requests += len(parts)
        for part, data in zip(parts, self._pool.map(self._peer.get_objects, parts), strict=True):
            wanted = set(part)
            self.counts.bytes += len(data)
            try:
                for item in read_objects(data, TYPES):
                    if item.id in wanted:
                        fetched.found[item.id] = Found(item)
                        self.counts.objects += 1
            except Unverified as error:
                lost = [name for name in part if name not in fetched.found]
                fetched.bad.update(dict.fromkeys(lost, f"{self.name} sent what does not verify: {error}"))
        return fetched

    def learn(self, item: Object, beside: bytes) -> None:
        """As `Base.learn`: a server finds by ids."""

    def lacking(self, ids: Sequence[bytes]) -> list[bytes]:
        """As `Base.lacking`."""
        return [name for name, there in zip(ids, self._peer.have(ids), strict=True) if not there]

    def close(self) -> None:
        """As `Base.close`."""
        self._pool.shutdown()
        self._peer.__exit__()


class _Bases:
    """The bases that the database names, opened when they are needed."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self._open: dict[tuple[str, str, str], Base] = {}
        self._lock = threading.Lock()

    def __call__(self) -> list[Base]:
        wanted = list(dict.fromkeys(row[1:] for row in base_rows(self._store)))
        with self._lock:
            for key in wanted:
                if key not in self._open:
                    self._open[key] = self._opened(*key)
            return [self._open[key] for key in wanted]

    def _opened(self, url: str, kind: str, heads: str) -> Base:
        if kind == SERVER:
            return ServerBase(url)
        site = open_site(url)
        return PublishedBase(site, Shelf(site, self._store.folder / SHELF), json.loads(heads))


def open_layers(store: LocalStore) -> Layers:
    """What lies below a store: its cache and bases, those that there are and that come."""
    cache = None if store.readonly else ObjectCache(store.folder / CACHE)
    return Layers(cache, _Bases(store))
