"""Finds the branches on which versions from another server land here."""

from __future__ import annotations

from dagdvid.errors import Diverged
from dagdvid.remote.receive import Received
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.commits import Commit, read_commit
from dagdvid.repo.model import Repo, Version, branch_text

__all__ = ["Landing"]

_DIGITS = 7


class Landing:
    """Those of the other side, unless ours have gone on differently (SPEC 8.3).

    Where both have gone on, and theirs was merged with ours since, the merge goes on with our branch, and what led to
    it on their side lands beside. What lands beside is called BRANCH@REMOTE in a pull, BRANCH@UUID... in a push.
    """

    def __init__(self, catalog: Catalog, repo: Repo | None, received: Received, remote: str) -> None:
        self._catalog = catalog
        self._received = received
        self._remote = remote
        self._versions = dict(repo.versions) if repo else {}
        self._children = repo.children if repo else {}
        self._here = {v.commit: v for v in self._versions.values() if v.commit is not None}
        self._branches = {commit: v.branch for commit, v in self._here.items()}
        self._coming = {commit.uuid for commit in received.commits.values()}
        self._ours = {v.branch for v in self._versions.values() if v.uuid not in self._coming}
        self._names = self._ours | {self.there(commit) for commit in received.commits.values()}
        self._joining: dict[str, set[bytes]] = {}
        self._tips: dict[str, bytes] = {}

    def uuid(self, commit: bytes) -> str:
        """The version of a parent, here or just come."""
        known = self._here.get(commit)
        return known.uuid if known else self._received.commits[commit].uuid

    def there(self, commit: Commit) -> str:
        """What the branch of a version is called on the other side."""
        return self._received.refs.branches.get(commit.uuid, commit.branch)

    def branch(self, name: bytes, commit: Commit) -> str:
        """What the branch of a new version is called here; parents are asked about before their children.

        Raises:
            Diverged: in a push, it would fork a branch.
        """
        if commit.uuid in self._versions:
            self._branches[name] = self._versions[commit.uuid].branch
            return self._branches[name]
        branch = self.there(commit)
        first = commit.parents[0] if commit.parents else None
        if name in self._joins(branch) and self._tips.get(branch, first) in (first, *commit.parents):
            self._tips[branch] = name
        else:
            if first is not None:
                parent = self._received.commits.get(first) or read_commit(self._catalog.nodes, first)
                if self.there(parent) == branch:
                    branch = self._branches[first]
            rival = self._rival(first, commit, branch)
            if rival is not None:
                self._check(branch, rival, commit)
                branch = self._beside(branch, commit)
        self._branches[name] = branch
        return branch

    def _check(self, branch: str, rival: str, commit: Commit) -> None:
        """Raises Diverged: in a push, what comes was not merged with what is here."""
        if not self._remote and not any(
            self.there(self._received.commits[name]) == branch for name in self._joins(branch)
        ):
            raise Diverged(
                f"branch {branch_text(branch)!r} has version {rival} here and {commit.uuid} there,"
                " neither after the other: pull, and merge or rename one"
            )

    def _rival(self, first: bytes | None, commit: Commit, branch: str) -> str | None:
        """A version here that the branch has gone on to, or that has another branch of this name."""
        if commit.uuid in self._versions or branch not in self._ours:
            return None
        if first is not None and self._branches[first] == branch:
            after = self._children.get(self.uuid(first), ())
            rivals = (uuid for uuid in after if self._versions[uuid].branch == branch)
        elif len(commit.parents) > 1:  # merges may come to any branch
            return None
        else:
            rivals = (v.uuid for v in self._versions.values() if v.branch == branch)
        return next((uuid for uuid in rivals if uuid not in self._coming), None)

    def _joins(self, branch: str) -> set[bytes]:
        """The new commits that come after the end of a branch of ours."""
        found = self._joining.get(branch)
        if found is None:
            found = self._joining[branch] = set()
            tip = self._tip(branch)
            after = self._after(tip) if tip and tip.commit else set()
            for name, commit in self._received.commits.items():
                if any(self.uuid(parent) in after for parent in commit.parents):
                    after.add(commit.uuid)
                    found.add(name)
        return found

    def _tip(self, branch: str) -> Version | None:
        """The end of a branch of ours."""
        for version in self._versions.values():
            if version.branch == branch:
                after = (self._versions[child].branch for child in self._children[version.uuid])
                if branch not in after:
                    return version
        return None

    def _after(self, version: Version) -> set[str]:
        """The UUIDs of a version and all after it here."""
        found: set[str] = set()
        front = [version]
        while front:
            each = front.pop()
            if each.uuid not in found:
                found.add(each.uuid)
                front += (self._versions[child] for child in self._children[each.uuid])
        return found

    def _beside(self, branch: str, commit: Commit) -> str:
        label = self._remote or commit.uuid[:_DIGITS]
        while branch in self._names:
            branch = f"{branch_text(branch)}@{label}"
        self._names.add(branch)
        return branch
