"""Sites in buckets and behind web servers, through obstore."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import obstore
from obstore import exceptions
from obstore.store import from_url

from dagdvid.errors import BadRequest, Offline, RemoteError
from dagdvid.remote.published.site import Named

__all__ = ["BucketSite"]

_CLIENT: dict[str, Any] = {"timeout": "60s", "connect_timeout": "5s", "allow_http": True}
_RETRY: dict[str, Any] = {"max_retries": 4, "retry_timeout": timedelta(seconds=60)}
_KEPT = 4
"""Whole packs that are kept in memory."""

log = logging.getLogger(__name__)


class BucketSite:
    """A bucket, or a web server to be read from.

    What stands after `?` in the URL of a bucket are settings for obstore (`endpoint`, `region`, `skip_signature` ...).
    Secrets come from where the provider's own tools look for them.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._web = parts.scheme in ("http", "https")
        bare = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
        host = (parts.hostname or "") + (f":{parts.port}" if parts.port else "")
        self.name = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
        config: dict[str, Any] = {} if self._web else dict(parse_qsl(parts.query))
        self._whole: OrderedDict[str, bytes] | None = None
        """Of a server that does not serve ranges: the files that were read last."""
        self._lock = threading.Lock()
        try:
            if self._web:
                self._store: Any = from_url(bare, client_options=_CLIENT, retry_config=_RETRY)  # type: ignore[call-overload]
            else:
                self._store = from_url(bare, config=config, client_options=_CLIENT, retry_config=_RETRY)  # type: ignore[call-overload]
        except (exceptions.BaseError, ValueError, TypeError) as error:
            raise BadRequest(f"{self.name} cannot be opened: {_text(error)}") from None

    def read(self, path: str) -> Named | None:
        """As `Site.read`."""
        try:
            with self._told(path):
                found = obstore.get(self._store, path)
                return Named(bytes(found.bytes()), _state(found.meta))
        except FileNotFoundError:
            return None

    def read_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """As `Site.read_ranges`."""
        try:
            with self._told(path):
                if self._whole is None:
                    try:
                        starts, ends = zip(*ranges, strict=True)
                        parts = obstore.get_ranges(self._store, path, starts=starts, ends=ends, coalesce=0)
                        return [bytes(part) for part in parts]
                    except exceptions.NotSupportedError:
                        log.warning("%s serves no ranges: whole packs are read from it", self.name)
                        self._whole = OrderedDict()
                data = self._read_whole(path, self._whole)
                return [data[start:end] for start, end in ranges]
        except FileNotFoundError:
            raise RemoteError(f"{self.name} has no {path}") from None

    def _read_whole(self, path: str, kept: OrderedDict[str, bytes]) -> bytes:
        with self._lock:
            data = kept.get(path)
            if data is None:
                data = kept[path] = bytes(obstore.get(self._store, path).bytes())
            kept.move_to_end(path)
            while len(kept) > _KEPT:
                kept.popitem(last=False)
        return data

    def put(self, path: str, data: bytes | Path) -> None:
        """As `Site.put`."""
        self._check_writable()
        with self._told(path):
            obstore.put(self._store, path, data)

    def swap(self, path: str, data: bytes, state: str | None) -> bool:
        """As `Site.swap`."""
        self._check_writable()
        mode: Any = "create"
        if state is not None:
            tag, _, version = state.partition("\n")
            mode = {name: value for name, value in (("e_tag", tag), ("version", version)) if value}
        with self._told(path):
            try:
                obstore.put(self._store, path, data, mode=mode)
            except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
                return False
        return True

    def close(self) -> None:
        """As `Site.close`."""

    def _check_writable(self) -> None:
        if self._web:
            raise BadRequest(f"{self.name} can only be read: publish to file, s3, gs or az")

    @contextmanager
    def _told(self, path: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
            raise RemoteError(f"{self.name} does not allow it ({path}): {_text(error)}") from None
        except (exceptions.BaseError, OSError) as error:
            raise Offline(f"cannot reach {self.name} ({path}): {_text(error)}") from None


def _state(meta: Any) -> str:
    return f"{meta.get('e_tag') or ''}\n{meta.get('version') or ''}"


def _text(error: Exception) -> str:
    return " ".join(str(error).partition("\n\nDebug source")[0].split()) or type(error).__name__
