"""Chained clones: a repo whose versions are known here while what is in them stays where it is (SPEC 8.10)."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any
from urllib.parse import urlunsplit

from dagdvid.errors import BadRequest, DagdvidError, RemoteError, Unverified
from dagdvid.objects.ids import ObjectType, from_hex
from dagdvid.objects.store import Object
from dagdvid.remote.foreign import foreign
from dagdvid.remote.incoming import Taken, take
from dagdvid.remote.peer import Peer, split_clone_url
from dagdvid.remote.published.form import Head, Item, decode_head
from dagdvid.remote.published.refs import check_site, is_published, list_names, read_ref
from dagdvid.remote.published.shelf import SHELF, Shelf
from dagdvid.remote.published.site import Site, is_site, open_site
from dagdvid.remote.receive import Received, Refs
from dagdvid.remote.send import Known
from dagdvid.repo.bases import SERVER, SITE, BaseRow, SetBase, base_rows
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.commits import Commit
from dagdvid.repo.leases import claim_lacking, enter, short_of
from dagdvid.repo.model import Repo, is_version_name
from dagdvid.repo.record import Record
from dagdvid.urls import split_url

__all__ = ["clone_chained", "clone_site", "is_base_site", "pull_site"]

Step = dict[str, Any]


def clone_chained(catalog: Catalog, url: str, remote: str = "origin") -> Iterator[Step]:
    """Make a repo of a published store's, or another server's, whose content stays there: URL[/UUID].

    Raises:
        RemoteError: there is no such repo, or what came does not verify.
        BadRequest: it is here already.
    """
    catalog.check_remote(url)
    found = _find_site(url)
    if found is not None:
        yield from clone_site(catalog, *found, remote)
    else:
        yield from _clone_server(catalog, *split_clone_url(url), remote)


def is_base_site(catalog: Catalog, url: str) -> bool:
    """Whether a URL is that of a published store: it says so, or was found to be one when a repo was cloned."""
    return is_site(url) or any(row.url == url and row.kind == SITE for row in base_rows(catalog.store))


def clone_site(catalog: Catalog, url: str, uuid: str, remote: str) -> Iterator[Step]:
    """As `clone_chained`, of a published store."""
    started = time.monotonic()
    with closing(open_site(url)) as site:
        yield _progress("looking at what is published")
        check_site(site)
        names = list_names(site)
        roots = [root for root in names if root.startswith(uuid)]
        if len(roots) != 1:
            known = ", ".join(sorted(names)) or "none"
            raise RemoteError(f"{site.name} has {len(roots)} repos {uuid}: name one after the URL; there are: {known}")
        root = roots[0]
        if root in catalog.repos():
            raise BadRequest(f"repo {root} is here already: pull instead")
        taken = yield from _take_site(catalog, site, url, root, names[root], remote)
    yield _done(catalog, root, taken, started)
    catalog.set_remote(catalog.repos()[root], remote, url)


def pull_site(catalog: Catalog, repo: Repo, url: str, remote: str) -> Iterator[Step]:
    """Learn of the versions that were published since; their content stays where it is."""
    started = time.monotonic()
    with closing(open_site(url)) as site:
        yield _progress("looking at what is published")
        check_site(site)
        branches = list_names(site).get(repo.root, [])
        taken = yield from _take_site(catalog, site, url, repo.root, branches, remote)
    yield _done(catalog, repo.root, taken, started)


def _find_site(url: str) -> tuple[str, str] | None:
    """The URL of a published store and the UUID of URL[/UUID]; None if it is a server's."""
    parts = split_url(url)
    above, _, last = parts.path.rstrip("/").rpartition("/")
    for path, uuid in ((parts.path.rstrip("/"), ""), (above, last)):
        base = urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))
        with closing(open_site(base)) as site:
            if is_published(site):
                return base, uuid
    if is_site(url):
        raise RemoteError(f"{url.partition('?')[0]} is no published store")
    return None


def _take_site(
    catalog: Catalog, site: Site, url: str, root: str, branches: Sequence[str], remote: str
) -> Generator[Step, None, Taken]:
    """Take all branches of a repo that a site has and that were not withdrawn."""
    shelf = Shelf(site, catalog.store.folder / SHELF)
    refs = {b: ref for b in branches if (ref := read_ref(site, root, b)) is not None and not ref.withdrawn}
    if not refs:
        raise RemoteError(f"{site.name} has no branch of repo {root}, or all were unpublished")
    heads = {branch: ref.head for branch, ref in refs.items()}
    row = BaseRow(root, url, SITE, json.dumps(sorted({*heads.values()})))
    opened = [(refs[branch].commit, shelf.head(name)) for branch, name in heads.items()]
    received = []
    for commit, head in opened:
        yield _progress("reading the version graph")
        graphs = [item for each in _list(head.facts, "graphs") for item in shelf.graph(str(each["id"]))]
        received.append((commit, head, graphs))
    catalog.store.run(SetBase(row))
    return (yield from _take_all(catalog, root, site.name, received, remote))


