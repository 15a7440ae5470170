"""The mutation log of labelmap: one record for each thing done to bodies (SPEC 9.11), and how DVID shows it.

Writes of voxels leave no record, as in DVID. A label of 2^63 or more stands as text; long lists of supervoxels as
base64 of their differences, u64 each.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dagdvid.datatype import Txn
from dagdvid.datatypes.labelevents import Cleave, Merge, Operation, Renumber, Split, SplitSupervoxel
from dagdvid.errors import Corrupt
from dagdvid.routes import Request

__all__ = ["Who", "log", "parse", "shown", "who_of"]

_BIG = 1 << 63


class Who(NamedTuple):
    """Who asked, with what program."""

    user: str
    app: str


def who_of(request: Request) -> Who:
    """Who asked, as the request says."""
    return Who(request.user, request.app)


def log(txn: Txn, operation: Operation, who: Who) -> bytes:
    """Add the record of an operation; its mark."""
    asked = {name: text for name, text in zip(("user", "app"), who, strict=True) if text}
    return txn.log({**_members(operation), **asked})


def _members(operation: Operation) -> dict[str, Any]:
    """The members of a record."""
    match operation:
        case Merge():
            return {
                "action": "merge",
                "target": _number(operation.target),
                "labels": _numbers(operation.labels),
                "supervoxels": _packed(np.concatenate(operation.supervoxels)),
                "counts": [len(part) for part in operation.supervoxels],
            }
        case Cleave():
            return {
                "action": "cleave",
                "body": _number(operation.body),
                "made": _number(operation.made),
                "supervoxels": _numbers(operation.supervoxels),
                "sizes": [operation.voxels, operation.rest],
            }
        case Renumber():
            return {"action": "renumber", "new": _number(operation.new), "old": _number(operation.old)}
        case SplitSupervoxel():
            return {
                "action": "split-supervoxel",
                "body": _number(operation.body),
                "supervoxel": _number(operation.supervoxel),
                "split": _number(operation.split),
                "remain": _number(operation.remain),
                "sizes": [operation.voxels, operation.rest],
                "rles": operation.rles,
            }
        case Split():
            return {
                "action": "split",
                "body": _number(operation.body),
                "made": _number(operation.made),
                "supervoxels": [_numbers([old, *parts]) for old, parts in sorted(operation.supervoxels.items())],
                "rles": operation.rles,
            }


def _shown(operation: Operation) -> dict[str, Any]:
    """DVID's members."""
    match operation:
        case Merge():
            return {"Action": "merge-complete", "Target": operation.target, "Labels": list(operation.labels)}
        case Cleave():
            return {
                "Action": "cleave-complete",
                "OrigLabel": operation.body,
                "CleavedLabel": operation.made,
                "CleavedSupervoxels": list(operation.supervoxels),
                "CleavedSize": operation.voxels,
                "RemainSize": operation.rest,
            }
        case Renumber():
            return {"Action": "renumber-complete", "NewLabel": operation.new, "OrigLabel": operation.old}
        case SplitSupervoxel():
            return {
                "Action": "split-supervoxel-complete",
                "Supervoxel": operation.supervoxel,
                "Body": operation.body,
                "SplitSupervoxel": operation.split,
                "RemainSupervoxel": operation.remain,
                "Split": operation.rles,
                "SplitSize": operation.voxels,
                "RemainSize": operation.rest,
            }
        case Split():
            pairs = operation.supervoxels.items()
            return {
                "Action": "split-complete",
                "Target": operation.body,
                "NewLabel": operation.made,
                "Split": operation.rles,
                "SVSplits": {str(old): {"Split": split, "Remain": rest} for old, (split, rest) in pairs},
            }


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
    return [_shown(parse(record)) | who]


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
