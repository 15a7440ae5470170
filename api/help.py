"""Help over HTTP, written from the route tables: a page of all routes, and a text for each datatype."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from html import escape
from typing import TYPE_CHECKING, Any

from dagdvid import __version__
from dagdvid.errors import BadRequest
from dagdvid.helptext import DATA_PREFIX, datatype_help, example_help, installed
from dagdvid.routes import Reply, Request, Route, RouteTable, json_reply, text_reply

from .openapi import Tables, openapi

if TYPE_CHECKING:
    from dagdvid.server import Server

__all__ = ["PREFIX", "segments", "table"]

PREFIX = "/api/"

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
    sections = []
    for title, about, prefix, routes in _chapters(tables):
        anchor = title.split(",")[0].lower().replace(" ", "-")
        body = "\n".join(_entry(prefix, route) for route in routes)
        sections.append((title, anchor, f'<h2 id="{anchor}">{escape(title)}</h2>\n{about}{body}'))
    contents = "".join(f'<li><a href="#{anchor}">{escape(title)}</a></li>\n' for title, anchor, _ in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>dagdvid: help</title>\n'
        f"<style>{_STYLE}</style></head><body>\n"
        f"<h1>dagdvid {escape(__version__)}</h1>\n"
        '<p>See also <a href="/api/repos/info">the repos of this server</a>, '
        '<a href="/api/server/info">about this server</a>, <a href="/api/openapi.json">OpenAPI</a>.</p>\n'
        f"<ul>\n{contents}</ul>\n{''.join(text for _, _, text in sections)}</body></html>\n"
    )


_STYLE = (
    "body{font:16px/1.4 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "h3{font:bold 15px monospace;margin:1.6em 0 .3em}p,dl{margin:.3em 0}dt{font-family:monospace;float:left;"
    "margin-right:1em}pre{background:#f3f3f3;padding:.6em;overflow:auto}"
)


def _chapters(tables: Tables) -> Iterator[tuple[str, str, str, list[Route]]]:
    """Title, what stands below it as HTML, URL prefix and routes: of the general tables by scope, then of datatypes."""
    own = {id(kind.routes) for kind in installed()}
    general = [row for row in tables if id(row[2]) not in own]
    for scope, title in TITLES.items():
        found = [(prefix, routes) for of, prefix, routes in general if of == scope]
        if found:
            yield title, "", found[0][0], [route for _, routes in found for route in routes]
    kinds = installed()
    for kind in kinds:
        family = [other for other in kinds if other.routes is kind.routes]
        if family[0] is kind:
            links = "".join(
                f'<li><a href="/api/help/{escape(other.name)}">{escape(other.name)}</a>: {escape(other.summary)}</li>\n'
                for other in family
            )
            yield ", ".join(other.name for other in family), f"<ul>\n{links}</ul>\n", DATA_PREFIX, list(kind.routes)


def _entry(prefix: str, route: Route) -> str:
    lines = [f"<h3>{escape(', '.join(route.methods))} {escape(prefix + route.pattern.lstrip('/'))}</h3>"]
    lines.append(f"<p>{escape(route.doc)}</p>")
    if route.query:
        items = (f"<dt>?{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in route.query.items())
        lines.append(f"<dl>{''.join(items)}</dl>")
    if route.examples:
        shown = (line for example in route.examples for line in example_help(prefix, route, example))
        lines.append(f"<pre>{escape(chr(10).join(shown))}</pre>")
    return "\n".join(lines) + "\n"
