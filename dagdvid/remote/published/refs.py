"""Refs of a site: one small file a branch, moved by compare-and-swap, and the list of their names (SPEC 8.9)."""

from __future__ import annotations

import json
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dagdvid.errors import Corrupt, DagdvidError, RefMoved, RemoteError
from dagdvid.objects import canonical
from dagdvid.objects.ids import from_hex
from dagdvid.remote.published.form import path_word
from dagdvid.remote.published.site import Site
from dagdvid.repo.model import MASTER

__all__ = ["Ref", "check_site", "is_published", "list_names", "move_ref", "note_name", "read_ref"]

_INFO, _NAMES = "dagdvid.json", "repos.json"
_FORMAT = {"format": "dagdvid published", "version": 1}
_TRIES = 100
_PAUSE = 0.05


@dataclass(frozen=True)
class Ref:
    """Where a branch stands at a site."""

    facts: dict[str, Any]
    """What SPEC 8.9 lists."""
    state: str

    @property
    def commit(self) -> bytes:
        """The commit that it names."""
        return from_hex(self.facts["commit"])

    @property
    def record(self) -> bytes:
        """The repo record that it names."""
        return from_hex(self.facts["record"])

    @property
    def head(self) -> str:
        """The head that it names."""
        return str(self.facts["head"])

    @property
    def withdrawn(self) -> str:
        """When it was unpublished; empty if it was not."""
        return str(self.facts.get("unpublished", ""))


def _path(root: str, branch: str) -> str:
    return f"refs/{path_word(root)}/{path_word(branch or MASTER)}"


def check_site(site: Site, *, create: bool = False) -> None:
    """Check that a site is a published store of a version known here; make an empty place one if `create`.

    Raises:
        RemoteError: it is not.
    """
    if create:
        site.swap(_INFO, canonical.encode(_FORMAT), None)
    found = site.read(_INFO)
    if found is None:
        raise RemoteError(f"{site.name} is no published store: it has no {_INFO}")
    value = _json(site, _INFO, found.data if found else b"")
    if value.get("format") != _FORMAT["format"]:
        raise RemoteError(f"{site.name} is no published store")
    if value.get("version") != _FORMAT["version"]:
        raise RemoteError(f"{site.name} has version {value.get('version')}, this dagdvid knows 1: use a later release")


def is_published(site: Site) -> bool:
    """Whether a place looks like a published store. A web server may answer anything for a path that it lacks.

    Raises:
        RemoteError: it is one of another version.
    """
    found = site.read(_INFO)
    try:
        value = canonical.decode(found.data) if found else None
    except Corrupt:
        value = None
    if not isinstance(value, dict) or value.get("format") != _FORMAT["format"]:
        return False
    check_site(site)
    return True


def read_ref(site: Site, root: str, branch: str) -> Ref | None:
    """A ref; None if there is none.

    Raises:
        RemoteError: it is malformed, or the site cannot be read.
    """
    path = _path(root, branch)
    found = site.read(path)
    if found is None:
        return None
    ref = Ref(_json(site, path, found.data), found.state)
    try:
        proper = ref.facts["repo"] == root and ref.facts["branch"] == branch and len(ref.head) == 64
        proper = proper and bool(ref.commit) and bool(ref.record)
    except (KeyError, TypeError, DagdvidError):
        proper = False
    if not proper:
        raise RemoteError(f"{site.name} has a malformed ref {path}")
    return ref


def move_ref(site: Site, facts: dict[str, Any], before: Ref | None) -> bool:
    """Move a ref from where it was seen; whether it stood there still. A lost reply is read back.

    Raises:
        RemoteError: it was not moved, or it is not known.
    """
    data = canonical.encode(facts | {"write": secrets.token_hex(16)})
    path = _path(facts["repo"], facts["branch"])
    try:
        if site.swap(path, data, before.state if before else None):
            return True
    except RemoteError:
        found = site.read(path)
        if found is not None and found.data == data:
            return True
        if (found.state if found else None) == (before.state if before else None):
            raise
        return False
    found = site.read(path)  # a request that was sent again by itself may have lost to its first self
    return found is not None and found.data == data


def list_names(site: Site) -> dict[str, list[str]]:
    """The branches of each repo that a site has, by the repo's root UUID, as the list says: refs decide."""
    found = site.read(_NAMES)
    value = _json(site, _NAMES, found.data) if found else {}
    repos = value.get("repos", {})
    if not isinstance(repos, dict) or not all(isinstance(branches, list) for branches in repos.values()):
        raise RemoteError(f"{site.name} has a malformed list of repos")
    return {root: [str(branch) for branch in branches] for root, branches in repos.items()}


def note_name(site: Site, root: str, branch: str) -> None:
    """Enter a branch in the list of names.

    Raises:
        RemoteError: the list cannot be written.
    """

    def change(repos: dict[str, list[str]]) -> bool:
        branches = repos.setdefault(root, [])
        if branch in branches:
            return False
        branches.append(branch)
        branches.sort()
        return True

    _change_names(site, change)


def _change_names(site: Site, change: Callable[[dict[str, list[str]]], bool]) -> None:
    for _ in range(_TRIES):
        found = site.read(_NAMES)
        repos = _json(site, _NAMES, found.data).get("repos", {}) if found else {}
        if not change(repos):
            return
        try:
            if site.swap(_NAMES, canonical.encode({"repos": repos}), found.state if found else None):
                return
        except RemoteError:  # looked at again: it is as wished, or not yet
            continue
        time.sleep(random.uniform(0, _PAUSE))  # noqa: S311  so that those who write do not meet again
    raise RefMoved(f"the list of repos of {site.name} keeps moving; try again")


def _json(site: Site, path: str, data: bytes) -> dict[str, Any]:
    try:
        value = canonical.decode(data)
    except (Corrupt, json.JSONDecodeError):
        value = None
    if not isinstance(value, dict):
        raise RemoteError(f"{site.name} has a malformed {path}")
    return value
