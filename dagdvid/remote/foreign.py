"""Reading what another server sent: where it is malformed, that is its mistake, and no damage of this store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dagdvid.errors import Corrupt, Unverified

__all__ = ["foreign"]


@contextmanager
def foreign() -> Iterator[None]:
    """Turns Corrupt into Unverified: around the decoding of foreign bytes, and nothing else."""
    try:
        yield
    except Corrupt as error:
        raise Unverified(str(error)) from None
