"""Endpoints of the server itself: who it is, how it does, what is stored. Handlers `(state, request)`."""

from __future__ import annotations

import os
import platform
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

from dagdvid import __version__
from dagdvid.access.gate import Gate
from dagdvid.config import Config
from dagdvid.datatype import Instance
from dagdvid.errors import BadRequest, Busy, KeyAbsent
from dagdvid.helptext import datatype_help
from dagdvid.meters import Meters
from dagdvid.metrics import CONTENT_TYPE, page
from dagdvid.registry import datatype, datatype_names
from dagdvid.repo.blobstore import get_blob
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.collect import collect
from dagdvid.repo.latencies import latencies, ping
from dagdvid.repo.record import now
from dagdvid.repo.routes import Target
from dagdvid.repo.stats import statistics
from dagdvid.repo.usage import usage
from dagdvid.repo.verify import LEVELS, verify
from dagdvid.routes import Example, Reply, Request, Right, Route, RouteTable, json_reply, progress_reply, text_reply
from dagdvid.throttle import Throttle

__all__ = ["ANY_HELP", "DVID_VERSION", "SERVICE", "State"]

DVID_VERSION = "v1.0.0-254-gdagdvid"
"""The DVID whose behaviour this is, in the form that clients parse: vA.B.C-N-gHASH."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)


class State:
    """What the server knows of itself."""

    def __init__(self, config: Config, catalog: Catalog, throttle: Throttle, gate: Gate, meters: Meters) -> None:
        self.config = config
        self.catalog = catalog
        self.throttle = throttle
        self.gate = gate
        self.meters = meters
        self.stopping = False
        """It finishes what it has begun, and should be sent nothing more."""
        self.started = time.time()


def info(state: State, request: Request) -> Reply:  # noqa: ARG001
    """GET server/info."""
    config = state.config
    host = config.hostname or platform.node()
    return json_reply(
        {
            "Cores": str(os.cpu_count() or 1),
            "Maximum Cores": str(os.cpu_count() or 1),
            "DVID Version": DVID_VERSION,
            "Datastore Version": f"dagdvid {__version__}",
            "Host": f"{host}:{config.port}",
            "Max Open Files": str(os.sysconf("SC_OPEN_MAX")),
            "Note": config.note,
            "RPC Address": "",
            "Server time": now(),
            "Server uptime": f"{time.time() - state.started:.3f}s",
            "Storage backend": "dagdvid",
            "TOML location": config.toml_path,
        }
        | ({"Mode": "read only"} if config.readonly else {})
    )


def note(state: State, request: Request) -> Reply:  # noqa: ARG001
    """GET server/note."""
    return text_reply(state.config.note)


def toml(state: State, request: Request) -> Reply:  # noqa: ARG001
    """GET server/config."""
    return text_reply(state.config.toml_text)


def blob(state: State, request: Request) -> Reply:
    """GET server/blobstore/{reference}."""
    reference = request.args["reference"]
    for repo in state.catalog.repos().values():
        content = get_blob(state.catalog, repo, reference)
        if content is not None:
            return Reply(content, "application/octet-stream")
    raise KeyAbsent(f'Reference "{reference}" not found in any repo')


def types(state: State, request: Request) -> Reply:  # noqa: ARG001
    """GET server/types."""
    used = {i.typename for repo in state.catalog.repos().values() for i in repo.instances.values()}
    return json_reply({name: datatype(name).url for name in datatype_names() if name in used})


def compiled_types(state: State, request: Request) -> Reply:  # noqa: ARG001
    """GET server/compiled-types."""
    return json_reply({name: datatype(name).url for name in datatype_names()})


def heartbeat(state: State, request: Request) -> Reply:
    """GET heartbeat."""
    ping(state.catalog, request.user, time.time())
    return text_reply("OK")


def user_latencies(state: State, request: Request) -> Reply:
    """GET user-latencies."""
    found = latencies(state.catalog, request.user)
    if not request.user:
        return json_reply(found)
    unknown = {"User": "", "LastPing": "", "LastLatency": 0, "MinLatency": 0, "MaxLatency": 0}
    return json_reply(found.get(request.user, unknown))


def groupcache(state: State, request: Request) -> Reply:  # noqa: ARG001
    """GET server/groupcache."""
    used, nodes = state.catalog.nodes.cache.size()
    return json_reply({"MainCache": {"Bytes": used, "Items": nodes}})


def storage(state: State, request: Request) -> Reply:  # noqa: ARG001
    """GET storage."""
    return json_reply(statistics(state.catalog))


def reload_auth(state: State, request: Request) -> Reply:  # noqa: ARG001
    """POST server/reload-auth."""
    return text_reply(f'Reloaded authorizations from file "{state.gate.reload_auth()}".\n')


def reload_blocks(state: State, request: Request) -> Reply:  # noqa: ARG001
    """POST server/reload-blocklist."""
    return text_reply(f'Reloaded block list from file "{state.gate.reload_blocks()}".\n')


def token(state: State, request: Request) -> Reply:  # noqa: ARG001
    """GET server/token."""
    if "dsg" in (state.config.auth.enforce, state.config.auth.enforce_internal):
        raise BadRequest("DSG auth mode uses DSG tokens directly; /api/server/token is not used")
    raise BadRequest("tokens are not given out here: whoever runs the server makes them, with dagdvid token USER")


def load(state: State, request: Request) -> Reply:  # noqa: ARG001
    """GET load."""
    reads, writes = state.meters.per_second()
    return json_reply(
        {
            "GET requests": reads,
            "PUT requests": writes,
            "requests in work": int(state.meters.totals()["work"]),
            "goroutines": threading.active_count(),
        }
    )


def metrics(state: State, request: Request) -> Reply:  # noqa: ARG001
    """GET metrics."""
    text = page(state.meters, state.catalog, state.started, state.throttle.limit)
    return Reply(text.encode(), CONTENT_TYPE)


def health(state: State, request: Request) -> Reply:  # noqa: ARG001
    """GET health."""
    return text_reply("OK")


def ready(state: State, request: Request) -> Reply:  # noqa: ARG001
    """GET ready."""
    if state.stopping:
        raise Busy("the server is stopping")
    state.catalog.repos()
    if not state.config.readonly:
        state.catalog.check_writes()
    return text_reply("OK")


def settings(state: State, request: Request) -> Reply:
    """POST server/settings."""
    wanted = {name.lower(): value for name, value in request.json_object().items()}
    lines = []
    for name in ("gc", "throttle"):
        value = wanted.get(name, "0")
        if not isinstance(value, str) or not _INTEGER.fullmatch(value):
            raise BadRequest(f"{name} must be an integer in a string, as in {{{name!r}: '1'}}")
    if "gc" in wanted:
        lines.append("gc is a setting of Go's memory, which this server does not have: nothing was changed\n")
    if "throttle" in wanted:
        old, new = state.throttle.limit, int(wanted["throttle"])
        state.throttle.set_limit(new)
        lines.append(f"Maximum throttled ops set to {new} from {old}\n")
    return text_reply("".join(lines))


def stats(state: State, request: Request) -> Reply:  # noqa: ARG001
    """GET store/stats."""
    return json_reply(statistics(state.catalog))


def fsck(state: State, request: Request) -> Reply:
    """POST store/fsck."""
    try:
        part = float(request.query.get("sample", "1"))
    except ValueError:
        raise BadRequest("sample must be a number") from None
    steps = verify(state.catalog, request.query.get("level", LEVELS[-1]), part)
    return progress_reply(steps) if request.flag("progress") else _result(steps)


def _result(steps: Iterator[dict[str, Any]]) -> Reply:
    last: dict[str, Any] = {}
    for step in steps:
        last = step
    return json_reply(last["result"])


def usage_report(state: State, request: Request) -> Reply:
    """POST store/usage."""
    steps = usage(state.catalog)
    return progress_reply(steps) if request.flag("progress") else _result(steps)


def gc(state: State, request: Request) -> Reply:
    """POST store/gc."""
    steps = collect(state.catalog, dry_run=request.flag("dry-run"), forget=request.flag("forget"))
    return progress_reply(steps) if request.flag("progress") else _result(steps)


def data_help(catalog: Catalog, target: Target, instance: Instance, request: Request) -> Reply:  # noqa: ARG001
    """GET help."""
    return text_reply(datatype_help(datatype(instance.typename)))


_READ = ("GET", "HEAD")
SERVICE = RouteTable(
    (
        Route(
            _READ,
            "server/info",
            info,
            "Version, cores, uptime and place of the server; all values are strings.",
            examples=(Example("server/info", '{"Cores":"...","DVID Version":"v...","Server uptime":"...s",...}'),),
        ),
        Route(
            _READ,
            "server/note",
            note,
            "The note of the configuration.",
            examples=(Example("server/note", "..."),),
        ),
        Route(
            _READ,
            "server/config",
            toml,
            "The configuration as it was read.",
            right=Right.ADMIN,
            examples=(Example("server/config", "..."),),
        ),
        Route(
            _READ,
            "server/blobstore/{reference}",
            blob,
            "A blob of whatever repo.",
            right=Right.ADMIN,
            examples=(Example("server/blobstore/8UtYSGSD2U9wgDh5jClpfw==", "hello"),),
        ),
        Route(
            _READ,
            "server/types",
            types,
            "Datatypes that have instances, with their URLs.",
            examples=(Example("server/types", '{"keyvalue":"github.com/janelia-flyem/dvid/datatype/keyvalue",...}'),),
        ),
        Route(
            _READ,
            "server/compiled-types",
            compiled_types,
            "All datatypes installed here, with their URLs.",
            examples=(
                Example("server/compiled-types", '{...,"roi":"github.com/janelia-flyem/dvid/datatype/roi",...}'),
            ),
        ),
        Route(
            ("POST",),
            "server/settings",
            settings,
            'Changes settings until the server starts again: {"throttle": "N"}, how many requests that ask to be '
            "throttled run at once.",
            right=Right.ADMIN,
            examples=(Example("server/settings", "Maximum throttled ops set to 4 from ...", '{"throttle":"4"}'),),
        ),
        Route(
            _READ,
            "heartbeat",
            heartbeat,
            "OK, if the server is alive.",
            query={"u": "who asks, for user-latencies"},
            examples=(Example("heartbeat?u=ann", "OK"),),
        ),
        Route(
            _READ,
            "user-latencies",
            user_latencies,
            "When users asked for a heartbeat with their name, and in how many milliseconds they were answered.",
            query={"u": "only this user"},
            examples=(Example("user-latencies", "{...}"),),
        ),
        Route(
            _READ,
            "server/groupcache",
            groupcache,
            "What this process keeps of the trees in memory.",
            examples=(Example("server/groupcache", '{"MainCache":{"Bytes":...,"Items":...}}'),),
        ),
        Route(
            _READ,
            "storage",
            storage,
            "What is stored, for which repo and instance, as store/stats.",
            right=Right.ADMIN,
            examples=(Example("storage", "{...}"),),
        ),
        Route(
            ("POST",),
            "server/reload-auth",
            reload_auth,
            "Load the file of rights again, and ask DatasetGateway anew, in all processes.",
            right=Right.ADMIN,
        ),
        Route(
            ("POST",),
            "server/reload-blocklist",
            reload_blocks,
            "Load the list of those who are kept out again, in all processes.",
            right=Right.ADMIN,
        ),
        Route(_READ, "server/token", token, "Where tokens come from."),
        Route(
            _READ,
            "metrics",
            metrics,
            "What all processes of the server count, as Prometheus reads it; also at /metrics.",
            examples=(Example("metrics", "# HELP dagdvid_requests_total ..."),),
        ),
        Route(
            _READ,
            "health",
            health,
            "OK, if this process of the server is alive; also at /healthz.",
            examples=(Example("health", "OK"),),
        ),
        Route(
            _READ,
            "ready",
            ready,
            "OK, if the server can read and write and is not about to stop, else 503; also at /readyz.",
            examples=(Example("ready", "OK"),),
        ),
        Route(
            _READ,
            "load",
            load,
            "What the server is doing.",
            examples=(Example("load", "{...}"),),
        ),
        Route(
            _READ,
            "store/stats",
            stats,
            "Objects and bytes: what is stored, for which repo and instance.",
            examples=(Example("store/stats", "{...}"),),
        ),
        Route(
            ("POST",),
            "store/fsck",
            fsck,
            "Walk all that the refs reach and hash it again. Answers a report; changes nothing.",
            right=Right.READ,
            query={
                "level": f"{', '.join(LEVELS)}: each looks at what those before it do, and at more; default the last",
                "sample": "the part of the values, chosen at random, whose content is read; default 1, all",
                "progress": "true streams lines of JSON while it runs, the last with the result",
            },
            examples=(Example("store/fsck", "{...}"),),
        ),
        Route(
            ("POST",),
            "store/usage",
            usage_report,
            "What takes how much room: by version and instance, what sharing and compression save, growth by month, "
            "garbage. Walks all trees; changes nothing.",
            right=Right.READ,
            query={"progress": "true streams lines of JSON while it runs, the last with the result"},
            examples=(Example("store/usage", "{...}"),),
        ),
        Route(
            ("POST",),
            "store/gc",
            gc,
            "Give back the room of what nothing refers to. Everybody goes on meanwhile; it waits for requests that "
            "began before.",
            right=Right.ADMIN,
            query={
                "dry-run": "true only tells what would be given up",
                "forget": "true gives up also what the reflog remembers",
                "progress": "true streams lines of JSON while it runs, the last with the result",
            },
            leased=False,
            examples=(Example("store/gc", "{...}"),),
        ),
    )
)

ANY_HELP = RouteTable(
    (
        Route(
            _READ,
            "help",
            data_help,
            "What this datatype is, its settings and its endpoints.",
            examples=(Example("help", "keyvalue: ..."),),
        ),
    ),
    surplus=True,
)
