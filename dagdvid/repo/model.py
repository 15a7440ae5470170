"""What a repo is, as one immutable value per state: versions, branches, instances, texts. Loaded by `catalog`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from dagdvid.datatype import Instance
from dagdvid.errors import BadRequest, Corrupt, UnknownName
from dagdvid.objects.ids import ObjectType, object_id
from dagdvid.repo.record import Later

__all__ = ["MASTER", "Repo", "Version", "branch_text", "is_uuid", "is_version_name", "shared_uuid"]

MASTER = "master"
"""What the branch without a name is called in `X:master`."""

_UUID = re.compile(r"[0-9a-f]{32}")


def is_uuid(text: str) -> bool:
    """32 lower-case hexadecimal digits (dvid/data.go StringToUUID)."""
    return _UUID.fullmatch(text) is not None


def shared_uuid(root: str) -> str:
    """The data UUID of what belongs to a repo as a whole: every server makes the same one (SPEC 6.12)."""
    return object_id(ObjectType.BLOB, b"shared by " + root.encode())[:16].hex()


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
    hidden: bool = False
    """It is not shown and cannot be named; versions after it still stand on it."""
    fixed: str = ""
    """Why it can never be amended: "published" or "signed"; empty if it can."""

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
    """By UUID, in order of creation here, the hidden ones among them."""
    numbers: Mapping[str, int] = field(default_factory=dict)
    """Local number of each instance, and of what is shared once there is something, by data UUID."""
    deleted: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Tombstones of deleted instances, by data UUID: what versions still hold of them is given up."""
    later: Mapping[str, Later] = field(default_factory=dict)
    """What the record says of versions, by version UUID, where it differs from their commits."""
    chained: bool = False
    """Some of what its versions hold lies in a base (SPEC 8.10), so that reading may take long."""
    damage: str = ""
    """Why its record, and with it its instances and texts, cannot be read; empty if it can."""

    def check(self) -> None:
        """Raises Corrupt: the record cannot be read, so that nothing is known of the instances."""
        if self.damage:
            raise Corrupt(self.damage)

    @cached_property
    def bases(self) -> dict[tuple[str, str], Any]:
        """Of version and data UUID: where the instance stands there. Kept by `catalog` as long as this state lasts."""
        return {}

    @cached_property
    def shown(self) -> list[Version]:
        """The versions that are not hidden, in order of creation."""
        return [version for version in self.versions.values() if not version.hidden]

    @cached_property
    def children(self) -> dict[str, list[str]]:
        """The children of each version, in order of creation."""
        found: dict[str, list[str]] = {uuid: [] for uuid in self.versions}
        for version in self.versions.values():
            for parent in version.parents:
                found[parent].append(version.uuid)
        return found

    def shown_parents(self, version: Version) -> list[Version]:
        """The parents of a version; in the place of hidden ones, those before them."""
        return self._past_hidden(version, lambda v: v.parents)

    def shown_children(self, version: Version) -> list[Version]:
        """The children of a version; in the place of hidden ones, those after them."""
        return self._past_hidden(version, lambda v: self.children[v.uuid])

    def _past_hidden(self, version: Version, next_to: Callable[[Version], Sequence[str]]) -> list[Version]:
        found: dict[str, Version] = {}
        front = [self.versions[uuid] for uuid in reversed(next_to(version))]
        while front:
            near = front.pop()
            if near.hidden:
                front += [self.versions[uuid] for uuid in reversed(next_to(near))]
            else:
                found[near.uuid] = near
        return list(found.values())

    @cached_property
    def by_data_uuid(self) -> dict[str, Instance]:
        """Instances by data UUID."""
        return {instance.uuid: instance for instance in self.instances.values()}

    @cached_property
    def shared(self) -> Instance:
        """What belongs to the repo as a whole, blobs and its activity: an unversioned instance without a name."""
        return Instance(shared_uuid(self.root), "", "shared", self.root, False, {}, {})

    @property
    def unversioned(self) -> list[Instance]:
        """All that has a ref of its own, outside every version."""
        shared = [self.shared] if self.shared.uuid in self.numbers else []
        return [instance for instance in self.instances.values() if not instance.versioned] + shared

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
        for version in reversed(self.shown):
            same = any(
                self.versions[c].branch == branch and not self.versions[c].hidden for c in self.children[version.uuid]
            )
            if version.branch == branch and not same:
                return version
        return None

    def line(self, branch: str) -> list[Version]:
        """The versions of a branch from its leaf to the root, through the branches it came from."""
        version = self.leaf(branch)
        found = []
        while version is not None:
            if not version.hidden:
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
