"""The other server, over HTTP (SPEC 8.1): questions and answers, counted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import httpx

from dagdvid.errors import BadRequest, ConflictError, Diverged, Forbidden, ReadOnly, RemoteError

__all__ = ["Peer", "check_url", "hidden", "split_clone_url"]

_TIMEOUT = httpx.Timeout(600.0, connect=10.0)
_CHUNK = 2**20


def check_url(url: str) -> str:
    """A remote's URL, proper.

    Raises:
        BadRequest: not http(s)://host...
    """
    try:
        parts = urlsplit(url)
        proper = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        proper = False
    if not proper:
        raise BadRequest(f"{url!r} is not the URL of a server: http://HOST:PORT")
    return url


def hidden(url: str) -> str:
    """A URL without its secrets."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return urlunsplit((parts.scheme, host + (f":{parts.port}" if parts.port else ""), parts.path.rstrip("/"), "", ""))


def split_clone_url(url: str) -> tuple[str, str]:
    """The server's URL and the UUID of URL[/UUID]."""
    parts = urlsplit(check_url(url))
    path, _, uuid = parts.path.rstrip("/").rpartition("/")
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, "")), uuid


class Peer:
    """A dagdvid server. `url` may carry `?admintoken=` for it; it is sent to no other."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(check_url(url))
        self._base = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
        self._query = dict(parse_qsl(parts.query))
        self._client = httpx.Client(timeout=_TIMEOUT, headers={"accept-encoding": "identity"}, follow_redirects=False)
        self.name = hidden(url)
        self.round_trips = 0
        self.bytes = 0
        """Bodies and headers, both ways."""

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def negotiate(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """What the other side has of a repo."""
        return self._json("negotiate", json.dumps(question).encode())

    def have(self, ids: Sequence[bytes]) -> list[bool]:
        """Which blobs the other side has."""
        answer = self._ask("have", b"".join(ids))
        if len(answer) != len(ids):
            raise RemoteError(f"{self.name} answered {len(answer)} flags for {len(ids)} ids")
        return [bool(flag) for flag in answer]

    def put_objects(self, stream: bytes) -> None:
        """Send objects."""
        self._ask("objects", stream)

    def get_objects(self, ids: Sequence[bytes]) -> bytes:
        """Fetch objects."""
        return self._ask("fetch-objects", b"".join(ids))

    def get_head(self, question: Mapping[str, Any]) -> bytes:
        """Fetch the version graph and the record of a repo (SPEC 8.8)."""
        return self._ask("head", json.dumps(question).encode())

    def put_bundle(self, file: IO[bytes]) -> dict[str, Any]:
        """Send a bundle."""
        return self._json("bundle", _chunks(file))

    def get_bundle(self, question: Mapping[str, Any], file: IO[bytes]) -> None:
        """Fetch a bundle."""
        body = json.dumps(question).encode()
        try:
            with self._client.stream("POST", self._url("fetch"), params=self._query, content=body) as response:
                self._count(response, len(body))
                if response.status_code != httpx.codes.OK:
                    response.read()
                    raise self._refusal(response)
                for part in response.iter_raw(_CHUNK):
                    self.bytes += len(part)
                    file.write(part)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None

    def lease(self, question: Mapping[str, Any]) -> list[Any] | None:
        """Ranges of ids that the other side gives to this one; None if it gives us none, or knows of no such thing."""
        body = json.dumps(question).encode()
        response = self._post("lease", body)
        code = response.headers.get("x-dagdvid-error", "")
        if response.status_code == httpx.codes.NOT_FOUND or code in (Forbidden.code, ReadOnly.code):
            return None
        if response.status_code != httpx.codes.OK:
            raise self._refusal(response)
        given = self._object(response.content).get("given")
        return given if isinstance(given, list) else None

    def _json(self, what: str, body: bytes | Iterator[bytes]) -> dict[str, Any]:
        return self._object(self._ask(what, body))

    def _object(self, answer: bytes) -> dict[str, Any]:
        try:
            value = json.loads(answer)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise RemoteError(f"{self.name} does not answer as a dagdvid server")
        return value

    def _ask(self, what: str, body: bytes | Iterator[bytes]) -> bytes:
        response = self._post(what, body)
        if response.status_code != httpx.codes.OK:
            raise self._refusal(response)
        return response.content

    def _post(self, what: str, body: bytes | Iterator[bytes]) -> httpx.Response:
        counted = _Counted(body)
        try:
            response = self._client.post(self._url(what), params=self._query, content=counted.body)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None
        self._count(response, counted.size)
        self.bytes += len(response.content)
        return response

    def _url(self, what: str) -> str:
        return f"{self._base}/api/sync/{what}"

    def _count(self, response: httpx.Response, sent: int) -> None:
        self.round_trips += 1
        heads = (*response.request.headers.raw, *response.headers.raw)
        self.bytes += sent + sum(len(name) + len(value) + 4 for name, value in heads)

    def _refusal(self, response: httpx.Response) -> Exception:
        text = response.text.strip().splitlines()[0] if response.text.strip() else "no reason given"
        message = f"{self.name} refused: {text}"
        code = response.headers.get("x-dagdvid-error", "")
        if response.status_code == httpx.codes.CONFLICT:
            return Diverged(message) if code == Diverged.code else ConflictError(message)
        if code == Forbidden.code:
            return Forbidden(f"{message}; add ?admintoken=TOKEN to the remote's URL")
        if response.status_code == httpx.codes.NOT_FOUND:
            return RemoteError(f"{self.name} is no dagdvid server, or a much older one")
        return RemoteError(f"{message} (status {response.status_code})")

    def _unreachable(self, error: httpx.HTTPError) -> RemoteError:
        return RemoteError(f"cannot reach {self.name}: {error or type(error).__name__}")


class _Counted:
    def __init__(self, body: bytes | Iterator[bytes]) -> None:
        self.size = len(body) if isinstance(body, bytes) else 0
        self.body: bytes | Iterator[bytes] = body if isinstance(body, bytes) else self._counting(body)

    def _counting(self, parts: Iterator[bytes]) -> Iterator[bytes]:
        for part in parts:
            self.size += len(part)
            yield part


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while part := file.read(_CHUNK):
        yield part
