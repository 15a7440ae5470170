"""Endpoints of the conflicts of an open merge: GET lists them, POST decides them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from dagdvid.datatype import Instance
from dagdvid.errors import BadRequest
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.conflicts import SIDES, count, listed, resolve
from dagdvid.repo.routes import Target
from dagdvid.routes import Example, Reply, Request, Right, Route, RouteTable, json_reply

__all__ = ["CONFLICTS"]

_MOST = 1000
_BODY = 64 * 2**20


def get_conflicts(catalog: Catalog, target: Target, request: Request) -> Reply:
    """GET conflicts."""
    name = request.query.get("data")
    instance = None if name is None else target.repo.instance(name)
    after, most = (_number(request, word, default) for word, default in (("after", 0), ("max", _MOST)))
    found = listed(catalog, target.repo, target.version, instance, after, most)
    return Reply(_told(count(catalog, target.version), found), "application/json")


def _told(total: int, found: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    yield f'{{"open":{total},"conflicts":['.encode()
    for i, conflict in enumerate(found):
        yield b"," * bool(i) + json.dumps(conflict, separators=(",", ":"), ensure_ascii=False).encode()
    yield b"]}"


def _number(request: Request, word: str, default: int) -> int:
    text = request.query.get(word, str(default))
    if not (text.isascii() and text.isdigit()):
        raise BadRequest(f"{word} must be a number, not {text!r}")
    return int(text)


def post_conflicts(catalog: Catalog, target: Target, request: Request) -> Reply:
    """POST conflicts."""
    body = request.json_object()
    unknown = body.keys() - {"take", "data", "ids"}
    if unknown:
        raise BadRequest(f"unknown member {min(unknown)!r}: there are take, data and ids")
    instances = _instances(target, body)
    ids = body.get("ids")
    if ids is not None and (not isinstance(ids, list) or not ids or not all(type(i) is int for i in ids)):
        raise BadRequest("'ids' must be a list of numbers, at least one, as GET conflicts shows them")
    resolved = resolve(catalog, target.repo, target.version, str(body.get("take")), instances, ids)
    return json_reply({"resolved": resolved, "open": count(catalog, target.version)})


def _instances(target: Target, body: dict[str, Any]) -> list[Instance] | None:
    names = body.get("data")
    if names is None:
        return None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise BadRequest("'data' must be a list of names of data instances, at least one")
    return [target.repo.instance(name) for name in names]


CONFLICTS = RouteTable(
    (
        Route(
            ("GET",),
            "conflicts",
            get_conflicts,
            "Of a three-way merge: the keys that both parents changed differently and nobody has decided, as JSON "
            f'{{"open": how many in all, "conflicts": [{{"id", "data", what it is, and what each of {", ".join(SIDES)} '
            'has: "bytes", and "text" if it is a short one; null if nothing}]}.',
            query={
                "data": "only of this instance",
                "after": "only ids above this: for the next page",
                "max": f"how many to list, {_MOST} unless told",
            },
            examples=(Example("conflicts", '{"open":1,"conflicts":[{"id":...,"data":"kv",...}]}', version="merge"),),
        ),
        Route(
            ("POST",),
            "conflicts",
            post_conflicts,
            'Resolve conflicts of a three-way merge. Body: JSON {"take", "data", "ids"}. `take` says what the key '
            "gets: `ours` (of the first parent), `theirs` (of the second), `base` (of their common ancestor), or "
            "`now` (what it has by now, after you wrote it, say). `data` (names) and `ids` limit what is "
            'resolved; without them it is all. Answers {"resolved", "open"}. A version with open conflicts cannot be '
            "committed.",
            right=Right.WRITE,
            max_body=_BODY,
            examples=(
                Example("conflicts", '{"resolved":1,"open":0}', '{"take":"theirs","data":["kv"]}', version="merge"),
            ),
        ),
    )
)
