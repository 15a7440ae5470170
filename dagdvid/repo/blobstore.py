"""The blobs of a repo, found by the hash of their content: DVID's blobstore (server/web.go, storage/badger).

They belong to no version. They lie in a key space of the repo itself, under a ref like that of an unversioned instance
(SPEC 6.9), so that they are staged, folded, collected, verified, pushed and pulled like all else.
"""

from __future__ import annotations

import binascii
import sqlite3
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass

from dagdvid.errors import BadRequest, StaleRead
from dagdvid.kernels.fnv import DIGEST_BYTES, fnv1_128
from dagdvid.objects.store import Object
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.model import Repo
from dagdvid.repo.operations import touch

__all__ = ["BLOBS", "get_blob", "put_blob"]

BLOBS = "blobs"
"""The key space: FNV-1 hash with 128 bits -> content."""
_TRIES = 50
_ALPHABET = str.maketrans("-_+/", "+/!!")
"""From URL-safe base64 to the other, in which the other's own two are none."""


@dataclass(frozen=True)
class _Enter:
    """Give the blobs of a repo a local number, with the first of them."""

    repo: int
    data: str
    objects: Sequence[Object] = ()

    def apply(self, conn: sqlite3.Connection) -> None:
        """Nothing changes if they have one."""
        conn.execute("INSERT OR IGNORE INTO data (uuid) VALUES (?)", (self.data,))
        touch(conn, self.repo)


def put_blob(catalog: Catalog, repo: Repo, content: bytes) -> str:
    """Store a blob; its reference: the hash in URL-safe base64 with padding.

    Raises:
        BadRequest: other content has this hash: FNV is no cryptographic hash, and a reference means one thing for good.
    """
    key = fnv1_128(content)
    reference = urlsafe_b64encode(key).decode()
    if repo.blobs.uuid not in repo.numbers:
        catalog.store.run(_Enter(repo.id, repo.blobs.uuid))
        repo = catalog.repos()[repo.root]
    root = repo.versions[repo.root]
    for _ in range(_TRIES):
        txn = catalog.txn(repo, root, repo.blobs)
        known = txn.get(BLOBS, key)
        if known == content:
            return reference
        if known is not None:
            raise BadRequest(f"another blob has the reference {reference} already, which stays with it")
        txn.put(BLOBS, key, content)
        try:
            catalog.commit_txn(txn, root)
        except StaleRead:
            continue
        return reference
    raise StaleRead("others keep storing blobs; try again")


def get_blob(catalog: Catalog, repo: Repo, reference: str) -> bytes | None:
    """The blob of a reference; None if the repo has none.

    Raises:
        BadRequest: not URL-safe base64 with padding.
    """
    try:
        key = binascii.a2b_base64(reference.translate(_ALPHABET), strict_mode=True)
    except ValueError:
        raise BadRequest(f"{reference!r} is no reference of a blob: it must be URL-safe base64 with padding") from None
    if len(key) != DIGEST_BYTES or repo.blobs.uuid not in repo.numbers:
        return None
    return catalog.snapshot(repo, repo.versions[repo.root], repo.blobs).get(BLOBS, key)
