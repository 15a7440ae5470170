"""The configuration of one server: DVID's TOML, the command line and the environment, in one frozen object.

`SETTINGS` is the list of what is honoured; the reading, its errors and the documentation all come from it. This module
alone reads the environment.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

from dagdvid.errors import BadRequest

__all__ = [
    "DEFAULT_DATA",
    "DEFAULT_HTTP",
    "DURABILITIES",
    "HTTP_SERVERS",
    "SETTINGS",
    "Config",
    "Setting",
    "admin_token",
    "load",
    "parse_address",
]

DURABILITIES = ("full", "relaxed")
"""When what was answered is on disk: at once, the default; or within a second, so that only a power cut takes it."""
DEFAULT_HTTP = "127.0.0.1:8000"
HTTP_SERVERS = ("uvicorn", "hypercorn")
"""What can carry HTTP; the first, which measured best, is the default."""
DEFAULT_DATA = Path("dagdvid-data")
"""The data directory, in the working directory, where none is named."""


class Setting(NamedTuple):
    """One key of the TOML file. The section "store" stands for the one table [store.ALIAS]."""

    section: str
    key: str
    doc: str
    words: tuple[str, ...] = ()
    """The only values that it takes, if not empty."""
    many: bool = False
    """A list of strings, not one string."""
    least: int | None = None
    """A number, not a string, and not below this."""


SETTINGS = (
    Setting("server", "httpAddress", f"HOST:PORT to listen on; {DEFAULT_HTTP} if absent, all interfaces if :PORT"),
    Setting("server", "host", "the name that the server shows for itself"),
    Setting("server", "note", "a text that /api/server/note answers"),
    Setting("server", "corsDomains", 'origins that browsers may call from, or ["*"]', many=True),
    Setting(
        "server",
        "rwmode",
        "readonly: no writes; fullwrite: writes to committed versions, too",
        ("readonly", "fullwrite"),
    ),
    Setting("server", "min_mutation_id_start", "no repo gives out mutation ids below it", least=0),
    Setting("store", "engine", "may be left out", ("dagdvid",)),
    Setting("store", "path", "the data directory"),
    Setting("mutations", "jsonstore", "folder of the mutation logs as files, <data>-<version>.plog; none if absent"),
    Setting("mutations", "blobstore", "may be left out: blobs lie with their repo, under no alias"),
    Setting("store", "durability", "full: an answer is on disk; relaxed: a second later, as DVID's", DURABILITIES),
)

# Keys and sections that DVID's own server takes (server/server_local.go) and this one does not serve yet.
DVID_KEYS = {
    "server": (
        *("rpcAddress", "webClient", "webRedirectPath", "webDefaultFile", "pidFile", "blockListFile", "allowTiming"),
        *("startWebhook", "startJaneliaConfig", "allowLabelmapSplit", "noLabelmapSplit", "instance_id_gen"),
        *("instance_id_start", "interactiveOpsBeforeBlock", "shutdownDelay"),
    ),
    "mutations": ("httpstore",),
    "store": ("ReadOnly", "ValueLogFileSize", "ValueThreshold", "inmemory", "CacheSize", "ref", "instance", "uuid"),
}
DVID_HINTS = {
    "httpstore": "the mutation log of each version has what changes data (GET .../mutations); jsonstore has it as files"
}
"""What takes the place of keys that will not be served."""
DVID_SECTIONS = (
    "auth",
    "email",
    "logging",
    "kafka",
    "backend",
    "mutcache",
    "cache",
    "groupcache",
    "mirror",
)


@dataclass(frozen=True)
class Config:
    """What one server runs with."""

    data: Path
    host: str = "127.0.0.1"
    """The interface to listen on; empty is all of them."""
    port: int = 8000
    """0 lets the system pick a free one."""
    workers: int = 1
    readonly: bool = False
    fullwrite: bool = False
    """Everybody may change committed versions (SPEC 6.9)."""
    admin_token: str = ""
    cors_domains: tuple[str, ...] = ()
    note: str = ""
    hostname: str = ""
    mutation_start: int = 0
    """No repo gives out mutation ids below it."""
    toml_path: str = ""
    toml_text: str = ""
    jsonstore: Path | None = None
    """The folder of the mutation logs as files."""
    access_log: bool = True
    durability: str = "full"
    """One of DURABILITIES."""
    http_server: str = "uvicorn"
    """What carries HTTP: one of HTTP_SERVERS."""
    member: bool = False
    """It is one of several processes of a server, whose supervisor holds the data directory."""
    writer: Path | None = None
    """Of a member that takes writes: the socket of the process that makes them."""

    @cached_property
    def loopback_only(self) -> bool:
        """Whether only this machine can reach the server, so that whoever reaches it may manage it."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ip_address(self.host.partition("%")[0]).is_loopback
        except ValueError:
            return False

    @property
    def relaxed(self) -> bool:
        """Whether answers do not wait for the disk."""
        return self.durability == "relaxed"

    def as_member(self, writer: Path | None = None) -> Config:
        """The same, for one worker process of several."""
        return replace(self, member=True, writer=writer)


def admin_token() -> str:
    """DVID_ADMIN_TOKEN, or nothing."""
    return os.environ.get("DVID_ADMIN_TOKEN", "")


