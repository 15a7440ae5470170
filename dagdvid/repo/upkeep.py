"""The background thread of a process: it folds what was sealed, and keeps the staging of open versions small."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from dagdvid.errors import DagdvidError, DamageError, StaleRead
from dagdvid.objects.local.turns import take_turn
from dagdvid.repo import fold
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.deferred import compute
from dagdvid.repo.staging import spaces_of
from dagdvid.repo.tidy import Pause, tidy_instance

__all__ = ["Upkeep"]

GRACE = 5.0
"""Seconds that `close` lets the work go on; what is not done by then is begun again at the next start."""
_REST = 0.02
"""Seconds between the commit of a version and its folding, so that what mostly follows at once, a child, goes first."""
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 300.0
"""Seconds after which work that failed is tried again, twice as long each time."""

QUIET = 1.0
"""Seconds without a write, after which what was put off of an instance is computed."""

TIDY_AFTER, RUN_COUNTS = 16_384, 2048
"""Rows after which the staging of an instance in a version is looked at, and how many rows a run counts for."""

Work = Callable[[Catalog, Pause], object]

log = logging.getLogger(__name__)


class _Stopped(Exception):
    """The process is closing."""


class Upkeep:
    """Works off what may wait, one thing at a time; begins with what an earlier run, or a dead worker, left undone."""

    def __init__(self, catalog: Catalog, grace: float = GRACE) -> None:
        self._catalog = catalog
        self._grace = grace
        self._work: dict[str, tuple[float, float, Work]] = {}
        """By what it is about: when it is due, the pause after a failure, and what to do."""
        self._staged: dict[tuple[int, int], int] = {}
        """What came since it was last looked at; threads may lose some of each other's counts, which costs nothing."""
        self._wake = threading.Condition()
        self._closing = False
        self._hurry = False
        """Somebody waits until all is done, so that nothing rests."""
        self._busy = False
        self._deadline = float("inf")
        self._thread = threading.Thread(target=self._loop, name="dagdvid-upkeep", daemon=True)
        catalog.upkeep = self
        self._add("", _resume)
        self._thread.start()

    def sealed(self, root: str, uuid: str) -> None:
        """As `catalog.Upkeep`."""

        def work(catalog: Catalog, pause: Pause) -> None:
            repo = catalog.repos().get(root)
            if repo is not None and uuid in repo.versions:  # else it was deleted meanwhile
                fold.fold(catalog, root, uuid, pause)

        self._add(f"the commit of version {uuid}", work, rest=_REST)

    def staged(self, version: int, data: int, rows: int, runs: int) -> None:
        """As `catalog.Upkeep`."""
        n = self._staged.get((version, data), 0) + rows + RUN_COUNTS * runs
        self._staged[version, data] = n if n < TIDY_AFTER else 0
        if n >= TIDY_AFTER:
            what = f"the tidying of instance {data} in version {version}"
            self._add(what, lambda catalog, pause: _tidy(catalog, version, data, pause))

    def deferred(self, root: str, version: str, data: str) -> None:
        """As `catalog.Upkeep`. It is done once the instance is left in peace for a moment."""

        def work(catalog: Catalog, pause: Pause) -> None:
            try:
                _compute(catalog, root, version, data, pause)
            except StaleRead:  # somebody writes again
                self.deferred(root, version, data)

        self._add(f"what was put off of instance {data} in version {version}", work, QUIET)

    def settle(self) -> None:
        """Wait until nothing is left but what failed and will be tried again."""
        with self._wake:
            self._hurry = True
            self._wake.notify_all()
            self._wake.wait_for(lambda: not self._busy and all(pause for _, pause, _ in self._work.values()))
            self._hurry = False

    def close(self) -> None:
        """Finish what waits, for some seconds at most."""
        with self._wake:
            self._closing = True
            self._deadline = time.monotonic() + self._grace
            self._wake.notify_all()
        self._thread.join()
        self._catalog.upkeep = None

    def _add(self, what: str, work: Work, pause: float = 0.0, rest: float = 0.0) -> None:
        with self._wake:
            self._work[what] = time.monotonic() + pause + rest, pause, work
            self._wake.notify_all()

    def _loop(self) -> None:
        while (found := self._next()) is not None:
            what, pause, work = found
            try:
                with self._catalog.store.leases.held():
                    work(self._catalog, self._pause)
            except _Stopped:
                return
            except DamageError as error:  # the version stays sealed, and is read from its staging
                log.error("%s cannot be finished: %s", what, error)
            except Exception as error:  # whatever it is, the next piece of work must not suffer
                log.log(
                    logging.WARNING if isinstance(error, DagdvidError) else logging.ERROR,
                    "%s failed and will be tried again: %s", what, error, exc_info=not isinstance(error, DagdvidError),
                )  # fmt: skip
                if not self._closing:
                    self._add(what, work, min(_LONGEST_PAUSE, max(_FIRST_PAUSE, 2 * pause)))

    def _next(self) -> tuple[str, float, Work] | None:
        with self._wake:
            self._busy = False
            self._wake.notify_all()
            while True:
                due = min(self._work.items(), key=lambda item: item[1][0], default=None)
                now = time.monotonic()
                if due is not None and (due[1][0] <= now or ((self._hurry or self._closing) and not due[1][1])):
                    del self._work[due[0]]
                    self._busy = True
                    return due[0], due[1][1], due[1][2]
                if self._closing:
                    return None
                self._wake.wait(None if due is None else due[1][0] - now)

    def _pause(self) -> None:
        if time.monotonic() > self._deadline:
            raise _Stopped
        time.sleep(0)  # requests go first


def _resume(catalog: Catalog, pause: Pause) -> None:
    """What was left undone."""
    for root, uuid in fold.unfinished(catalog):
        log.info("finishing the commit of version %s", uuid)
        try:
            fold.fold(catalog, root, uuid, pause)
        except DamageError as error:
            log.error("the commit of version %s cannot be finished: %s", uuid, error)
    fold.leftover(catalog, pause)
    for repo in catalog.repos().values():
        for version in repo.versions.values():
            if version.state == "open":
                for data in sorted({data for data, _ in spaces_of(catalog.store.database, version.id)}):
                    _tidy(catalog, version.id, data, pause)
                for instance in repo.instances.values():
                    _compute(catalog, repo.root, version.uuid, instance.uuid, pause)
    for data in sorted({data for data, _ in spaces_of(catalog.store.database, 0)}):
        _tidy(catalog, 0, data, pause)


def _compute(catalog: Catalog, root: str, uuid: str, data: str, pause: Pause) -> None:
    with take_turn(catalog.store.folder, pause):
        repo = catalog.repos().get(root)
        version, instance = (repo.versions.get(uuid), repo.by_data_uuid.get(data)) if repo else (None, None)
        if repo and version and instance and not (version.locked and instance.versioned):  # else the fold does it
            compute(catalog, repo, version, instance, pause)


def _tidy(catalog: Catalog, version: int, data: int, pause: Pause) -> None:
    with take_turn(catalog.store.folder, pause):
        tidy_instance(catalog, version, data, pause)
