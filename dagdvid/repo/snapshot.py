"""Snapshots: what a datatype reads. Staged rows over the trees of the newest commit below; nothing is held open."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from dagdvid.datatype import MAX_KEY, Instance, Logged, Stored
from dagdvid.errors import BadRequest, MissingObject, UnknownName
from dagdvid.objects import canonical
from dagdvid.objects.blobs import read_values
from dagdvid.objects.codecs import Codec
from dagdvid.objects.local.database import Database
from dagdvid.objects.store import ObjectStore
from dagdvid.objects.tree import read as tree
from dagdvid.objects.tree.node import BLOB, Ref, Value
from dagdvid.objects.tree.nodes import EMPTY, Nodes
from dagdvid.objects.tree.read import Ahead
from dagdvid.repo.batches import Batches, overlaid, present
from dagdvid.repo.ids import label_counter, lowest
from dagdvid.repo.model import Repo
from dagdvid.repo.staging import LOG, MARKS, Found, Layer, changes_at, staged_at

__all__ = ["AboveLimit", "Base", "VersionSnapshot", "check_key", "merged_keys"]

_LOAD = 256
"""Values that a scan loads together."""


class AboveLimit(Exception):
    """Values of more bytes than `VersionSnapshot.most` would have to be loaded."""


@dataclass(frozen=True)
class Base:
    """Where a version's instance stands: its unfolded layers, newest first, and the roots below them."""

    layers: tuple[Layer, ...]
    roots: Mapping[str, bytes]


