"""The receiving half: rebuilds every tree of a bundle, compares every hash, and only then moves refs, all in one go.

What is built on the way lies in the store unreferenced: it becomes visible with the refs, or never.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from dagdvid.errors import DagdvidError, Unverified
from dagdvid.objects import canonical
from dagdvid.objects.blobs import decode_blob_list, read_value
from dagdvid.objects.ids import ObjectType, from_hex, object_id
from dagdvid.objects.store import Object, prepare
from dagdvid.objects.tree import edit
from dagdvid.objects.tree.node import BLOB, BLOB_LIST, Ref
from dagdvid.objects.tree.nodes import EMPTY, NodeWriter
from dagdvid.remote import bundle
from dagdvid.remote.foreign import foreign
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.checking import check_values
from dagdvid.repo.commits import Commit, content_of, decode_content, read_commit
from dagdvid.repo.model import is_version_name
from dagdvid.repo.record import Record, read_record
from dagdvid.repo.staging import LOG

__all__ = ["Received", "Refs", "blobs_named", "rebuild"]

_UUID_SIZE = 16
_BATCH, _BATCH_BYTES = 64, 16 * 2**20
"""Blobs that are looked at together, and their bytes."""
_HELD = 1000
"""Commits and records that are held in memory before they are stored."""


@dataclass(frozen=True)
class Refs:
    """Where the other side's refs stand."""

    record: bytes = b""
    data: Mapping[str, bytes] = field(default_factory=dict)
    """Records of unversioned instances, by data UUID."""
    branches: Mapping[str, str] = field(default_factory=dict)
    """By version UUID: the branches that are called otherwise over there than their commits say."""


@dataclass
class Received:
    """What a bundle brought, verified and stored, but not yet visible."""

    repo: str
    commits: dict[bytes, Commit] = field(default_factory=dict)
    """New ones, parents first."""
    records: dict[bytes, Record] = field(default_factory=dict)
    refs: Refs = field(default_factory=Refs)
    objects: list[Object] = field(default_factory=list)
    """The last commits and records, to be stored with the refs."""
    left_out: frozenset[str] = frozenset()
    """Deleted instances by data UUID, of which the sender sent no content."""
    logs: list[bytes] = field(default_factory=list)
    """Roots of the mutation logs that came."""


def blobs_named(file: IO[bytes]) -> Iterator[Ref]:
    """The references that a bundle's changes name, for asking for the missing ones."""
    for kind, payload in bundle.read_frames(file):
        if kind == bundle.EDITS:
            for _, value in bundle.decode_edits(payload):
                if isinstance(value, Ref):
                    yield value


def rebuild(
    catalog: Catalog,
    file: IO[bytes],
    known: Callable[[bytes], bool],
    repo: str = "",
    given_up: Collection[str] = (),
) -> Received:
    """Rebuild a bundle. Memory is bounded by its versions, not by what is in them.

    known: whether this repo's refs reach a commit or record here, so that all below is whole.
    given_up: data UUIDs of instances that are deleted here, whose content is passed over, unless all of it comes.

    Raises:
        Unverified: a root, hash or form that is not what it should be.
    """
    frames = bundle.read_frames(file)
    head = _json(next(frames, (0, b"")), bundle.HEAD)
    if head.get("protocol") != bundle.PROTOCOL:
        raise Unverified(f"bundle of protocol {head.get('protocol')}, not {bundle.PROTOCOL}")
    if repo and head.get("repo") != repo:
        raise Unverified(f"bundle of repo {head.get('repo')}, not {repo}")
    received = Received(str(head.get("repo")), left_out=_uuids(head, "given_up"))
    passed = received.left_out | ({*given_up} - _uuids(head, "whole"))
    for frame in frames:
        if frame[0] == bundle.END:
            received.refs = _refs(_json(frame, bundle.END), _Whole(catalog, received, known))
            for _ in frames:  # lets the reader prove that nothing follows
                pass
            return received
        _Owner(catalog, received, known, passed, _json(frame, bundle.OWNER)).read(frames)
    raise Unverified("bundle without an end")


def _uuids(head: Any, name: str) -> frozenset[str]:
    uuids = head.get(name, [] if name == "whole" else None)
    if not isinstance(uuids, list) or not all(isinstance(uuid, str) for uuid in uuids):
        raise Unverified("bundle with a malformed head")
    return frozenset(uuids)


class _Whole:
    """What is known to be here with all below it: owners that came, and those that the repo's refs reach."""

    def __init__(self, catalog: Catalog, received: Received, known: Callable[[bytes], bool]) -> None:
        self._catalog = catalog
        self._received = received
        self._known = known

    def kind(self, name: bytes) -> str | None:
        """ "commit", "repo" or "data"; None for what is not known."""
        if name in self._received.commits:
            return "commit"
        record = self._received.records.get(name)
        if record is None and self._known(name):
            item = self._catalog.store.get_many([name])[0]
            if item is not None and item.type == ObjectType.COMMIT:
                return "commit"
            record = read_record(self._catalog.nodes, name)
        return record.kind if record else None


