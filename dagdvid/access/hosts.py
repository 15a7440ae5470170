"""Which other servers clients may have this one talk to."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from dagdvid.config import Config
from dagdvid.errors import Forbidden

__all__ = ["check_host"]


def check_host(url: str, config: Config) -> None:
    """Raise Forbidden where the configuration does not allow the host of a URL ([remotes] hosts)."""
    if config.reaches_any:
        return
    parts = urlsplit(url)
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
    """Buckets and folders are allowed by the beginning of their URL, servers after `?` by their hosts."""
    bare, _, query = url.partition("?")
    if "/../" not in f"{bare}/" and any(
        "://" in allowed and f"{bare.rstrip('/')}/".startswith(f"{allowed.rstrip('/')}/")
        for allowed in config.remote_hosts or ()
    ):
        for _, value in parse_qsl(query):
            if "://" in value:
                check_host(value, config)
        return
    raise Forbidden(f"this server may not talk to {bare}: its configuration must name it, [remotes] hosts")
