"""Bundles (SPEC 8.3): what a server sends of its versions: the changes of each against its first parent, nothing else.

The receiver rebuilds every tree and compares its root, so tree nodes need not travel. One zstd stream of frames:

    u8 kind | u32 payload bytes | payload

    HEAD      canonical JSON {"given_up", "protocol", "repo"}; `given_up`: data UUIDs of deleted instances, of which no
              content follows
    OWNER     canonical JSON {"id", "kind": "commit" | "repo" | "data", "parent": id or null}: begins an owner of trees
    SPACE     canonical JSON {"data", "space", "root"}: begins a key space of an instance
    ROOT      canonical JSON {"root"}: begins the owner's own tree
    EDITS     sorted changes of the tree begun last:
              u32 n | u8[n] removed | a leaf of the keys and values (empty if removed)
    OBJECT    the owner's canonical bytes, which hash to its id: ends it
    END       canonical JSON {"refs": {"record", "data", "branches"}}: where the sender's refs stand (`branches`: by
              version UUID, those called otherwise there than in their commits). After it 32 bytes, the BLAKE3 of all
              before: nothing was cut off or damaged on the way

Spaces and roots are given as edits against the same tree of the owner's first parent, which the receiver knows.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import IO, Any

import zstandard
from blake3 import blake3

from dagdvid.errors import Unverified
from dagdvid.objects import canonical
from dagdvid.objects.ids import ID_SIZE
from dagdvid.objects.tree.edit import Edit
from dagdvid.objects.tree.node import MAX_KEY, Node, Ref, encode_leaf, inline_limit
from dagdvid.remote.foreign import foreign

__all__ = [
    "EDITS",
    "END",
    "HEAD",
    "OBJECT",
    "OWNER",
    "PROTOCOL",
    "ROOT",
    "SPACE",
    "BundleWriter",
    "decode_edits",
    "read_frames",
]

PROTOCOL = 2
HEAD, OWNER, SPACE, ROOT, EDITS, OBJECT, END = range(1, 8)
_FRAME = struct.Struct("<BI")
_COUNT = struct.Struct("<I")
_EDITS_IN_FRAME = 512
_MAX_FRAME = {EDITS: _EDITS_IN_FRAME * 2 * 2**10, OBJECT: 4 * 2**20}
_MAX_OTHER_FRAME = 64 * 2**20
_MAX_WINDOW = 2**23
_FREE, _RATIO = 256 * 2**20, 1000
"""Bytes that a bundle may expand to, and how many times its size above that."""


class BundleWriter:
    """Writes a bundle to a file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._stream = zstandard.ZstdCompressor(level=3).stream_writer(file, closefd=False)
        self._hash = blake3()

    def json(self, kind: int, value: Any) -> None:
        """A frame of canonical JSON."""
        self.frame(kind, canonical.encode(value))

    def frame(self, kind: int, payload: bytes) -> None:
        """Any frame."""
        for part in (_FRAME.pack(kind, len(payload)), payload):
            self._hash.update(part)
            self._stream.write(part)

    def edits(self, edits: Iterable[Edit]) -> None:
        """Sorted changes, in as many frames as they need."""
        source = iter(edits)
        while batch := list(islice(source, _EDITS_IN_FRAME)):
            removed = bytes(value is None for _, value in batch)
            leaf = encode_leaf([key for key, _ in batch], [b"" if value is None else value for _, value in batch])
            self.frame(EDITS, _COUNT.pack(len(batch)) + removed + leaf)

    def close(self, refs: Any) -> None:
        """The last frame."""
        self.json(END, {"refs": refs})
        self.end()

    def end(self) -> None:
        """What proves that all before came as it was sent."""
        self._stream.write(self._hash.digest())
        self._stream.close()  # type: ignore[no-untyped-call]


def read_frames(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """The (kind, payload) of all frames.

    Raises:
        Unverified: the stream is damaged, or does not end with END.
    """
    try:
        with zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).stream_reader(file, closefd=False) as stream:
            kind = 0
            expanded = 0
            seen = blake3()
            while kind != END:
                head = _exactly(stream, _FRAME.size)
                kind, size = _FRAME.unpack(head)
                if not HEAD <= kind <= END or size > _MAX_FRAME.get(kind, _MAX_OTHER_FRAME):
                    raise Unverified("bundle with an impossible frame")
                expanded += size
                if expanded > _FREE and expanded > _RATIO * file.tell():
                    raise Unverified(f"bundle that expands to more than {_RATIO} times its size")
                payload = _exactly(stream, size)
                seen.update(head).update(payload)
                if kind == END:
                    if _exactly(stream, ID_SIZE) != seen.digest():
                        raise Unverified("bundle that was damaged on its way")
                    if stream.read(1):
                        raise Unverified("bundle goes on after its end")
                yield kind, payload
    except zstandard.ZstdError as error:
        raise Unverified(f"bundle does not decompress: {error}") from None


def _exactly(stream: Any, size: int) -> bytes:
    parts = []
    left = size
    while left:
        part = stream.read(left)
        if not part:
            raise Unverified("bundle is cut short")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


@foreign()
def decode_edits(payload: bytes) -> Sequence[Edit]:
    """The changes of an EDITS frame.

    Raises:
        Unverified: malformed, or a value that is inline and should not be, or the other way round.
    """
    n = _COUNT.unpack_from(payload)[0] if len(payload) >= _COUNT.size else _EDITS_IN_FRAME + 1
    flags = payload[_COUNT.size : _COUNT.size + n]
    if n > _EDITS_IN_FRAME or not set(flags) <= {0, 1}:
        raise Unverified("malformed edits in a bundle")
    node = Node(payload[_COUNT.size + n :])
    if node.level or node.n != n:
        raise Unverified("malformed edits in a bundle")
    edits: list[Edit] = []
    for key, value, removed in zip(node.keys, node.values, flags, strict=True):
        if not 0 < len(key) <= MAX_KEY:
            raise Unverified("bundle with an empty or overlong key")
        if removed:
            edits.append((key, None))
            continue
        size = value.size if isinstance(value, Ref) else len(value)
        if isinstance(value, Ref) == (size <= inline_limit(key)):
            raise Unverified("bundle with a value in the wrong place")
        edits.append((key, value))
    return edits
