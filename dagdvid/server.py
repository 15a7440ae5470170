"""The facade that the HTTP service and the command line talk to: opens a store, finds routes, runs handlers.

`find` and `handle` are all of DVID's dispatch, without HTTP: rights, the read-only switch, locks, and transactions with
their retries. Everything is synchronous and safe for threads.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from dagdvid import service
from dagdvid.access.gate import READING, Gate
from dagdvid.access.hosts import check_host
from dagdvid.access.reloaded import announce_reload
from dagdvid.commands import Context
from dagdvid.commands.routes import COMMAND
from dagdvid.config import Config
from dagdvid.datatype import Instance
from dagdvid.errors import BadRequest, Forbidden, Locked, ReadOnly, UnknownName
from dagdvid.kernels import twins
from dagdvid.meters import Meters
from dagdvid.objects.local.backup import FolderOrigin, copy_store
from dagdvid.objects.local.leases import Lease
from dagdvid.objects.local.rebuild import rebuild_database
from dagdvid.objects.local.store import LocalStore
from dagdvid.objects.local.store import hold as hold_folder
from dagdvid.objects.local.turns import take_turn
from dagdvid.registry import datatype, datatype_names
from dagdvid.remote.bases import open_layers
from dagdvid.remote.copying import ServerOrigin
from dagdvid.remote.published.routes import HEAD, PUBLISH
from dagdvid.remote.routes import REMOTE, SYNC
from dagdvid.remote.sources import open_sources
from dagdvid.remote.transfer import push
from dagdvid.remote.undelete import UNDELETE
from dagdvid.remote.webhook import tell
from dagdvid.repo import journal
from dagdvid.repo.activity import note_act
from dagdvid.repo.activity_routes import ACTIVITY
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.changes import ChangeHandler, Target
from dagdvid.repo.collect import collect
from dagdvid.repo.conflict_routes import CONFLICTS
from dagdvid.repo.copying import COPY
from dagdvid.repo.data_routes import ANY_DATA, DIFF
from dagdvid.repo.history_routes import NODE_HISTORY, REFLOG, REPO_REFLOG
from dagdvid.repo.id_routes import IDS
from dagdvid.repo.leases import prepare
from dagdvid.repo.model import Repo, Version
from dagdvid.repo.rebuild import rebuild_refs
from dagdvid.repo.record_routes import RECORD
from dagdvid.repo.repair import repair
from dagdvid.repo.routes import NODE, REPO, REPOS
from dagdvid.repo.schema import TABLES
from dagdvid.repo.snapshot import AboveLimit
from dagdvid.repo.transact import transact
from dagdvid.repo.txn import VersionTxn
from dagdvid.repo.upkeep import Upkeep
from dagdvid.routes import Reply, Request, Right, Route, RouteTable, Visitor
from dagdvid.sharedfolder import SharedFolder
from dagdvid.throttle import Held, Throttle

__all__ = [
    "Found",
    "Server",
    "backup",
    "hold",
    "prepare_kernels",
    "rebuild",
    "reload_files",
    "restore",
    "tell_start",
    "write",
]

_KERNELS = "kernels"
"""Where a data directory keeps compiled kernels, if the installed package cannot be written."""


class Found(NamedTuple):
    """A matched route."""

    route: Route
    args: dict[str, str]
    scope: str
    """"server", "repo", "node" or "data"."""
    owner: str = ""
    """Who handles a "data" route: "any" for those that all instances have, else a datatype's name."""
    target: Target | None = None
    """Of a "data" route: the version that was meant, as it was then."""


class Prepared(NamedTuple):
    """A change that is ready to be made."""

    reply: Reply
    submit: Callable[[], Future[Any]]
    """The future ends when it is durable, or with its error; StaleRead: what it read has changed, so `handle` it."""


def prepare_kernels(config: Config) -> None:
    """Have the kernels compiled, at the first start of all, beside what goes on."""
    twins.keep_in(config.data / _KERNELS)
    twins.compile_soon()


@contextmanager
def hold(config: Config) -> Iterator[int]:
    """Own the data directory for all processes of a server, and recover its packs. Yields the locked descriptor."""
    with hold_folder(config.data) as lock:
        Throttle(config.data).reset()
        Meters.reset(SharedFolder(config.data))
        with closing(LocalStore(config.data, tables=TABLES)) as store:
            prepare(Catalog(store), config.mutation_start)
        yield lock


