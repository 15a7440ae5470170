"""What a server counts of its requests, in all of its processes: a small mapped file each; whoever asks adds them up.

Counts are kept while the server runs, those of processes that died, too; they begin anew when it starts again.
"""

from __future__ import annotations

import mmap
import os
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from itertools import count, product
from pathlib import Path

from dagdvid.sharedfolder import SharedFolder

__all__ = ["BOUNDS", "CLASSES", "KINDS", "METHODS", "Meters"]

METHODS = ("GET", "HEAD", "POST", "DELETE", "other")
CLASSES = ("2xx", "3xx", "4xx", "5xx")
KINDS = ("read", "write")
BOUNDS = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 600.0)
"""Upper bounds in seconds of the classes of duration; there is one more above."""

NAMES = (
    *(f"{method} {status}" for method, status in product(METHODS, CLASSES)),
    *(f"{kind} {i}" for kind, i in product(KINDS, range(len(BOUNDS) + 1))),
    *(f"{kind} seconds" for kind in KINDS),
    "received",
    "sent",
    "slow",
    "refused",
    "work",
    "second",
    "read now",
    "write now",
    "read before",
    "write before",
)
_AT = {name: i for i, name in enumerate(NAMES)}
_FIRST = {method: (_AT[f"{method} 2xx"] - 2, KINDS[method not in ("GET", "HEAD")]) for method in METHODS}
_OTHER = _FIRST["other"]
_BUCKET = {kind: _AT[f"{kind} 0"] for kind in KINDS}
_SECONDS = {kind: _AT[f"{kind} seconds"] for kind in KINDS}
_RECEIVED, _SENT, _SLOW, _REFUSED, _WORK = map(_AT.__getitem__, ("received", "sent", "slow", "refused", "work"))
_SECOND = _AT["second"]
_SIZE = len(NAMES) * 8
_PREFIX = "meters-"
_numbers = count()


class Meters:
    """The counts of one process. Only its event loop notes anything, so that nothing needs a lock."""

    def __init__(self, shared: SharedFolder) -> None:
        """There is no file before something is counted."""
        self._shared = shared
        self._file: Path | None = None

    @staticmethod
    def reset(shared: SharedFolder) -> None:
        """Forget the counts of processes that have gone, for a server that starts."""
        for path in shared.path.glob(f"{_PREFIX}*"):
            if not _lives(_pid(path)):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Forget what was counted here, at the end of the server."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)

    @cached_property
    def _values(self) -> memoryview[float]:
        self._file = self._shared.make() / f"{_PREFIX}{os.getpid()}-{next(_numbers)}"
        with self._file.open("w+b") as file:
            file.truncate(_SIZE)
            return memoryview(mmap.mmap(file.fileno(), _SIZE)).cast("d")

    def request(self, method: str, status: int, seconds: float, sent: int) -> None:
        """A request was answered."""
        values = self._values
        first, kind = _FIRST.get(method, _OTHER)
        values[first + min(max(status // 100, 2), 5)] += 1
        values[_BUCKET[kind] + bisect_left(BOUNDS, seconds)] += 1
        values[_SECONDS[kind]] += seconds
        values[_SENT] += sent
        now = int(time.time())
        if values[_SECOND] != now:
            follows = values[_SECOND] == now - 1
            for i in (1, 2):
                values[_SECOND + 2 + i] = values[_SECOND + i] if follows else 0
                values[_SECOND + i] = 0
            values[_SECOND] = now
        values[_SECOND + (1 if kind == "read" else 2)] += 1

    def received(self, size: int) -> None:
        """So many bytes of a body came."""
        self._values[_RECEIVED] += size

    def slow(self) -> None:
        """A request took longer than it should."""
        self._values[_SLOW] += 1

    def refused(self) -> None:
        """A request was told to come back, for there were too many."""
        self._values[_REFUSED] += 1

    def work(self, change: int) -> None:
        """So many more requests are in work."""
        self._values[_WORK] += change

    def totals(self) -> dict[str, float]:
        """The counts of all processes, by NAMES; what is in work, of those that live."""
        sums = dict.fromkeys(NAMES, 0.0)
        for alive, values in self._pages():
            for name, value in zip(NAMES, values, strict=True):
                if alive or name != "work":
                    sums[name] += value
        return sums

    def per_second(self) -> tuple[int, int]:
        """How many requests that read, and that write, were answered in the last whole second."""
        now = int(time.time())
        found = [0.0, 0.0]
        for _, values in self._pages():
            at = _SECOND + (3 if values[_SECOND] == now else 1)
            if values[_SECOND] in (now, now - 1):
                found = [found[0] + values[at], found[1] + values[at + 1]]
        return int(found[0]), int(found[1])

    def processes(self) -> list[int]:
        """The ids of the processes that count and live."""
        return sorted({_pid(path) for path in self._paths() if _lives(_pid(path))})

    def _pages(self) -> Iterator[tuple[bool, memoryview[float]]]:
        for path in self._paths():
            with suppress(OSError):
                page = path.read_bytes()
                if len(page) == _SIZE:
                    yield _lives(_pid(path)), memoryview(page).cast("d")

    def _paths(self) -> list[Path]:
        return sorted(self._shared.path.glob(f"{_PREFIX}*"))


def _pid(path: Path) -> int:
    return int(path.name.removeprefix(_PREFIX).partition("-")[0])


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
