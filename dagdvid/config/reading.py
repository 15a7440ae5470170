"""From a TOML file, the command line's words and the environment to a `Config`; only here the environment is read."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from dagdvid.errors import BadRequest

from .model import HTTP_SERVERS, Auth, Config, Limits, Logging, Tls
from .table import ENGINES, REFUSED, REFUSED_SECTIONS, SETTINGS, Kind, Setting

__all__ = ["DEFAULT_DATA", "DEFAULT_HTTP", "admin_token", "load", "parse_address", "problems", "token_secret"]

DEFAULT_HTTP = "127.0.0.1:8000"
DEFAULT_DATA = Path("dagdvid-data")
"""The data directory, in the working directory, where none is named."""

_PARTS = {"auth": Auth, "logging": Logging, "limits": Limits, "tls": Tls}
_NAMED = ("store", "backend")
"""Sections that hold tables with names of the user's."""
_MOST = 2**52


def admin_token() -> str:
    """DVID_ADMIN_TOKEN, or nothing."""
    return os.environ.get("DVID_ADMIN_TOKEN", "")


def token_secret() -> str:
    """DVID_JWT_SECRET_KEY, or nothing."""
    return os.environ.get("DVID_JWT_SECRET_KEY", "")


def load(
    toml: Path | None = None,
    *,
    data: Path | None = None,
    http: str | None = None,
    workers: int | None = None,
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
    config = Config(data=DEFAULT_DATA, admin_token=admin_token(), jwt_secret=token_secret())
    if toml is not None:
        config, wrong = _read(toml, config)
        if wrong:
            more = f" (and {len(wrong) - 1} more: dagdvid config check {toml})" if len(wrong) > 1 else ""
            raise BadRequest(f"{toml}: {wrong[0]}{more}")
    if readonly and fullwrite:
        raise BadRequest("--readonly and --fullwrite exclude each other")
    if workers is not None and workers < 1:
        raise BadRequest(f"--workers must be at least 1, not {workers}")
    host, port = parse_address(http) if http else (config.host, config.port)
    return replace(
        config,
        data=data or config.data,
        host=host,
        port=port,
        workers=workers or config.workers,
        readonly=readonly or (config.readonly and not fullwrite),
        fullwrite=fullwrite or (config.fullwrite and not readonly),
        access_log=access_log,
        http_server=http_server,
        durability=durability or config.durability,
    )


def problems(toml: Path) -> list[str]:
    """All that is wrong with a file, in sentences that say what to write instead.

    Raises:
        BadRequest: it cannot be read, or is not TOML.
    """
    return _read(toml, Config(data=DEFAULT_DATA, jwt_secret=token_secret()))[1]


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


def _read(toml: Path, config: Config) -> tuple[Config, list[str]]:
    """The configuration with what a file says, and what is wrong with the file."""
    try:
        text = toml.read_text("utf-8")
    except OSError as error:
        raise BadRequest(f"cannot read {toml}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadRequest(f"{toml} is not UTF-8 text") from None
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadRequest(f"{toml} is not TOML: {error}") from None
    reader = _Reader(toml.parent)
    config = reader.read(tables, replace(config, toml_path=str(toml.resolve()), toml_text=text))
    return config, reader.wrong or _contradictions(config)


class _Reader:
    """Collects what is wrong while it reads, so that all of it can be told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wrong: list[str] = []

    def read(self, tables: Mapping[str, Any], config: Config) -> Config:
        found: dict[str, dict[str, Any]] = {section: {} for section in _SECTIONS}
        stores = self._stores(tables)
        for section, table in tables.items():
            name = section.lower()
            if name in REFUSED_SECTIONS:
                self.wrong.append(f"remove the section [{section}]: {REFUSED_SECTIONS[name]}")
            elif name not in _SECTIONS:
                self.wrong.append(f"unknown section [{section}]{_nearest(section, _SECTIONS)}")
            elif not isinstance(table, dict):
                self.wrong.append(f"{section} must be a section, [{section}]")
            elif name == "store":
                for alias, each in stores.items():
                    found[name] = self._table(f"store.{alias}", name, each)
            elif name == "backend":
                self._backends(table, stores)
            else:
                found[name] = self._table(section, name, table)
        return self._applied(config, found)

    def _stores(self, tables: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """The tables [store.ALIAS] that are ours to open: one at most."""
        stores: Any = next((table for name, table in tables.items() if name.lower() == "store"), {})
        kept = {}
        for alias, table in stores.items() if isinstance(stores, dict) else ():
            engine = table.get("engine") if isinstance(table, dict) else None
            if not isinstance(table, dict):
                self.wrong.append(f"store settings belong under a name: write [store.main] above {alias!r}")
            elif isinstance(engine, str) and engine in ENGINES:
                self.wrong.append(f"[store.{alias}] is of engine {engine!r}: {ENGINES[engine]}")
            else:
                kept[alias] = table
        if len(kept) > 1:
            self.wrong.append(f"name one store; there are {len(kept)}: {', '.join(sorted(kept))}")
        return kept

    def _backends(self, backends: Mapping[str, Any], stores: Mapping[str, Any]) -> None:
        for name, table in backends.items():
            if not isinstance(table, dict):
                self.wrong.append(f"backends belong under a name: write [backend.default] above {name!r}")
                continue
            store = self._table(f"backend.{name}", "backend", table).get("store")
            if store is not None and store not in stores:
                self.wrong.append(f"[backend.{name}] names the store {store!r}, which is not there")

    def _table(self, title: str, section: str, table: Mapping[str, Any]) -> dict[str, Any]:
        """The good values of a section, by the keys as they stand in SETTINGS."""
        known = {setting.key.lower(): setting for setting in SETTINGS if setting.section == section}
        refused = {key.lower(): why for (place, key), why in REFUSED.items() if place == section}
        found = {}
        for key, value in table.items():
            setting = known.get(key.lower())
            if key.lower() in refused:
                self.wrong.append(f"remove {key} from [{title}]: {refused[key.lower()]}")
            elif setting is None:
                names = [setting.key for setting in known.values()]
                self.wrong.append(f"unknown key {key} in [{title}]{_nearest(key, names)}")
            elif key.lower() == "engine" and value not in setting.words:
                self.wrong.append(
                    f"remove engine from [{title}], and name an empty folder as path: "
                    f"dagdvid has its own store and cannot open one of {value!r}"
                )
            elif complaint := _unfit(setting, value):
                self.wrong.append(f"{key} in [{title}] must be {complaint}, not {value!r}")
            else:
                found[setting.key] = self._value(setting, value)
        return found

    def _value(self, setting: Setting, value: Any) -> Any:
        if setting.kind is Kind.PATH:
            return (self.folder / value).resolve() if value else None
        return tuple(value) if setting.kind is Kind.TEXTS else value

    def _applied(self, config: Config, found: Mapping[str, Mapping[str, Any]]) -> Config:
        """The configuration with good values; those that are not fields of it are brought in one by one."""
        server, auth, store = found["server"], found["auth"], found["store"]
        fields: dict[str, Any] = {}
        parts: dict[str, dict[str, Any]] = {section: {} for section in _PARTS}
        for setting in SETTINGS:
            if setting.field and setting.key in found[setting.section]:
                values = parts.get(setting.section, fields)
                values[setting.field] = found[setting.section][setting.key]
        if "httpAddress" in server:
            try:
                fields["host"], fields["port"] = parse_address(server["httpAddress"])
            except BadRequest as error:
                self.wrong.append(str(error))
        fields["readonly"] = server.get("rwmode") == "readonly"
        fields["fullwrite"] = server.get("rwmode") == "fullwrite"
        fields["data"] = store.get("path") or config.data
        parts["auth"]["block_file"] = server.get("blockListFile")
        if auth.get("dsg_cache_ttl") == 0:  # as DVID
            del parts["auth"]["dsg_cache_ttl"]
        for section, kind in _PARTS.items():
            fields[section] = kind(**parts[section])
        return replace(config, **fields)


_SECTIONS = tuple(dict.fromkeys(setting.section for setting in SETTINGS))


def _unfit(setting: Setting, value: Any) -> str:
    """What a value must be, if it is not that."""
    kind = setting.kind
    if kind is Kind.NUMBER:
        fits = isinstance(value, int) and not isinstance(value, bool) and setting.least <= value < _MOST
        return "" if fits else f"a whole number from {setting.least} on, below 2^52"
    if kind is Kind.FLAG:
        fits = isinstance(value, bool)
    elif kind is Kind.TEXTS:
        fits = isinstance(value, list) and all(isinstance(item, str) for item in value)
    elif kind is Kind.MAP:
        fits = isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
    else:
        fits = isinstance(value, str)
    if fits and setting.words and value not in setting.words:
        return " or ".join(setting.words)
    return "" if fits else ("a string" if kind is Kind.PATH else kind.value)


def _contradictions(config: Config) -> list[str]:
    """What does not fit together, or could not work."""
    auth, wrong = config.auth, []
    modes = {auth.enforce, auth.enforce_internal}
    for network in auth.trusted_proxies:
        try:
            ip_network(network, strict=False)
        except ValueError:
            wrong.append(f"trusted_proxies in [auth]: {network!r} is no network; write it as 10.1.0.0/16")
    if auth.enforce_internal and not auth.trusted_proxies:
        wrong.append(
            "enforce_internal in [auth] needs trusted_proxies: else whoever sends X-DVID-Internal: true is internal"
        )
    if modes & {"token", "authfile"} and not config.jwt_secret:
        wrong.append("tokens need the environment variable DVID_JWT_SECRET_KEY, with which they are signed")
    if "authfile" in modes and auth.auth_file is None:
        wrong.append('enforce = "authfile" in [auth] needs auth_file')
    if "dsg" in modes and not auth.dsg_address.startswith(("http://", "https://")):
        wrong.append('enforce = "dsg" in [auth] needs dsg_address, a URL as https://auth.example.org')
    if (config.tls.certificate is None) is not (config.tls.key is None):
        wrong.append("[tls] needs both certificate and key")
    files = {
        "blockListFile in [server]": auth.block_file,
        "auth_file in [auth]": auth.auth_file,
        "certificate in [tls]": config.tls.certificate,
        "key in [tls]": config.tls.key,
    }
    for name, path in files.items():
        if path is not None and not os.access(path, os.R_OK):
            wrong.append(f"{name}: {path} cannot be read")
    if config.web_client is not None and not config.web_client.is_dir():
        wrong.append(f"webClient in [server]: {config.web_client} is no folder")
    for name, url in (("startWebhook", config.start_webhook), ("startJaneliaConfig", config.start_janelia_config)):
        if url and not url.startswith(("http://", "https://")):
            wrong.append(f"{name} in [server] must be a URL, as http://monitor.example.org/started")
    return wrong


def _nearest(name: str, known: Iterable[str]) -> str:
    lowered = {key.lower(): key for key in known}
    near = get_close_matches(name.lower(), lowered, 1, 0.5)
    return f"; did you mean {lowered[near[0]]}?" if near else f"; known: {', '.join(lowered.values())}"
