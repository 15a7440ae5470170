"""The blobs of a repo, found by the hash of their content: DVID's blobstore (server/web.go, storage/badger)."""

from __future__ import annotations

import binascii

from dagdvid.errors import BadRequest
from dagdvid.kernels.fnv import DIGEST_BYTES, fnv1_128, reference_of
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.model import Repo
from dagdvid.repo.shared import BLOBS, add

__all__ = ["get_blob", "put_blob"]

_ALPHABET = str.maketrans("-_+/", "+/!!")
"""From URL-safe base64 to the other, in which the other's own two are none."""


def put_blob(catalog: Catalog, repo: Repo, content: bytes) -> str:
    """Store a blob; its reference: the hash in URL-safe base64 with padding.

    Raises:
        BadRequest: other content has this hash: FNV is no cryptographic hash, and a reference means one thing for good.
    """
    key = fnv1_128(content)
    reference = reference_of(key)
    if add(catalog, repo, BLOBS, key, content) != content:
        raise BadRequest(f"another blob has the reference {reference} already, which stays with it")
    return reference


def get_blob(catalog: Catalog, repo: Repo, reference: str) -> bytes | None:
    """The blob of a reference; None if the repo has none.

    Raises:
        BadRequest: not URL-safe base64 with padding.
    """
    try:
        key = binascii.a2b_base64(reference.translate(_ALPHABET), strict_mode=True)
    except ValueError:
        raise BadRequest(f"{reference!r} is no reference of a blob: it must be URL-safe base64 with padding") from None
    if len(key) != DIGEST_BYTES or repo.shared.uuid not in repo.numbers:
        return None
    return catalog.snapshot(repo, repo.versions[repo.root], repo.shared).get(BLOBS, key)
