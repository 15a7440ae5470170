"""Endpoints of the repo record's own history (SPEC 6.3): what changed in it, when, by whom."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any

from dagdvid.errors import BadRequest, UnknownName
from dagdvid.objects import canonical
from dagdvid.objects.blobs import read_value
from dagdvid.objects.ids import from_hex
from dagdvid.objects.tree.diff import diff
from dagdvid.objects.tree.node import Value
from dagdvid.objects.tree.nodes import EMPTY
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.model import Repo
from dagdvid.repo.record import Record, read_record
from dagdvid.repo.routes import Target
from dagdvid.routes import Example, Reply, Request, Route, RouteTable, json_reply

__all__ = ["RECORD", "changes", "history"]

_MOST = 100
NOW, START = "now", "start"


def history(catalog: Catalog, repo: Repo) -> Iterator[tuple[bytes, Record]]:
    """The states of the record from now back to the first, the newest first."""
    first = read_record(catalog.nodes, repo.record)
    waiting = [(_newest_first(first), repo.record, first)]
    seen = {repo.record}
    while waiting:
        _, name, record = heapq.heappop(waiting)
        yield name, record
        for parent in record.parents:
            if parent not in seen:
                seen.add(parent)
                before = read_record(catalog.nodes, parent)
                heapq.heappush(waiting, (_newest_first(before), parent, before))


def _newest_first(record: Record) -> tuple[int, ...]:
    return tuple(-ord(c) for c in record.time)


def changes(catalog: Catalog, before: bytes, after: bytes) -> list[dict[str, Any]]:
    """What differs from one record tree to another: facts with their values, absent ones without."""
    found = []
    for key, old, new in diff(catalog.nodes, before, after):
        fact: dict[str, Any] = {"key": key.decode("utf-8", "surrogateescape")}
        for name, value in (("before", old), ("after", new)):
            if value is not None:
                fact[name] = _value(catalog, value)
        found.append(fact)
    return found


def _value(catalog: Catalog, value: Value) -> Any:
    return canonical.decode(read_value(catalog.store, value))


def record_history(catalog: Catalog, target: Target, request: Request) -> Reply:
    """GET record/history."""
    most = request.query.get("max", str(_MOST))
    if not (most.isascii() and most.isdigit() and int(most)):
        raise BadRequest(f"max must be a number of at least 1, not {most!r}")
    found = []
    for name, record in history(catalog, target.repo):
        before = read_record(catalog.nodes, record.parents[0]).root if record.parents else EMPTY
        found.append(
            {
                "id": name.hex(),
                "parents": [parent.hex() for parent in record.parents],
                "time": record.time,
                "user": record.user,
                "changes": changes(catalog, before, record.root),
            }
        )
        if len(found) == int(most):
            break
    return json_reply(found)


def record_diff(catalog: Catalog, target: Target, request: Request) -> Reply:
    """GET record/diff/{a}/{b}."""
    roots = _roots(catalog, target.repo, [request.args["a"], request.args["b"]])
    return json_reply({"a": request.args["a"], "b": request.args["b"], "changes": changes(catalog, *roots)})


def _roots(catalog: Catalog, repo: Repo, texts: list[str]) -> list[bytes]:
    """The trees of states of this repo's record, and of no other's."""
    wanted = {text: from_hex(text) for text in texts if text not in (NOW, START)}
    known: dict[str, bytes] = {NOW: read_record(catalog.nodes, repo.record).root, START: EMPTY}
    if wanted:
        for name, record in history(catalog, repo):
            known.update({text: record.root for text, id_ in wanted.items() if id_ == name})
            if all(text in known for text in texts):
                break
    for text in texts:
        if text not in known:
            raise UnknownName(f"{text} is no state of the record of repo {repo.root}: see record/history")
    return [known[text] for text in texts]


RECORD = RouteTable(
    (
        Route(
            ("GET",),
            "record/history",
            record_history,
            "What changed in the repo's record (names, tags, branches, logs ...), the newest change first.",
            query={"max": f"how many changes to show, {_MOST} unless told"},
            examples=(Example("record/history?max=1", "[...]"),),
        ),
        Route(
            ("GET",),
            "record/diff/{a}/{b}",
            record_diff,
            f"What differs between two states of the record: ids of its history, `{NOW}`, or `{START}` for nothing.",
            examples=(Example("record/diff/start/now", "{...}"),),
        ),
    )
)
