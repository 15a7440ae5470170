"""The two files about users: who may do what (auth_file), and who is kept out (DVID: server/blocklist.go)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dagdvid.errors import BadRequest, Blocked

__all__ = ["RIGHTS", "BlockList", "may", "read_blocks", "read_rights"]

RIGHTS = ("read", "write", "readwrite")


def read_rights(file: Path) -> dict[str, str]:
    """The rights of users, by name; "*" stands for all that are not named.

    DVID at head reads the file and finds nobody in it (server/auth.go decodes into a field that JSON cannot reach);
    this is what was meant.

    Raises:
        BadRequest: it cannot be read, or is not as it must be.
    """
    try:
        rights = json.loads(_text(file))
    except ValueError as error:
        raise BadRequest(f"{file} is not JSON: {error}") from None
    if not isinstance(rights, dict):
        raise BadRequest(f'{file} must be a JSON object, {{"USER": "readwrite", "*": "read"}}')
    for user, right in rights.items():
        if right not in RIGHTS:
            raise BadRequest(f"{file}: the right of {user!r} must be {', '.join(RIGHTS)}, not {right!r}")
    return rights


def may(rights: Mapping[str, str], user: str, reading: bool) -> bool:
    """Whether a user may read, or write."""
    right = rights.get(user, rights.get("*", ""))
    return right in ("readwrite", "read" if reading else "write")


@dataclass(frozen=True)
class BlockList:
    """Those who are kept out, with what they are told."""

    users: Mapping[str, str] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)
    """IPv4 addresses in which octets may be `*` and the last may be left out; or IPv6 addresses, whole."""

    def check(self, user: str, address: str) -> None:
        """Raise Blocked for those who are on it."""
        note = self.users.get(user)
        if note is not None:
            raise Blocked(f'User "{user}" is blocked: {note}')
        if not self.addresses:
            return
        octets = address.removeprefix("::ffff:").split(".")
        for pattern, note in self.addresses.items():
            parts = pattern.split(".")
            pairs = zip(parts, octets, strict=False)
            if len(parts) <= len(octets) and all(part in ("*", octet) for part, octet in pairs):
                raise Blocked(f'IP "{address}" is blocked: {note}')


def read_blocks(file: Path) -> BlockList:
    """A list of lines `u=USER`, `u=USER,note`, `ip=PATTERN` or `ip=PATTERN,note`; empty lines are ignored.

    Raises:
        BadRequest: it cannot be read, or has another line.
    """
    found: dict[str, dict[str, str]] = {"u": {}, "ip": {}}
    for n, line in enumerate(_text(file).splitlines(), 1):
        kind, equals, rest = line.strip().partition("=")
        who, _, note = rest.partition(",")
        if not line.strip():
            continue
        if kind not in found or not equals or not who:
            raise BadRequest(f"{file}, line {n}: write u=USER,why or ip=10.1.*.3,why, not {line[:80]!r}")
        found[kind][who.strip()] = note.strip()
    return BlockList(found["u"], found["ip"])


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except OSError as error:
        raise BadRequest(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadRequest(f"{file} is not UTF-8 text") from None