def load(
    toml: Path | None = None,
    *,
    data: Path | None = None,
    http: str | None = None,
    workers: int = 1,
    readonly: bool = False,
    fullwrite: bool = False,
    access_log: bool = True,
    http_server: str = HTTP_SERVERS[0],
    durability: str | None = None,
) -> Config:
    """The configuration: the command line's words (the arguments) before those of the TOML file, before defaults.

    Raises:
        BadRequest: the file cannot be read, has a key that is not honoured, or a value is not possible.
    """
    text = ""
    server: dict[str, Any] = {}
    store: dict[str, Any] = {}
    mutations: dict[str, Any] = {}
    if toml is not None:
        text = _read(toml)
        server, store, mutations = _sections(toml, text)
    if data is None and "path" in store and toml is not None:
        data = (toml.parent / store["path"]).resolve()
    host, port = parse_address(http or server.get("httpAddress", DEFAULT_HTTP))
    if readonly and fullwrite:
        raise BadRequest("--readonly and --fullwrite exclude each other")
    if workers < 1:
        raise BadRequest(f"--workers must be at least 1, not {workers}")
    return Config(
        data=data or DEFAULT_DATA,
        host=host,
        port=port,
        workers=workers,
        readonly=readonly or (server.get("rwmode") == "readonly" and not fullwrite),
        fullwrite=fullwrite or (server.get("rwmode") == "fullwrite" and not readonly),
        admin_token=admin_token(),
        cors_domains=tuple(server.get("corsDomains", ())),
        note=server.get("note", ""),
        hostname=server.get("host", ""),
        mutation_start=server.get("min_mutation_id_start", 0),
        toml_path=str(toml.resolve()) if toml is not None else "",
        toml_text=text,
        jsonstore=(toml.parent / mutations["jsonstore"]).resolve() if toml and mutations.get("jsonstore") else None,
        access_log=access_log,
        http_server=http_server,
        durability=durability or store.get("durability", DURABILITIES[0]),
    )


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of "HOST:PORT", "[V6]:PORT", ":PORT" (all interfaces) or "HOST" (port 8000).

    Raises:
        BadRequest: another form, or a port that does not exist.
    """
    host, colon, port = text.rpartition(":")
    if not colon or (text.startswith("[") and text.endswith("]")):
        host, port = text, "8000"
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise BadRequest(f"not an address: {text!r}; write an IPv6 host in brackets, as [::1]:8000")
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise BadRequest(f"not an address: {text!r}; write HOST:PORT, as {DEFAULT_HTTP}")
    return host, int(port)


def _read(toml: Path) -> str:
    try:
        return toml.read_text("utf-8")
    except OSError as error:
        raise BadRequest(f"cannot read {toml}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadRequest(f"{toml} is not UTF-8 text") from None


def _sections(toml: Path, text: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The checked tables [server], [store.ALIAS] and [mutations] of a file."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadRequest(f"{toml} is not TOML: {error}") from None
    for section, table in tables.items():
        if section in DVID_SECTIONS:
            raise BadRequest(f"{toml}: remove the section [{section}]: it is DVID's, and not served yet")
        if section not in DVID_KEYS:
            raise BadRequest(f"{toml}: unknown section [{section}]{_nearest(section, DVID_KEYS)}")
        if not isinstance(table, dict):
            raise BadRequest(f"{toml}: {section} must be a section, [{section}]")
    stores = tables.get("store", {})
    for alias, table in stores.items():
        if not isinstance(table, dict):
            raise BadRequest(f"{toml}: store settings belong under a name: write [store.main] above {alias!r}")
    if len(stores) > 1:
        raise BadRequest(f"{toml}: name one store; there are {len(stores)}: {', '.join(sorted(stores))}")
    server = _checked(toml, "server", "server", tables.get("server", {}))
    store = {}
    for alias, table in stores.items():
        store = _checked(toml, f"store.{alias}", "store", table)
    return server, store, _checked(toml, "mutations", "mutations", tables.get("mutations", {}))


def _checked(toml: Path, title: str, section: str, table: Mapping[str, Any]) -> dict[str, Any]:
    known = {setting.key: setting for setting in SETTINGS if setting.section == section}
    for key, value in table.items():
        if key in DVID_KEYS[section]:
            why = DVID_HINTS.get(key, "it is DVID's, and not served yet")
            raise BadRequest(f"{toml}: remove {key} from [{title}]: {why}")
        if key not in known:
            raise BadRequest(f"{toml}: unknown key {key} in [{title}]{_nearest(key, known)}")
        setting = known[key]
        if key == "engine" and value not in setting.words:
            raise BadRequest(
                f"{toml}: remove engine from [{title}], and name an empty folder as path: "
                f"dagdvid has its own store and cannot open one of {value!r}"
            )
        if setting.least is not None:
            if not isinstance(value, int) or isinstance(value, bool) or not setting.least <= value < 2**52:
                raise BadRequest(f"{toml}: {key} in [{title}] must be a whole number below 2^52, not {value!r}")
            continue
        items = value if setting.many and isinstance(value, list) else [value]
        if setting.many != isinstance(value, list) or not all(isinstance(item, str) for item in items):
            wanted = "a list of strings" if setting.many else "a string"
            raise BadRequest(f"{toml}: {key} in [{title}] must be {wanted}, not {value!r}")
        if setting.words and value not in setting.words:
            raise BadRequest(f"{toml}: {key} in [{title}] must be {' or '.join(setting.words)}, not {value!r}")
    return dict(table)


def _nearest(name: str, known: Iterable[str]) -> str:
    lowered = {key.lower(): key for key in known}
    near = get_close_matches(name.lower(), lowered, 1, 0.5)
    return f"; did you mean {lowered[near[0]]}?" if near else f"; known: {', '.join(lowered.values())}"