def reload_files(config: Config) -> None:
    """Have all processes that serve a data directory read again who may do what, and who is kept out."""
    shared = SharedFolder(config.data)
    for name in ("auth", "blocklist"):
        announce_reload(shared, name)


def tell_start(config: Config) -> None:
    """Tell those whom the configuration names that the server starts.

    Raises:
        RemoteError: one of them does not answer 200.
    """
    address = f"{config.host}:{config.port}"
    said = {"Host": config.hostname, "Note": config.note, "HTTP Address": address, "RPC Address": ""}
    for url, form in ((config.start_webhook, False), (config.start_janelia_config, True)):
        if url:
            tell(url, said, form=form)


def write(config: Config, listener: socket.socket, stop: socket.socket, ready: Callable[[], None]) -> None:
    """Be the writer process of a server of several: serve a Unix socket until `stop` is readable and all have gone."""
    with closing(
        LocalStore(
            config.data, tables=TABLES, relaxed=config.relaxed, quota=config.quota << 20, reserve=config.reserve << 20
        )
    ) as store:
        ready()
        store.serve_writer(listener, stop)


def backup(source: str, folder: Path, token: str = "") -> Iterator[dict[str, Any]]:
    """Copy the store of a server (a URL) or a data directory to a folder; see `copy_store`."""
    if "://" not in source:
        return copy_store(FolderOrigin(Path(source)), folder, backup=True)
    return _closing(origin := ServerOrigin(source, token), copy_store(origin, folder, backup=True))


