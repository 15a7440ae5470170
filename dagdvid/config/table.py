"""What a TOML file may say: `SETTINGS` is honoured; `REFUSED` are DVID's other keys, with what to write instead.

Reading, its errors and the documentation all come from these tables. Sections and keys are those of DVID's head
(server/server_local.go); [limits], [tls] and [remotes] are ours. As in DVID, the case of keys does not matter.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from .model import DURABILITIES, ENFORCEMENTS, LOG_FORMATS

__all__ = ["ENGINES", "REFUSED", "REFUSED_SECTIONS", "SETTINGS", "Kind", "Setting"]


class Kind(Enum):
    """What a value is; the name as people read it."""

    TEXT = "a string"
    TEXTS = "a list of strings"
    FLAG = "true or false"
    NUMBER = "a whole number"
    PATH = "a path, from the folder of this file"
    MAP = "a table of strings"


class Setting(NamedTuple):
    """One key. The section "store" stands for the one table [store.ALIAS], "backend" for all [backend.DATA]."""

    section: str
    key: str
    field: str
    """Of `Config`, or of its part that is called like the section; empty where the reader knows it."""
    kind: Kind
    doc: str
    words: tuple[str, ...] = ()
    """The only values that it takes, if not empty."""
    least: int = 0
    """Of a number."""


_T, _TT, _F, _N, _P, _M = Kind.TEXT, Kind.TEXTS, Kind.FLAG, Kind.NUMBER, Kind.PATH, Kind.MAP

SETTINGS = (
    Setting("server", "httpAddress", "", _T, "HOST:PORT to listen on; 127.0.0.1:8000 if absent, all if :PORT"),
    Setting("server", "host", "hostname", _T, "the name that the server shows for itself"),
    Setting("server", "note", "note", _T, "a text that /api/server/note answers"),
    Setting("server", "corsDomains", "cors_domains", _TT, 'origins that browsers may call from, or ["*"]'),
    Setting(
        "server",
        "rwmode",
        "",
        _T,
        "readonly: no writes; fullwrite: writes to committed versions, too",
        ("readonly", "fullwrite"),
    ),
    Setting("server", "min_mutation_id_start", "mutation_start", _N, "no repo gives out mutation ids below it"),
    Setting("server", "pidFile", "pid_file", _P, "a file that has the process id while the server runs"),
    Setting("server", "blockListFile", "", _P, "those who are kept out: lines u=USER,why or ip=10.1.*,why"),
    Setting("server", "allowTiming", "allow_timing", _F, "answers of instances carry Timing-Allow-Origin: *"),
    Setting("server", "allowLabelmapSplit", "labelmap_split", _F, "labelmap answers POST split"),
    Setting("server", "shutdownDelay", "grace", _N, "seconds that running requests have at the stop; 30 if absent"),
    Setting("server", "startWebhook", "start_webhook", _T, "a URL that is told at the start; it must answer 200"),
    Setting("server", "startJaneliaConfig", "start_janelia_config", _T, "the same, as a form with the field config"),
    Setting("server", "webClient", "web_client", _P, "a folder whose files are served beside /api"),
    Setting("server", "webRedirectPath", "web_redirect_path", _T, "where those go who ask for what is not there"),
    Setting("server", "webDefaultFile", "web_default_file", _T, "the file that is sent for one that is not there"),
    Setting("server", "workers", "workers", _N, "processes that serve; 1 if absent", least=1),
    Setting("auth", "enforce", "enforce", _T, "what requests must show who sent them with", ENFORCEMENTS),
    Setting(
        "auth",
        "enforce_internal",
        "enforce_internal",
        _T,
        "in its place for requests that a trusted proxy sends with X-DVID-Internal: true",
        ENFORCEMENTS,
    ),
    Setting("auth", "no_enforce", "", _F, 'true: as enforce = "none", where that is absent'),
    Setting("auth", "auth_file", "auth_file", _P, 'JSON {user: "read", "write" or "readwrite"}, "*" for any user'),
    Setting("auth", "dsg_address", "dsg_address", _T, "the URL of DatasetGateway"),
    Setting("auth", "dsg_cache_ttl", "dsg_cache_ttl", _N, "seconds for which its answers hold; 300 if absent"),
    Setting("auth", "dataset_map", "dataset_map", _M, "its dataset for the root UUID of each repo"),
    Setting("auth", "public_versions", "public_versions", _TT, "UUIDs of committed versions that all may read"),
    Setting(
        "auth",
        "trusted_proxies",
        "trusted_proxies",
        _TT,
        "networks (10.1.0.0/16) of proxies that may say who the client is: Forwarded, X-Forwarded-For, X-DVID-Internal",
    ),
    Setting("logging", "logfile", "logfile", _P, "where to log; standard error if absent"),
    Setting("logging", "max_log_size", "max_log_size", _N, "MB after which a new file is begun; 0 or absent: never"),
    Setting("logging", "max_log_age", "max_log_age", _N, "days that old files are kept; 0 or absent: for ever"),
    Setting("logging", "format", "format", _T, "text, or json: one object a line", LOG_FORMATS),
    Setting("logging", "slow", "slow", _N, "seconds after which a request is logged as slow; 0 or absent: none"),
    Setting("limits", "requests", "requests", _N, "requests in work at once in a process; 1000 if absent", least=1),
    Setting("limits", "body", "body", _N, "bytes of the largest body of any request; 0 or absent: each route's own"),
    Setting("limits", "body_memory", "body_memory", _N, "MB of bodies in memory at once; half the memory if absent"),
    Setting("limits", "seconds", "seconds", _N, "for a client to send or take a piece; 600 if absent", least=1),
    Setting("tls", "certificate", "certificate", _P, "PEM: the server answers https with it"),
    Setting("tls", "key", "key", _P, "PEM: its private key"),
    Setting(
        "remotes",
        "hosts",
        "remote_hosts",
        _TT,
        "HOST, HOST:PORT, *.DOMAIN, or folders and buckets as file:///srv/published, that clients may have this server "
        "push to, pull from, clone and publish to; if absent, any from a server that listens on loopback only and asks "
        "nobody who they are, else none",
    ),
    Setting("store", "engine", "", _T, "may be left out", ("dagdvid",)),
    Setting("store", "path", "", _P, "the data directory"),
    Setting(
        "store", "durability", "durability", _T, "full: answers are on disk; relaxed: a second later", DURABILITIES
    ),
    Setting("store", "quota", "quota", _N, "MB that the store may take; 0 or absent: as many as there are"),
    Setting("store", "reserve", "reserve", _N, "MB of the disk kept for commits and collecting garbage; 32 if absent"),
    Setting("backend", "store", "", _T, "may be left out: the name of the one store"),
    Setting("mutations", "jsonstore", "jsonstore", _P, "folder of the mutation logs as files, <data>-<version>.plog"),
    Setting("mutations", "blobstore", "", _T, "may be left out: blobs lie with their repo, under no alias"),
)

_PACKS = "packs of the store have no such setting"
_IDS = "instances are known by their data UUIDs, and get no numbers that could meet"
REFUSED = {
    ("server", "rpcAddress"): "commands come over HTTP: dagdvid --server URL, or POST /api/server/command",
    ("server", "noLabelmapSplit"): "write allowLabelmapSplit = true where labelmap should answer POST split",
    ("server", "instance_id_gen"): _IDS,
    ("server", "instance_id_start"): _IDS,
    (
        "server",
        "interactiveOpsBeforeBlock",
    ): 'to hold heavy requests back, POST {"throttle": "N"} to /api/server/settings',
    ("auth", "proxy_address"): 'write enforce = "token": tokens are made by dagdvid token USER, signed with '
    "DVID_JWT_SECRET_KEY",
    ("mutations", "httpstore"): "the mutation log of each version has what changes data (GET .../mutations), and "
    "GET /api/repo/UUID/activity who did it; jsonstore has the log as files",
    ("store", "ReadOnly"): 'write rwmode = "readonly" under [server]',
    ("store", "ValueLogFileSize"): _PACKS,
    ("store", "ValueThreshold"): _PACKS,
    ("store", "CacheSize"): _PACKS,
    ("store", "BloomFilterBitsPerKey"): _PACKS,
    ("store", "WriteBufferSize"): _PACKS,
    ("store", "MaxOpenFiles"): _PACKS,
    ("store", "BlockSize"): _PACKS,
    ("store", "inmemory"): "what is read often stays in memory by itself",
    ("store", "ref"): "a volume elsewhere is loaded into the store, as its images or through the API",
    ("store", "instance"): "make the instance with POST /api/repo/UUID/instance",
    ("store", "uuid"): "make the instance with POST /api/repo/UUID/instance",
    ("backend", "log"): "mutation logs are part of each version",
}
"""Keys of DVID's that are not honoured: why not, and what to write instead."""

REFUSED_SECTIONS = {
    "email": "errors are in the log with the number of their request, and counted at /metrics: have these watched",
    "kafka": "the mutation log is at GET .../mutations, and as files with jsonstore under [mutations]; GET "
    "/api/repo/UUID/activity has who did what",
    "mutcache": "every committed version keeps its indices: read them there",
    "cache": "the server keeps in memory what is read often, by itself",
    "groupcache": "the server keeps in memory what is read often; answers carry an ETag for caches in front of it",
    "mirror": "name the other server with POST /api/repo/UUID/remotes, and push to it: only what differs is sent",
}

ENGINES = {
    "filelog": "remove the section: mutation logs are part of each version; [mutations] jsonstore has them as files",
    "ngprecomputed": "remove the section: volumes of others are loaded through the API",
}
"""What to write for engines that hold no key-values of DVID's. All others: name an empty folder for our own store."""
