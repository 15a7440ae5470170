"""Versions that one side amended and the other has as they were: which commit stands, and what is in its way."""

from __future__ import annotations

from dataclasses import dataclass, field

from dagdvid.errors import Diverged
from dagdvid.remote.receive import Received
from dagdvid.repo.accept import Amended
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.commits import Commit, read_commit
from dagdvid.repo.model import Repo, Version

__all__ = ["Amendments", "sort_amendments"]


@dataclass
class Amendments:
    """What became of versions that are here under another commit."""

    taken: list[Amended] = field(default_factory=list)
    """Here goes on with theirs."""
    stale: set[bytes] = field(default_factory=set)
    """Commits that came, of versions that were amended here since."""


def sort_amendments(catalog: Catalog, repo: Repo | None, received: Received, allowed: bool) -> Amendments:
    """Sort out what came of versions that are here under another commit, where one of the two amends the other.

    allowed: amendments by the other side may be taken.

    Raises:
        Diverged: they may not, or the version is published or signed, or versions of one side alone stand on it as it
            was; the text has both hashes.
    """
    found = Amendments()
    for name, commit in received.commits.items():
        version = repo.versions.get(commit.uuid) if repo else None
        if version is None or version.commit in (None, name):
            if any(parent in found.stale for parent in commit.parents):
                raise Diverged(f"version {commit.uuid} stands on one that was amended here since: pull first")
            continue
        ours = read_commit(catalog.nodes, version.commit)
        if _amends(name, commit, version.commit, ours):
            found.taken.append(Amended(version.uuid, version.commit, name))
            _check(version, name, allowed)
        elif _amends(version.commit, ours, name, commit):
            found.stale.add(name)
    if repo is not None:
        _check_after(repo, found)
    return found


def _amends(later: bytes, commit: Commit, earlier: bytes, other: Commit) -> bool:
    """Whether a commit stands in the place of another: directly, or after others that are not here."""
    if later == earlier:
        return False
    return commit.amends == earlier or (commit.amends is not None and other.amends is None)


def _check(version: Version, theirs: bytes, allowed: bool) -> None:
    both = f"it is {version.commit.hex() if version.commit else 'open'} here and {theirs.hex()} there"
    if version.fixed:
        raise Diverged(f"version {version.uuid} was amended on the other side and is {version.fixed} here: {both}")
    if not allowed:
        raise Diverged(
            f"version {version.uuid} was amended on the other side: {both}; take it with the admin token, or in"
            f' full-write mode, or leave it out with "without": ["{version.uuid}"]'
        )


def _check_after(repo: Repo, found: Amendments) -> None:
    """Raises Diverged: something here alone stands on a version as it was, and cannot just see the amendment."""
    amended = {each.uuid: each for each in found.taken}
    for version in repo.versions.values():
        below = next((amended[parent] for parent in version.parents if parent in amended), None)
        plain = version.state == "open" and version.base is None
        if below is not None and version.uuid not in amended and not plain:
            raise Diverged(
                f"version {below.uuid} was amended on the other side: it is {below.before.hex()} here and"
                f" {below.after.hex()} there; {version.uuid} stands on it here: push that first"
            )
