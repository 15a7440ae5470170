"""Numbers that no two servers give out: mutation ids of a repo, labels of an instance (SPEC 6.10).

A *counter* has a name, "mutation" or "label/<data uuid>", and numbers of its own. The server that makes it holds all of
them that can be held; whoever sends a repo to a server gives it a range of what it holds itself. The repo record tells
who was given what (`Grant`), so that it travels, and is never taken back. The table `ids` says what is left here.
"""

from __future__ import annotations

import re
import secrets
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from dagdvid.datatype import Instance
from dagdvid.errors import BadRequest, Corrupt, DagdvidError, Diverged, OutOfIds
from dagdvid.objects import canonical
from dagdvid.objects.blobs import read_values
from dagdvid.objects.tree.nodes import Nodes
from dagdvid.objects.tree.read import scan
from dagdvid.registry import datatype

__all__ = [
    "MUTATION",
    "MUTATION_START",
    "SHORT",
    "Grant",
    "Held",
    "allocate",
    "born",
    "check",
    "claim",
    "facts_of",
    "held_by",
    "hold",
    "kind_of",
    "label_counter",
    "lowest",
    "observe",
    "proper",
    "read_grants",
    "share_of",
    "skip",
    "whole",
]

MUTATION = "mutation"
"""The counter of a repo's mutation ids."""
MUTATION_START = 1_000_000_000
"""The first mutation id of a repo (datastore/repo_local.go InitialMutationID)."""
SHORT = 2**20
"""A server with fewer numbers left asks for more when it next meets another."""

_UUID = re.compile(r"[0-9a-f]{32}")
_CLAIMS = 2**26
"""Claims that the upper half of a counter has room for."""
_SHARE, _MOST_SHARES = 16, 2**16
_LEAST = 32
_COPIES = 64
"""Ranges that a server may have given on since a backup of it was made."""


class Kind(NamedTuple):
    """The numbers of a counter, first <= n < limit: the lower half is held and given on, the upper is for claims."""

    first: int
    limit: int

    @property
    def middle(self) -> int:
        """Where claims begin."""
        return self.limit // 2


_KINDS = {
    MUTATION: Kind(MUTATION_START, 2**53),  # clients read them from JSON, as floating-point numbers at worst
    "label": Kind(1, 2**48),  # datatype/labelmap: the greatest label
}


class Held(NamedTuple):
    """Numbers of a counter that this server may give out, both ends included."""

    counter: str
    first: int
    last: int


class Grant(NamedTuple):
    """A line of the ledger: `by` gave a range that it held to `to`. Without `by`: made with the counter, or claimed."""

    counter: str
    first: int
    last: int
    to: str
    """Id of a server (SPEC 4.1)."""
    by: str

    @property
    def held(self) -> Held:
        """The range alone."""
        return Held(self.counter, self.first, self.last)

    def facts(self) -> dict[str, Any]:
        """Its fact for the repo record."""
        return {f"ids/{self.counter}/{self.first:016x}": {"by": self.by, "last": self.last, "to": self.to}}

    def words(self) -> str:
        """For messages."""
        return f"{self.first} to {self.last} of server {self.to}"


def label_counter(data_uuid: str) -> str:
    """The counter of an instance's labels."""
    return f"label/{data_uuid}"


def kind_of(counter: str) -> Kind:
    """Raises BadRequest: no such counter can be."""
    word, slash, uuid = counter.partition("/")
    kind = _KINDS.get(word)
    if kind is None or (word == MUTATION) == bool(slash) or (slash and not _UUID.fullmatch(uuid)):
        raise BadRequest(f"{counter!r} is no counter of ids: there are {MUTATION!r} and 'label/<data uuid>'")
    return kind


def whole(counter: str, server: str) -> Grant:
    """What the server holds that makes a counter."""
    kind = kind_of(counter)
    return Grant(counter, kind.first, kind.middle - 1, server, "")


def born(instance: Instance, server: str) -> list[Grant]:
    """What the server holds that makes an instance."""
    return [whole(label_counter(instance.uuid), server)] if datatype(instance.typename).labels else []


def claim(counter: str, server: str, taken: Iterable[Grant]) -> Grant:
    """A range that nobody gave: drawn by lot from the upper half, beside those that are known to be taken."""
    kind = kind_of(counter)
    size = (kind.limit - kind.middle) // _CLAIMS
    firsts = {grant.first for grant in taken if grant.counter == counter}
    while (first := kind.middle + secrets.randbelow(_CLAIMS) * size) in firsts:
        pass
    return Grant(counter, first, first + size - 1, server, "")


