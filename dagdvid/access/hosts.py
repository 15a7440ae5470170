"""Which other servers, buckets and folders clients may have this one talk to."""

from __future__ import annotations

from posixpath import normpath
from urllib.parse import parse_qsl, unquote

from dagdvid.config import Config
from dagdvid.errors import Forbidden
from dagdvid.urls import split_url

__all__ = ["check_host"]


def check_host(url: str, config: Config) -> None:
    """Raise Forbidden where the configuration does not allow the place of a URL ([remotes] hosts).

    Raises:
        BadRequest: it is no URL.
    """
    if config.reaches_any:
        return
    parts = split_url(url)
    if parts.scheme not in ("http", "https"):
        _check_site(url, config)
        return
    host = (parts.hostname or "").lower()
    port = parts.port or (443 if parts.scheme == "https" else 80)
    for allowed in config.remote_hosts or ():
        name, _, number = allowed.lower().rpartition(":")
        if not name or not number.isdigit() or (":" in name and not name.endswith("]")):
            name, number = allowed.lower(), ""
        name = name.strip("[]")
        fits = host.endswith(name[1:]) and host != name[2:] if name.startswith("*.") else host == name
        if fits and number in ("", str(port)):
            return
    raise Forbidden(f"this server may not talk to {host}:{port}: its configuration must name it, [remotes] hosts")


def _check_site(url: str, config: Config) -> None:
    """Buckets and folders must be named, or lie below one that is; servers after `?` are allowed by their hosts."""
    parts = split_url(url)
    path = _folder(parts.path)
    for allowed in config.remote_hosts or ():
        named = split_url(allowed)
        root = _folder(named.path)
        same = named.scheme and (named.scheme, named.netloc) == (parts.scheme, parts.netloc)
        if same and (path == root or path.startswith(root.rstrip("/") + "/")):
            for _, value in parse_qsl(parts.query):
                if "://" in value:
                    check_host(value, config)
            return
    where = f"{parts.scheme}://{parts.netloc}{path}"
    raise Forbidden(f"this server may not talk to {where}: its configuration must name it, [remotes] hosts")


def _folder(path: str) -> str:
    """A path of a URL as the system will take it."""
    return normpath("/" + unquote(path).lstrip("/"))