def _take_all(
    catalog: Catalog, root: str, name: str, heads: Sequence[tuple[bytes | None, Head, list[Item]]], remote: str
) -> Generator[Step, None, Taken]:
    versions = 0
    notes: dict[str, Any] = {}
    for commit, head, graph in heads:
        repo = catalog.repos().get(root)
        try:
            received = _received(root, commit, head, graph, Known(catalog, repo))
            catalog.put(received.objects)
            received.objects.clear()
            taken = take(catalog, received, remote) if received.commits or received.records else Taken(0)
        except Unverified as error:
            raise RemoteError(f"what {name} has does not verify, and none of it was taken: {error}") from None
        versions += taken.versions
        notes |= taken.notes
        yield _progress("versions taken", versions)
    return Taken(versions, notes)


def _received(root: str, commit: bytes | None, head: Head, graph: Sequence[Item], known: Known) -> Received:
    """What a head brings, checked: commits and records whose parents are here or came, parents first.

    Raises:
        Unverified: it is not what it should be.
    """
    facts = head.facts
    try:
        refs = Refs(
            from_hex(facts["record"]),
            {str(uuid): from_hex(name) for uuid, name in facts["data"].items()},
            {str(uuid): str(branch) for uuid, branch in facts["branches"].items()},
        )
        received = Received(root, refs=refs, left_out=frozenset(map(str, facts["given_up"])))
        proper = facts["repo"] == root and (commit is None or from_hex(facts["commit"]) == commit)
    except (KeyError, TypeError, AttributeError, DagdvidError):
        proper = False
    if not proper:
        raise Unverified("a head with malformed facts")
    objects: dict[bytes, Object] = {}
    for item in (each.object for each in graph):
        if not known(item.id) and item.id not in objects:
            _enter(received, item, known)
            objects[item.id] = item
    for name in (refs.record, *refs.data.values(), *([commit] if commit else [])):
        if name not in received.commits and name not in received.records and not known(name):
            raise Unverified("a head that does not bring what it names")
    objects |= {item.object.id: item.object for item in head.items}
    received.objects.extend(objects.values())
    return received


def _enter(received: Received, item: Object, known: Known) -> None:
    with foreign():
        owner: Commit | Record
        if item.type == ObjectType.COMMIT:
            owner = Commit.decode(item.data())
        elif item.type == ObjectType.RECORD:
            owner = Record.decode(item.data())
        else:
            raise Unverified("a graph with what is neither commit nor record")
    if isinstance(owner, Commit):
        if (
            owner.repo != received.repo
            or not is_version_name(owner.uuid)
            or (owner.uuid == owner.repo) == bool(owner.parents)
        ):
            raise Unverified(f"a version {owner.uuid!r} that cannot be in its place")
        before: Mapping[bytes, Commit | Record] = received.commits
        received.commits[item.id] = owner
    else:
        before = received.records
        received.records[item.id] = owner
    if any(parent not in before and not known(parent) for parent in owner.parents):
        raise Unverified(f"{item.id.hex()} came without what is before it")


def _clone_server(catalog: Catalog, url: str, uuid: str, remote: str) -> Iterator[Step]:
    started = time.monotonic()
    with Peer(url) as peer:
        yield _progress("asking what the other side has")
        answer = peer.negotiate({"repo": uuid, "have": []})
        root = answer.get("repo")
        if not answer.get("exists") or not isinstance(root, str):
            raise RemoteError(f"{peer.name} has no repo {uuid}")
        if not answer.get("heads"):
            raise RemoteError(f"nothing of repo {root} is committed on {peer.name} yet: there is nothing to clone")
        if root in catalog.repos():
            raise BadRequest(f"repo {root} is here already: pull instead")
        peer.lease({"repo": root, "server": catalog.server_id, "short": []})
        with foreign():
            head = decode_head(peer.get_head({"repo": root}))
        owners = (ObjectType.COMMIT, ObjectType.RECORD)
        graph = [item for item in head.items if item.object.type in owners]
        catalog.store.run(SetBase(BaseRow(root, url, SERVER, "[]")))
        taken = yield from _take_all(catalog, root, peer.name, [(None, head, graph)], remote)
        repo = catalog.repos()[root]
        short = short_of(catalog, repo)
        given = peer.lease({"repo": root, "server": catalog.server_id, "short": short}) if short else None
        if given:
            enter(catalog, repo, given)
    yield _done(catalog, root, taken, started)
    catalog.set_remote(catalog.repos()[root], remote, url)


def _done(catalog: Catalog, root: str, taken: Taken, started: float) -> Step:
    claims = [] if catalog.store.readonly else claim_lacking(catalog, catalog.repos()[root])
    notes = {"claimed_ids": [f"{g.counter}: {g.first} to {g.last}" for g in claims]} if claims else {}
    seconds = round(time.monotonic() - started, 3)
    return {"result": {"root": root, "versions": taken.versions, "seconds": seconds, **taken.notes, **notes}}


def _list(facts: Mapping[str, Any], name: str) -> list[Any]:
    value = facts.get(name)
    if not isinstance(value, list) or not all(isinstance(each, dict) and "id" in each for each in value):
        raise RemoteError("a head with malformed facts")
    return value


def _progress(text: str, done: int = 0) -> Step:
    return {"progress": text, "done": done, "total": None}
