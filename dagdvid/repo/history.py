"""The history of one key: which versions changed it, found by look-ups in their trees."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from dagdvid.datatype import Instance
from dagdvid.errors import BadRequest
from dagdvid.objects.ids import ObjectType, object_id
from dagdvid.objects.tree import read as tree
from dagdvid.objects.tree.node import Ref, Value
from dagdvid.objects.tree.nodes import EMPTY
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.diff import kind_of
from dagdvid.repo.model import Repo, Version

__all__ = ["key_history"]


def key_history(
    catalog: Catalog, repo: Repo, last: Version, instance: Instance, space: str, key: bytes, limit: int
) -> list[dict[str, Any]]:
    """The versions up to and with `last` that changed a key, newest first, as JSON; at most `limit` of them.

    A merge counts only if its value is that of none of its parents. Costs one look-up for each tree that differs.

    Raises:
        BadRequest: the instance is unversioned.
    """
    if not instance.versioned:
        raise BadRequest(f"data instance {instance.name!r} is unversioned: it has one state and no history")
    return list(islice(_changes(_Values(catalog, repo, instance, space, key), repo, last), limit))


def _changes(values: _Values, repo: Repo, last: Version) -> Iterator[dict[str, Any]]:
    for version in repo.ancestors(last):
        if version.hidden:
            continue
        value = values.at(version)
        before = [values.at(parent) for parent in repo.shown_parents(version)] or [None]
        if value not in before:
            yield _entry(version, key_change(before[0], value), value)


def key_change(before: Value | None, after: Value | None) -> str:
    """ "added", "removed" or "changed"."""
    return kind_of((b"", before, after))


class _Values:
    """What a key holds at versions; a tree that several versions share is asked once."""

    def __init__(self, catalog: Catalog, repo: Repo, instance: Instance, space: str, key: bytes) -> None:
        self._catalog = catalog
        self._repo = repo
        self._instance = instance
        self._space = space
        self._key = key
        self._by_root: dict[bytes, Value | None] = {EMPTY: None}
        self._by_version: dict[str, Value | None] = {}

    def at(self, version: Version) -> Value | None:
        """The value at a version, unread."""
        if version.uuid not in self._by_version:
            self._by_version[version.uuid] = self._look_up(version)
        return self._by_version[version.uuid]

    def _look_up(self, version: Version) -> Value | None:
        base = self._catalog.base(self._repo, version, self._instance)
        if base.layers:
            view = self._catalog.snapshot(self._repo, version, self._instance)
            return view.locate(self._space, [self._key])[0]
        root = base.roots.get(self._space, EMPTY)
        if root not in self._by_root:
            self._by_root[root] = tree.get(self._catalog.nodes, root, self._key)
        return self._by_root[root]


def _entry(version: Version, change: str, value: Value | None) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "version": version.uuid,
        "branch": version.branch,
        "locked": version.locked,
        "change": change,
        "time": version.updated if version.locked else version.created,
        "user": version.user,
        "note": version.note,
    }
    if isinstance(value, Ref):
        entry |= {"bytes": value.size, "hash": value.id.hex()}
    elif value is not None:
        entry |= {"bytes": len(value), "hash": object_id(ObjectType.BLOB, value).hex()}
    return entry
