"""What a repo is, as one immutable value per state: versions, branches, instances, texts. Loaded by `catalog`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from dagdvid.datatype import Instance
from dagdvid.errors import BadRequest, Corrupt, UnknownName

__all__ = ["MASTER", "Repo", "Version", "branch_text", "is_uuid", "is_version_name"]

MASTER = "master"
"""What the branch without a name is called in `X:master`."""

_UUID = re.compile(r"[0-9a-f]{32}")


def is_uuid(text: str) -> bool:
    """32 lower-case hexadecimal digits (dvid/data.go StringToUUID)."""
    return _UUID.fullmatch(text) is not None


def is_version_name(text: str) -> bool:
    """What may stand for a version in URLs: any text that means nothing else there. DVID takes such roots and tags."""
    return text != "" and text == text.strip() and text.isprintable() and not any(c in text for c in "/:~?#%")


def branch_text(branch: str) -> str:
    """A branch's name for people."""
    return branch or MASTER


@dataclass(frozen=True)
class Version:
    """A node of the version graph."""

    id: int
    """DVID's VersionID: a number of this server alone."""
    uuid: str
    branch: str
    parents: tuple[str, ...]
    note: str
    log: tuple[str, ...]
    user: str
    created: str
    updated: str
    state: str
    commit: bytes | None
    epoch: int
    base: bytes | None = None
    """Of a merge: the merged version tree. Others stand on the tree of their first parent."""

    @property
    def locked(self) -> bool:
        """It takes no more changes, though its commit may still be in the making."""
        return self.state != "open"


@dataclass(frozen=True)
class Repo:
    """One repo at one moment."""

    id: int
    root: str
    record: bytes
    updated: str
    generation: int
    texts: Mapping[str, str]
    """alias, description, created, passcode: what the record says under these names."""
    log: tuple[str, ...]
    instances: Mapping[str, Instance]
    """By name."""
    versions: Mapping[str, Version]
    """By UUID, in order of creation here."""
    numbers: Mapping[str, int] = field(default_factory=dict)
    """Local number of each instance, by data UUID."""
    damage: str = ""
    """Why its record, and with it its instances and texts, cannot be read; empty if it can."""

    def check(self) -> None:
        """Raises Corrupt: the record cannot be read, so that nothing is known of the instances."""
        if self.damage:
            raise Corrupt(self.damage)

    @cached_property
    def children(self) -> dict[str, list[str]]:
        """The children of each version, in order of creation."""
        found: dict[str, list[str]] = {uuid: [] for uuid in self.versions}
        for version in self.versions.values():
            for parent in version.parents:
                found[parent].append(version.uuid)
        return found

    @cached_property
    def by_data_uuid(self) -> dict[str, Instance]:
        """Instances by data UUID."""
        return {instance.uuid: instance for instance in self.instances.values()}

    def instance(self, name: str) -> Instance:
        """An instance by name.

        Raises:
            UnknownName: there is none; the text has the words that clients look for.
            Corrupt: the repo's record cannot be read.
        """
        self.check()
        found = self.instances.get(name)
        if found is None:
            raise UnknownName(f"invalid data instance name {name!r}: there is none in the repo of {self.root}")
        return found

    def leaf(self, branch: str) -> Version | None:
        """The newest version of a branch; None if there is no such branch."""
        for version in reversed(list(self.versions.values())):
            same = any(self.versions[c].branch == branch for c in self.children[version.uuid])
            if version.branch == branch and not same:
                return version
        return None

    def line(self, branch: str) -> list[Version]:
        """The versions of a branch from its leaf to the root, through the branches it came from."""
        version = self.leaf(branch)
        found = []
        while version is not None:
            found.append(version)
            version = self.versions[version.parents[0]] if version.parents else None
        return found

    def along(self, branch: str, back: int) -> Version:
        """The version `back` steps before the leaf of a branch.

        Raises:
            BadRequest: no such branch, or not that many.
        """
        line = self.line(branch)
        if back >= len(line):
            raise BadRequest(f"parent {back} is out of range for branch {branch_text(branch)!r}")
        return line[back]

    def ancestors(self, version: Version) -> list[Version]:
        """A version and all before it, each after its children."""
        found: dict[str, Version] = {}
        front = [version]
        while front:
            front.sort(key=lambda v: v.id)
            newest = front.pop()
            if newest.uuid not in found:
                found[newest.uuid] = newest
                front += [self.versions[p] for p in newest.parents]
        return list(found.values())
