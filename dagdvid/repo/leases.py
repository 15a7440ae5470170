"""Gives ranges of ids to other servers, takes one where nobody gives, and hands numbers out (SPEC 6.10)."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dagdvid.errors import BadRequest, DagdvidError, Unverified
from dagdvid.objects.store import Object
from dagdvid.repo import ids
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.ids import Grant, Held
from dagdvid.repo.model import Repo
from dagdvid.repo.record import read_record

__all__ = ["claim_lacking", "enter", "give", "ledger", "next_ids", "overview", "prepare", "short_of"]

_SERVER = re.compile(r"[0-9a-f]{32}")
_MOST = 2**20


def ledger(catalog: Catalog, repo: Repo) -> list[Grant]:
    """Who was given what, as the repo record has it."""
    return ids.read_grants(catalog.nodes, read_record(catalog.nodes, repo.record).root)


def give(catalog: Catalog, repo: Repo, to: str, short: Collection[str] = ()) -> list[Grant]:
    """Give ranges of what this server holds to another: of each counter in which it has none by the ledger, and of
    those that it is short of. They are on disk when this returns.

    Raises:
        BadRequest: `to` is no server's id.
    """
    if not _SERVER.fullmatch(to):
        raise BadRequest(f"{to!r} is not the id of a server")
    held: list[Held] = []
    given: list[Grant] = []

    def facts(repo: Repo) -> dict[str, Any]:
        held.clear()
        given.clear()
        grants = ledger(catalog, repo)
        counters = {grant.counter for grant in grants}
        supplied = {grant.counter for grant in grants if grant.to == to}
        for counter in sorted(counters - supplied | counters & {*short}):
            rows = _rows(catalog, repo, counter)
            _, first, at, last = max(rows, key=lambda row: row[3] - row[2], default=("", 0, 0, -1))
            if n := ids.share_of(counter, last + 1 - at):
                given.append(Grant(counter, last + 1 - n, last, to, catalog.server_id))
                held.append(Held(counter, first, last - n))
        return ids.facts_of(given)

    if to != catalog.server_id:
        _change(catalog, repo, facts, held)
    return given


def enter(catalog: Catalog, repo: Repo, given: Any) -> None:
    """Enter what another server says to have given to this one, as it has in its own record.

    Raises:
        Unverified: it makes no sense.
        Diverged: it is not that server's to give.
    """
    try:
        grants = [Grant(g["counter"], g["first"], g["last"], catalog.server_id, g["by"]) for g in given]
        held = [grant.held for grant in grants if ids.proper(grant)]
    except (KeyError, TypeError, DagdvidError):
        held = []
    if len(held) != len(given):
        raise Unverified("what was given of ids makes no sense")

    def facts(repo: Repo) -> dict[str, Any]:
        ids.check(ledger(catalog, repo), grants)
        return ids.facts_of(grants)

    _change(catalog, repo, facts, held)


def short_of(catalog: Catalog, repo: Repo) -> list[str]:
    """The counters in which this server has little or nothing left."""
    left: dict[str, int] = {grant.counter: 0 for grant in ledger(catalog, repo)}
    for counter, _, at, last in _rows(catalog, repo):
        left[counter] = left.get(counter, 0) + max(0, last + 1 - at)
    return sorted(counter for counter, n in left.items() if n < ids.SHORT)


def claim_lacking(catalog: Catalog, repo: Repo, counters: Collection[str] | None = None) -> list[Grant]:
    """Draw a range by lot in each of some counters, or in each that this server has nothing left of.

    For where nobody can be asked. Two such ranges may turn out to overlap, with a chance of 1 in 2^26 for each pair of
    servers; then their repo records are never joined (`ids.check`).
    """
    held: list[Held] = []
    claims: list[Grant] = []

    def facts(repo: Repo) -> dict[str, Any]:
        held.clear()
        claims.clear()
        grants = ledger(catalog, repo)
        wanted = counters
        if wanted is None:
            left = {counter for counter, _, at, last in _rows(catalog, repo) if at <= last}
            wanted = {grant.counter for grant in grants} - left
        for counter in sorted(wanted):
            claims.append(ids.claim(counter, catalog.server_id, grants))
            held.append(claims[-1].held)
        return ids.facts_of(claims)

    _change(catalog, repo, facts, held)
    return claims


def overview(catalog: Catalog, repo: Repo) -> dict[str, Any]:
    """The ledger, and what is left here, as JSON."""
    counters: dict[str, Any] = {}
    for grant in ledger(catalog, repo):
        entry = counters.setdefault(grant.counter, {"next": None, "left": 0, "ranges": []})
        entry["ranges"].append({"first": grant.first, "last": grant.last, "server": grant.to, "by": grant.by})
    for counter, _, at, last in _rows(catalog, repo):
        if counter in counters and at <= last:
            entry = counters[counter]
            entry["next"] = at if entry["next"] is None else entry["next"]
            entry["left"] += last + 1 - at
    return {"server": catalog.server_id, "counters": counters}


def next_ids(catalog: Catalog, repo: Repo, counter: str, n: int) -> list[range]:
    """Give out n numbers, for good.

    Raises:
        BadRequest: none or too many at once, or no such counter.
        OutOfIds: that many are not left.
    """
    if not 0 < n <= _MOST:
        raise BadRequest(f"between 1 and {_MOST} ids can be had at once, not {n}")
    ids.kind_of(counter)
    found: list[range] = catalog.store.run(_Allocate(repo.id, counter, n))
    return found


def prepare(catalog: Catalog, start: int) -> None:
    """See to it, when a folder is opened, that its ids are its own: it may be a copy of another, or come from a backup.

    start: mutation ids below it are not given out from now on, in any repo; 0 for no such limit.
    """
    if copied := catalog.store.info.get("copied"):
        catalog.store.run(_Skip(str(copied)))
    for repo in catalog.repos().values() if start else ():
        catalog.store.run(_Observe(repo.id, start - 1))


@dataclass(frozen=True)
class _Skip:
    """Leave out what the folder may have given out that this is a copy of; once."""

    copied: str
    objects: Sequence[Object] = ()

    def apply(self, conn: sqlite3.Connection) -> None:
        """Cannot fail."""
        row = conn.execute("INSERT OR IGNORE INTO counters VALUES (?, 1)", (f"copied/{self.copied}",))
        if row.rowcount:
            ids.skip(conn)


@dataclass(frozen=True)
class _Observe:
    """Give out no mutation ids up to a number."""

    repo: int
    number: int
    objects: Sequence[Object] = ()

    def apply(self, conn: sqlite3.Connection) -> None:
        """Cannot fail."""
        ids.observe(conn, self.repo, {ids.MUTATION: [self.number]})


@dataclass(frozen=True)
class _Allocate:
    """Give out numbers of a counter."""

    repo: int
    counter: str
    n: int
    objects: Sequence[Object] = ()

    def apply(self, conn: sqlite3.Connection) -> list[range]:
        """Raises OutOfIds: that many are not left."""
        return ids.allocate(conn, self.repo, self.counter, self.n)


def _change(catalog: Catalog, repo: Repo, facts: Callable[[Repo], dict[str, Any]], held: Sequence[Held]) -> None:
    """Change facts of the record, and with them what is held here."""
    catalog.change_record(repo.root, facts, around=lambda change: replace(change, held=tuple(held)))


def _rows(catalog: Catalog, repo: Repo, counter: str | None = None) -> list[Any]:
    """counter, first, next, last of what this server holds or held, in order."""
    sql = "SELECT counter, first, next, last FROM ids WHERE root = ? AND counter = coalesce(?, counter)"
    return catalog.store.database.rows(sql + " ORDER BY counter, first", (repo.root, counter))
