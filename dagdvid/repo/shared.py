"""What belongs to a repo as a whole, outside every version (SPEC 6.12): its blobs, and the log of its activity.

It lies in key spaces of the repo itself, under a ref like that of an unversioned instance, so that it is staged,
folded, collected, verified, pushed and pulled like all else. Entries are only ever added.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from dagdvid.errors import StaleRead
from dagdvid.objects.local.operation import Operation
from dagdvid.objects.store import Object
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.model import Repo
from dagdvid.repo.operations import touch

__all__ = ["ACTS", "BLOBS", "SPACES", "add", "entry", "numbered"]

BLOBS = "blobs"
"""The key space of blobs: FNV-1 hash with 128 bits -> content."""
ACTS = "acts"
"""The key space of the activity: nanoseconds and a random number, 8 bytes big-endian each -> canonical JSON."""
SPACES = (ACTS, BLOBS)

_TRIES = 50


@dataclass(frozen=True)
class _Enter:
    """Give what is shared a local number, with the first entry."""

    repo: int
    data: str
    objects: Sequence[Object] = ()

    def apply(self, conn: sqlite3.Connection) -> None:
        """Nothing changes if it has one."""
        conn.execute("INSERT OR IGNORE INTO data (uuid) VALUES (?)", (self.data,))
        touch(conn, self.repo)


def add(catalog: Catalog, repo: Repo, space: str, key: bytes, value: bytes) -> bytes:
    """Add an entry; the value that the key has afterwards, which is another one if it had one before.

    Raises:
        StaleRead: others never stop writing the same key.
    """
    repo = numbered(catalog, repo)
    root = repo.versions[repo.root]
    for _ in range(_TRIES):
        txn = catalog.txn(repo, root, repo.shared)
        known = txn.get(space, key)
        if known is not None:
            return known
        txn.put(space, key, value)
        try:
            catalog.commit_txn(txn, root)
        except StaleRead:
            continue
        return value
    raise StaleRead("others keep storing the same; try again")


def entry(catalog: Catalog, repo: Repo, space: str, key: bytes, value: bytes) -> Operation:
    """The operation that adds an entry under a key that nobody has; the repo must be `numbered`."""
    txn = catalog.txn(repo, repo.versions[repo.root], repo.shared)
    txn.put(space, key, value)
    stage = txn.stage(0)
    assert stage is not None  # noqa: S101  there is a change
    return stage


def numbered(catalog: Catalog, repo: Repo) -> Repo:
    """The repo, once what it shares has a local number."""
    if repo.shared.uuid not in repo.numbers:
        catalog.store.run(_Enter(repo.id, repo.shared.uuid))
        repo = catalog.repo(repo.root)
    return repo
