"""Endpoints of a repo's ids: who may give out which, and having some (SPEC 6.10)."""

from __future__ import annotations

from dagdvid.errors import BadRequest
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.ids import kind_of
from dagdvid.repo.leases import claim_lacking, next_ids, overview
from dagdvid.repo.routes import Target
from dagdvid.routes import Example, Reply, Request, Right, Route, RouteTable, json_reply

__all__ = ["IDS"]


def show(catalog: Catalog, target: Target, request: Request) -> Reply:  # noqa: ARG001
    """GET ids."""
    return json_reply(overview(catalog, target.repo))


def reserve(catalog: Catalog, target: Target, request: Request) -> Reply:
    """POST ids."""
    body = request.json_object()
    counter, count = body.get("counter", "mutation"), body.get("count", 1)
    if not isinstance(counter, str) or not isinstance(count, int) or isinstance(count, bool):
        raise BadRequest("'counter' must be a string and 'count' a number")
    given = next_ids(catalog, target.repo, counter, count)
    return json_reply({"ranges": [[part.start, part.stop - 1] for part in given]})


def claim(catalog: Catalog, target: Target, request: Request) -> Reply:
    """POST ids/claim."""
    counter = request.json_object().get("counter")
    if not isinstance(counter, str):
        raise BadRequest("'counter' is missing")
    kind_of(counter)
    if counter not in overview(catalog, target.repo)["counters"]:
        raise BadRequest(f"the repo has no counter {counter!r}")
    (grant,) = claim_lacking(catalog, target.repo, [counter])
    return json_reply({"range": [grant.first, grant.last]})


_COUNTER = '"counter" is "mutation", or "label/<data uuid>".'

IDS = RouteTable(
    (
        Route(
            ("GET", "HEAD"),
            "ids",
            show,
            "Which server may give out which mutation ids and labels of the repo.",
            examples=(Example("ids", "{...}"),),
        ),
        Route(
            ("POST",),
            "ids",
            reserve,
            f'Have ids that no server gives out again. Body: JSON {{"counter", "count"}}; {_COUNTER}'
            ' Answers {"ranges": [[first, last], ...]}.',
            examples=(Example("ids", '{"ranges":[[...,...]]}', '{"counter":"mutation","count":10}'),),
        ),
        Route(
            ("POST",),
            "ids/claim",
            claim,
            "Draw a range of ids by lot, where no server can be asked for one: with a chance of 1 in 2^26 for each"
            f' other server that does so, what both make can never be joined. Body: JSON {{"counter"}}; {_COUNTER}',
            right=Right.MANAGE,
            examples=(Example("ids/claim", '{"range":[...,...]}', '{"counter":"mutation"}'),),
        ),
    )
)
