"""How the process keeps memory that it has had: answers and bodies of some MB come and go all the time."""

from __future__ import annotations

import ctypes

__all__ = ["keep_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Numbers of mallopt's settings (glibc, malloc.h)."""


def keep_memory() -> None:
    """Let the C library's allocator keep up to 64 MB that are free, and give blocks below 32 MB from what it has.

    By default it hands memory back to the system as soon as a larger block is free, and gets it anew, page by page,
    for the next one: 25 times as long as it takes to copy the bytes. Arenas are few, since each keeps its own. Other
    C libraries are left as they are.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        for name, value in ((_MMAP_THRESHOLD, 32 << 20), (_TRIM_THRESHOLD, 64 << 20), (_ARENA_MAX, 4)):
            library.mallopt(name, value)
