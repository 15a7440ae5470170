"""Commits and version roots (SPEC 6.1, 6.2): the hashed content of a version. Instance names never occur in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dagdvid.errors import Corrupt, DagdvidError
from dagdvid.objects import canonical
from dagdvid.objects.blobs import read_value
from dagdvid.objects.ids import ObjectType, from_hex
from dagdvid.objects.store import read
from dagdvid.objects.tree import read as tree
from dagdvid.objects.tree.node import Value
from dagdvid.objects.tree.nodes import EMPTY, Nodes

__all__ = ["Commit", "Content", "content_of", "decode_content", "read_commit"]


@dataclass(frozen=True)
class Commit:
    """A commit object."""

    repo: str
    """UUID of the repo's root version."""
    uuid: str
    parents: tuple[bytes, ...]
    """Commit ids."""
    root: bytes
    """The version root: a tree from data UUID (16 bytes) to `Content`."""
    branch: str
    note: str
    log: tuple[str, ...]
    user: str
    created: str
    time: str
    amends: bytes | None = None
    """The commit in whose place it stands (SPEC 6.9)."""

    def encode(self) -> bytes:
        """Canonical bytes."""
        amends = {"amends": self.amends.hex()} if self.amends is not None else {}
        return canonical.encode(
            {
                **amends,
                "branch": self.branch,
                "created": self.created,
                "log": list(self.log),
                "note": self.note,
                "parents": [p.hex() for p in self.parents],
                "repo": self.repo,
                "root": self.root.hex(),
                "time": self.time,
                "user": self.user,
                "uuid": self.uuid,
            }
        )

    @staticmethod
    def decode(data: bytes) -> Commit:
        """Raises Corrupt: not a commit."""
        try:
            value = canonical.decode(data)
            commit = Commit(
                value["repo"],
                value["uuid"],
                tuple(from_hex(p) for p in value["parents"]),
                from_hex(value["root"]),
                value["branch"],
                value["note"],
                tuple(value["log"]),
                value["user"],
                value["created"],
                value["time"],
                from_hex(value["amends"]) if "amends" in value else None,
            )
            names = (commit.repo, commit.uuid, commit.branch, commit.user, commit.created, commit.time)
            proper = all(isinstance(t, str) for t in (*names, commit.note, *commit.log)) and commit.encode() == data
        except (KeyError, TypeError, ValueError, DagdvidError):
            proper = False
        if not proper:
            raise Corrupt("not a commit object in canonical form")
        return commit


@dataclass(frozen=True)
class Content:
    """One instance in one version: what its bytes mean, and the root of each of its key spaces that is not empty."""

    typename: str
    settings: Mapping[str, Any]
    roots: Mapping[str, bytes]

    def encode(self) -> bytes:
        """Canonical bytes."""
        return canonical.encode(
            {
                "roots": {space: root.hex() for space, root in self.roots.items() if root != EMPTY},
                "settings": dict(self.settings),
                "type": self.typename,
            }
        )


def decode_content(data: bytes) -> Content:
    """Raises Corrupt: not the content of an instance."""
    try:
        value = canonical.decode(data)
        content = Content(
            value["type"], value["settings"], {space: from_hex(root) for space, root in value["roots"].items()}
        )
        proper = isinstance(content.typename, str) and content.encode() == data
    except (KeyError, TypeError, ValueError, AttributeError, DagdvidError):
        proper = False
    if not proper:
        raise Corrupt("not the content of an instance in canonical form")
    return content


def read_commit(nodes: Nodes, name: bytes) -> Commit:
    """The commit of an id."""
    return Commit.decode(read(nodes.store, name, ObjectType.COMMIT))


def content_of(nodes: Nodes, root: bytes, data_uuid: str) -> Content | None:
    """An instance in a version root; None if it is empty there."""
    value: Value | None = tree.get(nodes, root, bytes.fromhex(data_uuid))
    return None if value is None else decode_content(read_value(nodes.store, value))
