"""Which other servers clients may have this one talk to."""

from __future__ import annotations

from urllib.parse import urlsplit

from dagdvid.config import Config
from dagdvid.errors import Forbidden

__all__ = ["check_host"]


def check_host(url: str, config: Config) -> None:
    """Raise Forbidden where the configuration does not allow the host of a URL ([remotes] hosts)."""
    if config.reaches_any:
        return
    parts = urlsplit(url)
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
