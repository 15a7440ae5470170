"""One way to ask: the HTTP API, whether of a server or, in this process, of a data directory.

Commands speak only to an `Api`; they cannot tell which of the two it is.
"""

from __future__ import annotations

import getpass
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx

from dagdvid.config import Config, admin_token
from dagdvid.errors import BadRequest, RemoteError
from dagdvid.routes import Request
from dagdvid.urls import split_url

if TYPE_CHECKING:
    from types import TracebackType

    from dagdvid.server import Server

__all__ = ["Answer", "Api", "HttpApi", "LocalApi", "Show"]

Show = Callable[[str, int, int | None], None]
"""Told of progress: what is done, how many of them, of how many."""


@dataclass
class Answer:
    """A successful answer; the body is read once, as a whole or in pieces."""

    content_type: str
    pieces: Iterator[bytes]

    def read(self) -> bytes:
        """The whole body."""
        return b"".join(self.pieces)

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            RemoteError: it is not.
        """
        return parsed(self.read())

    def lines(self) -> Iterator[bytes]:
        """The lines of the body, as they come."""
        rest = b""
        for piece in self.pieces:
            *whole, rest = (rest + piece).split(b"\n")
            yield from whole
        if rest:
            yield rest


def parsed(data: bytes) -> Any:
    """Bytes that must be JSON.

    Raises:
        RemoteError: they are not.
    """
    try:
        return json.loads(data)
    except ValueError:
        raise RemoteError("the answer is not JSON: this is not a dagdvid server, or the answer broke off") from None


class Api(ABC):
    """The HTTP API. As a context manager it is closed at the end."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Api:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @abstractmethod
    def request(self, method: str, path: str, query: Mapping[str, str] | None = None, body: bytes = b"") -> Answer:
        """Put one request; `path` is not percent-encoded.

        Raises:
            DagdvidError: refused, or not to be reached; the text says why.
        """

    def get(self, path: str) -> Any:
        """The JSON of a GET."""
        return self.request("GET", path).json()

    def post(self, path: str, value: Mapping[str, Any] | None = None) -> Any:
        """The JSON answer to a POST of JSON; None if the answer is empty."""
        data = self.request("POST", path, None, json.dumps(value or {}).encode()).read()
        return parsed(data) if data else None

    def ask(self, path: str, value: Mapping[str, Any]) -> Answer:
        """The answer to a GET with JSON in its body."""
        return self.request("GET", path, None, json.dumps(value).encode())

    def follow(self, path: str, value: Mapping[str, Any], show: Show, query: Mapping[str, str] | None = None) -> Any:
        """POST to a route that reports its progress line by line; the result is the last line's.

        Raises:
            RemoteError: the last line tells of an error, or there is none.
        """
        answer = self.request("POST", path, {"progress": "true"} | dict(query or {}), json.dumps(value).encode())
        told: dict[str, Any] = {}
        for line in answer.lines():
            told = parsed(line)
            if "error" in told:
                raise RemoteError(str(told["error"]))
            if "progress" in told:
                show(str(told["progress"]), int(told.get("done", 0)), told.get("total"))
        if "result" not in told:
            raise RemoteError("the answer broke off before the end; try again")
        return told["result"]


class HttpApi(Api):
    """The API of a running server."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url.rstrip("/")
        parts = split_url(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise BadRequest(f"not the URL of a server: {url!r}; write http://HOST:PORT")
        timeout = httpx.Timeout(600, connect=10)
        self._client = self._stack.enter_context(httpx.Client(timeout=timeout))

    def request(self, method: str, path: str, query: Mapping[str, str] | None = None, body: bytes = b"") -> Answer:
        """Put one request to the server."""
        params = {**_identity(), **(query or {})}
        if admin_token():
            params["admintoken"] = admin_token()
        request = self._client.build_request(method, self.url + quote(path, "/:~"), params=params, content=body)
        with self._reaching():
            response = self._client.send(request, stream=True)
        self._stack.callback(response.close)
        if response.status_code >= 400:
            with self._reaching():
                text = response.read().decode("utf-8", "replace")
            if text.strip() in ("", "404 page not found"):
                text = f"{self.url} answers {method} {path} with status {response.status_code}; is it a dagdvid server?"
            raise RemoteError(_message(text, path))
        return Answer(response.headers.get("Content-Type", ""), self._pieces(response))

    def _pieces(self, response: httpx.Response) -> Iterator[bytes]:
        with self._reaching(), closing(response):
            yield from response.iter_bytes()

    def _reaching(self) -> _Reaching:
        return _Reaching(self.url)


class _Reaching:
    """Turns httpx's errors into ours."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            raise RemoteError(f"cannot reach {self.url}: is a server running there?") from None
        if isinstance(error, httpx.HTTPError | httpx.InvalidURL):
            raise RemoteError(f"the connection to {self.url} failed: {error or type(error).__name__}") from None


class LocalApi(Api):
    """The API of a data directory, in this process. Whoever may write its files may manage it."""

    def __init__(self, data: Path, *, readonly: bool = False) -> None:
        from dagdvid.server import Server  # noqa: PLC0415 - asking another server needs none of it

        super().__init__()
        self._server: Server = self._stack.enter_context(closing(Server.open(Config(data=data, readonly=readonly))))

    def request(self, method: str, path: str, query: Mapping[str, str] | None = None, body: bytes = b"") -> Answer:
        """Put one request to the data directory."""
        found = self._server.find(method, path)
        if found is None:
            raise BadRequest(f"no such endpoint: {method} {path}")
        asked = Request(method, path, found.args, {**_identity(), **(query or {})}, {}, body, local=True)
        if found.route.right.value == "admin":
            asked = replace(asked, admin=True)
        reply = self._server.handle(found, asked)
        pieces = iter([reply.body]) if isinstance(reply.body, bytes) else reply.body
        return Answer(reply.content_type, pieces)


def _identity() -> dict[str, str]:
    """Who asks, and by what program: DVID's `u` and `app`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # this account has no name
        return {"app": "dagdvid"}
    return {"u": user, "app": "dagdvid"}


def _message(text: str, path: str) -> str:
    """What an error's body says, without the path that follows it in DVID's form."""
    return " ".join(text.split()).removesuffix(f" ({path}).")
