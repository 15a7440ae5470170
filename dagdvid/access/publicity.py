"""What those may read who do not say who they are: some versions (DVID: datastore/public.go), and some routes."""

from __future__ import annotations

import re
from collections.abc import Iterable

from dagdvid.errors import BadRequest, RequestError
from dagdvid.repo.catalog import Catalog

__all__ = ["CLOSED_DATA", "OPEN", "is_open", "public_versions"]

OPEN: dict[str, frozenset[str]] = {
    "server": frozenset(
        {
            "repos/info",  # shows what the caller may see
            "server/info",
            "server/note",
            "server/types",
            "server/compiled-types",
            "server/groupcache",
            "server/token",
            "heartbeat",
            "user-latencies",
            "load",
            "health",
            "ready",
        }
    ),
    "repo": frozenset({"", "info"}),
    "node": frozenset({"note", "log", "status", "commit", "hash"}),
}
"""Patterns of routes, by scope, that answer anybody, on repos and nodes of public versions."""
CLOSED_DATA = frozenset({"mutations-range/{beg}/{end}", "history/{label}/{fromuuid}/{touuid}"})
"""Of instances, all routes are open at a public version but these, which lead to other versions."""


def is_open(scope: str, pattern: str) -> bool:
    """Whether a route answers those who do not say who they are; of other scopes than "server", at public versions."""
    return pattern not in CLOSED_DATA if scope == "data" else pattern in OPEN[scope]


def public_versions(catalog: Catalog, uuids: Iterable[str]) -> frozenset[str]:
    """Committed versions, and all before them.

    Raises:
        BadRequest: one is not the whole UUID of a committed version.
    """
    found: set[str] = set()
    for uuid in uuids:
        if not re.fullmatch("[0-9a-f]{32}", uuid):
            raise BadRequest(f"public_versions entry {uuid!r} must be a full canonical UUID: 32 digits, 0-9 and a-f")
        try:
            repo, version = catalog.find(uuid)
        except RequestError:
            raise BadRequest(f"public_versions entry {uuid!r} is unknown") from None
        if not version.locked:
            raise BadRequest(f"public_versions UUID {uuid!r} must be committed/locked")
        front = [version.uuid]
        while front:
            each = front.pop()
            if each not in found:
                found.add(each)
                front.extend(repo.versions[each].parents)
    return frozenset(found)
