"""The Range header of HTTP, for one value (RFC 9110, section 14)."""

from __future__ import annotations

import re

__all__ = ["requested_range", "satisfiable"]

_RANGE = re.compile(r"bytes=\s*(?:([0-9]{1,18})\s*-\s*([0-9]{1,18})?|-\s*([0-9]{1,18}))\s*", re.ASCII)


def requested_range(header: str | None) -> tuple[int | None, int | None] | None:
    """The range (first, last), (first, None) to the end, or (None, n) for the last n bytes.

    None stands for no range: DVID ignores headers that are malformed or ask for several ranges.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None:
        return None
    first, last, suffix = (None if text is None else int(text) for text in match.groups())
    if suffix is not None:
        return None, suffix
    if first is not None and last is not None and last < first:
        return None
    return first, last


def satisfiable(wanted: tuple[int | None, int | None], size: int) -> tuple[int, int] | None:
    """The first and last byte of a value of `size` bytes that a range selects; None if it selects none (416)."""
    first, last = wanted
    if first is None:
        count = min(last or 0, size)
        return (size - count, size - 1) if count else None
    if first >= size:
        return None
    return first, size - 1 if last is None else min(last, size - 1)
