"""An OpenAPI document, written from the route tables and their examples."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from dagdvid import __version__
from dagdvid.helptext import DATA_PREFIX, installed
from dagdvid.routes import Right, Route, RouteTable

__all__ = ["Tables", "openapi"]

Tables = Iterable[tuple[str, str, RouteTable]]
"""Scope, URL prefix and table."""


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
    known = _sample(route)
    names = [word.strip("{}") for word in path.split("/") if word.startswith("{")]
    parameters = [_parameter(name, "path", "", known.get(name)) for name in names]
    parameters += [_parameter(name, "query", text, known.get(f"?{name}")) for name, text in route.query.items()]
    doc = " ".join(route.doc.split())
    if path.startswith(DATA_PREFIX):
        doc = f"{tag}: {doc}"
    operation: dict[str, Any] = {"tags": [tag], "description": doc, "parameters": parameters}
    if route.mutates or "POST" in route.methods:
        operation["requestBody"] = {"content": {"application/octet-stream": _body(route)}}
    if route.right is not Right.READ:
        operation["x-right"] = route.right.value
    if before is not None:
        operation["tags"] = [*before["tags"], tag]
        operation["description"] = f"{before['description']}\n\n{doc}"
        there = {parameter["name"] for parameter in before["parameters"]}
        operation["parameters"] = before["parameters"] + [p for p in parameters if p["name"] not in there]
    operation["responses"] = {
        "200": {"description": "The answer."},
        "400": {"description": "The request is refused; one line of text says why."},
    }
    return operation


def _parameter(name: str, place: str, text: str, example: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "in": place, "schema": {"type": "string"}}
    if place == "path":
        found["required"] = True
    if text:
        found["description"] = text
    if example is not None:
        found["example"] = example
    return found


def _body(route: Route) -> dict[str, Any]:
    texts = [example.body for example in route.examples if isinstance(example.body, str) and example.body]
    return {"examples": {str(i): {"value": text} for i, text in enumerate(texts, 1)}} if texts else {}


def _sample(route: Route) -> dict[str, str]:
    """Values of placeholders, and of query items with a question mark before their name, from the route's examples."""
    found: dict[str, str] = {}
    for example in reversed(route.examples):
        path, _, query = example.path.partition("?")
        match = RouteTable((route,)).match(example.method or route.methods[0], path.split("/"))
        found |= match[1] if match else {}
        found |= {f"?{name}": value for name, value in parse_qsl(query)}
    return found
