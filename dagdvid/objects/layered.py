"""What lies below a store that does not hold all that it names: a cache, then bases on other machines (SPEC 8.10).

Absence is never asked for: a key is absent if an immutable leaf says so. An object that is named and not in the store
itself lies in a base, so whatever keeps it from being read is an error that names the base.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Protocol

from dagdvid.errors import DagdvidError, Offline, RemoteError
from dagdvid.objects.ahead import Ahead
from dagdvid.objects.cache import ObjectCache
from dagdvid.objects.store import Object
from dagdvid.objects.tree.nodes import EMPTY

__all__ = ["Base", "Counts", "Fetched", "Found", "Layers"]

_PAUSE = 2.0
"""Seconds for which a base that could not be reached is not asked again."""

log = logging.getLogger(__name__)


class Found(NamedTuple):
    """An object that a base has, proven to match its id, and what the base said beside it."""

    object: Object
    beside: bytes = b""


@dataclass
class Fetched:
    """What a base answered. What is in neither is not there."""

    found: dict[bytes, Found] = field(default_factory=dict)
    bad: dict[bytes, str] = field(default_factory=dict)
    """Objects that it should have and that came damaged, or not at all, and what was wrong."""


@dataclass
class Counts:
    """What was asked of a base by this process, since it was opened."""

    rounds: int = 0
    """Times that requests were begun while none was under way: how often its latency was waited for."""
    requests: int = 0
    objects: int = 0
    bytes: int = 0


class Base(Protocol):
    """Another place that has objects, for reading."""

    name: str
    """For people, without secrets."""
    counts: Counts

    def fetch(self, ids: Sequence[bytes]) -> Fetched:
        """Objects, in as few rounds as the place allows.

        Raises:
            Offline: it cannot be reached now. RemoteError: it refuses.
        """

    def learn(self, item: Object, beside: bytes) -> None:
        """Remember what the base once said beside an object."""

    def lacking(self, ids: Sequence[bytes]) -> list[bytes]:
        """The objects that it does not have; errors as `fetch`."""

    def close(self) -> None:
        """Let the connections go."""


class Layers:
    """The cache and the bases, asked in their order. Safe for threads."""

    def __init__(self, cache: ObjectCache | None, bases: Callable[[], Sequence[Base]]) -> None:
        """`bases`: those that there are now."""
        self.cache = cache
        self._bases = bases
        self._ahead = Ahead(self._fetch)
        self._lock = threading.Lock()
        self._failed: dict[str, tuple[float, RemoteError]] = {}
        self.reports: dict[str, str] = {}
        """By base: what was last wrong with it."""

    @property
    def any(self) -> bool:
        """Whether there is a base."""
        return bool(self._bases())

    def fetch(self, ids: Sequence[bytes]) -> dict[bytes, Object]:
        """Objects, those that there are.

        Raises:
            Offline: some may lie in a base that cannot be reached.
            RemoteError: some lie in a base that gave other bytes.
        """
        found = self._ahead.take(ids)
        return found | self._fetch([name for name in dict.fromkeys(ids) if name != EMPTY and name not in found])

    def expect(self, wanted: Sequence[tuple[bytes, int]]) -> None:
        """Begin to fetch objects, named with about their sizes, that will be asked for in about this order."""
        self._ahead.expect([each for each in wanted if each[0] != EMPTY])

    def _fetch(self, wanted: Sequence[bytes]) -> dict[bytes, Object]:
        bases = self._bases() if wanted else ()
        found: dict[bytes, Object] = {}
        if not bases:
            return found
        if self.cache is not None:
            for name, cached in self.cache.get_many(wanted).items():
                found[name] = cached.object
                for base in bases:
                    base.learn(cached.object, cached.beside)
        failure: RemoteError | None = None
        bad: dict[bytes, str] = {}
        for base in bases:
            rest = [name for name in wanted if name not in found]
            if not rest:
                return found
            try:
                fetched = self._ask(base, rest)
            except RemoteError as error:
                failure = failure or error
                continue
            bad.update(fetched.bad)
            found.update({name: each.object for name, each in fetched.found.items()})
            if self.cache is not None:
                self.cache.put_many([(each.object, each.beside) for each in fetched.found.values()])
        rest = [name for name in wanted if name not in found]
        if rest and failure is not None:
            raise type(failure)(f"{failure}: {len(rest)} objects that lie there cannot be read")
        for name in rest:
            if name in bad:
                raise RemoteError(f"object {name.hex()}: {bad[name]}")
        return found

    def lacking(self, ids: Sequence[bytes]) -> list[bytes]:
        """The objects that no base has; they are not fetched.

        Raises:
            Offline, RemoteError: a base cannot say.
        """
        rest = list(ids)
        for base in self._bases() if rest else ():
            rest = base.lacking(rest) if rest else rest
        return rest

    def _ask(self, base: Base, ids: Sequence[bytes]) -> Fetched:
        since, error = self._failed.get(base.name, (0.0, None))
        if error is not None and time.monotonic() - since < _PAUSE:
            raise error
        try:
            fetched = base.fetch(ids)
        except RemoteError as failed:
            self._report(base, failed)
            if isinstance(failed, Offline):
                self._failed[base.name] = time.monotonic(), failed
            raise
        self._failed.pop(base.name, None)
        for what in fetched.bad.values():
            self._report(base, what)
            break
        return fetched

    def _report(self, base: Base, what: DagdvidError | str) -> None:
        with self._lock:
            if self.reports.get(base.name) != str(what):
                log.warning("base %s: %s", base.name, what)
            self.reports[base.name] = str(what)

    def state(self) -> dict[str, dict[str, Any]]:
        """By base: what was asked of it, and what was last wrong with it, empty if nothing was."""
        return {
            base.name: {**asdict(base.counts), "problem": self.reports.get(base.name, "")} for base in self._bases()
        }

    def close(self) -> None:
        """Write what waits to be cached, and let all connections go."""
        self._ahead.close()
        for base in self._bases():
            base.close()
        if self.cache is not None:
            self.cache.close()
