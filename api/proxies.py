"""Where a request comes from: the other end of the connection, or what a trusted proxy there says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any
from urllib.parse import urlsplit

__all__ = ["client_address", "from_here", "is_internal", "is_trusted"]

Scope = Any
"""As in `incoming`."""
Networks = Sequence[IPv4Network | IPv6Network]
"""Of the proxies that are believed."""


def client_address(scope: Scope, headers: Mapping[str, str], trusted: Networks) -> str:
    """The address of the client. Of those that proxies add, the last that is no trusted proxy's own.

    Whoever is not a trusted proxy may write what he likes into these headers: they are not read.
    """
    peer: str = (scope["client"] or ("",))[0]
    if not trusted or not _within(peer, tuple(trusted)):
        return peer
    for each in reversed(_forwarded(headers)):
        if not _within(each, tuple(trusted)):
            return each if _address(each) else peer
    return peer


def is_trusted(scope: Scope, trusted: Networks) -> bool:
    """Whether a trusted proxy is at the other end."""
    return _within((scope["client"] or ("",))[0], tuple(trusted))


def is_internal(scope: Scope, headers: Mapping[str, str], trusted: Networks) -> bool:
    """Whether a trusted proxy marks the request as one from within (DVID: X-DVID-Internal, server/auth.go)."""
    return headers.get("x-dvid-internal", "").lower() == "true" and is_trusted(scope, trusted)


def from_here(headers: Mapping[str, str], origins: Sequence[str]) -> bool:
    """Whether no page of elsewhere has a browser on this machine send the request.

    A browser names the page's origin in all requests of other sites that change something; and it has the page's own
    name where that was made to point here.
    """
    origin = headers.get("origin", "")
    if not origin or origin.lower() in {each.lower() for each in origins if each != "*"}:
        return True
    try:
        host = urlsplit(origin).hostname or ""
    except ValueError:
        return False
    return host == "localhost" or _is_loopback(host)


def _forwarded(headers: Mapping[str, str]) -> list[str]:
    """The addresses that proxies have added, in that order: of Forwarded (RFC 7239), or the older one."""
    if "forwarded" in headers:
        found = []
        for element in headers["forwarded"].split(","):
            for pair in element.split(";"):
                name, _, value = pair.strip().partition("=")
                if name.lower() == "for":
                    found.append(_bare(value.strip('"')))
        return found
    return [_bare(each.strip()) for each in headers.get("x-forwarded-for", "").split(",") if each.strip()]


def _bare(text: str) -> str:
    """An address without its port and brackets."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


@lru_cache(4096)
def _within(text: str, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    if not _address(text):
        return False
    address = ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in networks)


def _address(text: str) -> bool:
    try:
        ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def _is_loopback(text: str) -> bool:
    return _address(text) and ip_address(text).is_loopback
