"""What the writer takes: operations, prepared outside all locks so that the writer itself has little to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, NamedTuple, Protocol

from dagdvid.objects.local.pack import encode_entry, pack_kind
from dagdvid.objects.store import Object

__all__ = ["Operation", "Packed", "Prepared", "Put", "prepare_operation"]


class Operation(Protocol):
    """A change: objects to store, and what to do in the database, all of it or nothing.

    A dataclass whose fields can be pickled: where several processes serve, another one applies it.
    """

    @property
    def objects(self) -> Sequence[Object]:
        """What to store before `apply` runs. `apply` itself does not see it."""

    def apply(self, conn: sqlite3.Connection) -> Any:
        """Change the database inside the writer's transaction; an error undoes this operation alone."""


@dataclass(frozen=True)
class Put:
    """Store objects, nothing else."""

    objects: Sequence[Object]
    again: bool = False
    """Store also what is there already: the pack that it lies in is about to go."""

    def apply(self, conn: sqlite3.Connection) -> None:
        """Nothing to do."""


class Packed(NamedTuple):
    """An object as it will stand in a pack."""

    id: bytes
    kind: int
    """Of pack."""
    entry: bytes | memoryview


class Prepared(NamedTuple):
    """An operation without its objects, and these."""

    operation: Operation
    packed: Sequence[Packed]

    @property
    def size(self) -> int:
        """Bytes of the objects."""
        return sum(len(item.entry) for item in self.packed)

    @property
    def again(self) -> bool:
        """As `Put.again`."""
        return isinstance(self.operation, Put) and self.operation.again


def prepare_operation(operation: Operation) -> Prepared:
    """Encode the objects of an operation: the part of the work that needs no lock."""
    packed = [Packed(item.id, pack_kind(item.type), encode_entry(item)) for item in operation.objects]
    whole: Any = operation
    if packed and is_dataclass(whole) and any(field.name == "objects" for field in fields(whole)):
        whole = replace(whole, objects=())  # type: ignore[type-var]
    return Prepared(whole, packed)