class VersionSnapshot:
    """An instance at a version (see `dagdvid.datatype.Snapshot`). Each call sees one moment.

    A layer that is folded while the snapshot lives is noticed by its epoch; `refresh` then gives the new base.
    """

    home: Repo
    """The repo as it was then: its ids are for the log and for labels, its record for properties."""

    def __init__(
        self,
        nodes: Nodes,
        database: Database,
        instance: Instance,
        version: str,
        number: int,
        refresh: Callable[[], Base],
    ) -> None:
        self.instance = instance
        self.version = version
        self.nodes = nodes
        self.number = number
        self.store: ObjectStore = nodes.store
        self._database = database
        self._refresh = refresh
        self.base = refresh()
        self.ahead: Ahead | None = None
        """Told which objects will be read soon, where that takes long; set by the owner."""
        self.siblings: Callable[[str], VersionSnapshot] | None = None
        """Gives other instances at this version; set by the owner."""
        self.elsewhere: Callable[[str], VersionSnapshot] | None = None
        """Gives this instance at other versions; set by the owner."""
        self.logged_here: Callable[[], Iterator[Logged]] | None = None
        """Gives what was done in this version; set by the owner."""
        self.most: int | None = None
        """Bytes that one call may load from the store; no limit unless set."""

    def get(self, space: str, key: bytes) -> bytes | None:
        """The value of a key, or None."""
        value = self.locate(space, [key])[0]
        return self.load([value])[0] if isinstance(value, Ref) else value

    def get_many(self, space: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of keys, in the order asked."""
        return self.load(self.locate(space, keys))

    def has(self, space: str, key: bytes) -> bool:
        """Whether a key is there."""
        return self.locate(space, [key])[0] is not None

    def locate(self, space: str, keys: Sequence[bytes]) -> list[Value | None]:
        """What the keys hold at this moment, unread: for `load`, later and in parts."""
        for key in keys:
            check_key(key)
        base, staged = self._staged(space, keys)
        located = self._resolve(space, keys, base, staged.layers)
        if self.ahead is not None and len(keys) > 1:
            self.ahead([(value.id, value.size) for value in located if isinstance(value, Ref) and value.kind == BLOB])
        return located

    def load(self, located: Sequence[Value | None]) -> list[bytes | None]:
        """The bytes of located values.

        Raises:
            AboveLimit: they are more than `most`.
        """
        if self.most is not None and sum(v.size for v in located if isinstance(v, Ref)) > self.most:
            raise AboveLimit
        values = iter(read_values(self.store, [v for v in located if v is not None]))
        return [None if v is None else next(values) for v in located]

    def stored_many(self, space: str, keys: Sequence[bytes]) -> list[Stored | None]:
        """Values as they lie in the store."""
        return self.load_stored(self.locate(space, keys))

    def load_stored(self, located: Sequence[Value | None]) -> list[Stored | None]:
        """Located values as they lie in the store."""
        blobs = [v.id for v in located if isinstance(v, Ref) and v.kind == BLOB]
        found = dict(zip(blobs, self.store.get_many(blobs), strict=True))
        result: list[Stored | None] = []
        for value in located:
            if value is None:
                result.append(None)
            elif isinstance(value, Ref) and value.kind == BLOB:
                item = found[value.id]
                if item is None:
                    raise MissingObject(f"blob {value.id.hex()} is missing")
                result.append(Stored(item.codec, item.size, item.payload))
            else:
                data = read_values(self.store, [value])[0]
                result.append(Stored(Codec.RAW, len(data), data))
        return result

    def expect(self, size: int) -> None:
        """Raises AboveLimit: so much must not be loaded here."""
        if self.most is not None and size > self.most:
            raise AboveLimit

    def sibling(self, name: str) -> VersionSnapshot:
        """Another instance at this version."""
        if self.siblings is None:
            raise UnknownName(f"data instance {name!r} cannot be reached from here")
        other = self.siblings(name)
        other.most = self.most
        return other

    def records(self, marks: Sequence[bytes]) -> list[Logged]:
        """Records of the mutation log by their marks."""
        prefixes = self.get_many(MARKS, marks)
        known = [(prefix, mark) for prefix, mark in zip(prefixes, marks, strict=True) if prefix is not None]
        records = iter(self.get_many(LOG, [prefix + mark for prefix, mark in known]))
        found = []
        for prefix in prefixes:
            data = None if prefix is None else next(records)
            known_as = 0 if prefix is None else int.from_bytes(prefix, "big")
            found.append(Logged(known_as, {} if data is None else canonical.decode(data)))
        return found

    def next_label(self) -> int:
        """The label that would be given out next."""
        return lowest(self._database.reader, self.home.id, label_counter(self.instance.uuid), 1)[0].start

    def history(self) -> Iterator[Logged]:
        """What was done to the instance in this version, in order."""
        return iter(()) if self.logged_here is None else self.logged_here()

    def line(self) -> list[str]:
        """The UUIDs of this version and those before it, by first parents."""
        version = self.home.versions[self.version]
        found = [version.uuid]
        while version.parents:
            version = self.home.versions[version.parents[0]]
            found.append(version.uuid)
        return found

    def at(self, version: str) -> VersionSnapshot:
        """The instance at another version."""
        if self.elsewhere is None:
            raise UnknownName(f"version {version!r} cannot be reached from here")
        other = self.elsewhere(version)
        other.most = self.most
        return other

    def keys(self, space: str, lo: bytes = b"", hi: bytes | None = None) -> Iterator[bytes]:
        """The keys with lo <= key < hi, in order."""
        return chain.from_iterable(keys for keys, _ in self.scan(space, lo, hi, bare=True))

    def items(self, space: str, lo: bytes = b"", hi: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """The entries with lo <= key < hi, in order."""
        for keys, values in self.scan(space, lo, hi):
            for i in range(0, len(keys), _LOAD):
                yield from zip(keys[i : i + _LOAD], read_values(self.store, values[i : i + _LOAD]), strict=True)

    def count(self, space: str) -> int:
        """How many keys a space has."""
        base, changes = self._changes(space, bare=True)
        root = self._root(base, space)
        n = tree.count(self.nodes, root)
        for keys, values in overlaid(changes):
            before = tree.get_many(self.nodes, root, keys)
            n += sum((after is not None) - (old is not None) for old, after in zip(before, values, strict=True))
        return n

    def scan(
        self, space: str, lo: bytes = b"", hi: bytes | None = None, *, bare: bool = False
    ) -> Iterator[tuple[list[bytes], list[Value]]]:
        """Keys and tree values with lo <= key < hi, in batches: staged rows copied at once, the rest streamed.

        `bare`: only the keys are wanted; values of staged rows are left empty.
        """
        base, changes = self._changes(space, lo, hi, bare=bare)
        batches = tree.scan(self.nodes, self._root(base, space), lo, hi)
        return present(overlaid([*changes, batches])) if changes else batches

    def staged_keys(self, space: str) -> Iterator[bytes]:
        """The keys that have staged changes, in order."""
        for keys, _ in overlaid(self._changes(space, bare=True)[1]):
            yield from keys

    def staged(self, space: str) -> tuple[bytes, Batches | None]:
        """The root below the staged changes, and these in order, of one moment; None if there are none."""
        base, changes = self._changes(space)
        stream = overlaid(changes)
        first = next(stream, None)
        return self._root(base, space), None if first is None else chain([first], stream)

    def root(self, space: str) -> bytes:
        """The root below the staged changes."""
        return self._root(self.base, space)

    def _root(self, base: Base, space: str) -> bytes:
        return base.roots.get(space, EMPTY)

    def _staged(self, space: str, keys: Sequence[bytes]) -> tuple[Base, Found]:
        while True:
            base = self.base
            if not base.layers:
                return base, Found(0, [])
            found = staged_at(self._database, self.nodes, self.number, base.layers, space, keys)
            if found is not None:
                return base, found
            self.base = self._refresh()

    def _changes(
        self, space: str, lo: bytes = b"", hi: bytes | None = None, *, bare: bool = False
    ) -> tuple[Base, list[Batches]]:
        while True:
            base = self.base
            if not base.layers:
                return base, []
            changes = changes_at(self._database, self.nodes, self.number, base.layers, space, lo, hi, bare=bare)
            if changes is not None:
                return base, changes
            self.base = self._refresh()

    def _resolve(
        self, space: str, keys: Sequence[bytes], base: Base, staged: Sequence[Mapping[bytes, Value | None]]
    ) -> list[Value | None]:
        found: dict[bytes, Value | None] = {}
        for rows in reversed(staged):
            found.update(rows)
        root = self._root(base, space)
        if len(keys) == 1:
            return [found[keys[0]] if keys[0] in found else tree.get(self.nodes, root, keys[0])]
        rest = sorted({key for key in keys if key not in found})
        if rest:
            found.update(zip(rest, tree.get_many(self.nodes, root, rest, self.ahead), strict=True))
        return [found[key] for key in keys]


def check_key(key: bytes) -> None:
    """Raises BadRequest: a key that no tree can hold."""
    if not 0 < len(key) <= MAX_KEY:
        raise BadRequest(f"a key must have 1 to {MAX_KEY} bytes, this one has {len(key)}")


def merged_keys(*streams: Iterator[bytes]) -> Iterator[bytes]:
    """Ascending keys of several ascending streams, each once."""
    last = None
    for key in heapq.merge(*streams):
        if key != last:
            yield key
            last = key
