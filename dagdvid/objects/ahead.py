"""Fetches from bases what will be asked for soon, while what came before it is worked on."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from dagdvid.errors import DagdvidError
from dagdvid.objects.store import Object

__all__ = ["Ahead"]

_PART_IDS, _PART_BYTES = 512, 8 * 2**20
_HELD = 128 * 2**20
"""Bytes that may wait to be taken."""
_AT_ONCE = 4
_KEPT = 30.0
"""Seconds after which what nobody took is dropped."""

Fetch = Callable[[Sequence[bytes]], dict[bytes, Object]]


class _Part:
    def __init__(self, ids: Sequence[bytes], size: int) -> None:
        self.ids = set(ids)
        self.order = ids
        self.size = size
        self.born = time.monotonic()
        self.coming: Future[dict[bytes, Object]] | None = None


class Ahead:
    """What is on its way. Safe for threads."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._lock = threading.RLock()  # a part may be there before its callback is set
        self._parts: OrderedDict[_Part, None] = OrderedDict()
        self._of: dict[bytes, _Part] = {}
        self._held = 0
        self._pool: ThreadPoolExecutor | None = None

    def expect(self, wanted: Sequence[tuple[bytes, int]]) -> None:
        """Objects, with about their sizes, that will be asked for in about this order."""
        part: list[bytes] = []
        size = 0
        with self._lock:
            self._drop_old()
            for name, about in wanted:
                if name in self._of:
                    continue
                part.append(name)
                size += about
                if len(part) == _PART_IDS or size >= _PART_BYTES:
                    self._add(part, size)
                    part, size = [], 0
            if part:
                self._add(part, size)
            self._start()

    def take(self, ids: Sequence[bytes]) -> dict[bytes, Object]:
        """Those of the objects that were expected, once they are there; what could not be fetched is left out."""
        with self._lock:
            parts = {part: None for name in ids if (part := self._of.get(name)) is not None}
            for part in parts:
                self._begin(part)
        found: dict[bytes, Object] = {}
        for part in parts:
            try:
                came = part.coming.result() if part.coming is not None else {}
            except DagdvidError:  # whoever wants it asks again, and is told
                came = {}
            mine = [name for name in ids if name in part.ids]
            found |= {name: came[name] for name in mine if name in came}
            with self._lock:
                self._forget(part, mine if came else list(part.ids))
                self._start()
        return found

    def close(self) -> None:
        """Give up what is on its way."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _add(self, ids: list[bytes], size: int) -> None:
        part = _Part(ids, size)
        self._parts[part] = None
        self._of.update(dict.fromkeys(ids, part))

    def _start(self) -> None:
        running = sum(part.coming is not None and not part.coming.done() for part in self._parts)
        for part in self._parts:
            if self._held >= _HELD or running >= _AT_ONCE:
                break
            if part.coming is None:
                self._begin(part)
                running += 1

    def _begin(self, part: _Part) -> None:
        if part.coming is None:
            self._pool = self._pool or ThreadPoolExecutor(_AT_ONCE, "dagdvid-ahead")
            self._held += part.size
            part.coming = self._pool.submit(self._fetch, part.order)
            part.coming.add_done_callback(self._done)

    def _done(self, _: Future[dict[bytes, Object]]) -> None:
        with self._lock:
            self._start()

    def _forget(self, part: _Part, ids: Sequence[bytes]) -> None:
        for name in ids:
            if name in part.ids:
                part.ids.discard(name)
                if self._of.get(name) is part:
                    del self._of[name]
        if not part.ids and part in self._parts:
            del self._parts[part]
            self._held -= part.size if part.coming is not None else 0

    def _drop_old(self) -> None:
        limit = time.monotonic() - _KEPT
        for part in [part for part in self._parts if part.born < limit]:
            self._forget(part, list(part.ids))
