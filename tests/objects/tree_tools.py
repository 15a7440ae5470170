"""What the tests of the tree share: entries, trees of three levels, edits, a store that counts."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Iterable

from xxhash import xxh3_64_intdigest

from dagdvid.objects.memory import MemoryStore
from dagdvid.objects.tree import edit
from dagdvid.objects.tree.nodes import NodeCache, Nodes, NodeWriter

SEED = 0x6461676476696400


class CountingStore(MemoryStore):
    """A store that remembers what was read from it."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[bytes] = []

    def get_many(self, ids):
        self.read += ids
        return super().get_many(ids)


class Tree:
    """A store with its nodes and writer."""

    def __init__(self) -> None:
        self.store = CountingStore()
        self.nodes = Nodes(self.store)
        self.writer = NodeWriter(self.nodes)

    def build(self, entries: dict) -> bytes:
        return self.flushed(edit.build(self.writer, sorted(entries.items(), key=lambda item: item[0])))

    def apply(self, root: bytes, edits: dict) -> bytes:
        return self.flushed(edit.apply(self.writer, root, sorted(edits.items(), key=lambda item: item[0])))

    def flushed(self, root: bytes) -> bytes:
        self.writer.flush()
        return root

    def cold(self) -> NodeWriter:
        """A writer on the same store with an empty cache; what the store has served is forgotten."""
        self.store.read.clear()
        return NodeWriter(Nodes(self.store, NodeCache()))

    def leaf_ends(self, root: bytes) -> list[bytes]:
        """The last key of each leaf."""
        node = self.nodes.read(root)
        if node.level < 2:
            return node.keys if node.level else node.keys[-1:]
        return [key for child in node.ids for key in self.leaf_ends(child)]


def sample(n: int, seed: int = 0) -> dict:
    """Entries under 8-byte keys, spread so that there is room between them."""
    rng = random.Random(seed)
    return {(100 * i + rng.randrange(50)).to_bytes(8, "big"): b"%d" % (i % 97) for i in range(1, n + 1)}


def edited(entries: dict, edits: dict) -> dict:
    """The model of `apply`."""
    return {key: value for key, value in {**entries, **edits}.items() if value is not None}


def random_edits(rng: random.Random, keys: list, ends: list, n: int) -> dict:
    """Updates, insertions and removals: at leaf ends, at both ends of all keys, in runs, anywhere."""
    edits: dict = {}
    for _ in range(n):
        where = rng.randrange(5)
        if where == 0:
            key = rng.choice(ends)
        elif where == 1:
            key = rng.choice([keys[0], keys[-1]])
        else:
            key = rng.choice(keys)
        i = bisect_left(keys, key) + rng.choice([-1, 0, 0, 0, 1])
        key = keys[max(0, min(i, len(keys) - 1))]
        what = rng.randrange(12)
        if what < 4:
            edits[key] = None
        elif what < 7:
            edits[key] = rng.randbytes(rng.randrange(40))
        elif what < 9:
            edits[key + rng.randbytes(rng.randrange(1, 3))] = b"new"
        elif what == 9:
            edits[b"\0" * rng.randrange(1, 5)] = b"before all"
        elif what == 10:
            edits.update(dict.fromkeys(keys[i : i + rng.randrange(2000)]))
        else:
            edits.update((key + b"%06d" % j, b"run") for j in range(rng.randrange(2000)))
    return edits


def keys_by_hash(levels: Iterable[int], lo: int, hi: int, n: int) -> list:
    """n ascending keys whose hashes at the levels lie in [lo, hi): so that a test decides where nodes end."""
    found: list = []
    i = 0
    while len(found) < n:
        key = i.to_bytes(5, "big")
        if all(lo <= xxh3_64_intdigest(key, SEED + level) < hi for level in levels):
            found.append(key)
        i += 1
    return found
