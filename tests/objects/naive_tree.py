"""SPEC 5, read literally and written independently of `dagdvid.objects.tree`: slow, obvious, its judge."""

from __future__ import annotations

import struct

from blake3 import blake3
from xxhash import xxh3_64_intdigest

LEAF, NODE = 3, 4
SEED = 0x6461676476696400


def object_id(kind: int, data: bytes) -> bytes:
    return blake3(b"dagdvid" + bytes([kind]) + data).digest()


def limit(count: int) -> int:
    """The bound that the hash of the last of `count` entries must stay below for the node to end there."""
    if count < 128:
        return 0
    if count < 256:
        return 2**64 // 512
    if count < 384:
        return 2**64 // 64
    return 2**64 // 16 if count < 512 else 2**64


def split(keys: list[bytes], level: int) -> list[int]:
    """Where nodes end."""
    ends, count = [], 0
    for i, key in enumerate(keys):
        count += 1
        if xxh3_64_intdigest(key, SEED + level) < limit(count):
            ends.append(i + 1)
            count = 0
    if count:
        ends.append(len(keys))
    return ends


def keys_part(level: int, keys: list[bytes], inline: int) -> bytes:
    prefix = b""
    while keys and len(prefix) < len(keys[0]) and all(key.startswith(keys[0][: len(prefix) + 1]) for key in keys):
        prefix = keys[0][: len(prefix) + 1]
    suffixes = [key[len(prefix) :] for key in keys]
    ends, end = b"", 0
    for suffix in suffixes:
        end += len(suffix)
        ends += struct.pack("<I", end)
    return struct.pack("<BBHIII", 1, level, len(prefix), len(keys), end, inline) + prefix + ends + b"".join(suffixes)


def leaf(entries: list[tuple[bytes, object]]) -> bytes:
    kinds, sizes, ids, heap = b"", b"", b"", b""
    for _, value in entries:
        if isinstance(value, bytes):
            kinds += b"\0"
            sizes += struct.pack("<Q", len(value))
            heap += value
        else:
            kind, name, size = value
            kinds += bytes([kind])
            sizes += struct.pack("<Q", size)
            ids += name
    return keys_part(0, [key for key, _ in entries], len(heap)) + kinds + sizes + ids + heap


def inner(level: int, children: list[tuple[bytes, bytes, int, int]]) -> bytes:
    data = keys_part(level, [key for key, *_ in children], 0)
    data += b"".join(name for _, name, *_ in children)
    data += b"".join(struct.pack("<Q", n) for _, _, n, _ in children)
    return data + b"".join(struct.pack("<Q", size) for *_, size in children)


def build(entries: dict[bytes, object], nodes: dict[bytes, bytes] | None = None) -> bytes:
    """The root of a tree; its nodes go to `nodes`."""
    nodes = {} if nodes is None else nodes

    def put(kind: int, data: bytes) -> bytes:
        name = object_id(kind, data)
        nodes[name] = data
        return name

    items = sorted(entries.items(), key=lambda item: item[0])
    if not items:
        return put(LEAF, leaf([]))
    row: list[tuple[bytes, bytes, int, int]] = []
    start = 0
    for end in split([key for key, _ in items], 0):
        part = items[start:end]
        size = sum(len(k) + (len(v) if isinstance(v, bytes) else v[2]) for k, v in part)
        row.append((part[-1][0], put(LEAF, leaf(part)), len(part), size))
        start = end
    level = 0
    while len(row) > 1:
        level += 1
        above, start = [], 0
        for end in split([key for key, *_ in row], level):
            part = row[start:end]
            counts, sizes = sum(n for _, _, n, _ in part), sum(size for *_, size in part)
            above.append((part[-1][0], put(NODE, inner(level, part)), counts, sizes))
            start = end
        row = above
    return row[0][1]
