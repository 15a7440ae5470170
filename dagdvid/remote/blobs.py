"""The blobs of a repo between servers (SPEC 6.9): what comes is checked against its reference and added."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dagdvid.errors import Unverified
from dagdvid.kernels.fnv import fnv1_128
from dagdvid.objects.blobs import make_value, read_values
from dagdvid.objects.ids import ObjectType
from dagdvid.objects.store import Object, prepare
from dagdvid.objects.tree import edit, merge
from dagdvid.objects.tree.diff import Change, diff
from dagdvid.objects.tree.node import Ref, Value
from dagdvid.objects.tree.nodes import EMPTY, NodeWriter
from dagdvid.remote.receive import Received
from dagdvid.repo.blobstore import BLOBS
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.commits import Content, content_of
from dagdvid.repo.model import blobs_uuid
from dagdvid.repo.record import Record, read_record

__all__ = ["join_blobs"]

_COUNT, _BYTES = 1024, 32 * 2**20


def join_blobs(
    catalog: Catalog, received: Received, ours: bytes | None, theirs: bytes, base: bytes | None
) -> tuple[bytes, list[Object]]:
    """The record with the blobs of both sides, and what to store for it. Both sides make the same one.

    ours, theirs, base: records of the blobs: here, of the sender, and the nearest that both come from.

    Raises:
        Unverified: a blob that is not what its reference says, or one that was changed or removed.
    """
    uuid = blobs_uuid(received.repo)

    def read(name: bytes) -> Record:
        return received.records.get(name) or read_record(catalog.nodes, name)

    def root_of(name: bytes | None) -> bytes:
        content = content_of(catalog.nodes, read(name).root, uuid) if name is not None else None
        if content is not None and (content.typename != "blobs" or set(content.roots) != {BLOBS}):
            raise Unverified("bundle with blobs of a repo in the wrong form")
        return content.roots[BLOBS] if content else EMPTY

    before, new = root_of(base), root_of(theirs)
    _check(catalog, diff(catalog.nodes, before, new))
    if ours is None or base == ours:
        return theirs, []
    writer = NodeWriter(catalog.nodes)
    root = merge.merge(writer, before, root_of(ours), new, _keep)
    key = bytes.fromhex(uuid)
    value, objects = make_value(key, Content("blobs", {}, {BLOBS: root}).encode())
    parents = sorted((ours, theirs))
    tree = edit.apply(writer, EMPTY, [(key, value)])
    record = Record("data", tree, tuple(parents), max(read(name).time for name in parents))
    writer.flush()
    item = prepare(ObjectType.RECORD, record.encode())
    return item.id, [*objects, item]


def _keep(key: bytes, base: Value | None, ours: Value | None, theirs: Value | None) -> Value | None:  # noqa: ARG001
    """Two contents of one FNV hash: a reference means here what it meant before."""
    return ours


def _check(catalog: Catalog, changes: Iterable[Change]) -> None:
    for batch in _batches(changes):
        contents = read_values(catalog.store, [value for _, value in batch])
        for (key, _), content in zip(batch, contents, strict=True):
            if fnv1_128(content) != key:
                raise Unverified(f"bundle with a blob under {key.hex()} that is not its hash")


def _batches(changes: Iterable[Change]) -> Iterator[list[tuple[bytes, Value]]]:
    """What was added, in parts of bounded size."""
    batch: list[tuple[bytes, Value]] = []
    size = 0
    for key, before, after in changes:
        if before is not None or after is None:
            raise Unverified(f"bundle that changes or removes the blob {key.hex()}")
        batch.append((key, after))
        size += after.size if isinstance(after, Ref) else len(after)
        if len(batch) >= _COUNT or size >= _BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
