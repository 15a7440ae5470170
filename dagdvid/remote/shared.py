"""What belongs to a repo as a whole, between servers (SPEC 6.12): what comes is checked and added, nothing is lost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from dagdvid.errors import Unverified
from dagdvid.kernels.fnv import fnv1_128
from dagdvid.objects import canonical
from dagdvid.objects.blobs import make_value, read_values
from dagdvid.objects.ids import ObjectType
from dagdvid.objects.store import Object, prepare
from dagdvid.objects.tree import edit, merge
from dagdvid.objects.tree.diff import Change, diff
from dagdvid.objects.tree.node import Ref, Value
from dagdvid.objects.tree.nodes import EMPTY, NodeWriter
from dagdvid.remote.foreign import foreign
from dagdvid.remote.receive import Received
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.commits import Content, content_of
from dagdvid.repo.model import shared_uuid
from dagdvid.repo.record import Record, read_record
from dagdvid.repo.shared import ACTS, BLOBS, SPACES

__all__ = ["join_shared"]

_COUNT, _BYTES = 1024, 32 * 2**20


def join_shared(
    catalog: Catalog, received: Received, ours: bytes | None, theirs: bytes, base: bytes | None
) -> tuple[bytes, list[Object]]:
    """The record with the entries of both sides, and what to store for it. Both sides make the same one.

    ours, theirs, base: records of what is shared: here, of the sender, and the nearest that both come from.

    Raises:
        Unverified: a blob that is not what its reference says, an entry that was changed or removed, a wrong form.
    """
    uuid = shared_uuid(received.repo)

    def read(name: bytes) -> Record:
        return received.records.get(name) or read_record(catalog.nodes, name)

    def roots_of(name: bytes | None) -> Mapping[str, bytes]:
        content = content_of(catalog.nodes, read(name).root, uuid) if name is not None else None
        if content is not None and (content.typename != "shared" or not content.roots.keys() <= set(SPACES)):
            raise Unverified("bundle with what belongs to a repo in the wrong form")
        return content.roots if content else {}

    before, new = roots_of(base), roots_of(theirs)
    for space in SPACES:
        _check(catalog, space, diff(catalog.nodes, before.get(space, EMPTY), new.get(space, EMPTY)))
    if ours is None or base == ours:
        return theirs, []
    old = roots_of(ours)
    writer = NodeWriter(catalog.nodes)
    roots = {}
    for space in SPACES:
        o, a, b = (side.get(space, EMPTY) for side in (before, old, new))
        roots[space] = merge.merge(writer, o, a, b, _keep)
    key = bytes.fromhex(uuid)
    value, objects = make_value(key, Content("shared", {}, roots).encode())
    parents = sorted((ours, theirs))
    tree = edit.apply(writer, EMPTY, [(key, value)])
    record = Record("data", tree, tuple(parents), max(read(name).time for name in parents))
    writer.flush()
    item = prepare(ObjectType.RECORD, record.encode())
    return item.id, [*objects, item]


def _keep(key: bytes, base: Value | None, ours: Value | None, theirs: Value | None) -> Value | None:  # noqa: ARG001
    """Two contents of one FNV hash: a reference means here what it meant before."""
    return ours


def _check(catalog: Catalog, space: str, changes: Iterable[Change]) -> None:
    for batch in _batches(changes):
        contents = read_values(catalog.store, [value for _, value in batch])
        for (key, _), content in zip(batch, contents, strict=True):
            if space == BLOBS and fnv1_128(content) != key:
                raise Unverified(f"bundle with a blob under {key.hex()} that is not its hash")
            if space == ACTS:
                with foreign():
                    act = canonical.decode(content)
                if not isinstance(act, dict) or not all(isinstance(text, str) for text in act.values()):
                    raise Unverified("bundle with an activity in the wrong form")


def _batches(changes: Iterable[Change]) -> Iterator[list[tuple[bytes, Value]]]:
    """What was added, in parts of bounded size."""
    batch: list[tuple[bytes, Value]] = []
    size = 0
    for key, before, after in changes:
        if before is not None or after is None:
            raise Unverified(f"bundle that changes or removes the entry {key.hex()}")
        batch.append((key, after))
        size += after.size if isinstance(after, Ref) else len(after)
        if len(batch) >= _COUNT or size >= _BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
