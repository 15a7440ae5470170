"""Cross-origin answers: which web pages a browser lets call this server ([server] corsDomains)."""

from __future__ import annotations

from urllib.parse import urlsplit

__all__ = ["METHODS", "cors_headers"]

METHODS = ("GET", "HEAD", "POST", "DELETE")
MAX_AGE = 600
"""Seconds for which a browser may keep the answer to a preflight."""


def cors_headers(
    domains: tuple[str, ...], origin: str, requested_headers: str | None, *, enforced: bool = False
) -> dict[str, str]:
    """The headers of one answer: nothing where no domain is configured or the origin is not among them.

    Where the server asks who sends a request, browsers may send what says so; then, as in DVID (server/web.go), the
    list is of domains such as `neuroglancer.example`, which mean all their hosts, and `*` means none.

    Args:
        domains: origins such as `https://neuroglancer.example`, or `*` for any.
        origin: the request's Origin header, or nothing.
        requested_headers: what a preflight asks for (Access-Control-Request-Headers); None if it is not a preflight.
    """
    headers: dict[str, str] = {}
    if enforced and domains:
        headers["Vary"] = "Origin"
        if _domain(origin) not in {domain.lower() for domain in domains}:
            return headers
        headers["Access-Control-Allow-Origin"] = origin
        headers["Access-Control-Allow-Credentials"] = "true"
    elif "*" in domains:
        headers["Access-Control-Allow-Origin"] = "*"
    elif domains:
        headers["Vary"] = "Origin"
        if origin.lower() not in {domain.lower() for domain in domains}:
            return headers
        headers["Access-Control-Allow-Origin"] = origin
    else:
        return headers
    if requested_headers is not None:
        headers["Access-Control-Allow-Methods"] = ", ".join(METHODS)
        headers["Access-Control-Max-Age"] = str(MAX_AGE)
        if requested_headers:
            headers["Access-Control-Allow-Headers"] = requested_headers
    return headers


def _domain(origin: str) -> str:
    """The last two words of an origin's host; nothing if it has not so many."""
    try:
        words = (urlsplit(origin).hostname or "").split(".")
    except ValueError:
        return ""
    return ".".join(words[-2:]) if len(words) > 1 else ""
