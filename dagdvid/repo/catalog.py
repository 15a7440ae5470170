"""All repos of a data directory: finds versions, gives snapshots and transactions, and makes changes."""

from __future__ import annotations

import logging
import threading
import uuid as uuids
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TypeVar

from dagdvid.datatype import Instance
from dagdvid.errors import BadRequest, RefMoved, StaleRead, Unconfirmed, UnknownName
from dagdvid.objects.local.operation import Put
from dagdvid.objects.local.store import LocalStore
from dagdvid.objects.local.turns import undisturbed, with_others
from dagdvid.objects.local.writer import Operation
from dagdvid.objects.store import Object
from dagdvid.objects.tree.nodes import EMPTY, Nodes
from dagdvid.repo import passcodes
from dagdvid.repo.commits import content_of, read_commit
from dagdvid.repo.ids import MUTATION, born, facts_of, whole
from dagdvid.repo.loading import State, load
from dagdvid.repo.model import Repo, Version, is_uuid, is_version_name
from dagdvid.repo.mutations import logged
from dagdvid.repo.names import find_version
from dagdvid.repo.operations import AddVersion, CreateRepo, SetRecord, SetRemote, SetTexts, Together, new_child
from dagdvid.repo.record import (
    Facts,
    Later,
    instance_facts,
    log_facts,
    make_record,
    now,
    read_record,
    record_stamp,
)
from dagdvid.repo.snapshot import Base, VersionSnapshot
from dagdvid.repo.stage import Stage
from dagdvid.repo.staging import Layer
from dagdvid.repo.txn import VersionTxn

__all__ = ["Catalog", "Upkeep"]

_ROOTS_KEPT = 100_000
_MEANINGS_KEPT = 10_000
_BASES_KEPT = 10_000
_TRIES = 20
_PATIENCE = 3
"""Times that runs may come between a transaction and its end; then those who make runs wait for it."""
_NOTHING = Later()

log = logging.getLogger(__name__)


View = TypeVar("View", bound=VersionSnapshot)


class Upkeep(Protocol):
    """Takes work that need not be done at once."""

    def sealed(self, root: str, uuid: str) -> None:
        """A version was sealed, and is to be folded."""

    def staged(self, version: int, data: int, rows: int, runs: int) -> None:
        """So much was staged."""

    def deferred(self, root: str, version: str, data: str) -> None:
        """Values were put off (`datatype.Datatype.deferred`)."""


