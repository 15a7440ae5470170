"""Publishes versions: what is not at the site yet, then a head for each branch, at last the refs (SPEC 8.5 to 8.9)."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard

from dagdvid.errors import BadRequest, Diverged, RefMoved
from dagdvid.objects.ids import ObjectType
from dagdvid.objects.store import read
from dagdvid.remote.history import in_order
from dagdvid.remote.published.closure import Closure
from dagdvid.remote.published.form import Head, encode_head, encode_items, encode_locators
from dagdvid.remote.published.heading import head_items
from dagdvid.remote.published.index import encode_index, merged
from dagdvid.remote.published.packing import Packing
from dagdvid.remote.published.refs import Ref, check_site, list_names, move_ref, note_name, read_ref
from dagdvid.remote.published.shelf import GRAPHS, HEADS, INDEXES, SHELF, Shelf
from dagdvid.remote.published.site import Site, open_site
from dagdvid.remote.send import offer, parents_of
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.commits import Commit
from dagdvid.repo.model import Repo, Version, branch_text
from dagdvid.repo.record import Record, now

__all__ = ["publish", "unpublish"]

Step = dict[str, Any]
_TIER, _SMALLEST = 8, 512
_TRIES = 20
_REPORT_EVERY = 0.5


def publish(catalog: Catalog, repo: Repo, url: str, uuids: Sequence[str] = ()) -> Iterator[Step]:
    """Publish committed versions with all before them: those of `uuids`, else the last of every branch.

    Each becomes where its branch stands at the site, if that was before it until now.

    Raises:
        Diverged: the site has gone on differently.
        RemoteError: the site cannot be read or written.
    """
    started = time.monotonic()
    with closing(open_site(url)) as site, tempfile.TemporaryDirectory(dir=_folder(catalog)) as built:
        check_site(site, create=True)
        work = _Publishing(catalog, site, repo, Path(built))
        yield from work.run(_tips(repo, uuids))
    yield {"result": work.result(time.monotonic() - started)}


def unpublish(repo: Repo, url: str, branches: Collection[str]) -> Iterator[Step]:
    """Leave a dated tombstone where branches stand at a site: nobody clones them any more.

    Raises:
        BadRequest: the site does not have one of them.
    """
    with closing(open_site(url)) as site:
        check_site(site)
        for branch in branches:
            for _ in range(_TRIES):
                ref = read_ref(site, repo.root, branch)
                if ref is None:
                    raise BadRequest(f"{site.name} has no branch {branch_text(branch)!r} of repo {repo.root}")
                if ref.withdrawn or move_ref(site, ref.facts | {"unpublished": now()}, ref):
                    break
            else:
                raise RefMoved(f"branch {branch_text(branch)!r} of {site.name} keeps moving; try again")
    yield {"result": {"root": repo.root, "branches": [branch_text(branch) for branch in branches]}}


def _folder(catalog: Catalog) -> str | None:
    return None if catalog.store.readonly else str(catalog.store.folder)


def _tips(repo: Repo, uuids: Sequence[str]) -> dict[str, Version]:
    """The version to publish of each branch."""
    if uuids:
        tips: dict[str, Version] = {}
        for uuid in uuids:
            version = repo.versions[uuid]
            if not version.locked:
                raise BadRequest(f"version {uuid} is open: commit it first")
            other = tips.setdefault(version.branch, version)
            if other is not version:
                raise BadRequest(f"versions {other.uuid} and {uuid} are of one branch: name the later one")
        return tips
    tips = {v.branch: v for v in sorted(repo.versions.values(), key=lambda v: v.id) if v.locked}
    if not tips:
        raise BadRequest(f"no version of repo {repo.root} is committed yet: commit one, then publish it")
    return tips


def _mark(catalog: Catalog, root: str, tips: Mapping[str, Version]) -> None:
    """Note in the repo record that versions are published, so that they are never amended."""

    def facts(repo: Repo) -> dict[str, Any]:
        fresh = [uuid for uuid in uuids if repo.versions[uuid].fixed != "published"]
        return {f"version/{uuid}/published": now() for uuid in fresh}

    uuids = [version.uuid for version in tips.values()]
    if not catalog.store.readonly:
        catalog.change_record(root, facts)


@dataclass
class _Known:
    """What the heads of a site say together."""

    refs: dict[str, Ref] = field(default_factory=dict)
    heads: dict[str, Head] = field(default_factory=dict)
    """By branch."""

    def listed(self, what: str) -> dict[str, int]:
        """The graphs or indexes that they name, and how many objects each has."""
        return {each["id"]: each["n"] for head in self.heads.values() for each in head.facts[what]}

    def packs(self) -> dict[str, Any]:
        return {name: pack for head in self.heads.values() for name, pack in head.facts["packs"].items()}


class _Publishing:
    def __init__(self, catalog: Catalog, site: Site, repo: Repo, built: Path) -> None:
        self.catalog = catalog
        self.site = site
        self.offered = offer(catalog, repo)
        self.built = built
        folder = built if catalog.store.readonly else catalog.store.folder / SHELF
        self.shelf = Shelf(site, folder)
        self.objects = self.versions = self.sent = 0
        self.moved: list[str] = []

    def run(self, tips: Mapping[str, Version]) -> Iterator[Step]:
        yield {"progress": "looking at what is published", "done": 0, "total": None}
        known = self._look(tips)
        if not self._all_wanted(known, tips):
            return
        _mark(self.catalog, self.offered.repo, tips)
        self.offered = offer(self.catalog, self.catalog.repos()[self.offered.repo])
        wanted = self._all_wanted(known, tips)
        indexes = known.listed("indexes")
        with Packing(self.site, self.built, [self.shelf.index(name) for name in indexes]) as packing:
            closure = Closure(self.catalog, packing, self.offered.given_up)
            reported = time.monotonic()
            for name in dict.fromkeys(name for owners in wanted.values() for name in owners):
                for _ in closure.owner(name):
                    if time.monotonic() - reported > _REPORT_EVERY:
                        reported = time.monotonic()
                        yield {"progress": "objects published", "done": closure.objects, "total": None}
            packing.finish()
            self.objects, self.sent = closure.objects, packing.sent
            if packing.fresh:
                indexes = self._tiers(
                    indexes | {self.shelf.put(INDEXES, encode_index(packing.fresh)): len(packing.fresh)}
                )
            packs = known.packs() | packing.packs
            for branch, owners in wanted.items():
                head = self._head(tips[branch], branch, owners, known, packing, indexes, packs)
                self._move(branch, tips[branch], head)
                yield {"progress": "branches published", "done": len(self.moved), "total": len(wanted)}
        self.sent += self.shelf.sent

    def result(self, seconds: float) -> dict[str, Any]:
        return {
            "root": self.offered.repo,
            "branches": self.moved,
            "versions": self.versions,
            "objects": self.objects,
            "bytes": self.sent,
            "seconds": round(seconds, 3),
        }

    def _look(self, tips: Mapping[str, Version]) -> _Known:
        known = _Known()
        names = list_names(self.site).get(self.offered.repo, [])
        for branch in dict.fromkeys([*tips, *names]):
            ref = read_ref(self.site, self.offered.repo, branch)
            if ref is not None:
                known.refs[branch] = ref
                known.heads[branch] = self.shelf.head(ref.head)
        return known

    def _all_wanted(self, known: _Known, tips: Mapping[str, Version]) -> dict[str, list[bytes]]:
        """As `_wanted`, of the branches that are to move."""
        found = {branch: self._wanted(known.refs.get(branch), branch, version) for branch, version in tips.items()}
        return {branch: owners for branch, owners in found.items() if owners is not None}

    def _wanted(self, ref: Ref | None, branch: str, version: Version) -> list[bytes] | None:
        """The commits and records that a branch is to reach, parents first; None if it stands there already.

        Raises:
            Diverged: the branch of the site has what is not before it.
        """
        commit = self.offered.versions[version.uuid]
        tips = [commit, self.offered.record, *self.offered.data.values()]
        owners = in_order(tips, (), lambda name: parents_of(self.catalog, name))
        if ref is None:
            return owners
        here = {*owners}
        data = [bytes.fromhex(name) for name in ref.facts["data"].values()]
        ahead = next((name for name in (ref.commit, ref.record, *data) if name not in here), None)
        if ahead is not None and {*tips} <= self._reached(ref):
            return None  # others have published on top of it
        if ahead is not None:
            what = f"version {ref.facts['uuid']}" if ahead == ref.commit else "a repo record"
            raise Diverged(
                f"branch {branch_text(branch)!r} of {self.site.name} has {what} (of {ref.facts['time']}) that"
                f" {version.uuid} does not come after: pull from it, merge, then publish"
            )
        if {ref.commit, ref.record, *data} == {*tips} and not ref.withdrawn:
            return None
        return owners

    def _reached(self, ref: Ref) -> set[bytes]:
        """The commits and records that a ref reaches."""
        graphs = self.shelf.head(ref.head).facts["graphs"]
        return {item.object.id for each in graphs for item in self.shelf.graph(each["id"])}

    def _tiers(self, found: dict[str, int]) -> dict[str, int]:
        """The indexes, with eight of about one size made one."""
        tiers: dict[int, list[str]] = {}
        for name, n in found.items():
            tiers.setdefault(_tier(n), []).append(name)
        for tier in sorted(tiers):
            names = tiers[tier]
            if len(names) >= _TIER:
                rows = merged(self.shelf.index(name) for name in names)
                rest = {name: n for name, n in found.items() if name not in names}
                return self._tiers(rest | {self.shelf.put(INDEXES, encode_index(rows)): len(rows)})
        return found

    def _graphs(self, owners: Sequence[bytes], known: _Known, packing: Packing) -> dict[str, int]:
        """Graphs of just these commits and records: those that there are, and one of the rest."""
        needed = dict.fromkeys(owners)
        graphs: dict[str, int] = {}
        for name, n in known.listed("graphs").items():
            there = [item.object.id for item in self.shelf.graph(name)]
            if all(each in needed for each in there):
                graphs[name] = n
                for each in there:
                    del needed[each]
        small = [name for name, n in graphs.items() if _tier(n) <= _tier(len(needed))]
        if needed and len(small) >= _TIER - 1:
            joined = {item.object.id for name in small for item in self.shelf.graph(name)}
            needed = {name: None for name in owners if name in joined or name in needed}
            graphs = {name: n for name, n in graphs.items() if name not in small}
        if needed:
            data = encode_items(self._owner(name, packing) for name in needed)
            graphs[self.shelf.put(GRAPHS, zstandard.compress(data, 9))] = len(needed)
        return graphs

    def _owner(self, name: bytes, packing: Packing) -> tuple[Any, bytes]:
        item = self.catalog.store.get_many([name])[0]
        kind = ObjectType.RECORD if item is not None and item.type == ObjectType.RECORD else ObjectType.COMMIT
        data = read(self.catalog.store, name, kind)
        root = Commit.decode(data).root if kind == ObjectType.COMMIT else Record.decode(data).root
        return item, encode_locators([(root, packing.find([root]).get(root))], named=True)

    def _head(
        self,
        version: Version,
        branch: str,
        owners: Sequence[bytes],
        known: _Known,
        packing: Packing,
        indexes: Mapping[str, int],
        packs: Mapping[str, Any],
    ) -> str:
        commit = self.offered.versions[version.uuid]
        reached = {*owners}
        graphs = self._graphs(owners, known, packing)
        facts = {
            **self.offered.json(),
            "branch": branch,
            "branches": {
                uuid: self.offered.branches[name] for uuid, name in self.offered.versions.items() if name in reached
            },
            "commit": commit.hex(),
            "given_up": sorted(self.offered.given_up),
            "graphs": [{"id": name, "n": n} for name, n in graphs.items()],
            "indexes": [{"id": name, "n": n} for name, n in indexes.items()],
            "packs": dict(packs),
            "protocol": 1,
            "repo": self.offered.repo,
            "server": self.catalog.server_id,
            "uuid": version.uuid,
        }
        self.versions = max(self.versions, sum(name in reached for name in self.offered.versions.values()))
        items = head_items(self.catalog, packing.find, commit, self.offered)
        return self.shelf.put(HEADS, encode_head(facts, encode_items(items)))

    def _move(self, branch: str, version: Version, head: str) -> None:
        facts = {
            **self.offered.json(),
            "branch": branch,
            "commit": self.offered.versions[version.uuid].hex(),
            "head": head,
            "repo": self.offered.repo,
            "server": self.catalog.server_id,
            "time": now(),
            "uuid": version.uuid,
        }
        for _ in range(_TRIES):
            ref = read_ref(self.site, self.offered.repo, branch)
            if self._wanted(ref, branch, version) is None or move_ref(self.site, facts, ref):
                note_name(self.site, self.offered.repo, branch)
                self.moved.append(branch_text(branch))
                return
        raise RefMoved(f"branch {branch_text(branch)!r} of {self.site.name} keeps moving; try again")


def _tier(n: int) -> int:
    tier = 0
    while n >= _SMALLEST * _TIER**tier:
        tier += 1
    return tier
