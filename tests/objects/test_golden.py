"""Formats are final: bytes and hashes that stand in tests/golden/ must come out again, and stored ones must be read.

`python tests/objects/test_golden.py write` writes the files that are missing. One that is there is never changed: a
format that changes gets new files beside the old ones, which every later release still reads.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import naive_tree
import pytest
from blake3 import blake3

from dagdvid.objects import canonical, codecs
from dagdvid.objects.blobs import decode_blob_list, encode_blob_list
from dagdvid.objects.chunking import GEAR, chunks
from dagdvid.objects.codecs import Codec
from dagdvid.objects.ids import ObjectType, object_id
from dagdvid.objects.local.pack import (
    BLOBS,
    HEADER_SIZE,
    Entry,
    decode_entry,
    encode_entry,
    encode_header,
    encode_index,
    scan_entries,
)
from dagdvid.objects.local.store import LocalStore
from dagdvid.objects.memory import MemoryStore
from dagdvid.objects.store import Object, prepare
from dagdvid.objects.tree.edit import build
from dagdvid.objects.tree.node import BLOB, BLOB_LIST, Child, Node, Ref, encode_inner, encode_leaf
from dagdvid.objects.tree.nodes import EMPTY, Nodes, NodeWriter

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
FORMATS, PACK, STORE = GOLDEN / "objects-1.json", GOLDEN / "pack-1.pack", GOLDEN / "store-format-1"

JSON_VALUES = [
    None,
    [True, False, 0, -1, 2**63 - 1],
    {
        "b": [],
        "a": {},
        "é": "\u2028",
        "A": 'quote " backslash \\ slash / tab \t nul \0 del \x7f',
        "😀": "😀",
        "\uffff": 1,
    },
]
LEAF = [
    (b"label/0001", b""),
    (b"label/0002", b"inline"),
    (b"label/001", Ref(BLOB, b"\x11" * 32, 4096)),
    (b"label/01", b"more"),
    (b"label/0", Ref(BLOB_LIST, b"\x22" * 32, 5_000_000)),
]
INNER = [
    (b"a", Child(b"\x33" * 32, 200, 4000)),
    (b"abc", Child(b"\x44" * 32, 300, 6000)),
    (b"b", Child(b"\x55" * 32, 1, 2)),
]
LIST = [(b"\x66" * 32, 4 * 2**20), (b"\x77" * 32, 2**20), (b"\x88" * 32, 3)]
STORED = [(ObjectType.BLOB, b"raw"), (ObjectType.LEAF, encode_leaf([b"k"], [b"v"])), (ObjectType.BLOB, b"voxels" * 40)]


def stream(seed: bytes, size: int) -> bytes:
    """Pseudo-random bytes that any language can make: the extended output of BLAKE3."""
    return blake3(seed).digest(length=size)


def raw(kind: ObjectType, data: bytes) -> Object:
    return Object(object_id(kind, data), kind, Codec.RAW, len(data), data)


def pack() -> bytes:
    """A sealed pack of three raw objects."""
    data = encode_header(BLOBS, bytes(range(16)))
    entries = []
    for kind, content in STORED:
        item = raw(kind, content)
        entries.append(Entry(item.id, len(data), len(content)))
        data += encode_entry(item)
    return data + encode_index(entries, len(data))


def tree(n: int) -> bytes:
    """The root of n entries: i as 8 bytes, big-endian -> i as decimal digits."""
    writer = NodeWriter(Nodes(MemoryStore()))
    return build(writer, ((i.to_bytes(8, "big"), b"%d" % i) for i in range(n)))


def formats() -> dict[str, Any]:
    """All that is computed, as JSON: bytes in hexadecimal."""
    leaf = sorted(LEAF, key=lambda entry: entry[0])
    return {
        "ids": {kind.name: [object_id(kind, data).hex() for data in (b"", b"dagdvid")] for kind in ObjectType},
        "canonical_json": [canonical.encode(value).hex() for value in JSON_VALUES],
        "leaf": encode_leaf([k for k, _ in leaf], [v for _, v in leaf]).hex(),
        "inner": encode_inner(1, [k for k, _ in INNER], [c for _, c in INNER]).hex(),
        "empty_map": [encode_leaf([], []).hex(), EMPTY.hex()],
        "roots": {str(n): tree(n).hex() for n in (1, 1000, 100_000)},
        "blob_list": encode_blob_list(LIST).hex(),
        "gear": [int(GEAR[0]), int(GEAR[1]), int(GEAR[255])],
        "chunks": {
            "of blake3('golden chunks'), 12 MiB": [end for _, end in chunks(stream(b"golden chunks", 12 * 2**20))],
            "of 9 MiB of zeros": [end for _, end in chunks(bytes(9 * 2**20))],
        },
        "entry": encode_entry(raw(ObjectType.BLOB, b"payload")).hex(),
    }


def payloads() -> dict[str, str]:
    """A payload of each codec. Libraries may come to write others; these must always decode."""
    return {Codec(used).name: payload.hex() for used, payload in (codecs.encode(b"voxels" * 40, c) for c in Codec)}


def stored_objects() -> list[Object]:
    """What the golden folder holds."""
    items = [prepare(kind, data, codec) for codec in Codec for kind, data in STORED]
    items += [prepare(kind, stream(bytes([kind, i]), 300 * i), None) for kind in ObjectType for i in range(1, 4)]
    leaf = encode_leaf([b"%04d" % i for i in range(90)], [b"value"] * 90)
    return [*items, prepare(ObjectType.LEAF, leaf), prepare(ObjectType.BLOB, b"dagdvid" * 1000)]


def write_store(folder: Path) -> None:
    """Packs of both kinds, some sealed, the last ones open, as the end of a process leaves them."""
    store = LocalStore(folder, pack_limit=4000)
    for item in stored_objects():
        store.put_many([item])
    store.close()


def golden() -> dict[str, Any]:
    return dict(json.loads(FORMATS.read_text()))


def test_formats_are_what_they_were():
    found, expected = formats(), golden()
    del expected["payloads"]
    for name in expected:
        assert found[name] == expected[name], name
    assert found.keys() == expected.keys()


def test_stored_formats_are_read():
    expected = golden()
    assert [canonical.decode(bytes.fromhex(text)) for text in expected["canonical_json"]] == JSON_VALUES
    leaf = Node(bytes.fromhex(expected["leaf"]))
    assert list(zip(leaf.keys, leaf.values, strict=True)) == sorted(LEAF, key=lambda entry: entry[0])
    inner = Node(bytes.fromhex(expected["inner"]))
    assert list(zip(inner.keys, inner.children, strict=True)) == INNER
    assert decode_blob_list(bytes.fromhex(expected["blob_list"])) == LIST
    entry = bytes.fromhex(expected["entry"])
    item = raw(ObjectType.BLOB, b"payload")
    assert decode_entry(item.id, entry) == item
    for name, payload in expected["payloads"].items():
        assert codecs.decode(Codec[name], 240, bytes.fromhex(payload)) == b"voxels" * 40


@pytest.mark.parametrize("n", [1, 1000, 100_000])
def test_roots_are_those_of_the_naive_tree(n):
    entries = {i.to_bytes(8, "big"): b"%d" % i for i in range(n)}
    assert naive_tree.build(entries).hex() == golden()["roots"][str(n)]


def test_a_sealed_pack_is_what_it_was():
    data = PACK.read_bytes()
    assert pack() == data
    entries = list(scan_entries(data))
    assert [entry.id for entry in entries] == [object_id(kind, content) for kind, content in STORED]
    assert entries[0].offset == HEADER_SIZE


def test_a_folder_of_format_1_opens(tmp_path):
    """With all that it holds, also in packs that were left open; and it takes more."""
    folder = tmp_path / "data"
    shutil.copytree(STORE, folder)
    expected = stored_objects()
    for life in range(3):
        store = LocalStore(folder)
        states = [state for (state,) in store.database.rows("SELECT state FROM packs ORDER BY no")]
        assert states[:4] == ["sealed"] * 4, "recovery seals what was left open"
        assert len(states) == 4 + min(life, 1)
        assert not store.packs.damaged
        found = store.get_many([item.id for item in expected])
        assert [item and (item.type, item.data()) for item in found] == [(item.type, item.data()) for item in expected]
        fresh = prepare(ObjectType.BLOB, b"after all these years")
        store.put_many([fresh])
        assert store.get_many([fresh.id]) == [fresh]
        store.close()


if __name__ == "__main__" and sys.argv[1:] == ["write"]:
    if not FORMATS.exists():
        FORMATS.write_text(json.dumps({**formats(), "payloads": payloads()}, indent=1) + "\n")
    if not PACK.exists():
        PACK.write_bytes(pack())
    if not STORE.exists():
        write_store(STORE)
