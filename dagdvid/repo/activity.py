"""Who did what to a repo and its versions, with which program: `?u=` and `?app=` of requests that changed something.

DVID tells this to its Kafka activity topic alone. What changes data has its user and program in the mutation log of the
version, too; here is all else: commits, children, branches, tags, notes, logs, instances, their tags and properties.
"""

from __future__ import annotations

import json
import secrets
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from dagdvid.objects import canonical
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.model import Repo
from dagdvid.repo.record import now
from dagdvid.repo.shared import ACTS, add
from dagdvid.routes import Reply, Request

__all__ = ["act_of", "activity", "note_act"]

_SMALL = 4096


def note_act(
    catalog: Catalog, root: str, request: Request, reply: Reply, action: str, version: str = "", data: str = ""
) -> None:
    """Enter what a request did, if it says who asks and has changed something; before it is answered.

    action: the first word of its route. version, data: what it was about, where that is not the whole repo.
    """
    if not (request.user or request.app) or reply.status >= 300 or not isinstance(reply.body, bytes):
        return
    repo = catalog.repos().get(root)
    if repo is not None:
        add(catalog, repo, ACTS, *act_of(request, reply, action, version, data))


def act_of(request: Request, reply: Reply, action: str, version: str = "", data: str = "") -> tuple[bytes, bytes]:
    """What a request did, as key and value of an entry."""
    said = _members(reply.body) if isinstance(reply.body, bytes) and reply.content_type == "application/json" else {}
    asked = _members(request.body)
    act = {
        "action": "delete" if request.method == "DELETE" else action,
        "version": version,
        "data": data or asked.get("dataname", ""),
        "child": said.get("child", ""),
        "user": request.user,
        "app": request.app,
        "time": now(),
    }
    key = time.time_ns().to_bytes(8, "big") + secrets.token_bytes(8)
    return key, canonical.encode({name: text for name, text in act.items() if text})


def activity(catalog: Catalog, repo: Repo, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """What was done, oldest first; the newest entries if there is a limit.

    Each has `action` and `time`, and what is known of `user`, `app`, `version`, `data` and `child`.
    """
    if repo.shared.uuid not in repo.numbers:
        return
    entries = catalog.snapshot(repo, repo.versions[repo.root], repo.shared).items(ACTS)
    for _, value in deque(entries, limit) if limit is not None else entries:
        yield canonical.decode(value)


def _members(body: bytes) -> dict[str, str]:
    """The texts of a small JSON object, by lower-case name."""
    try:
        found = json.loads(body) if len(body) <= _SMALL else {}
    except ValueError:
        return {}
    return {k.lower(): v for k, v in found.items() if isinstance(v, str)} if isinstance(found, dict) else {}
