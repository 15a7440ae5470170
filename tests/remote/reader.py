"""A second reader of published stores, written from SPEC.md alone: the standard library, blake3 and zstandard."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import zstandard
from blake3 import blake3


class Published:
    """One branch of a repo in a folder."""

    def __init__(self, folder: Path, repo: str, branch: str = "master") -> None:
        self.folder = folder
        info = json.loads((folder / "dagdvid.json").read_bytes())
        assert info == {"format": "dagdvid published", "version": 1}
        self.ref = json.loads((folder / "refs" / repo / branch).read_bytes())
        data = (folder / "heads" / self.ref["head"]).read_bytes()
        assert blake3(data).hexdigest() == self.ref["head"]
        plain = zstandard.ZstdDecompressor().decompress(data)
        assert plain[:8] == b"dgvhead\1"
        (n,) = struct.unpack_from("<I", plain, 8)
        self.head: dict[str, Any] = json.loads(plain[12 : 12 + n])
        self.known: dict[bytes, tuple[bytes, int, int]] = {}
        self.objects: dict[bytes, tuple[int, bytes]] = {}
        self.searched = 0
        self._items(plain[12 + n :])
        for graph in self.head["graphs"]:
            self._items(zstandard.ZstdDecompressor().decompress((folder / "graphs" / graph["id"]).read_bytes()))

    def version(self, commit: str) -> dict[str, dict[str, dict[bytes, bytes]]]:
        """All of a version: data UUID -> key space -> key -> value."""
        root = json.loads(self.get(bytes.fromhex(commit))[1])["root"]
        return {
            key.hex(): {
                space: dict(self.tree(bytes.fromhex(name))) for space, name in json.loads(value)["roots"].items()
            }
            for key, value in self.tree(bytes.fromhex(root))
        }

    def commits(self) -> dict[str, str]:
        """Commit ids by version UUID."""
        return {json.loads(data)["uuid"]: name.hex() for name, (kind, data) in self.objects.items() if kind == 5}

    def tree(self, root: bytes) -> list[tuple[bytes, bytes]]:
        kind, data = self.get(root)
        assert kind in (3, 4)
        _, level, prefix, n, suffixes, _ = struct.unpack_from("<BBHIII", data)
        at = 16 + prefix
        ends = struct.unpack_from(f"<{n}I", data, at)
        at += 4 * n
        keys = [data[16 : 16 + prefix] + data[at + a : at + b] for a, b in zip((0, *ends), ends, strict=False)]
        at += suffixes
        if level:
            children = [data[at + 32 * i : at + 32 * i + 32] for i in range(n)]
            return [entry for child in children for entry in self.tree(child)]
        kinds, sizes = data[at : at + n], struct.unpack_from(f"<{n}Q", data, at + n)
        at += 9 * n
        refs = [i for i in range(n) if kinds[i]]
        names = {i: data[at + 32 * j : at + 32 * j + 32] for j, i in enumerate(refs)}
        at += 32 * len(refs)
        entries = []
        for i in range(n):
            if kinds[i]:
                entries.append((keys[i], self.value(names[i], sizes[i])))
            else:
                entries.append((keys[i], data[at : at + sizes[i]]))
                at += sizes[i]
        return entries

    def value(self, name: bytes, size: int) -> bytes:
        kind, data = self.get(name)
        if kind == 2:
            (n,) = struct.unpack_from("<I", data, 4)
            data = b"".join(self.get(data[8 + 36 * i : 40 + 36 * i])[1] for i in range(n))
        assert len(data) == size
        return data

    def get(self, name: bytes) -> tuple[int, bytes]:
        """The type and bytes of an object."""
        if name not in self.objects:
            pack, offset, size = self.known.get(name) or self.search(name)
            with (self.folder / "packs" / f"{pack.hex()}.pack").open("rb") as file:
                file.seek(offset)
                self._item(name, file.read(size))
        return self.objects[name]

    def search(self, name: bytes) -> tuple[bytes, int, int]:
        self.searched += 1
        for index in self.head["indexes"]:
            data = (self.folder / "indexes" / index["id"]).read_bytes()
            magic, p, _, n = struct.unpack_from("<8sIIQ", data)
            assert magic == b"dgvindx\1"
            for row in range(24 + 16 * p, 24 + 16 * p + 48 * n, 48):
                if data[row : row + 32] == name:
                    pack, size, offset = struct.unpack_from("<IIQ", data, row + 32)
                    return data[24 + 16 * pack : 40 + 16 * pack], offset, size
        raise KeyError(name.hex())

    def _items(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            at += 32 + self._item(data[at : at + 32], data[at + 32 :])

    def _item(self, name: bytes, data: bytes) -> int:
        magic, kind, codec, zero, stored, size, _ = struct.unpack_from("<4sBBHIIQ", data)
        assert (magic, zero) == (b"dgvE", 0)
        assert codec in (0, 1), "the tests store nothing else"
        payload = data[24 : 24 + stored]
        content = zstandard.ZstdDecompressor().decompress(payload) if codec else payload
        assert len(content) == size
        assert blake3(b"dagdvid" + bytes([kind]) + content).digest() == name
        self.objects[name] = kind, content
        (n,) = struct.unpack_from("<I", data, 24 + stored)
        if n:
            self._locators(name, zstandard.ZstdDecompressor().decompress(data[28 + stored : 28 + stored + n]))
        return 28 + stored + n

    def _locators(self, name: bytes, data: bytes) -> None:
        version, form, p, n = struct.unpack_from("<BBHI", data)
        assert version == 1
        packs = [data[8 + 16 * i : 24 + 16 * i] for i in range(p)]
        at = 8 + 16 * p
        numbers = struct.unpack_from(f"<{n}H", data, at)
        steps = struct.unpack_from(f"<{n}Q", data, at + 2 * n)
        sizes = struct.unpack_from(f"<{n}I", data, at + 10 * n)
        at += 14 * n
        names = [data[at + 32 * i : at + 32 * i + 32] for i in range(n)] if form else self.references(name)
        end = 0
        for each, number, step, size in zip(names, numbers, steps, sizes, strict=True):
            if size:
                offset = (end + step) % 2**64
                end = offset + size
                self.known[each] = packs[number], offset, size

    def references(self, name: bytes) -> list[bytes]:
        kind, data = self.objects[name]
        if kind == 2:
            (n,) = struct.unpack_from("<I", data, 4)
            return [data[8 + 36 * i : 40 + 36 * i] for i in range(n)]
        _, level, prefix, n, suffixes, _ = struct.unpack_from("<BBHIII", data)
        at = 16 + prefix + 4 * n + suffixes
        if level:
            return [data[at + 32 * i : at + 32 * i + 32] for i in range(n)]
        refs = n - data[at : at + n].count(0)
        at += 9 * n
        return [data[at + 32 * i : at + 32 * i + 32] for i in range(refs)]
