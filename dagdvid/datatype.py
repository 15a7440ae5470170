"""The door for datatypes: what a plug-in provides, and all that it ever sees of the store.

A datatype is an object with the attributes of `Datatype`, found through the entry point group `dagdvid.datatypes`. Its
handlers are plain synchronous functions `(instance, view, request) -> Reply`, where `view` is a `Snapshot` for routes
that read and a `Txn` for routes that mutate. Built-in datatypes go through the same door as anybody's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

from dagdvid.errors import BadRequest
from dagdvid.objects.codecs import Codec, decode
from dagdvid.routes import RouteTable
from dagdvid.words import CommandTable

__all__ = [
    "MAX_KEY",
    "Codec",
    "Comparing",
    "Datatype",
    "Differ",
    "Done",
    "Instance",
    "Logged",
    "Side",
    "Snapshot",
    "Step",
    "Stored",
    "Txn",
    "key_text",
]

MAX_KEY = 1024
"""Bytes of the longest key of any key space (SPEC, tree)."""


def key_text(key: bytes) -> str:
    """A key for people: as it is if that can be read, else in hexadecimal after 0x."""
    text = key.decode("utf-8", "replace")
    return text if text.isprintable() and "\ufffd" not in text else f"0x{key.hex()}"


class Stored(NamedTuple):
    """A value as it lies in the store."""

    codec: int
    size: int
    """Bytes of the value once decoded."""
    payload: bytes

    def data(self) -> bytes:
        """The value.

        Raises:
            Corrupt: the payload does not decode.
        """
        return decode(self.codec, self.size, self.payload)


@dataclass(frozen=True)
class Instance:
    """A data instance, as its datatype sees it."""

    uuid: str
    name: str
    typename: str
    origin: str
    """The UUID of the version on which it was made (DVID's Base.RepoUUID)."""
    versioned: bool
    settings: Mapping[str, str]
    """The settings of its creation, names in lower case, values as given."""
    config: Mapping[str, Any]
    """What the datatype's `configure` made of them."""
    tags: Mapping[str, str] = field(default_factory=dict)
    syncs: tuple[str, ...] = ()
    """Names of the instances it is synced with; "undefined" for those that were deleted."""
    synced: tuple[str, ...] = ()
    """Their data UUIDs."""
    properties: Mapping[str, Any] = field(default_factory=dict)
    """Changeable, unversioned properties (resolution, for images)."""


class Logged(NamedTuple):
    """A record of the mutation log."""

    mutation: int
    """Its mutation id; 0 if there is no such record (yet)."""
    record: Mapping[str, Any]


class Done(NamedTuple):
    """A record of the mutation log, by its mark."""

    mark: bytes
    record: Mapping[str, Any]


class Snapshot(Protocol):
    """One instance at one version, as it stands. Keys are bytes (1..MAX_KEY), in byte order; values are bytes."""

    @property
    def instance(self) -> Instance:
        """What it is a snapshot of."""

    @property
    def version(self) -> str:
        """The UUID of the version."""

    def get(self, space: str, key: bytes) -> bytes | None:
        """The value of a key, or None."""

    def get_many(self, space: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of keys in the order asked; far cheaper than one by one."""

    def locate(self, space: str, keys: Sequence[bytes]) -> list[Any | None]:
        """What keys hold at this one moment, unread: for `load`, later and in parts. None where absent."""

    def load(self, located: Sequence[Any | None]) -> list[bytes | None]:
        """The values of located keys."""

    def stored_many(self, space: str, keys: Sequence[bytes]) -> list[Stored | None]:
        """As `get_many`, but undecoded: for answers that pass stored bytes on."""

    def load_stored(self, located: Sequence[Any | None]) -> list[Stored | None]:
        """As `load`, but undecoded."""

    def has(self, space: str, key: bytes) -> bool:
        """Whether a key is there; reads no value."""

    def keys(self, space: str, lo: bytes = b"", hi: bytes | None = None) -> Iterator[bytes]:
        """The keys with lo <= key < hi, in order; hi None is no end."""

    def items(self, space: str, lo: bytes = b"", hi: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """The entries with lo <= key < hi, in order, fetched in batches."""

    def count(self, space: str) -> int:
        """How many keys a space has."""

    def records(self, marks: Sequence[bytes]) -> list[Logged]:
        """Records of the mutation log by their marks, which `Txn.log` gave; for types with `Datatype.marks`."""

    def history(self) -> Iterator[Logged]:
        """What was done to the instance in this version, in order, as its mutation log has it (`Datatype.logs`)."""

    def line(self) -> list[str]:
        """The UUIDs of this version and those before it, by first parents, back to the root."""

    def at(self, version: str) -> Snapshot:
        """The instance at another version of its repo, by UUID or a prefix of it.

        Raises:
            UnknownName: there is no such version.
        """

    def next_label(self) -> int:
        """The label that would be given out next (`Datatype.labels`).

        Raises:
            OutOfIds: this server has none left.
        """

    def expect(self, size: int) -> None:
        """Say early how many bytes of values will be loaded, so that what takes long is done where it may take long."""

    def sibling(self, name: str) -> Snapshot:
        """Another instance of the repo, at the same version. A transaction does not notice when it changes.

        Raises:
            UnknownName: no instance of that name.
        """


class Txn(Snapshot, Protocol):
    """A snapshot that takes changes. They become visible together when the handler returns, or not at all.

    Reads see the transaction's own changes. If a key that was read by `get` or `get_many` changes before the end, the
    handler is run again from the start, so it must do nothing else that lasts.
    """

    def put(self, space: str, key: bytes, value: bytes, codec: int | None = None) -> None:
        """Set a key. `codec` says how to store the value; None lets the store choose.

        Raises:
            BadRequest: a key that is empty or longer than MAX_KEY bytes.
        """

    def put_many(self, space: str, items: Iterable[tuple[bytes, bytes]], codec: int | None = None) -> None:
        """Set many keys."""

    def delete(self, space: str, key: bytes) -> None:
        """Remove a key; no error if it is absent."""

    def set_property(self, name: str, value: Any) -> None:
        """Change a property of the instance: `Instance.properties`, for all versions at once; None removes it.

        It stands in the repo record, is JSON without floats (write such a number as text), and changes together with
        what is put here. If anything in the record changed meanwhile, the handler is run again with the new instance.

        Raises:
            BadRequest: a name that is empty or has a slash.
        """

    @property
    def followed(self) -> bool:
        """Whether an instance is synced with this one, so that `tell` reaches somebody."""

    def tell(self, event: object) -> None:
        """Have the instances that are synced with this one do at once what an event means to them (`Datatype.follow`).

        What they change becomes visible together with this transaction, or not at all.
        """

    def log(self, record: Mapping[str, Any]) -> bytes:
        """Add a record (JSON without floats) to the instance's mutation log, under the repo's next mutation id.

        The time is added; who asked is the handler's to say. The id is given out when the changes are made, so that
        ids rise as changes follow each other: an answer that tells it says how in `Reply.finish`, and what is put
        names the record by its mark, the 8 bytes returned.
        """

    def keep(self, content: bytes) -> str:
        """Keep content in the repo's blobstore, under the reference returned; stored if the transaction succeeds."""

    def take_labels(self, n: int) -> list[int]:
        """The next n labels of the instance, given out if the transaction succeeds (`Datatype.labels`).

        Raises:
            OutOfIds: this server has not so many left.
        """

    def meet_label(self, label: int) -> None:
        """A label came from outside: it, and those below it in its range, are not given out from now on."""


@dataclass(frozen=True)
class Side:
    """An instance in one of two versions that are merged, against the version that is before both."""

    view: Snapshot
    done: Sequence[Done]
    """What was done since, in order."""
    changed: Callable[[str], Iterator[bytes]]
    """The keys of a space that changed since, in order."""


@dataclass(frozen=True)
class Step:
    """One transaction of a command that takes many."""

    run: Callable[[Instance, Txn], object]
    """What it does; run again if what it read has changed."""
    into: str = ""
    """The instance that it writes: that of the command, if empty."""
    typename: str = ""
    """The type of `into`; if there is no instance of that name, one is made."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """With which it is made."""


class Differ(Protocol):
    """Turns changed keys of one instance into what its users know: keys, blocks, boxes."""

    def describe(self, space: str, key: bytes) -> dict[str, Any] | None:
        """A JSON object for one changed key, or None if it is bookkeeping that users never see."""

    def summary(self) -> dict[str, Any]:
        """Members for the end of the answer, over all that was described."""


@runtime_checkable
class Comparing(Differ, Protocol):
    """A differ that looks at values, too."""

    compares: frozenset[str]
    """The key spaces whose values it looks at."""

    def compare(self, space: str, key: bytes, before: bytes | None, after: bytes | None) -> dict[str, Any]:
        """Further members of what `describe` says of a key."""


class Datatype(ABC):
    """A datatype. One object serves all its instances; it keeps no state of its own."""

    name: str
    url: str
    """DVID's TypeURL."""
    version: str
    """DVID's TypeVersion."""
    spaces: tuple[str, ...]
    """Names of its key spaces; each is a tree of its own in a version."""
    routes: RouteTable
    commands: CommandTable = CommandTable()
    """Words after `node UUID NAME`. Handlers are `(instance, view, call) -> text`; as with routes, `view` is a `Txn`
    where the command changes something, and the handler may then be run again. A command with `steps` is for what no
    one transaction should hold: its handler is given a `Snapshot` and yields any number of `Step`s, then the text."""
    summary: str
    """One line for the help."""
    info_methods: frozenset[str] = frozenset({"GET", "HEAD", "POST"})
    """Methods under which DVID's type answers `info`; some look at the method, most do not."""
    logs: bool = False
    """It keeps a mutation log (`Txn.log`), so that its instances answer mutations and mutations-range."""
    marks: bool = False
    """It finds records of its log by their marks (`Snapshot.records`)."""
    labels: bool = False
    """Its instances give out labels, each from a counter of its own that no two servers share (SPEC 6.10)."""
    mergeable: frozenset[str] = frozenset()
    """Key spaces whose entries it can merge (`merge_value`); elsewhere, an entry changed on both sides conflicts."""
    deferred: frozenset[str] = frozenset()
    """Key spaces in which an empty value stands for one that is yet to be computed (`compute`) from other entries: by
    the background, and at the latest when the version is committed. Readers compute it for themselves until then."""
    checks: frozenset[str] = frozenset()
    """Key spaces of which every entry that another server sends is looked at (`check_value`)."""
    rejoined: frozenset[str] = frozenset()
    """Key spaces that are no matter of entries: a merge takes ours as they are and does the rest itself (`rejoin`)."""
    key_by_key: bool = False
    """Entries mean something each for itself, so that conflicts of a merge can be decided one by one."""
    syncs_with: frozenset[str] | None = None
    """Datatypes of which its instances can follow others (POST sync); None: it has no such endpoint."""
    settings_help: Mapping[str, str] = {}
    """Settings that it takes at creation, with what they mean."""

    @abstractmethod
    def configure(self, settings: Mapping[str, str]) -> dict[str, Any]:
        """What settings (names in lower case) mean, defaults filled in.

        Raises:
            BadRequest: a value that it does not take.
        """

    def content_settings(self, config: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """The part of the configuration that changes stored bytes (JSON without floats); hashed with each version."""
        return {}

    @abstractmethod
    def info(self, instance: Instance, view: Snapshot) -> dict[str, Any]:
        """Members of the instance's JSON beside Base: Extended, and Extents where it has them."""

    def merge_value(
        self,
        instance: Instance,
        space: str,
        key: bytes,
        base: bytes | None,  # noqa: ARG002
        ours: bytes | None,  # noqa: ARG002
        theirs: bytes | None,  # noqa: ARG002
    ) -> bytes | None:
        """What an entry of a mergeable space shall be that both sides changed differently; None for absent.

        Raises:
            LookupError: this one is a conflict.
        """
        raise LookupError(f"{self.name} merges no entries of {space} in {instance.name}: {key!r}")

    def compute(self, instance: Instance, txn: Txn, space: str, keys: Sequence[bytes]) -> None:  # noqa: ARG002
        """Put the values of entries of a deferred space that stand empty. `keys`: some of them, in order.

        All that comes before them in the space has been computed already.
        """
        raise LookupError(f"{self.name} computes no entries of {space} in {instance.name}")

    def check_value(self, settings: Mapping[str, Any], space: str, key: bytes, value: bytes) -> None:  # noqa: ARG002
        """See that an entry of a checked space can be. settings: those of `content_settings`, as they were sent.

        Raises:
            BadRequest, Corrupt: no instance would have stored it.
        """
        raise LookupError(f"{self.name} checks no entries of {space}: {key!r}")

    def rejoin(self, instance: Instance, txn: Txn, base: Snapshot, ours: Side, theirs: Side) -> None:  # noqa: ARG002
        """Finish the merge of two versions in which both sides changed an instance without a conflict.

        txn: the merge so far: all spaces merged but those that are `rejoined`, which are ours.
        """
        raise LookupError(f"{self.name} does not rejoin {instance.name}")

    def mutations(self, record: Mapping[str, Any]) -> list[dict[str, Any]]:
        """A record of the mutation log as DVID's JSON shows it: one object or more, without version and time.

        Its id stands in it as `mutation`.
        """
        return [dict(record)]

    def follow(self, instance: Instance, txn: Txn, source: Snapshot, event: object) -> None:  # noqa: B027
        """What an instance does when one that it is synced with tells of an event (`syncs_with`).

        txn: on the follower itself, part of the transaction of the other. source: the other, with what it has changed
        so far. Events that a type does not know are none of its business. Those of labels: `datatypes.labelevents`.
        """

    def find_key(self, instance: Instance, text: str) -> tuple[str, bytes]:  # noqa: ARG002
        """The key space and the key that a person means, written as the differ shows it.

        Raises:
            BadRequest: not a key, or none that can be named.
        """
        raise BadRequest(f"the datatype {self.name} has no keys that could be named")

    def between(self, instance: Instance, first: str, last: str) -> Callable[[str, bytes], bool]:
        """Whether a key of a space is from `first` to `last`, both included, in the sense of the datatype's users.

        Raises:
            BadRequest: as `find_key`.
        """
        (space, low), (_, high) = self.find_key(instance, first), self.find_key(instance, last)
        return lambda where, key: where == space and low <= key <= high

    def extent(self, space: str, first: bytes, last: bytes) -> dict[str, Any]:  # noqa: ARG002
        """Keys of a space above `first` (or at it, if it is `last`) and up to `last`, as JSON for people."""
        return {"keys": [key_text(first), key_text(last)]}

    def change_record(self, changes: Sequence[tuple[str, bytes, int | None]]) -> dict[str, Any] | None:  # noqa: ARG002
        """The record for the mutation log of keys that a revert set to so many bytes, or removed (None); None: none."""
        return None

    @abstractmethod
    def differ(self, instance: Instance) -> Differ:
        """A fresh differ for one answer."""
