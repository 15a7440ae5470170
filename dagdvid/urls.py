"""URLs as people write them."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from dagdvid.errors import BadRequest

__all__ = ["split_url"]


def split_url(url: str) -> SplitResult:
    """The parts of a URL.

    Raises:
        BadRequest: it has none: brackets that do not close, a port that is no number.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port, parts.hostname
    except ValueError:
        raise BadRequest(f"{url!r} is not a URL") from None
    return parts
