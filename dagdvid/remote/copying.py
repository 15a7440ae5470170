"""A server as the origin of a backup, over HTTP (SPEC 4.10)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import httpx

from dagdvid.errors import PackGone, RemoteError
from dagdvid.remote.peer import check_url, hidden

__all__ = ["ServerOrigin"]

_TIMEOUT = httpx.Timeout(600.0, connect=10.0)
_PIECE = 2**20


class ServerOrigin:
    """The store of a server. `url` may carry `?admintoken=` for it."""

    def __init__(self, url: str, token: str = "") -> None:
        """`token`: the admin token, if the URL carries none."""
        parts = urlsplit(check_url(url))
        self.name = hidden(url)
        base = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
        self._url = f"{base}/api/store/copy"
        self._query = ({"admintoken": token} if token else {}) | dict(parse_qsl(parts.query))
        self._client = httpx.Client(timeout=_TIMEOUT, headers={"accept-encoding": "identity"})

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def info(self) -> bytes:
        """As `Origin.info`."""
        return b"".join(self._get("info"))

    def database(self, path: Path) -> None:
        """As `Origin.database`."""
        with path.open("xb") as file:
            for piece in self._get("database"):
                file.write(piece)

    def pack(self, name: str, start: int, end: int) -> Iterator[bytes]:
        """As `Origin.pack`."""
        got = 0
        for piece in self._get(f"pack/{name}", start=str(start), end=str(end)):
            got += len(piece)
            yield piece
        if got != end - start:
            raise RemoteError(f"{self.name} sent {got} bytes of pack {name}, not {end - start}")

    def _get(self, what: str, **query: str) -> Iterator[bytes]:
        try:
            with self._client.stream("GET", f"{self._url}/{what}", params=self._query | query) as response:
                if response.status_code != httpx.codes.OK:
                    response.read()
                    text = " ".join(response.text.split()) or f"status {response.status_code}"
                    if response.headers.get("x-dagdvid-error") == PackGone.code:
                        raise PackGone(text)
                    raise RemoteError(f"{self.name} refused: {text}")
                yield from response.iter_raw(_PIECE)
        except httpx.HTTPError as error:
            raise RemoteError(f"cannot reach {self.name}: {error or type(error).__name__}") from None
