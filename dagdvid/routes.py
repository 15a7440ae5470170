"""Routes as data: what a handler table says, and nothing of any web framework.

A `RouteTable` is a tuple of `Route`s. From it come dispatch, the refusal of writes on committed versions, rights, body
limits, `/api/help`, OpenAPI and the completeness tests; one fact stands in one place.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import IO, Any, NamedTuple

from dagdvid.errors import BadRequest, DagdvidError

__all__ = [
    "EVERYBODY",
    "MAX_BODY",
    "Cache",
    "Example",
    "Reach",
    "Reply",
    "Request",
    "Right",
    "Route",
    "RouteTable",
    "Visitor",
    "WouldWait",
    "json_reply",
    "progress_reply",
    "text_reply",
]

MAX_BODY = 3 * 1000**3
"""Bytes of the largest body that any route takes: DVID's MaxDataRequest (server/server.go)."""


class Right(Enum):
    """What a caller must be allowed to do."""

    READ = "read"
    WRITE = "write"
    MANAGE = "manage"
    """As POST /api/repos: for those on this machine, where nobody else reaches the server; else for admins."""
    ADMIN = "admin"


class Cache(Enum):
    """How long an answer may be kept (design.md, section 8)."""

    LIVE = "live"
    CONTENT = "content"
    IMMUTABLE = "immutable"


class Reach(Enum):
    """How far a visitor sees, where the server asks who sends a request."""

    PUBLIC = "public"
    """Public versions, and what is said of the server to anybody."""
    REPO = "repo"
    """Some repos, whole."""
    WHOLE = "whole"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who sends a request, as far as the server makes sure of it."""

    user: str = ""
    """By which name it was admitted; empty where nobody was asked."""
    reach: Reach = Reach.WHOLE
    admin: bool = False
    sees: Callable[[str], bool] = lambda _: True
    """Whether it sees the whole repo of a root UUID."""
    public: frozenset[str] = frozenset()
    """Of other repos it sees these versions."""


EVERYBODY = Visitor()


class WouldWait(Exception):
    """Somebody else must be asked before it is known who sends a request, and there was no time for that."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, decoded: `args` are the placeholders of the route's pattern, `query` the last value of each item."""

    method: str
    path: str
    args: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""
    body: bytes = b""
    file: IO[bytes] | None = None
    """The body of a route that takes it `spooled`."""
    admin: bool = False
    unlocked: bool = False
    """It may change committed versions: it is an admin's, or the server is in full-write mode."""
    switches: frozenset[str] = frozenset()
    """What the server's configuration switches on that is off by default."""
    local: bool = False
    """It comes from this machine, and only this machine can reach the server: whoever sends it may manage it."""
    client: str = ""
    """The address that it comes from, as far as that is known."""
    internal: bool = False
    """A trusted proxy says that it comes from within."""
    visitor: Visitor = EVERYBODY

    @property
    def user(self) -> str:
        """Who says to ask: `?u=`; else by which name it was admitted."""
        return self.query.get("u", "") or self.visitor.user

    @property
    def app(self) -> str:
        """What program says to ask: `?app=`."""
        return self.query.get("app", "")

    def stream(self) -> IO[bytes]:
        """The body for reading, from its beginning."""
        return io.BytesIO(self.body) if self.file is None else self.file

    def flag(self, name: str, default: bool = False) -> bool:
        """A boolean query item as DVID takes it: `true`, `on` or `1`."""
        value = self.query.get(name)
        return default if value is None else value.lower() in ("true", "on", "1")

    def json_object(self, *, required: bool = True) -> dict[str, Any]:
        """The body as a JSON object.

        Raises:
            BadRequest: not JSON, not an object, or empty although required.
        """
        if not self.body.strip() and not required:
            return {}
        try:
            value = json.loads(self.body)
            json.dumps(value, ensure_ascii=False).encode()  # lone surrogates can be written, but are no text
        except (ValueError, RecursionError) as error:
            raise BadRequest(f"malformed JSON in the request body: {error}") from None
        if not isinstance(value, dict):
            raise BadRequest("the request body must be a JSON object")
        return value


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. A body that is an iterator is streamed; it is closed if the client goes away."""

    body: bytes | Iterator[bytes] = b""
    content_type: str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    finish: Callable[[Sequence[int]], bytes] | None = None
    """Of a mutating route: makes the body, given the mutation ids of what was logged."""


def json_reply(value: Any, status: int = 200) -> Reply:
    """A compact JSON answer."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return Reply(text.encode("utf-8", "surrogateescape"), "application/json", status)


def text_reply(text: str, status: int = 200) -> Reply:
    """A plain text answer."""
    return Reply(text.encode(), "text/plain", status)


def progress_reply(steps: Iterator[Mapping[str, Any]]) -> Reply:
    """Steps as lines of JSON while they come; an error that ends them is told in the last line."""
    return Reply(_lines(steps), "application/x-ndjson")


def _lines(steps: Iterator[Mapping[str, Any]]) -> Iterator[bytes]:
    try:
        for step in steps:
            yield json.dumps(step).encode() + b"\n"
    except DagdvidError as error:
        yield json.dumps({"error": str(error), "code": error.code}).encode() + b"\n"


Handler = Callable[..., Reply]
"""`(context, ..., request) -> Reply`; the table's owner says what stands before the request."""