class Catalog:
    """The repos of a store. Safe for threads; sees what other processes change at its next question."""

    def __init__(self, store: LocalStore, pool: Executor | None = None, mutation_start: int = 0) -> None:
        """`mutation_start`: new repos give out no mutation ids below it."""
        self.store = store
        self.nodes = Nodes(store, collections=lambda: store.collections)
        self.pool = pool
        self.mutation_start = mutation_start
        self.upkeep: Upkeep | None = None
        """Who does in the background what may wait; without one it waits for the next who needs it."""
        self.on_log: Callable[[Repo, Version, Instance], None] | None = None
        """Called when a request has added to the mutation log of an instance, durably, and before it is answered."""
        self.check_remote: Callable[[str], None] = lambda _: None
        """Called with the URL of another server before that is asked; raises Forbidden where it may not be."""
        self._lock = threading.Lock()
        self._recording = threading.Lock()
        self._state = State()
        self._pulse: bytes | None = None
        """The store's pulse when the state was last known to be that of the database."""
        self._meanings: tuple[Mapping[str, Repo], dict[str, tuple[Repo, Version]]] = {}, {}
        """What texts mean in one state of the repos: a state is never changed, but replaced by the next."""
        self._roots: dict[tuple[bytes, str], Mapping[str, bytes]] = {}
        self._commit_roots: dict[bytes, bytes] = {}

    # --- what there is -----------------------------------------------------------------------------------------------

    def repos(self) -> Mapping[str, Repo]:
        """All repos by root UUID, as they are now."""
        pulse = self.store.pulse.now()
        if pulse is not None and pulse == self._pulse:
            return self._state.repos
        rows = self.store.database.rows("SELECT value FROM counters WHERE name = 'generation'")
        generation = rows[0][0] if rows else 0
        if generation != self._state.generation:
            with self._lock:
                if generation != self._state.generation:  # else another thread was quicker
                    self._state = load(self.store.database.reader, self.nodes, self._state)
        self._pulse = pulse  # as it was before the question
        return self._state.repos

    def repo(self, root: str) -> Repo:
        """A repo as it is now.

        Raises:
            UnknownName: it has been deleted.
        """
        repo = self.repos().get(root)
        if repo is None:
            raise UnknownName(f"there is no repo {root}: it has been deleted")
        return repo

    def find(self, text: str) -> tuple[Repo, Version]:
        """The version that a text means (see `names`), and its repo."""
        repos = self.repos()
        of, meanings = self._meanings
        if of is not repos or len(meanings) >= _MEANINGS_KEPT:
            of, meanings = self._meanings = repos, {}
        found = meanings.get(text)
        if found is None:
            found = meanings[text] = _find(repos, text)
        return found

    def check_writes(self) -> None:
        """Make a change of nothing, to see that changes are made."""
        self.store.run(Put(()))

    @property
    def server_id(self) -> str:
        """What names this server to others: the id of its folder."""
        return str(self.store.info["id"])

    def mutation_id(self, repo: Repo) -> int:
        """The next mutation id of a repo; 0 if none are left here."""
        sql = "SELECT next FROM ids WHERE root = ? AND counter = ? AND next <= last ORDER BY first LIMIT 1"
        rows = self.store.database.rows(sql, (repo.root, MUTATION))
        return int(rows[0][0]) if rows else 0

    def remotes(self, repo: Repo) -> dict[str, str]:
        """URLs of the remotes of a repo, by name."""
        return dict(self.store.database.rows("SELECT name, url FROM remotes WHERE repo = ? ORDER BY name", (repo.id,)))

    def data_record(self, repo: Repo, instance: Instance) -> bytes | None:
        """The ref of an unversioned instance: its record, if it has one yet."""
        rows = self.store.database.rows("SELECT record FROM data WHERE id = ?", (repo.numbers[instance.uuid],))
        return rows[0][0] if rows else None

    # --- views -------------------------------------------------------------------------------------------------------

    def snapshot(self, repo: Repo, version: Version, instance: Instance) -> VersionSnapshot:
        """An instance at a version, for reading."""
        return self._about(VersionSnapshot(*self._view(repo, version, instance)), repo, version, instance)

    def txn(self, repo: Repo, version: Version, instance: Instance) -> VersionTxn:
        """An instance at a version, for writing; `commit_txn` makes the changes."""
        txn = self._about(VersionTxn(*self._view(repo, version, instance)), repo, version, instance)
        txn.pool = self.pool
        txn.followers = lambda: self._followers(repo, version, txn)
        return txn

    def _followers(self, repo: Repo, version: Version, txn: VersionTxn) -> list[VersionTxn]:
        """Transactions on the instances that are synced with that of another one, which they are made together with."""
        found = []
        for other in repo.instances.values():
            if txn.instance.uuid in other.synced:
                if other.uuid not in txn.party:
                    joined = self.txn(repo, version, other)
                    joined.party = txn.party
                    txn.party[other.uuid] = joined
                found.append(txn.party[other.uuid])
        return found

    def _about(self, view: View, repo: Repo, version: Version, instance: Instance) -> View:
        """A view that knows what is around it."""
        view.home = repo
        view.ahead = self.store.expect if repo.chained else None
        view.siblings = lambda name: self.snapshot(repo, version, repo.instance(name))
        view.elsewhere = lambda uuid: self.snapshot(repo, self._version_of(repo, uuid), instance)
        view.logged_here = lambda: logged(self, repo, version, instance)
        return view

    def _version_of(self, repo: Repo, text: str) -> Version:
        if text in repo.versions:
            return repo.versions[text]
        found, version = self.find(text)
        if found.root != repo.root:
            raise UnknownName(f"version {text} is of another repo")
        return repo.versions[version.uuid]

    def commit_txn(self, txn: VersionTxn, version: Version, user: str = "", *, sealed: bool = False) -> None:
        """Make the changes of a transaction, durably. sealed: in a version that is sealed and not yet folded.

        Raises:
            Locked: the version was committed meanwhile.
            StaleRead: what the transaction read has changed: run it again.
        """
        members = txn.party.values()
        stages = {each: each.stage(version.id if each.instance.versioned else 0, sealed=sealed) for each in members}
        facts = {key: value for each in members for key, value in each.properties.items()}
        parts: list[Operation] = [self.record_change(txn.home, facts, user)] if facts else []
        with ExitStack() as turn:
            if any(stage.runs for stage in stages.values() if stage):
                turn.enter_context(with_others(self.store.folder))
            for tried in range(_TRIES):
                if tried == _PATIENCE:
                    turn.close()
                    turn.enter_context(undisturbed(self.store.folder))
                if tried:
                    for each, stage in stages.items():
                        each.confirm()
                        stages[each] = stage and each.again(stage)
                operations = [*parts, *(stage for stage in stages.values() if stage)]
                if not operations:
                    return
                try:
                    given = self.store.run(Together(operations))[len(parts) :]
                except Unconfirmed:
                    continue
                except RefMoved:
                    raise StaleRead("the repo record has changed meanwhile") from None
                break
            else:
                raise StaleRead("what the request read keeps moving; try again")
        for each, stage in stages.items():
            each.given = given.pop(0) if stage else []
            self._count(each, stage)

    def _count(self, txn: VersionTxn, stage: Stage | None) -> None:
        """Let the upkeep know how much was staged."""
        if stage is None or self.upkeep is None:
            return
        self.upkeep.staged(stage.version, stage.data, len(stage.rows) + len(stage.logged), len(stage.runs))
        if txn.defers:
            self.upkeep.deferred(txn.home.root, txn.version, txn.instance.uuid)

    def prepared_txn(self, txn: VersionTxn, version: Version) -> Callable[[], Future[Any]] | None:
        """As `commit_txn`, for when the call is made; its future has the outcome.

        None where more is to be done: properties change, `on_log` must know of it, or runs wait for others.
        """
        if txn.properties or len(txn.party) > 1 or (self.on_log is not None and txn.logged):
            return None
        operation = txn.stage(version.id if txn.instance.versioned else 0)
        if operation is not None:
            return None if operation.runs else partial(self._submit, txn, operation)
        nothing: Future[Any] = Future()
        nothing.set_result(None)
        return lambda: nothing

    def _submit(self, txn: VersionTxn, stage: Stage) -> Future[Any]:
        self._count(txn, stage)
        return self.store.writer.submit(stage)

    def roots(self, root: bytes, data_uuid: str) -> Mapping[str, bytes]:
        """The roots of an instance's key spaces in a version tree."""
        found = self._roots.get((root, data_uuid))
        if found is None:
            content = content_of(self.nodes, root, data_uuid)
            found = content.roots if content else {}
            if len(self._roots) > _ROOTS_KEPT:
                self._roots.clear()
            self._roots[root, data_uuid] = found
        return found

    def ground(self, repo: Repo, version: Version) -> tuple[list[Version], bytes]:
        """What a version is made of: the versions whose staging counts, newest first, over a version tree."""
        staged: list[Version] = []
        below: Version | None = version
        while below is not None:
            if below.commit is not None:
                return staged, self._root_of(below.commit)
            staged.append(below)
            if below.base is not None:
                return staged, below.base
            below = repo.versions[below.parents[0]] if below.parents else None
        return staged, EMPTY

    def _root_of(self, commit: bytes) -> bytes:
        root = self._commit_roots.get(commit)
        if root is None:
            root = self._commit_roots[commit] = read_commit(self.nodes, commit).root
        return root

    def _view(
        self, repo: Repo, version: Version, instance: Instance
    ) -> tuple[Nodes, Any, Instance, str, int, Callable[[], Base]]:
        number = repo.numbers[instance.uuid]
        given = [(repo, version)]

        def base() -> Base:
            if not instance.versioned:
                return self._unversioned_base(instance, number)
            if given:
                return self.base(*given.pop(), instance)
            # the two may be of different moments, so that neither is good enough once a layer has moved
            fresh = self.repo(repo.root)
            return self.base(fresh, fresh.versions[version.uuid], instance)

        return self.nodes, self.store.database, instance, version.uuid, number, base

    def base(self, repo: Repo, version: Version, instance: Instance) -> Base:
        """Where an instance stands at a version."""
        asked = version.uuid, instance.uuid
        found = repo.bases.get(asked) if repo.versions.get(version.uuid) is version else None
        if found is None:
            staged, root = self.ground(repo, version)
            roots = self.roots(root, instance.uuid) if root != EMPTY else {}
            found = Base(tuple(Layer(v.id, v.epoch) for v in staged), roots)
            if repo.versions.get(version.uuid) is version:
                if len(repo.bases) >= _BASES_KEPT:
                    repo.bases.clear()
                repo.bases[asked] = found
        return found

    def _unversioned_base(self, instance: Instance, number: int) -> Base:
        record, epoch = self.store.database.rows("SELECT record, epoch FROM data WHERE id = ?", (number,))[0]
        content = content_of(self.nodes, read_record(self.nodes, record).root, instance.uuid) if record else None
        return Base((Layer(0, epoch),), content.roots if content else {})

    # --- changes -----------------------------------------------------------------------------------------------------

    def create_repo(self, alias: str, description: str, root: str = "", passcode: str = "") -> str:
        """A new repo with an open root version; its UUID. A passcode, if any, guards renaming and deleting.

        Raises:
            BadRequest: the UUID asked for is taken, or cannot stand in a URL.
        """
        root = root or uuids.uuid4().hex
        _check_name(root)
        if any(root in repo.versions for repo in self.repos().values()):
            raise BadRequest(f"UUID {root} is taken")
        mutations = whole(MUTATION, self.server_id)
        facts: dict[str, Any] = {"alias": alias, "description": description, "created": now(), "root": root}
        facts |= mutations.facts()
        record, objects = make_record(self.nodes, None, facts)
        code = passcodes.scrambled(passcode) if passcode else None
        self.store.run(CreateRepo(root, record, objects, code, [mutations.held], self.mutation_start))
        return root

    def change_record(
        self,
        root: str,
        facts: Callable[[Repo], Facts],
        user: str = "",
        around: Callable[[SetRecord], Operation] | None = None,
    ) -> None:
        """Change facts of a repo's record: `facts` is asked again if another change came first. No facts, no change.

        around: makes the operation to run, of which the change of the record shall be a part.
        """
        with self._recording:  # threads take turns, so that only other processes can come between
            for _ in range(_TRIES):
                repo = self.repo(root)
                changed = facts(repo)
                if not changed:
                    return
                change = self.record_change(repo, changed, user)
                operation = change if around is None else around(change)
                try:
                    self.store.run(operation)
                except RefMoved:
                    continue
                return
        raise RefMoved("the repo record keeps changing; try again")

    def record_change(self, repo: Repo, facts: Facts, user: str = "") -> SetRecord:
        """The operation that changes facts of a repo's record, if it is still where `repo` has it."""
        after, objects = make_record(self.nodes, repo.record, facts, user)
        return SetRecord(repo.id, repo.record, after, objects)

    def add_log(self, root: str, lines: Sequence[str], user: str = "") -> None:
        """Append lines to a repo's log."""
        if lines:
            self.change_record(root, lambda _: log_facts(lines), user)

    def create_instance(self, root: str, instance: Instance, user: str = "") -> None:
        """Enter a new instance.

        Raises:
            BadRequest: its name is taken.
        """
        words = " ".join(f"{key}:{value}" for key, value in sorted(instance.settings.items()))
        line = f'New data instance "{instance.name}" of type "{instance.typename}" with config {{map[{words}]}}'

        def facts(repo: Repo) -> dict[str, Any]:
            if instance.name in repo.instances:
                raise BadRequest(f"data instance name {instance.name!r} is taken in the repo of {root}")
            return instance_facts(instance) | log_facts([line]) | facts_of(grants)

        def numbered(change: SetRecord) -> SetRecord:
            return replace(change, new_data=instance.uuid, held=[grant.held for grant in grants])

        grants = born(instance, self.server_id)
        self.change_record(root, facts, user, around=numbered)

    def new_version(self, repo: Repo, parent: Version, note: str, uuid: str = "", branch: str | None = None) -> str:
        """An open child of a locked version, on its branch or a new one; its UUID. Errors are those of `new_child`."""
        added = new_child(repo, parent, note, uuid, branch)
        self.store.run(added)
        return added.uuid

    def tag(self, repo: Repo, parent: Version, tag: str) -> None:
        """A child of a locked version that is sealed at once and has the tag for its UUID; fold it then.

        Raises:
            BadRequest: the parent is open, the tag is taken, or it cannot stand in a URL.
        """
        _check_name(tag)
        note = f'Tag of version {parent.uuid} with "{tag}"'
        self.store.run(AddVersion(repo.id, tag, f"tag-{tag}", (parent.uuid,), note, True, sealed=True))

    def set_texts(self, repo: Repo, version: Version, note: str | None, log: Sequence[str]) -> None:
        """Change the note of an open version, or append to its log."""
        self.store.run(SetTexts(repo.id, version.id, note, [record_stamp(line) for line in log]))

    def set_remote(self, repo: Repo, name: str, url: str) -> None:
        """Name a remote."""
        self.store.run(SetRemote(repo.id, name, url))

    def put(self, objects: Sequence[Object]) -> None:
        """Store objects."""
        self.store.put_many(objects)


def _find(repos: Mapping[str, Repo], text: str) -> tuple[Repo, Version]:
    for repo in repos.values():
        version = repo.versions.get(text)
        if version is not None and is_uuid(text) and not version.hidden:
            return repo, version
    return find_version(list(repos.values()), text)


def _check_name(text: str) -> None:
    """Raises BadRequest: text that cannot stand for a UUID in a URL."""
    if not is_version_name(text):
        raise BadRequest(f"{text!r} cannot be a UUID or tag")
