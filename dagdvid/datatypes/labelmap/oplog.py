"""The mutation log of labelmap: one record for each thing done to bodies (SPEC 9.8), and how DVID shows it.

Writes of voxels leave no record, as in DVID. A label of 2^63 or more stands as text; long lists of supervoxels as
base64 of their differences, u64 each.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dagdvid.datatype import Txn
from dagdvid.errors import Corrupt
from dagdvid.routes import Request

__all__ = [
    "Cleave",
    "Merge",
    "Operation",
    "Renumber",
    "Split",
    "SplitSupervoxel",
    "Who",
    "log",
    "parse",
    "shown",
    "who_of",
]

_BIG = 1 << 63


class Who(NamedTuple):
    """Who asked, with what program."""

    user: str
    app: str


def who_of(request: Request) -> Who:
    """Who asked, as the request says."""
    return Who(request.user, request.app)


@dataclass(frozen=True)
class Merge:
    """Bodies that became part of another."""

    target: int
    labels: Sequence[int]
    supervoxels: Sequence[NDArray[np.uint64]]
    """What each of them had, ascending."""

    def members(self) -> dict[str, Any]:
        """Those of the record."""
        return {
            "action": "merge",
            "target": _number(self.target),
            "labels": _numbers(self.labels),
            "supervoxels": _packed(np.concatenate(self.supervoxels)),
            "counts": [len(part) for part in self.supervoxels],
        }

    def shown(self) -> dict[str, Any]:
        """DVID's members."""
        return {"Action": "merge-complete", "Target": self.target, "Labels": list(self.labels)}


@dataclass(frozen=True)
class Cleave:
    """Supervoxels that became a body."""

    body: int
    made: int
    supervoxels: Sequence[int]
    voxels: int
    rest: int
    """Voxels that the body has left."""

    def members(self) -> dict[str, Any]:
        """Those of the record."""
        return {
            "action": "cleave",
            "body": _number(self.body),
            "made": _number(self.made),
            "supervoxels": _numbers(self.supervoxels),
            "sizes": [self.voxels, self.rest],
        }

    def shown(self) -> dict[str, Any]:
        """DVID's members."""
        return {
            "Action": "cleave-complete",
            "OrigLabel": self.body,
            "CleavedLabel": self.made,
            "CleavedSupervoxels": list(self.supervoxels),
            "CleavedSize": self.voxels,
            "RemainSize": self.rest,
        }


@dataclass(frozen=True)
class Renumber:
    """A body that got another label."""

    new: int
    old: int

    def members(self) -> dict[str, Any]:
        """Those of the record."""
        return {"action": "renumber", "new": _number(self.new), "old": _number(self.old)}

    def shown(self) -> dict[str, Any]:
        """DVID's members."""
        return {"Action": "renumber-complete", "NewLabel": self.new, "OrigLabel": self.old}


@dataclass(frozen=True)
class SplitSupervoxel:
    """A supervoxel that became two."""

    body: int
    supervoxel: int
    split: int
    remain: int
    voxels: int
    """Of the split one."""
    rest: int
    """Of the remaining one."""
    rles: str
    """Where the split one's sparse volume is kept: its reference in the blobstore."""

    def members(self) -> dict[str, Any]:
        """Those of the record."""
        return {
            "action": "split-supervoxel",
            "body": _number(self.body),
            "supervoxel": _number(self.supervoxel),
            "split": _number(self.split),
            "remain": _number(self.remain),
            "sizes": [self.voxels, self.rest],
            "rles": self.rles,
        }

    def shown(self) -> dict[str, Any]:
        """DVID's members."""
        return {
            "Action": "split-supervoxel-complete",
            "Supervoxel": self.supervoxel,
            "Body": self.body,
            "SplitSupervoxel": self.split,
            "RemainSupervoxel": self.remain,
            "Split": self.rles,
            "SplitSize": self.voxels,
            "RemainSize": self.rest,
        }


@dataclass(frozen=True)
class Split:
    """Voxels of a body that became one, with its supervoxels split where the cut goes through them."""

    body: int
    made: int
    supervoxels: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    """For each that was split: what became of the part that was cut off, and of the rest."""
    rles: str = ""

    def members(self) -> dict[str, Any]:
        """Those of the record."""
        rows = [_numbers([old, *parts]) for old, parts in sorted(self.supervoxels.items())]
        return {
            "action": "split",
            "body": _number(self.body),
            "made": _number(self.made),
            "supervoxels": rows,
            "rles": self.rles,
        }

    def shown(self) -> dict[str, Any]:
        """DVID's members."""
        splits = {str(old): {"Split": split, "Remain": rest} for old, (split, rest) in self.supervoxels.items()}
        return {
            "Action": "split-complete",
            "Target": self.body,
            "NewLabel": self.made,
            "Split": self.rles,
            "SVSplits": splits,
        }


Operation = Merge | Cleave | Renumber | SplitSupervoxel | Split


def log(txn: Txn, operation: Operation, who: Who) -> bytes:
    """Add the record of an operation; its mark."""
    asked = {name: text for name, text in zip(("user", "app"), who, strict=True) if text}
    return txn.log({**operation.members(), **asked})


def parse(record: Mapping[str, Any]) -> Operation:
    """The operation of a record.

    Raises:
        Corrupt: it makes no sense.
    """
    try:
        return _parsed(record)
    except (KeyError, TypeError, ValueError) as error:
        raise Corrupt(f"a record of the mutation log is malformed: {error!r}") from None


def _parsed(record: Mapping[str, Any]) -> Operation:
    action = record["action"]
    if action == "merge":
        labels = [int(label) for label in record["labels"]]
        parts = np.split(_unpacked(record["supervoxels"]), np.cumsum(record["counts"])[:-1])
        return Merge(int(record["target"]), labels, parts)
    if action == "cleave":
        supervoxels = [int(label) for label in record["supervoxels"]]
        voxels, rest = record["sizes"]
        return Cleave(int(record["body"]), int(record["made"]), supervoxels, voxels, rest)
    if action == "renumber":
        return Renumber(int(record["new"]), int(record["old"]))
    if action == "split-supervoxel":
        body, supervoxel, split, remain = (int(record[name]) for name in ("body", "supervoxel", "split", "remain"))
        voxels, rest = record["sizes"]
        return SplitSupervoxel(body, supervoxel, split, remain, voxels, rest, record["rles"])
    if action == "split":
        rows = {int(old): (int(split), int(rest)) for old, split, rest in record["supervoxels"]}
        return Split(int(record["body"]), int(record["made"]), rows, record["rles"])
    raise ValueError(action)


def shown(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """DVID's object of a record (what it sends as *-complete)."""
    names = (("User", "user"), ("App", "app"), ("MutationID", "mutation"))
    who = {name: record[key] for name, key in names if key in record}
    return [parse(record).shown() | who]


def _number(label: int) -> int | str:
    return label if label < _BIG else str(label)


def _numbers(labels: Iterable[int]) -> list[int | str]:
    return [_number(label) for label in labels]


def _packed(labels: NDArray[np.uint64]) -> str:
    steps = np.diff(labels, prepend=np.uint64(0)).astype("<u8")
    return base64.b64encode(steps.tobytes()).decode()


def _unpacked(text: str) -> NDArray[np.uint64]:
    found: NDArray[np.uint64] = np.cumsum(np.frombuffer(base64.b64decode(text, validate=True), "<u8"), dtype=np.uint64)
    return found
