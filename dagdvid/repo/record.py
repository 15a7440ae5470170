"""The repo record (SPEC 6.3): a small tree of what may change after a commit, with a history of its own.

    alias description created     texts of the repo
    log/<ns>-<hex>                a line of its log
    data/<uuid>/<field>           an instance: name type versioned origin created settings
    data/<uuid>/tag/<name>        ... its tags
    data/<uuid>/sync/<uuid>       ... what it is synced with
    data/<uuid>/property/<name>   ... properties that its datatype lets change
    data/<uuid>/deleted           ... its tombstone: {name, type, record, time, user}; `name` above is gone then
    version/<uuid>/<field>        a version, changed after the fact: branch hidden note published signed
    version/<uuid>/log/<ns>-<hex> ... a line for its log

One fact a key, so that two records merge field by field. Values are canonical JSON.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dagdvid.datatype import MAX_KEY, Instance
from dagdvid.errors import BadRequest, Corrupt, DagdvidError
from dagdvid.objects import canonical
from dagdvid.objects.blobs import make_value, read_values
from dagdvid.objects.ids import ObjectType, from_hex
from dagdvid.objects.store import Object, prepare, read
from dagdvid.objects.tree import edit
from dagdvid.objects.tree.nodes import EMPTY, Nodes, NodeWriter
from dagdvid.objects.tree.read import scan
from dagdvid.registry import datatype

__all__ = [
    "Facts",
    "Later",
    "Loaded",
    "Record",
    "instance_facts",
    "load_facts",
    "log_facts",
    "make_record",
    "now",
    "read_record",
    "record_stamp",
]

_UUID = re.compile(r"[0-9a-f]{32}")

Facts = Mapping[str, Any]
"""Keys of the record and their values; None removes one."""


@dataclass(frozen=True)
class Record:
    """A record object: one state of a repo record, or of an unversioned instance."""

    kind: str
    """"repo" or "data"."""
    root: bytes
    parents: tuple[bytes, ...] = ()
    time: str = ""
    user: str = ""

    def encode(self) -> bytes:
        """Canonical bytes."""
        return canonical.encode(
            {
                "kind": self.kind,
                "parents": [p.hex() for p in self.parents],
                "root": self.root.hex(),
                "time": self.time,
                "user": self.user,
            }
        )

    @staticmethod
    def decode(data: bytes) -> Record:
        """Raises Corrupt: not a record."""
        try:
            value = canonical.decode(data)
            record = Record(
                str(value["kind"]),
                from_hex(value["root"]),
                tuple(from_hex(p) for p in value["parents"]),
                str(value["time"]),
                str(value["user"]),
            )
        except (KeyError, TypeError, DagdvidError):
            record = None
        if record is None or record.encode() != data:
            raise Corrupt("not a record object in canonical form")
        return record


@dataclass
class Later:
    """What became of a version after the fact."""

    branch: str | None = None
    hidden: bool = False
    note: str | None = None
    log: list[str] = field(default_factory=list)
    fixed: str = ""
    """Why it can never be amended: "published" or "signed"; empty if it can."""


@dataclass
class Loaded:
    """What a record says, sorted out."""

    texts: dict[str, str] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    instances: dict[str, Instance] = field(default_factory=dict)
    """By name."""
    deleted: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """Tombstones, by data UUID."""
    versions: dict[str, Later] = field(default_factory=dict)
    """By version UUID."""


def now() -> str:
    """This moment as DVID writes it: RFC 3339 with nanoseconds, UTC."""
    ns = time.time_ns()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ns // 10**9)) + f".{ns % 10**9:09d}Z"


def record_stamp(line: str) -> str:
    """A line of a log, with its time before it as DVID writes it."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}  {line}"


def log_facts(lines: Iterable[str]) -> dict[str, Any]:
    """Facts that append lines to the log."""
    start = time.time_ns()
    return {f"log/{start + i:020d}-{secrets.token_hex(4)}": record_stamp(line) for i, line in enumerate(lines)}


def instance_facts(instance: Instance) -> dict[str, Any]:
    """Facts that enter a new instance."""
    at = f"data/{instance.uuid}/"
    facts = {
        at + "name": instance.name,
        at + "type": instance.typename,
        at + "versioned": instance.versioned,
        at + "origin": instance.origin,
        at + "created": now(),
        at + "settings": dict(instance.settings),
    }
    facts |= {f"{at}tag/{name}": value for name, value in instance.tags.items()}
    return facts | {f"{at}property/{name}": value for name, value in instance.properties.items()}


