"""Cross-origin answers: which web pages a browser lets call this server ([server] corsDomains)."""

from __future__ import annotations

__all__ = ["METHODS", "cors_headers"]

METHODS = ("GET", "HEAD", "POST", "DELETE")
MAX_AGE = 600
"""Seconds for which a browser may keep the answer to a preflight."""


def cors_headers(domains: tuple[str, ...], origin: str, requested_headers: str | None) -> dict[str, str]:
    """The headers of one answer: nothing where no domain is configured or the origin is not among them.

    Args:
        domains: origins such as `https://neuroglancer.example`, or `*` for any.
        origin: the request's Origin header, or nothing.
        requested_headers: what a preflight asks for (Access-Control-Request-Headers); None if it is not a preflight.
    """
    headers: dict[str, str] = {}
    if "*" in domains:
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
