"""One transaction on one instance, run again while others change what it reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from dagdvid.datatype import Instance
from dagdvid.errors import StaleRead
from dagdvid.repo import amend
from dagdvid.repo.blobstore import put_blob
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.deferred import compute_within
from dagdvid.repo.model import Repo, Version
from dagdvid.repo.txn import VersionTxn

__all__ = ["transact"]

_TRIES = 50

Result = TypeVar("Result")


def transact(
    catalog: Catalog,
    repo: Repo,
    version: Version,
    instance: Instance,
    run: Callable[[Instance, VersionTxn], Result],
    check: Callable[[Repo, Version, Instance], None],
    user: str = "",
    *,
    unlocked: bool = False,
) -> Result:
    """What `run` gives, once its changes are durable. `check` raises if they are no longer allowed when it runs again.

    unlocked: a committed version is amended.

    Raises:
        Locked: the version was committed meanwhile.
        StaleRead: what it reads never stood still.
    """
    for again in range(_TRIES):
        if again:
            repo = catalog.repo(repo.root)
            version, instance = repo.versions[version.uuid], repo.instance(instance.name)
            check(repo, version, instance)
        amending = unlocked and instance.versioned and version.locked
        if amending:
            repo, version = amend.ready(catalog, repo.root, version.uuid)
        txn = catalog.txn(repo, version, instance)
        result = run(instance, txn)
        for each in txn.party.values():
            for content in each.kept:
                put_blob(catalog, repo, content)
            if amending:
                compute_within(each)
        try:
            if amending:
                amend.amend(catalog, txn, version, user)
            else:
                catalog.commit_txn(txn, version, user)
        except StaleRead:
            continue
        for each in txn.party.values():
            if catalog.on_log is not None and each.logged:
                catalog.on_log(repo, version, each.instance)
        return result
    raise StaleRead("others keep changing what the request reads; try again")
