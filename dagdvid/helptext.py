"""Help in plain text, written from what datatypes and route tables say of themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from textwrap import fill

from dagdvid.datatype import Datatype
from dagdvid.registry import datatype, datatype_names
from dagdvid.routes import Example, Route
from dagdvid.words import Command

__all__ = ["DATA_PREFIX", "commands_help", "datatype_help", "example_help", "installed", "routes_help"]

DATA_PREFIX = "/api/node/{uuid}/{data}/"
"""Where the routes of an instance hang."""

WIDTH = 100


def installed() -> list[Datatype]:
    """All installed datatypes, by name."""
    return [datatype(name) for name in datatype_names()]


def datatype_help(kind: Datatype) -> str:
    """The help of one datatype: what it is, the settings of its creation, its routes."""
    lines = [f"{kind.name}: {kind.summary}", f"{kind.url} version {kind.version}", ""]
    if kind.settings_help:
        lines += ['Settings at creation, as strings: POST /api/repo/{uuid}/instance {"typename", "dataname", ...}', ""]
        lines += [*_items(kind.settings_help, "    "), ""]
    return "\n".join(lines) + "\n" + routes_help(DATA_PREFIX, kind.routes)


def routes_help(prefix: str, routes: Iterable[Route]) -> str:
    """One paragraph a route: methods and URL, what it does, its query items."""
    return "\n".join("\n".join(_route(prefix, route)) + "\n" for route in routes)


def _route(prefix: str, route: Route) -> Iterator[str]:
    yield f"{', '.join(route.methods)} {prefix}{route.pattern.lstrip('/')}"
    yield _wrapped(route.doc, "    ", "    ")
    yield from _items({f"?{name}": text for name, text in route.query.items()}, "    ")
    for example in route.examples:
        yield from (f"    {line}" for line in example_help(prefix, route, example))


def example_help(prefix: str, route: Route, example: Example) -> Iterator[str]:
    """An example in two lines, what is sent and what comes back."""
    url = f"{prefix}{example.path}".replace("/?", "?")
    yield f"> {example.method or route.methods[0]} {url} {example.sent}".rstrip()
    yield f"< {'' if example.status == 200 else f'{example.status} '}{example.received or '(nothing)'}"


def commands_help(commands: Iterable[Command]) -> str:
    """One paragraph a command: its words, and what it does or, if it is not served here, what takes its place."""
    served = [command for command in commands if command.handler is not None]
    absent = [command for command in commands if command.handler is None]
    text = "\n".join(_command(command) for command in served)
    if absent:
        text += "\nDVID's alone, with what takes their place:\n\n" + "\n".join(map(_command, absent))
    return text


def _command(command: Command) -> str:
    note = f" {command.file} is a file of yours, or - for standard input." if command.file else ""
    return f"{command.usage}\n{_wrapped(command.doc + note, '    ', '    ')}\n"


def _items(items: Mapping[str, str], indent: str) -> Iterator[str]:
    width = max((len(name) for name in items), default=0)
    for name, text in items.items():
        yield _wrapped(text, f"{indent}{name:{width}}  ", indent + " " * (width + 2))


def _wrapped(text: str, first: str, rest: str) -> str:
    return fill(" ".join(text.split()), WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False)