class Example(NamedTuple):
    """A request that works as it stands, for the help; a test runs it on a small sample.

    Words in braces stand for versions of the sample: `{root}` and `{ann}`, `{bob}`, `{cat}`, which branch from it, are
    committed; `{open}` is not, nor is `{merge}`, a three-way merge of ann and bob with a conflict. `{gone}` is a repo
    that was deleted, `{other}` one of another server.
    """

    path: str
    """What stands in the place of the route's pattern, and the query."""
    answer: str | int = ""
    """The answer's body; `...` in it stands for whatever comes. A number: so many bytes."""
    body: str | bytes | int = ""
    """A number: so many bytes, whichever."""
    method: str = ""
    """The first of the route, if empty."""
    version: str = "open"
    """Which version of the sample is asked."""
    status: int = 200

    @property
    def sent(self) -> str:
        """The body in words: as it is where it is text, else how many bytes, and which if they are few."""
        if isinstance(self.body, str):
            return self.body
        return _bytes(self.body) if isinstance(self.body, int) else f"{_bytes(len(self.body))}: {self.body.hex(' ')}"

    @property
    def received(self) -> str:
        """The answer in words."""
        return self.answer if isinstance(self.answer, str) else _bytes(self.answer)


def _bytes(count: int) -> str:
    return f"({count} bytes)"


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint. `pattern` is words and `{placeholders}` between slashes; `{name?}`, at the end, may be absent."""

    methods: tuple[str, ...]
    pattern: str
    handler: Handler
    doc: str
    mutates: bool = False
    """It changes data: the handler gets a transaction, and read-only servers refuse it."""
    on_locked: bool = False
    """It is allowed on a committed version although its method is POST, PUT or DELETE."""
    right: Right = Right.READ
    cache: Cache = Cache.LIVE
    max_body: int = MAX_BODY
    spooled: bool = False
    """Its body may be large, and lies in a file while the handler reads it (`Request.stream`)."""
    query: Mapping[str, str] = field(default_factory=dict)
    """Query items that it reads, with what they mean: for the help."""
    throttled: Callable[[Request], bool] | None = None
    """Whether a request is heavy, so that one that asks for it (`?throttle=true`) takes a slot of the server's few."""
    hot: bool = False
    """Small and frequent: dispatched ahead of the framework where the server can."""
    examples: tuple[Example, ...] = ()

    leased: bool = True
    """While it runs, nothing goes that is there when it begins. Not for what waits for the others."""

    @property
    def segments(self) -> tuple[str, ...]:
        """The pattern, split."""
        return tuple(self.pattern.strip("/").split("/"))


class _Pattern(NamedTuple):
    """A route's pattern, made ready for matching: which positions hold which words, and which hold placeholders."""

    route: Route
    words: tuple[tuple[int, str], ...]
    names: tuple[tuple[int, str], ...]
    least: int
    """Segments that a path must have."""
    first: str
    """The word it begins with; empty if that is a placeholder."""

    def match(self, path: Sequence[str], surplus: bool) -> dict[str, str] | None:
        """The arguments, if a path fits."""
        n = len(path)
        if n < self.least or (n > len(self.words) + len(self.names) and not surplus):
            return None
        for i, word in self.words:
            if path[i] != word:
                return None
        return {name: path[i] for i, name in self.names if i < n}


class RouteTable:
    """Routes in order of preference; the first that fits is taken."""

    def __init__(self, routes: Iterable[Route], *, surplus: bool = False) -> None:
        """`surplus`: further path segments are ignored, as DVID does on instance endpoints."""
        self.routes = tuple(routes)
        self.surplus = surplus
        self._patterns = [_pattern(route) for route in self.routes]
        self._words = {pattern.first for pattern in self._patterns if pattern.first}
        methods = {method for route in self.routes for method in route.methods}
        self._by_word = {
            (method, word): [p for p in self._patterns if method in p.route.methods and p.first in ("", word)]
            for method in methods
            for word in {"", *self._words}
        }

    def __iter__(self) -> Iterator[Route]:
        return iter(self.routes)

    def knows(self, word: str) -> bool:
        """Whether some route begins with a word."""
        return word in self._words or any(not pattern.first for pattern in self._patterns)

    def match(self, method: str, path: Sequence[str]) -> tuple[Route, dict[str, str]] | None:
        """The route for a method and the decoded segments of a path, with its arguments."""
        word = path[0] if path and path[0] in self._words else ""
        for pattern in self._by_word.get((method, word), ()):
            args = pattern.match(path, self.surplus)
            if args is not None:
                return pattern.route, args
        return None

    def methods(self, path: Sequence[str]) -> list[str]:
        """The methods under which a path is known."""
        return sorted({m for p in self._patterns if p.match(path, self.surplus) is not None for m in p.route.methods})


def _pattern(route: Route) -> _Pattern:
    segments = list(enumerate(route.segments))
    return _Pattern(
        route,
        tuple((i, segment) for i, segment in segments if not segment.startswith("{")),
        tuple((i, segment.strip("{}?")) for i, segment in segments if segment.startswith("{")),
        sum(not segment.endswith("?}") for _, segment in segments),
        "" if segments[0][1].startswith("{") else segments[0][1],
    )
