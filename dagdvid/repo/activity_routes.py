"""The endpoint of a repo's activity."""

from __future__ import annotations

import json
from collections.abc import Iterator

from dagdvid.errors import BadRequest
from dagdvid.repo.activity import activity
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.routes import Target
from dagdvid.routes import Example, Reply, Request, Route, RouteTable

__all__ = ["ACTIVITY"]


def get_activity(catalog: Catalog, target: Target, request: Request) -> Reply:
    """GET activity."""
    text = request.query.get("limit", "")
    if text and not (text.isascii() and text.isdigit() and len(text) < 10):
        raise BadRequest(f"limit must be a number of entries, not {text[:40]!r}")
    acts = activity(catalog, target.repo, int(text) if text else None)

    def parts() -> Iterator[bytes]:
        lead = "["
        for act in acts:
            yield (lead + json.dumps(act, separators=(",", ":"), ensure_ascii=False)).encode()
            lead = ","
        yield b"[]" if lead == "[" else b"]"

    return Reply(parts(), "application/json")


ACTIVITY = RouteTable(
    (
        Route(
            ("GET", "HEAD"),
            "activity",
            get_activity,
            "Who changed the repo, its versions or instances, with which program (?u= and ?app= of their requests), "
            "oldest first; what was done to data is in the mutations of its instance.",
            query={"limit": "only so many entries, the newest"},
            examples=(Example("activity?limit=1", "[{...}]"),),
        ),
    )
)