def read_record(nodes: Nodes, name: bytes) -> Record:
    """The record object of an id."""
    return Record.decode(read(nodes.store, name, ObjectType.RECORD))


def make_record(nodes: Nodes, before: bytes | None, facts: Facts, user: str = "") -> tuple[bytes, list[Object]]:
    """A record after `before` with some facts changed: its id, and the objects to store."""
    root = read_record(nodes, before).root if before else EMPTY
    objects: list[Object] = []
    edits: list[edit.Edit] = []
    for key, value in sorted(((k.encode(), v) for k, v in facts.items()), key=lambda fact: fact[0]):
        if len(key) > MAX_KEY:
            raise BadRequest(f"a name of {len(key)} bytes is too long: the limit is about {MAX_KEY}")
        if value is None:
            edits.append((key, None))
        else:
            stored, blobs = make_value(key, canonical.encode(value))
            edits.append((key, stored))
            objects += blobs
    writer = NodeWriter(nodes)
    record = Record("repo", edit.apply(writer, root, edits), (before,) if before else (), now(), user)
    item = prepare(ObjectType.RECORD, record.encode())
    return item.id, [*objects, *writer.take(), item]


def load_facts(nodes: Nodes, root: bytes) -> Loaded:
    """What the tree of a repo record says. What this program does not know is carried, not read.

    Raises:
        Corrupt: an instance without a proper name, type or UUID, or two of one name.
    """
    loaded = Loaded()
    data: dict[str, dict[str, Any]] = {}
    for keys, values in scan(nodes, root):
        for key, raw in zip(keys, read_values(nodes.store, values), strict=True):
            value = canonical.decode(raw)
            head, _, rest = key.decode("utf-8", "surrogateescape").partition("/")
            if head == "data":
                uuid, _, name_ = rest.partition("/")
                data.setdefault(uuid, {})[name_] = value
            elif head == "version":
                uuid, _, name_ = rest.partition("/")
                _put_later(loaded.versions.setdefault(uuid, Later()), name_, value)
            elif head == "log" and isinstance(value, str):
                loaded.log.append(value)
            elif isinstance(value, str):
                loaded.texts[head] = value
    names = {uuid: str(fields["name"]) for uuid, fields in data.items() if "name" in fields}
    for uuid, fields in data.items():
        if isinstance(fields.get("deleted"), dict):
            loaded.deleted[uuid] = fields["deleted"]
            continue
        instance = _instance(uuid, fields, names)
        if instance.name in loaded.instances:
            raise Corrupt(f"the record has two instances named {instance.name!r}")
        loaded.instances[instance.name] = instance
    return loaded


def _put_later(later: Later, name: str, value: Any) -> None:
    if name in ("branch", "note") and isinstance(value, str):
        setattr(later, name, value)
    elif name == "hidden":
        later.hidden = value is True
    elif name in ("published", "signed"):
        later.fixed = name
    elif name.startswith("log/") and isinstance(value, str):
        later.log.append(value)


def _instance(uuid: str, fields: dict[str, Any], names: dict[str, str]) -> Instance:
    settings: Any = fields.get("settings")
    texts = [fields.get(name) for name in ("name", "type", "origin")]
    if isinstance(settings, dict):
        texts += settings.values()
    texts += [value for key, value in fields.items() if key.startswith("tag/")]
    proper = isinstance(settings, dict) and isinstance(fields.get("versioned"), bool) and fields.get("name")
    if not _UUID.fullmatch(uuid) or not proper or not all(isinstance(text, str) for text in texts):
        raise Corrupt(f"the record of instance {uuid} is malformed")
    try:
        config = datatype(fields["type"]).configure(settings)
    except DagdvidError:
        # A clone may hold instances of a datatype that is not installed here: they are carried, not served.
        config = {}

    def under(prefix: str) -> dict[str, Any]:
        return {key.removeprefix(prefix): value for key, value in fields.items() if key.startswith(prefix)}

    return Instance(
        uuid=uuid,
        name=fields["name"],
        typename=fields["type"],
        origin=fields["origin"],
        versioned=fields["versioned"],
        settings=settings,
        config=config,
        tags=under("tag/"),
        syncs=tuple(names.get(other, "undefined") for other in sorted(under("sync/"))),
        synced=tuple(sorted(under("sync/"))),
        properties=under("property/"),
    )
