"""A store in memory: for tests and short-lived trees."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from dagdvid.objects.store import Object

__all__ = ["MemoryStore"]


class MemoryStore:
    """Objects in a dictionary; safe for threads."""

    def __init__(self) -> None:
        self._objects: dict[bytes, Object] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._objects)

    def get_many(self, ids: Sequence[bytes]) -> list[Object | None]:
        """As `ObjectStore.get_many`."""
        return [self._objects.get(name) for name in ids]

    def has_many(self, ids: Sequence[bytes]) -> list[bool]:
        """As `ObjectStore.has_many`."""
        return [name in self._objects for name in ids]

    def put_many(self, objects: Sequence[Object]) -> None:
        """As `ObjectStore.put_many`."""
        with self._lock:
            for item in objects:
                self._objects.setdefault(item.id, item)
