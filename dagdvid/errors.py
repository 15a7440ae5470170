"""Every error that dagdvid raises on purpose, in a tree by what a caller would do about it.

    DagdvidError
    ├── RequestError        change the request
    │   ├── BadRequest          malformed, or not possible
    │   │   └── Unverified          from another server, and not what its hashes and format say
    │   ├── UnknownName         no such repo, version, instance, branch or endpoint
    │   ├── KeyAbsent           the name is right, nothing is stored under it
    │   ├── Locked              the version is committed
    │   ├── Forbidden           the right is missing
    │   │   ├── Unauthenticated     say who you are
    │   │   ├── NoAccess            known, but not allowed this
    │   │   └── Blocked             kept out by name or address
    │   └── TooLarge            above a stated limit
    ├── ConflictError       look again, then retry or merge
    │   ├── StaleRead           what the transaction read has changed since
    │   │   └── Unconfirmed         what the transaction read may have changed since
    │   ├── RefMoved            a compare-and-swap lost
    │   ├── Diverged            both sides have changes the other lacks
    │   └── PackGone            what is copied was given up meanwhile
    ├── DamageError         stop and repair
    │   ├── Corrupt             bytes that do not match their checksum, hash or format
    │   └── MissingObject       a referenced object is in no layer
    │       └── Lost                and it is known that it was lost: damaged, and found nowhere else
    ├── UnavailableError    try again later, or elsewhere
    │   ├── InUse               another process has the data directory
    │   ├── ReadOnly            the server or the directory takes no writes
    │   ├── NoSpace             the disk is full
    │   ├── OutOfIds            no numbers are left that are this server's to give out
    │   ├── Busy                too much at once, or shutting down
    │   └── FateUnknown         it may have been done or not: look before you do it again
    └── RemoteError         the other server: unreachable, refused, or not one of ours
        └── Offline             where data lies cannot be reached now

`code` is stable and only ever added to; the HTTP layer maps classes to DVID's statuses.
"""

from __future__ import annotations

__all__ = [
    "BadRequest",
    "Blocked",
    "Busy",
    "ConflictError",
    "Corrupt",
    "DagdvidError",
    "DamageError",
    "Diverged",
    "FateUnknown",
    "Forbidden",
    "InUse",
    "KeyAbsent",
    "Locked",
    "Lost",
    "MissingObject",
    "NoAccess",
    "NoSpace",
    "Offline",
    "OutOfIds",
    "PackGone",
    "ReadOnly",
    "RefMoved",
    "RemoteError",
    "RequestError",
    "StaleRead",
    "TooLarge",
    "Unauthenticated",
    "UnavailableError",
    "Unconfirmed",
    "UnknownName",
    "Unverified",
]


class DagdvidError(Exception):
    """The root of the tree. `code` names the kind for programs, `str(error)` is one sentence for people."""

    code = "error"


class RequestError(DagdvidError):
    """The caller must change the request."""

    code = "request"


class BadRequest(RequestError):
    """The request is malformed, or asks for what cannot be."""

    code = "bad-request"


class Unverified(BadRequest):
    """What another server sent does not match its hashes or its format. Nothing of it counts."""

    code = "unverified"


class UnknownName(RequestError):
    """No repo, version, instance, branch, datatype or endpoint of that name."""

    code = "unknown-name"


class KeyAbsent(RequestError):
    """Nothing is stored under a well-formed key."""

    code = "key-absent"


class Locked(RequestError):
    """The version is committed and takes no more changes."""

    code = "locked"


class Forbidden(RequestError):
    """The caller lacks the right."""

    code = "forbidden"


class Unauthenticated(Forbidden):
    """The caller must say who it is, or what it said is not believed."""

    code = "unauthenticated"


class NoAccess(Forbidden):
    """The caller is known, and not allowed what it asks."""

    code = "no-access"


class Blocked(Forbidden):
    """The caller is on the server's list of those who are kept out."""

    code = "blocked"


class TooLarge(RequestError):
    """A body, key or volume above a stated limit."""

    code = "too-large"


class ConflictError(DagdvidError):
    """The state moved under the caller: look again, then retry or merge."""

    code = "conflict"


class StaleRead(ConflictError):
    """A key that the transaction read has changed since."""

    code = "stale-read"


class Unconfirmed(StaleRead):
    """A key that the transaction read may have changed since: look whether it has, then try again."""

    code = "unconfirmed"


class RefMoved(ConflictError):
    """A compare-and-swap of a ref lost, or a version UUID is bound to another commit."""

    code = "ref-moved"


class Diverged(ConflictError):
    """Both sides have changes that the other lacks."""

    code = "diverged"


class PackGone(ConflictError):
    """A pack was given up while the store was copied: its objects lie elsewhere now."""

    code = "pack-gone"


class DamageError(DagdvidError):
    """Stored data is damaged: stop and repair."""

    code = "damage"


class Corrupt(DamageError):
    """Bytes that do not match their checksum, hash or format."""

    code = "corrupt"


class MissingObject(DamageError):
    """A referenced object is in no layer of the store."""

    code = "missing-object"


class Lost(MissingObject):
    """An object that a repair could not find anywhere; a backup that has it brings it back."""

    code = "lost"


class UnavailableError(DagdvidError):
    """Not now, or not here."""

    code = "unavailable"


class InUse(UnavailableError):
    """Another process has the data directory."""

    code = "in-use"


class ReadOnly(UnavailableError):
    """The server or the data directory takes no writes."""

    code = "read-only"


class NoSpace(UnavailableError):
    """The disk is full."""

    code = "no-space"


class OutOfIds(UnavailableError):
    """No mutation ids or labels are left that are this server's to give out: another one must give it some."""

    code = "out-of-ids"


class Busy(UnavailableError):
    """Too much at once, or shutting down."""

    code = "busy"


class FateUnknown(UnavailableError):
    """What was to make a change died before it answered. The change was made whole or not at all."""

    code = "fate-unknown"


class RemoteError(DagdvidError):
    """The other server cannot be reached, refuses, or does not speak the protocol."""

    code = "remote"


class Offline(RemoteError):
    """Data lies on a published store or another server, which cannot be reached now."""

    code = "offline"