def _refs(end: Any, whole: _Whole) -> Refs:
    """The refs of a bundle, each naming what is whole, and of the kind that it should be."""
    try:
        refs = end["refs"]
        record = from_hex(refs["record"])
        data = {str(uuid): from_hex(name) for uuid, name in refs["data"].items()}
        branches = {str(uuid): branch for uuid, branch in refs["branches"].items() if isinstance(branch, str)}
    except (KeyError, TypeError, AttributeError, DagdvidError):
        raise Unverified("bundle with malformed refs") from None
    if whole.kind(record) != "repo" or any(whole.kind(name) != "data" for name in data.values()):
        raise Unverified("bundle with a ref to what it does not bring")
    return Refs(record, data, branches)


class _Owner:
    """A commit or record on its way in, with its trees."""

    def __init__(
        self,
        catalog: Catalog,
        received: Received,
        known: Callable[[bytes], bool],
        given_up: Collection[str],
        head: Any,
    ) -> None:
        try:
            self.kind = str(head["kind"])
            self.name = from_hex(head["id"])
            self.parent = from_hex(head["parent"]) if head["parent"] else None
        except (KeyError, TypeError, DagdvidError):
            raise Unverified("malformed owner in a bundle") from None
        if self.kind not in ("commit", "repo", "data"):
            raise Unverified(f"bundle with an owner of unknown kind {self.kind!r}")
        self.catalog = catalog
        self.received = received
        self.whole = _Whole(catalog, received, known)
        if self.parent is not None and self.whole.kind(self.parent) != self.kind:
            raise Unverified(f"bundle builds on {self.parent.hex()}, which is not here")
        self.given_up = given_up
        self.writer = _Metered(catalog.nodes)
        self.base = EMPTY if self.parent is None else self._root_of(self.parent)
        self.built: dict[tuple[str, str], bytes] = {}

    def read(self, frames: Iterator[tuple[int, bytes]]) -> None:
        """Take frames up to and including the owner's object."""
        frame = next(frames, None)
        while frame is not None and frame[0] == bundle.SPACE and self.kind != "repo":
            frame = self._space(_json(frame, bundle.SPACE), frames)
        if frame is None or frame[0] != bundle.ROOT:
            raise Unverified("bundle with frames out of order")
        claimed = _id(_json(frame, bundle.ROOT), "root")
        edits = _Edits(self.catalog, frames, self.writer)
        named: list[edit.Edit] = []
        root = edit.apply(self.writer, self.base, _kept(edits, named if self.kind != "repo" else None))
        self._expect(root, claimed, f"the root of a {self.kind}")
        self.writer.flush()
        for key, value in named:
            self._check_content(key, value)
        frame = edits.following
        if frame is None or frame[0] != bundle.OBJECT:
            raise Unverified("bundle with frames out of order")
        self._object(frame[1], root)

    def _space(self, head: Any, frames: Iterator[tuple[int, bytes]]) -> tuple[int, bytes] | None:
        try:
            data, space, claimed = str(head["data"]), str(head["space"]), from_hex(head["root"])
            before = content_of(self.catalog.nodes, self.base, data) if self.base != EMPTY else None
        except (KeyError, TypeError, ValueError):
            raise Unverified("malformed key space in a bundle") from None
        edits = _Edits(self.catalog, frames, self.writer)
        if data in self.given_up:
            for _ in edits:
                pass
            return edits.following
        base = before.roots.get(space, EMPTY) if before else EMPTY
        root = edit.apply(self.writer, base, edits)
        self._expect(root, claimed, f"key space {space} of instance {data}")
        self.writer.flush()
        self.built[data, space] = root
        if space == LOG:
            self.received.logs.append(root)
        return edits.following

    def _check_content(self, key: bytes, value: Any) -> None:
        """Every root that an instance's content names was built here, or is the parent's."""
        if len(key) != _UUID_SIZE:
            raise Unverified(f"bundle with an instance under {key.hex()}, which is no UUID")
        if key.hex() in self.given_up:
            return
        with foreign():
            content = decode_content(read_value(self.catalog.store, value))
        before = content_of(self.catalog.nodes, self.base, key.hex()) if self.base != EMPTY else None
        for space, root in content.roots.items():
            mine = self.built.get((key.hex(), space), before.roots.get(space) if before else None)
            if root != mine:
                raise Unverified(f"bundle names a root of instance {key.hex()} that it does not bring")
        check_values(self.catalog, content, before.roots if before else {})

    def _object(self, data: bytes, root: bytes) -> None:
        owner: Commit | Record
        kind = ObjectType.COMMIT if self.kind == "commit" else ObjectType.RECORD
        name = object_id(kind, data)
        if name != self.name:
            raise Unverified(f"{self.kind} {self.name.hex()} came as {name.hex()}")
        if self.kind == "commit":
            with foreign():
                owner = Commit.decode(data)
            if owner.repo != self.received.repo:
                raise Unverified(f"bundle with a commit of another repo, {owner.repo}")
            if not is_version_name(owner.uuid) or (owner.uuid == owner.repo) != (not owner.parents):
                raise Unverified(f"bundle with a version {owner.uuid!r} that cannot be in its place")
        else:
            with foreign():
                owner = Record.decode(data)
            if owner.kind != self.kind:
                raise Unverified("bundle with a record of another kind than it says")
        first = owner.parents[0] if owner.parents else None
        kinds = {self.whole.kind(parent) for parent in owner.parents}
        if owner.root != root or first != self.parent or not kinds <= {self.kind}:
            raise Unverified(f"{self.kind} {name.hex()} does not fit its bundle")
        if isinstance(owner, Commit):
            self.received.commits[name] = owner
        else:
            self.received.records[name] = owner
        self.received.objects.append(prepare(kind, data))
        if len(self.received.objects) > _HELD:
            self.catalog.put(self.received.objects)
            self.received.objects.clear()

    def _root_of(self, name: bytes) -> bytes:
        brought = self.received.commits.get(name) or self.received.records.get(name)
        if brought is not None:
            return brought.root
        reader = read_commit if self.kind == "commit" else read_record
        return reader(self.catalog.nodes, name).root

    @staticmethod
    def _expect(root: bytes, claimed: bytes, what: str) -> None:
        if root != claimed:
            raise Unverified(f"{what} came out as {root.hex()}, not {claimed.hex()}")


