"""Reads tree nodes through a cache, and collects the nodes that an edit writes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

from dagdvid.errors import Corrupt, MissingObject
from dagdvid.objects.ids import ObjectType
from dagdvid.objects.store import Object, ObjectStore, prepare
from dagdvid.objects.tree.node import Node, encode_leaf

__all__ = ["EMPTY", "NodeCache", "NodeWriter", "Nodes"]

_OVERHEAD = 4
"""Decoded columns take about this many times the bytes of their node."""

_EMPTY_LEAF = prepare(ObjectType.LEAF, encode_leaf([], []))
EMPTY = _EMPTY_LEAF.id
"""The id of the empty map (SPEC 5.4)."""


class NodeCache:
    """The nodes used last, up to a number of bytes; shared by threads."""

    def __init__(self, limit: int = 256 * 2**20) -> None:
        self._limit = limit
        self._used = 0
        self._nodes: OrderedDict[bytes, Node] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: bytes) -> Node | None:
        """A node, if it is here."""
        with self._lock:
            node = self._nodes.get(name)
            if node is not None:
                self._nodes.move_to_end(name)
        return node

    def put(self, name: bytes, node: Node) -> None:
        """Keep a node, dropping those unused for longest."""
        with self._lock:
            if name in self._nodes:
                return
            self._nodes[name] = node
            self._used += _OVERHEAD * len(node.data)
            while self._used > self._limit and len(self._nodes) > 1:
                _, old = self._nodes.popitem(last=False)
                self._used -= _OVERHEAD * len(old.data)

    def size(self) -> tuple[int, int]:
        """Bytes and nodes that it holds."""
        with self._lock:
            return self._used, len(self._nodes)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._nodes.clear()
            self._used = 0


class Nodes:
    """The nodes of a store. A node in its cache is known to lie in the store, unless garbage is or was collected."""

    def __init__(
        self, store: ObjectStore, cache: NodeCache | None = None, collections: Callable[[], int] = lambda: 0
    ) -> None:
        """`collections`: how often a collection of garbage began or ended; odd while one runs."""
        self.store = store
        self.cache = cache or NodeCache()
        self._collections = collections
        self._cleared = collections()

    def trusted(self) -> bool:
        """Whether what is in the cache now, and comes into it, need not be stored again by who writes it."""
        collections = self._collections()
        if collections % 2:
            return False
        if collections != self._cleared:
            self.cache.clear()
            self._cleared = collections
        return True

    def read(self, name: bytes, level: int | None = None) -> Node:
        """One node; as `read_many`."""
        node = self.cache.get(name)
        if node is None or (level is not None and node.level != level):
            return self.read_many([name], level)[0]
        return node

    def read_many(self, names: Sequence[bytes], level: int | None = None) -> list[Node]:
        """Nodes, those not cached in one batch from the store. `level`: where they must stand, if their parent says so.

        Raises:
            MissingObject: one is absent.
            Corrupt: one is damaged, no node, or not of that level.
        """
        cached = {name: self.cache.get(name) for name in names}
        found = {name: node for name, node in cached.items() if node is not None}
        missing = [name for name, node in cached.items() if node is None]
        for name, stored in zip(missing, self.store.get_many(missing) if missing else (), strict=True):
            item = _EMPTY_LEAF if name == EMPTY else stored
            if item is None:
                raise MissingObject(f"tree node {name.hex()} is missing")
            node = Node(item.data())
            if node.type != item.type:
                raise Corrupt(f"object {name.hex()} is not a tree node of its level")
            found[name] = node
            self.cache.put(name, node)
        if level is not None:
            for name, known in found.items():
                if known.level != level:
                    raise Corrupt(f"tree node {name.hex()} has level {known.level}, its parent says {level}")
        return [found[name] for name in names]


class NodeWriter:
    """New nodes on their way into the store: readable at once, stored by `flush` or in batches as they grow.

    Not for sharing between threads.
    """

    def __init__(self, nodes: Nodes, batch: int = 16 * 2**20) -> None:
        """`batch`: payload bytes that are held back before they are put into the store."""
        self.nodes = nodes
        self.written = 0
        self._batch = batch
        self._held = 0
        self._pending: dict[bytes, tuple[Object, Node]] = {}
        self._trusting: bool | None = None

    def read(self, name: bytes, level: int | None = None) -> Node:
        """A node, stored or still pending; as `Nodes.read_many`."""
        pending = self._pending.get(name)
        return pending[1] if pending else self.nodes.read(name, level)

    def write(self, kind: ObjectType, data: bytes) -> bytes:
        """Add a node; its id."""
        item = prepare(kind, data)
        if self._trusting is None:
            self._trusting = self.nodes.trusted()
        if item.id not in self._pending and not (self._trusting and self.nodes.cache.get(item.id) is not None):
            self._pending[item.id] = item, Node(data)
            self.written += 1
            self._held += len(item.payload)
            if self._held > self._batch:
                self.flush()
        return item.id

    def take(self) -> list[Object]:
        """The pending nodes, for a caller that stores them itself; they are forgotten here."""
        objects = [item for item, _ in self._pending.values()]
        self._pending.clear()
        self._held = 0
        return objects

    def flush(self) -> None:
        """Put the pending nodes into the store."""
        if self._pending:
            self.nodes.store.put_many([item for item, _ in self._pending.values()])
            for name, (_, node) in self._pending.items():
                self.nodes.cache.put(name, node)
        self._pending.clear()
        self._held = 0