def share_of(counter: str, free: int) -> int:
    """How many of `free` numbers to give to a server that asks: few enough for many to ask; 0 if too few are left."""
    kind = kind_of(counter)
    return min((kind.middle - kind.first) // _MOST_SHARES, free // _SHARE) if free >= _LEAST else 0


def facts_of(grants: Iterable[Grant]) -> dict[str, Any]:
    """Their facts for the repo record."""
    return {key: value for grant in grants for key, value in grant.facts().items()}


# --- the ledger ------------------------------------------------------------------------------------------------------


def read_grants(nodes: Nodes, root: bytes) -> list[Grant]:
    """The ledger in the tree of a repo record, by counter and range.

    Raises:
        Corrupt: a line that makes no sense.
    """
    grants = []
    for keys, values in scan(nodes, root, b"ids/", b"ids0"):
        for key, raw in zip(keys, read_values(nodes.store, values), strict=True):
            grants.append(_grant(key, canonical.decode(raw)))
    return sorted(grants)


def _grant(key: bytes, value: Any) -> Grant:
    try:
        counter, _, first = key.decode().removeprefix("ids/").rpartition("/")
        grant = Grant(counter, int(first, 16), value["last"], value["to"], value["by"])
        sound = proper(grant) and {key.decode(): value} == grant.facts()
    except (KeyError, TypeError, ValueError, DagdvidError):
        sound = False
    if not sound:
        raise Corrupt(f"the record has a malformed range of ids: {key!r}")
    return grant


def proper(grant: Grant) -> bool:
    """Whether a range can be one.

    Raises:
        BadRequest, TypeError: no such counter can be, or a bound is no number.
    """
    kind = kind_of(grant.counter)
    texts = isinstance(grant.to, str) and isinstance(grant.by, str)
    return texts and kind.first <= grant.first <= grant.last < kind.limit


def check(ours: Iterable[Grant], theirs: Iterable[Grant]) -> None:
    """Whether two ledgers can be one: every range lies in one of who gave it, or apart from all others.

    Raises:
        Diverged: two servers hold the same numbers; the text names both.
    """
    known = {(grant.counter, grant.first): grant for grant in ours}
    for grant in theirs:
        if known.setdefault((grant.counter, grant.first), grant) != grant:
            _refuse(known[grant.counter, grant.first], grant)
    around: list[Grant] = []
    for grant in sorted(known.values()):
        while around and (around[-1].counter != grant.counter or around[-1].last < grant.first):
            around.pop()
        outer = around[-1] if around else None
        if (outer and (outer.last < grant.last or outer.to != grant.by)) or (not outer and grant.by):
            _refuse(outer, grant)
        around.append(grant)


def _refuse(one: Grant | None, other: Grant) -> None:
    what = f"{one.words()}, and {other.words()}" if one else f"{other.words()}, given by {other.by}, which has none"
    raise Diverged(
        f"two servers hold the same ids of {other.counter!r}: {what}; a server whose folder was copied or brought back"
        " from a backup must be cloned again"
    )


def held_by(grants: Iterable[Grant], server: str) -> list[Held]:
    """What a server holds by the ledger: what it was given, less what it gave on, which is always from the end."""
    ordered = sorted(grants)
    held = []
    for grant in ordered:
        if grant.to == server:
            inner = [
                g.first
                for g in ordered
                if g.counter == grant.counter and g != grant and grant.first <= g.first and g.last <= grant.last
            ]
            held.append(Held(grant.counter, grant.first, min(inner, default=grant.last + 1) - 1))
    return held


# --- what is left here: inside the writer's transaction --------------------------------------------------------------


def hold(conn: sqlite3.Connection, repo: int, ranges: Iterable[Held]) -> bool:
    """Enter ranges; of those known already the end may only come down. False: numbers beyond an end were given out.

    Rows are named by the repo's UUID and stay when it is deleted: a clone of it goes on where it stood.
    """
    intact = True
    for counter, first, last in ranges:
        (row,) = conn.execute(
            "INSERT INTO ids SELECT root, ?, ?, ?, ? FROM repos WHERE id = ?"
            " ON CONFLICT DO UPDATE SET last = min(last, excluded.last) RETURNING next <= last + 1",
            (counter, first, first, last, repo),
        ).fetchall()
        intact &= bool(row[0])
    return intact


def allocate(conn: sqlite3.Connection, repo: int, counter: str, n: int) -> list[range]:
    """Give out n numbers, for good, the lowest first; more than one range where one ends.

    Raises:
        OutOfIds: fewer are left, and none was given out.
    """
    found = lowest(conn, repo, counter, n)
    conn.executemany(
        "UPDATE ids SET next = ?2 WHERE ?1 BETWEEN next AND last AND counter = ?3"
        " AND root = (SELECT root FROM repos WHERE id = ?4)",
        [(given.start, given.stop, counter, repo) for given in found],
    )
    return found


def lowest(conn: sqlite3.Connection, repo: int, counter: str, n: int) -> list[range]:
    """The numbers that `allocate` would give out now.

    Raises:
        OutOfIds: fewer are left.
    """
    rows = conn.execute(
        "SELECT next, last FROM ids JOIN repos ON ids.root = repos.root"
        " WHERE repos.id = ? AND counter = ? AND next <= last ORDER BY first",
        (repo, counter),
    )
    found: list[range] = []
    for at, last in rows:
        found.append(range(at, min(at + n, last + 1)))
        n -= len(found[-1])
        if not n:
            break
    if n:
        raise OutOfIds(
            f"this server has no ids of {counter!r} left to give out: pull from, or push to, a server that has some;"
            ' if there is none, POST {"claim": COUNTER} to .../api/repo/UUID/ids'
        )
    return found


def skip(conn: sqlite3.Connection) -> None:
    """Give out nothing that whoever else has this folder's past may give out: it was copied, or comes from a backup.

    Both ends of each range are left out: numbers are given out from its beginning, ranges from its end.
    """
    sql = "SELECT root, counter, first, next, last FROM ids WHERE next <= last"
    for root, counter, first, at, last in conn.execute(sql).fetchall():
        left = last + 1 - at
        share = share_of(counter, left) or left
        begin = at + share + secrets.randbelow(share + 1)
        where = (begin, last - min(_COPIES * share, left // 4), root, counter, first)
        conn.execute("UPDATE ids SET next = ?, last = ? WHERE root = ? AND counter = ? AND first = ?", where)


def observe(conn: sqlite3.Connection, repo: int, seen: Mapping[str, Sequence[int]]) -> None:
    """Never give out these numbers, nor those below them in their range; what lies in no range here is others' care."""
    conn.executemany(
        "UPDATE ids SET next = max(next, ?1 + 1) WHERE counter = ?2 AND ?1 BETWEEN first AND last"
        " AND root = (SELECT root FROM repos WHERE id = ?3)",
        [(number, counter, repo) for counter, numbers in seen.items() for number in numbers],
    )
