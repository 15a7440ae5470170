"""The page that Prometheus reads (its text format, version 0.0.4)."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from dagdvid import __version__
from dagdvid.meters import BOUNDS, CLASSES, KINDS, METHODS, Meters
from dagdvid.repo.catalog import Catalog

__all__ = ["CONTENT_TYPE", "page"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def page(meters: Meters, catalog: Catalog, started: float, throttle: int) -> str:
    """All that is counted, as text."""
    return "\n".join(_lines(meters, catalog, started, throttle)) + "\n"


def _lines(meters: Meters, catalog: Catalog, started: float, throttle: int) -> Iterator[str]:
    totals = meters.totals()
    yield from _head("requests_total", "counter", "Requests answered, by method and class of status.")
    for method, status in product(METHODS, CLASSES):
        yield f'dagdvid_requests_total{{method="{method}",status="{status}"}} {totals[f"{method} {status}"]:.0f}'
    yield from _head("request_seconds", "histogram", "Time from the head of a request to the end of its answer.")
    for kind in KINDS:
        below = 0.0
        for i, bound in enumerate((*BOUNDS, "+Inf")):
            below += totals[f"{kind} {i}"]
            yield f'dagdvid_request_seconds_bucket{{kind="{kind}",le="{bound}"}} {below:.0f}'
        yield f'dagdvid_request_seconds_sum{{kind="{kind}"}} {totals[f"{kind} seconds"]:.6f}'
        yield f'dagdvid_request_seconds_count{{kind="{kind}"}} {below:.0f}'
    simple = [
        ("received_bytes_total", "counter", "Bytes of bodies that came.", totals["received"]),
        ("sent_bytes_total", "counter", "Bytes of bodies that were sent.", totals["sent"]),
        ("slow_requests_total", "counter", "Requests that took longer than [logging] slow.", totals["slow"]),
        (
            "refused_requests_total",
            "counter",
            "Requests told to come back, for too many were there.",
            totals["refused"],
        ),
        ("requests_in_work", "gauge", "Requests that are not answered yet.", totals["work"]),
        ("throttle_limit", "gauge", "Requests that ask to be throttled which may run at once.", throttle),
        ("start_time_seconds", "gauge", "When this process started, since the epoch.", started),
        ("tree_cache_bytes", "gauge", "What this process keeps of trees in memory.", catalog.nodes.cache.size()[0]),
        ("disk_free_bytes", "gauge", "What is free where the data directory lies.", _free(catalog.store.folder)),
        ("database_bytes", "gauge", "Size of the embedded database and its log.", _database(catalog)),
    ]
    for name, kind, text, value in simple:
        yield from _head(name, kind, text)
        yield f"dagdvid_{name} {value:.0f}"
    yield from _head("resident_bytes", "gauge", "Memory of the processes that serve.")
    for pid in meters.processes():
        yield f'dagdvid_resident_bytes{{pid="{pid}"}} {_resident(pid)}'
    yield from _head("info", "gauge", "Which dagdvid this is.")
    yield f'dagdvid_info{{version="{__version__}"}} 1'


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP dagdvid_{name} {text}"
    yield f"# TYPE dagdvid_{name} {kind}"


def _free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _database(catalog: Catalog) -> int:
    path = catalog.store.database.path
    sizes = [each.stat().st_size for each in (path, path.with_name(path.name + "-wal")) if each.exists()]
    return sum(sizes)


def _resident(pid: int) -> int:
    """Bytes; of other processes than this one only where the system has /proc."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0