class _Metered(NodeWriter):
    """Refuses to write far more nodes than changes ask for: keys can be chosen so that each change moves every cut."""

    _FREE, _PER_EDIT = 4096, 16

    edits = 0

    def write(self, kind: ObjectType, data: bytes) -> bytes:
        """As `NodeWriter.write`.

        Raises:
            Unverified: there were too few changes for so many nodes.
        """
        if self.written > self._FREE + self._PER_EDIT * self.edits:
            raise Unverified(f"bundle whose {self.edits} changes write more than {self.written} tree nodes")
        return super().write(kind, data)


class _Edits:
    """The changes of consecutive EDITS frames, their references checked; then the frame that `following` has."""

    def __init__(self, catalog: Catalog, frames: Iterator[tuple[int, bytes]], meter: _Metered) -> None:
        self._catalog = catalog
        self._frames = frames
        self._meter = meter
        self.following: tuple[int, bytes] | None = None

    def __iter__(self) -> Iterator[edit.Edit]:
        last = b""
        for kind, payload in self._frames:
            if kind != bundle.EDITS:
                self.following = kind, payload
                return
            edits = bundle.decode_edits(payload)
            self._meter.edits += len(edits)
            _check_refs(self._catalog, [value for _, value in edits if isinstance(value, Ref)])
            for key, value in edits:
                if key <= last:
                    raise Unverified("bundle with changes out of order")
                last = key
                yield key, value


def _kept(edits: Iterable[edit.Edit], into: list[edit.Edit] | None) -> Iterator[edit.Edit]:
    for key, value in edits:
        if into is not None and value is not None:
            into.append((key, value))
        yield key, value


def _check_refs(catalog: Catalog, refs: Sequence[Ref]) -> None:
    """Every blob is here, of the type and size that its reference says; lists with all that they name."""
    for part in _parts(refs):
        catalog.store.keep([ref.id for ref in part])
        for ref, item in zip(part, catalog.store.get_many([ref.id for ref in part]), strict=True):
            if item is None:
                raise Unverified(f"blob {ref.id.hex()} neither came nor is here")
            kind = ObjectType.BLOB if ref.kind == BLOB else ObjectType.BLOB_LIST
            size = item.size
            if item.type == ObjectType.BLOB_LIST and ref.kind == BLOB_LIST:
                with foreign():
                    chunks = decode_blob_list(item.data())
                _check_refs(catalog, [Ref(BLOB, name, length) for name, length in chunks])
                size = sum(length for _, length in chunks)
            if item.type != kind or size != ref.size:
                raise Unverified(f"blob {ref.id.hex()} is not what its reference says")


def _parts(refs: Sequence[Ref]) -> Iterator[list[Ref]]:
    part: list[Ref] = []
    held = 0
    for ref in refs:
        part.append(ref)
        held += ref.size
        if len(part) == _BATCH or held > _BATCH_BYTES:
            yield part
            part, held = [], 0
    if part:
        yield part


def _json(frame: tuple[int, bytes], kind: int) -> Any:
    if frame[0] != kind:
        raise Unverified("bundle with frames out of order")
    with foreign():
        return canonical.decode(frame[1])


def _id(value: Any, name: str) -> bytes:
    try:
        return from_hex(value[name])
    except (KeyError, TypeError, DagdvidError):
        raise Unverified("malformed frame in a bundle") from None