def _closing(origin: ServerOrigin, steps: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    with closing(origin):
        yield from steps


def restore(folder: Path, data: Path) -> Iterator[dict[str, Any]]:
    """Make a data directory of a backup; see `copy_store`."""
    return copy_store(FolderOrigin(folder), data, backup=False)


def rebuild(config: Config) -> dict[str, Any]:
    """Make the database of a data directory anew from its packs; what was found. See `repo.rebuild`.

    Raises:
        InUse: a server has the directory.
    """
    with hold_folder(config.data):
        for _ in rebuild_database(config.data, TABLES):
            pass
    with closing(Server.open(config)) as server:
        return rebuild_refs(server.catalog)


class Server:
    """One process of a server on one data directory."""

    def __init__(self, config: Config, stack: ExitStack) -> None:
        """Use `open`."""
        self.config = config
        self._stack = stack
        self.store = LocalStore(
            config.data,
            tables=TABLES,
            readonly=config.readonly,
            writer=config.writer,
            relaxed=config.relaxed,
            quota=config.quota << 20,
            reserve=config.reserve << 20,
        )
        stack.callback(self.store.close)
        self.layers = open_layers(self.store)
        stack.callback(self.layers.close)
        self.store.below = self.layers
        pool = stack.enter_context(ThreadPoolExecutor(os.cpu_count() or 1, "dagdvid-encode"))
        self.catalog = Catalog(self.store, pool, config.mutation_start)
        self.upkeep = None if config.readonly else Upkeep(self.catalog)
        if self.upkeep is not None:
            stack.callback(self.upkeep.close)
        if not config.member and not config.readonly:
            prepare(self.catalog, config.mutation_start)
        self._tables: list[tuple[str, list[str], RouteTable]] = [
            ("server", [], REPOS),
            ("server", [], REFLOG),
            ("server", [], UNDELETE),
            ("server", [], SYNC),
            ("server", [], HEAD),
            ("server", [], COPY),
            ("server", [], service.SERVICE),
            ("server", [], COMMAND),
            ("repo", ["repo", "{uuid}"], REPO),
            ("repo", ["repo", "{uuid}"], ACTIVITY),
            ("repo", ["repo", "{uuid}"], REPO_REFLOG),
            ("repo", ["repo", "{uuid}"], IDS),
            ("repo", ["repo", "{uuid}"], REMOTE),
            ("repo", ["repo", "{uuid}"], PUBLISH),
            ("repo", ["repo", "{uuid}"], RECORD),
            ("node", ["node", "{uuid}"], NODE),
            ("node", ["node", "{uuid}"], DIFF),
            ("node", ["node", "{uuid}"], NODE_HISTORY),
            ("node", ["node", "{uuid}"], CONFLICTS),
        ]
        words = {prefix[0] if prefix else route.segments[0] for _, prefix, table in self._tables for route in table}
        self._by_word = {
            word: [row for row in self._tables if (row[1][0] == word if row[1] else row[2].knows(word))]
            for word in words
        }
        self.throttle = Throttle(config.data)
        self.meters = Meters(SharedFolder(config.data))
        stack.callback(self.meters.close)
        if not config.member and not config.readonly:
            self.throttle.reset()
            self.meters.reset(SharedFolder(config.data))
        self.catalog.check_remote = partial(check_host, config=config)
        self.gate = Gate(config, self.catalog)
        self.state = service.State(config, self.catalog, self.throttle, self.gate, self.meters)
        if config.jsonstore is not None and not config.readonly:
            journal.keep(self.catalog, config.jsonstore)
        self.stop: Callable[[], None] | None = None
        """Makes the process that serves this store stop; whoever serves it sets it."""

    @classmethod
    def open(cls, config: Config) -> Server:
        """Open a data directory, making it if need be.

        Raises:
            InUse: another server has it. ReadOnly: it cannot be written and `config.readonly` is not set.
            Corrupt, UnavailableError: it is damaged, or of a newer format.
        """
        twins.keep_in(config.data / _KERNELS)
        stack = ExitStack()
        try:
            if not config.member and not config.readonly:
                stack.enter_context(hold_folder(config.data))
            return cls(config, stack)
        except BaseException:
            stack.close()
            raise

    @classmethod
    def look(cls, folder: Path) -> Server:
        """Open a data directory to look into it, changing nothing."""
        return cls.open(Config(data=folder, readonly=True))

    def close(self) -> None:
        """Finish what waits and let the directory go."""
        self._stack.close()

    def collect(self, *, dry_run: bool = False, forget: bool = False) -> Iterator[dict[str, Any]]:
        """Collect garbage where this process is the only one and serves nobody: see `repo.collect`."""
        return collect(self.catalog, dry_run=dry_run, forget=forget, alone=True)

    def repair(self, places: Sequence[str] = (), *, dry_run: bool = False) -> Iterator[dict[str, Any]]:
        """Repair the store, with what other servers (URLs) and data directories have. As `collect`."""
        with open_sources(places, self.config.data) as sources, take_turn(self.store.folder):
            yield from repair(self.catalog, sources, dry_run=dry_run)

    def push_to(self, url: str, spec: str) -> Iterator[dict[str, Any]]:
        """Send a version and those before it to another server; see `remote.transfer.push`."""
        repo, version = self.catalog.find(spec)
        return push(self.catalog, repo, url, version.uuid)

    def tables(self) -> Iterator[tuple[str, str, RouteTable]]:
        """All route tables: (scope, URL prefix, table); those of instances once for each datatype."""
        for scope, prefix, table in self._tables:
            yield scope, "/".join(["/api", *prefix, ""]), table
        under = "/api/node/{uuid}/{data}/"
        yield "data", under, ANY_DATA
        yield "data", under, service.ANY_HELP
        for name in datatype_names():
            yield "data", under, datatype(name).routes

    def admit(self, request: Request, *, wait: bool = True) -> Visitor:
        """Who sends a request, and how far they see; see `access.gate`. It comes before `find` and `handle`."""
        return self.gate.admit(request, wait=wait)

    def find(self, method: str, path: str) -> Found | None:
        """The route of a decoded URL path; None if there is none. An instance's routes are matched by `handle`'s rules.

        Raises:
            RequestError: under an instance: no such version or instance, or nothing that its datatype knows.
        """
        parts = path.split("/")
        if parts[:2] != ["", "api"]:
            return None
        parts = parts[2:]
        for scope, prefix, table in self._by_word.get(parts[0], ()) if parts else ():
            if len(parts) < len(prefix):
                continue
            matched = table.match(method, parts[len(prefix) :] or [""])
            if matched:
                route, args = matched
                return Found(route, args | ({"uuid": parts[1]} if prefix else {}), scope)
        if len(parts) < 3 or parts[0] != "node" or not parts[2]:
            return None
        if parts[3:] == [""] and NODE.methods(parts[2:3]):
            return None  # DVID takes a slash at the end of an instance's paths, not of a version's
        return self._find_data(method, parts, path)

    def handle(self, found: Found, request: Request) -> Reply:
        """Run a route.

        Raises:
            DagdvidError: whatever is wrong; the caller maps it to a status.
        """
        route = found.route
        self._check_right(found, request)
        request = self._with_rights(request, found.args)
        with ExitStack() as stack:
            if _throttled(route, request):
                stack.callback(self.throttle.enter())
            if route.leased:
                stack.callback(self.store.leases.take().end)
            reply = self._run(found, request)
            return _holding(reply, stack)

    def _run(self, found: Found, request: Request) -> Reply:
        route = found.route
        if found.scope == "server":
            if route in service.SERVICE.routes:
                return route.handler(self.state, request)
            if route in COMMAND.routes:
                return route.handler(Context(self.catalog, self.stop, request.unlocked), request)
            return route.handler(self.catalog, request)
        target = Target(*self.catalog.find(found.args["uuid"]))
        if found.scope == "repo":
            return self._noted(route, target, request, route.handler(self.catalog, target, request))
        if found.scope == "node":
            self._check_node_lock(route, target, request)
            reply = route.handler(self.catalog, target, request)
            if isinstance(route.handler, ChangeHandler):  # it has noted that itself
                return reply
            return self._noted(route, target, request, reply, target.version.uuid)
        instance = target.repo.instance(found.args["data"])
        self._check_lock(route, target, instance, request)
        if found.owner == "any":
            reply = route.handler(self.catalog, target, instance, request)
            return self._noted(route, target, request, reply, target.version.uuid, instance.name)
        if route.mutates:
            return self._transact(route, target, instance, request)
        return route.handler(instance, self.catalog.snapshot(*target, instance), request)

    def read_at_once(self, found: Found, request: Request, most: int) -> Reply | None:
        """As `handle`, for a route that was found this moment, if it reads an instance and can do so quickly.

        It may ask the database and read tree nodes; None where values of more than `most` bytes would be loaded.

        Raises:
            DagdvidError: whatever is wrong; the caller maps it to a status.
        """
        route, target = found.route, found.target
        if route.mutates or target is None or found.owner == "any" or _throttled(route, request) or target.repo.chained:
            return None
        self._check_right(found, request)
        instance = target.repo.instance(found.args["data"])
        self._check_lock(route, target, instance, request)
        with ExitStack() as stack:
            stack.callback(self.store.leases.take().end)
            view = self.catalog.snapshot(*target, instance)
            view.most = most
            try:
                reply = route.handler(instance, view, _with_args(request, found.args))
            except AboveLimit:
                return None
            return _holding(reply, stack)

    def prepare(self, request: Request, most: int) -> Prepared | None:
        """As `handle`, for a request that is quickly prepared: to change an instance, or the version graph by one step.

        `submit` then makes the change. None where it takes more: an amendment, a change of properties, values of more
        than `most` bytes to load, versions that have to be folded first.

        Raises:
            DagdvidError: whatever is wrong; the caller maps it to a status.
        """
        found = self.find(request.method, request.path)
        if found is not None and isinstance(found.route.handler, ChangeHandler):
            return self._prepare_change(found, found.route.handler, request)
        if found is None or found.target is None or not found.route.mutates:
            return None
        if found.target.version.locked or found.target.repo.chained:
            return None
        self._check_right(found, request)
        instance = found.target.repo.instance(found.args["data"])
        lease = self.store.leases.take()
        txn = self.catalog.txn(*found.target, instance)
        txn.most = most
        try:
            reply = found.route.handler(instance, txn, _with_args(request, found.args))
        except AboveLimit:
            return None
        plain = isinstance(reply.body, bytes) and reply.finish is None
        submit = self.catalog.prepared_txn(txn, found.target.version) if plain else None
        return None if submit is None else Prepared(reply, partial(_submit, submit, lease))

    def _prepare_change(self, found: Found, handler: ChangeHandler, request: Request) -> Prepared | None:
        self._check_right(found, request)
        request = self._with_rights(request, found.args)
        target = Target(*self.catalog.find(found.args["uuid"]))
        self._check_node_lock(found.route, target, request)
        if target.repo.chained:
            return None
        prepared = handler.prepare(self.catalog, target, request)
        return None if prepared is None else Prepared(*prepared)

    def _with_rights(self, request: Request, args: dict[str, str]) -> Request:
        unlocked = request.admin or self.config.fullwrite
        return replace(request, args=args, unlocked=unlocked, switches=self.config.switches)

    def _find_data(self, method: str, parts: list[str], path: str) -> Found | None:
        target = Target(*self.catalog.find(parts[1]))
        instance = target.repo.instance(parts[2])
        args = {"uuid": parts[1], "data": parts[2]}
        rest = parts[3:] or [""]
        kind = datatype(instance.typename)
        tables = (kind.name, kind.routes), ("any", ANY_DATA), ("any", service.ANY_HELP)
        for verb in ("HEAD", "GET") if method == "HEAD" else (method,):
            for owner, table in tables:
                matched = table.match(verb, rest)
                if matched:
                    return Found(matched[0], args | matched[1], "data", owner, target)
        raise UnknownName(
            f"Bad API call ({path}) for data {instance.name!r}: {method} is no endpoint of its datatype; "
            f"see /api/help/{instance.typename}"
        )

    def _check_right(self, found: Found, request: Request) -> None:
        route = found.route
        if self.config.readonly and not self._reads(route, request):
            raise ReadOnly("Server in read-only mode and will only accept GET and HEAD requests")
        if route.right is Right.ADMIN and not request.admin:
            raise Forbidden(
                f"{request.method} {request.path} requires admin privileges (the admin token, or a DSG admin's)"
            )
        if route.right is Right.MANAGE and not (request.admin or request.local):
            raise Forbidden(
                "this requires admin privileges (the admin token, or a DSG admin's), as it may come from elsewhere "
                "than this machine"
            )
        if route.right not in (Right.ADMIN, Right.MANAGE):
            self.gate.check(request.visitor, found.scope, route)

    def _reads(self, route: Route, request: Request) -> bool:
        return not route.mutates and (request.method in READING or route.right is Right.READ)

    def _check_node_lock(self, route: Route, target: Target, request: Request) -> None:
        if request.method in READING or route.on_locked or request.unlocked or not target.version.locked:
            return
        raise Locked(f"Cannot do {request.method.lower()} on locked node {target.version.uuid}")

    def _check_lock(self, route: Route, target: Target, instance: Instance, request: Request) -> None:
        if request.method in READING or route.on_locked or not instance.versioned or not target.version.locked:
            return
        if request.unlocked:
            return
        raise Locked(
            f'Cannot do {request.method} on endpoint "{route.segments[0]}" of locked node {target.version.uuid}'
        )

    def _noted(
        self, route: Route, target: Target, request: Request, reply: Reply, version: str = "", data: str = ""
    ) -> Reply:
        """The reply of a route that others than a datatype handle, once it is noted who changed something."""
        if route.right is not Right.READ and request.method not in READING:
            note_act(self.catalog, target.repo.root, request, reply, route.segments[0], version, data)
        return reply

    def _transact(self, route: Route, target: Target, instance: Instance, request: Request) -> Reply:
        def run(instance: Instance, txn: VersionTxn) -> tuple[Reply, VersionTxn]:
            reply = route.handler(instance, txn, request)
            if not isinstance(reply.body, bytes):
                raise BadRequest("a mutating route cannot stream its answer")
            return reply, txn

        def check(repo: Repo, version: Version, instance: Instance) -> None:
            self._check_lock(route, Target(repo, version), instance, request)

        reply, txn = transact(self.catalog, *target, instance, run, check, request.user, unlocked=request.unlocked)
        return reply if reply.finish is None else replace(reply, body=reply.finish(txn.given), finish=None)


def _holding(reply: Reply, stack: ExitStack) -> Reply:
    """A reply that keeps what a stack holds until its body is sent, if it is a stream."""
    return reply if isinstance(reply.body, bytes) else replace(reply, body=Held(reply.body, stack.pop_all().close))


def _submit(submit: Callable[[], Future[Any]], lease: Lease) -> Future[Any]:
    """Make a change; the lease ends with it."""
    future = submit()
    future.add_done_callback(lambda _: lease.end())
    return future


def _throttled(route: Route, request: Request) -> bool:
    asked = route.throttled is not None and request.query.get("throttle") in ("true", "on")
    return asked and route.throttled is not None and route.throttled(request)


def _with_args(request: Request, args: dict[str, str]) -> Request:
    return request if request.args is args else replace(request, args=args)
