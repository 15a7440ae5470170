"""Finds the version that a text means (datastore/repo_local.go, matchingUUID and around it).

PREFIX          the one version whose UUID begins so
PREFIX:BRANCH   the leaf of a branch in the repo of that version; `master` is the branch without a name
:BRANCH         the same, if there is only one repo
...:BRANCH~N    N versions before that leaf
"""

from __future__ import annotations

from collections.abc import Collection

from dagdvid.errors import BadRequest, UnknownName
from dagdvid.repo.model import MASTER, Repo, Version

__all__ = ["find_version"]


def find_version(repos: Collection[Repo], text: str) -> tuple[Repo, Version]:
    """The version that a text means, and its repo.

    Raises:
        UnknownName: none, or no such branch.
        BadRequest: more than one, or not of one of the forms.
    """
    prefix, colon, branch = text.partition(":")
    if ":" in branch:
        raise BadRequest(f"bad UUID specification {text!r}: more than one colon")
    if colon and not prefix:
        if len(repos) != 1:
            raise BadRequest("a UUID must be specified if there is more than one repo")
        repo = next(iter(repos))
    else:
        repo, version = _by_prefix(repos, prefix)
        if not branch:
            return repo, version
    branch, tilde, back = branch.partition("~")
    if tilde and not (back.isascii() and back.isdigit()):
        raise BadRequest(f"bad UUID specification {text!r}: ~ wants a number")
    name = "" if branch == MASTER else branch
    if tilde:
        return repo, repo.along(name, int(back))
    leaf = repo.leaf(name)
    if leaf is None:
        raise UnknownName(f"no branch {branch!r} in the repo of {repo.root}")
    return repo, leaf


def _by_prefix(repos: Collection[Repo], prefix: str) -> tuple[Repo, Version]:
    found = [(repo, version) for repo in repos for version in repo.shown if version.uuid.startswith(prefix)]
    if len(found) != 1:
        if found:
            raise BadRequest(f"more than one UUID matches {prefix!r}")
        raise UnknownName(f"could not find UUID with partial match to {prefix!r}")
    return found[0]
