"""Help over HTTP, written from the route tables: a page of datatypes, a text for each, and an OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from html import escape
from typing import TYPE_CHECKING, Any

from dagdvid import __version__
from dagdvid.errors import BadRequest
from dagdvid.helptext import DATA_PREFIX, datatype_help, installed, routes_help
from dagdvid.routes import Reply, Request, Right, Route, RouteTable, json_reply, text_reply

if TYPE_CHECKING:
    from dagdvid.server import Server

__all__ = ["PREFIX", "openapi", "segments", "table"]

PREFIX = "/api/"

Tables = Iterable[tuple[str, str, RouteTable]]

TITLES = {"server": "The server", "repo": "Repos", "node": "Versions", "data": "Every data instance"}


def segments(path: str) -> list[str]:
    """A path below PREFIX as the table's `match` takes it; empty if it lies elsewhere."""
    return path.removeprefix(PREFIX).split("/") if path.startswith(PREFIX) else []


def table(server: Server) -> RouteTable:
    """The routes of the help; their handlers take only the request."""
    tables = tuple(server.tables())

    @cache
    def document() -> dict[str, Any]:
        return openapi(tables)

    def page(request: Request) -> Reply:
        name = request.args.get("typename", "")
        if not name:
            return Reply(_page(tables).encode(), "text/html; charset=utf-8")
        for kind in installed():
            if kind.name == name:
                return text_reply(datatype_help(kind))
        raise BadRequest(f"unknown datatype {name!r}; installed: {', '.join(kind.name for kind in installed())}")

    return RouteTable(
        (
            Route(("GET",), "help/{typename?}", page, "This help: all datatypes, or one.", max_body=1 << 20),
            Route(
                ("GET",),
                "openapi.json",
                lambda _: json_reply(document()),
                "All endpoints as an OpenAPI document.",
                max_body=1 << 20,
            ),
        )
    )


def _page(tables: Tables) -> str:
    types = "".join(
        f'<li><a href="/api/help/{escape(kind.name)}">{escape(kind.name)}</a>: {escape(kind.summary)}</li>\n'
        for kind in installed()
    )
    own = [kind.routes for kind in installed()]
    general = "".join(
        f"<h2>{TITLES[scope]}</h2>\n<pre>{escape(routes_help(prefix, routes))}</pre>\n"
        for scope, prefix, routes in tables
        if not any(routes is table for table in own)
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>dagdvid: help</title></head><body>\n'
        f"<h1>dagdvid {escape(__version__)}</h1>\n"
        '<p>See also <a href="/api/repos/info">the repos of this server</a>, '
        '<a href="/api/server/info">about this server</a>, <a href="/api/openapi.json">OpenAPI</a>.</p>\n'
        f"<h2>Datatypes</h2>\n<ul>\n{types}</ul>\n{general}</body></html>\n"
    )


def openapi(tables: Tables) -> dict[str, Any]:
    """An OpenAPI 3.1 document of all routes. Endpoints that several datatypes share are described together."""
    paths: dict[str, dict[str, Any]] = {}
    owners = [(kind.routes, kind.name) for kind in installed()]
    for scope, prefix, routes in tables:
        tag = next((name for own, name in owners if own is routes), scope)
        for route in routes:
            for path in _paths(prefix, route):
                for method in route.methods:
                    methods = paths.setdefault(path, {})
                    methods[method.lower()] = _operation(route, path, tag, methods.get(method.lower()))
    return {
        "openapi": "3.1.0",
        "info": {"title": "dagdvid", "version": __version__},
        "paths": dict(sorted(paths.items())),
    }


def _paths(prefix: str, route: Route) -> list[str]:
    full = (prefix + route.pattern.lstrip("/")).rstrip("/")
    return [full.rpartition("/")[0], full.replace("?}", "}")] if full.endswith("?}") else [full]


def _operation(route: Route, path: str, tag: str, before: dict[str, Any] | None) -> dict[str, Any]:
    names = [word.strip("{}") for word in path.split("/") if word.startswith("{")]
    parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
    parameters += [
        {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
        for name, text in route.query.items()
    ]
    doc = " ".join(route.doc.split())
    if path.startswith(DATA_PREFIX):
        doc = f"{tag}: {doc}"
    operation: dict[str, Any] = {"tags": [tag], "description": doc, "parameters": parameters}
    if route.mutates or "POST" in route.methods:
        operation["requestBody"] = {"content": {"application/octet-stream": {}}}
    if route.right is not Right.READ:
        operation["x-right"] = route.right.value
    if before is not None:
        operation["tags"] = [*before["tags"], tag]
        operation["description"] = f"{before['description']}\n\n{doc}"
        known = {parameter["name"] for parameter in before["parameters"]}
        operation["parameters"] = before["parameters"] + [p for p in parameters if p["name"] not in known]
    operation["responses"] = {
        "200": {"description": "The answer."},
        "400": {"description": "The request is refused; one line of text says why."},
    }
    return operation
