"""Conflicts of an open merge: keys that both parents changed differently, kept until somebody decides (SPEC 6.13)."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

from dagdvid.datatype import Instance
from dagdvid.errors import BadRequest, RefMoved, StaleRead, UnknownName
from dagdvid.objects.blobs import read_value
from dagdvid.objects.store import Object
from dagdvid.objects.tree import read as tree
from dagdvid.objects.tree.node import Value
from dagdvid.objects.tree.nodes import EMPTY
from dagdvid.registry import datatype
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.commits import read_commit
from dagdvid.repo.merging import common_tree
from dagdvid.repo.model import Repo, Version
from dagdvid.repo.operations import Together

__all__ = ["SIDES", "count", "listed", "resolve"]

SIDES = ("ours", "theirs", "base", "now")
"""What can be taken: what the first parent has, the second, their common ancestor, or the version itself by now."""

_PAGE = 2000
_SHOWN = 1024
"""Bytes of the longest value that a list shows as text."""


class Conflict(NamedTuple):
    """One key that is not decided."""

    id: int
    data: int
    """Local number of the instance."""
    space: str
    key: bytes


@dataclass(frozen=True)
class _Settle:
    """Note that conflicts are decided."""

    version: int
    ids: Sequence[int]
    objects: Sequence[Object] = ()

    def apply(self, conn: sqlite3.Connection) -> None:
        """Raises RefMoved: one of them was decided meanwhile."""
        for id_ in self.ids:
            gone = conn.execute("DELETE FROM conflicts WHERE id = ? AND version = ?", (id_, self.version))
            if gone.rowcount != 1:
                raise RefMoved("conflicts were resolved meanwhile; look again")


def count(catalog: Catalog, version: Version) -> int:
    """How many keys of a version are not decided."""
    rows = catalog.store.database.rows("SELECT count(*) FROM conflicts WHERE version = ?", (version.id,))
    return int(rows[0][0])


def listed(
    catalog: Catalog, repo: Repo, version: Version, instance: Instance | None = None, after: int = 0, most: int = 1000
) -> Iterator[dict[str, Any]]:
    """Conflicts as JSON, in the order of their ids: what it is about, and what each side has (see `SIDES`)."""
    found = _conflicts(catalog, repo, version, None if instance is None else [instance], (), after, most)
    for number, group in groupby(found, key=lambda c: c.data):
        about = _by_number(repo)[number]
        sides = _Sides(catalog, repo, version, about)
        for space, same in groupby(group, key=lambda c: c.space):
            rows = list(same)
            values = sides.of(space, [c.key for c in rows])
            differ = datatype(about.typename).differ(about)
            for i, conflict in enumerate(rows):
                what = differ.describe(space, conflict.key) or {"key": conflict.key.hex()}
                shown = {side: _shown(catalog, values[side][i]) for side in SIDES}
                yield {"id": conflict.id, "data": about.name, "space": space} | what | shown


def resolve(
    catalog: Catalog,
    repo: Repo,
    version: Version,
    take: str,
    instances: Collection[Instance] | None = None,
    ids: Collection[int] | None = None,
) -> int:
    """Decide conflicts, all of them or those of instances or with ids, for one side; how many.

    Raises:
        BadRequest: no such side. UnknownName: no open conflict has that id.
    """
    if take not in SIDES:
        raise BadRequest(f"take must be one of {', '.join(SIDES)}, not {take!r}")
    rows = list(_conflicts(catalog, repo, version, instances, ids, 0, None))
    missing = set(ids or ()) - {c.id for c in rows}
    if missing:
        raise UnknownName(f"no open conflict of version {version.uuid} has the id {min(missing)}")
    for number, group in groupby(rows, key=lambda c: c.data):
        instance = _by_number(repo)[number]
        all_of_it = list(group)
        for start in range(0, len(all_of_it), _PAGE):
            _decide(catalog, repo, version, instance, all_of_it[start : start + _PAGE], take)
    return len(rows)


def _decide(
    catalog: Catalog, repo: Repo, version: Version, instance: Instance, rows: Sequence[Conflict], take: str
) -> None:
    sides = _Sides(catalog, repo, version, instance)
    txn = catalog.txn(repo, version, instance)
    for space, group in groupby(rows, key=lambda c: c.space):
        keys = [c.key for c in group]
        if take != "now":
            txn.place(space, zip(keys, sides.of(space, keys)[take], strict=True))
    settle = _Settle(version.id, [c.id for c in rows])
    staged = txn.stage(version.id)
    try:
        catalog.store.run(settle if staged is None else Together([settle, staged]))
    except RefMoved as error:
        raise StaleRead(str(error)) from None


class _Sides:
    """What each side has of an instance."""

    def __init__(self, catalog: Catalog, repo: Repo, version: Version, instance: Instance) -> None:
        parents = [repo.versions[uuid] for uuid in version.parents]
        commits = [parent.commit for parent in parents]
        trees = [read_commit(catalog.nodes, c).root if c is not None else EMPTY for c in commits]
        base = common_tree(catalog, repo, parents[:1], parents[1])
        self._nodes = catalog.nodes
        self._roots = {
            side: catalog.roots(root, instance.uuid) if root != EMPTY else {}
            for side, root in zip(SIDES, [*trees, base], strict=False)
        }
        self._view = catalog.snapshot(repo, version, instance)

    def of(self, space: str, keys: Sequence[bytes]) -> dict[str, list[Value | None]]:
        """The values of keys, by side."""
        order = sorted(range(len(keys)), key=lambda i: keys[i])
        found: dict[str, list[Value | None]] = {"now": self._view.locate(space, keys)}
        for side, roots in self._roots.items():
            values = tree.get_many(self._nodes, roots.get(space, EMPTY), [keys[i] for i in order])
            placed: list[Value | None] = [None] * len(keys)
            for i, value in zip(order, values, strict=True):
                placed[i] = value
            found[side] = placed
        return found


def _conflicts(
    catalog: Catalog,
    repo: Repo,
    version: Version,
    instances: Collection[Instance] | None,
    ids: Collection[int] | None,
    after: int,
    most: int | None,
) -> Iterator[Conflict]:
    wanted = None if instances is None else {repo.numbers[i.uuid] for i in instances}
    sql = "SELECT id, data, space, key FROM conflicts WHERE version = ? AND id > ? ORDER BY id LIMIT ?"
    given = 0
    while rows := catalog.store.database.rows(sql, (version.id, after, _PAGE)):
        for row in rows:
            conflict = Conflict(*row)
            if (wanted is None or conflict.data in wanted) and (not ids or conflict.id in ids):
                yield conflict
                given += 1
                if given == most:
                    return
        after = rows[-1][0]


def _by_number(repo: Repo) -> dict[int, Instance]:
    here = repo.by_data_uuid  # what all instances share, blobs and activity, has a number, too, but no conflicts
    return {number: here[uuid] for uuid, number in repo.numbers.items() if uuid in here}


def _shown(catalog: Catalog, value: Value | None) -> dict[str, Any] | None:
    """A value as a list has it: its size, and its text if it is short and is one."""
    if value is None:
        return None
    size = len(value) if isinstance(value, bytes) else value.size
    shown: dict[str, Any] = {"bytes": size}
    if size <= _SHOWN:
        with suppress(UnicodeDecodeError):
            shown["text"] = read_value(catalog.store, value).decode()
    return shown
