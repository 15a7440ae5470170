"""What changed between two versions of a keyvalue instance: its keys."""

from __future__ import annotations

from typing import Any

from dagdvid.datatypes.keyvalue.keys import shown

__all__ = ["KeyDiffer"]


class KeyDiffer:
    """Names changed keys."""

    def describe(self, space: str, key: bytes) -> dict[str, Any] | None:  # noqa: ARG002
        """{"key": text}."""
        return {"key": shown(key)}

    def summary(self) -> dict[str, Any]:
        """Nothing beyond the counts."""
        return {}
