"""What one server runs with: frozen, and the same in all of its processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path

__all__ = [
    "DURABILITIES",
    "ENFORCEMENTS",
    "HTTP_SERVERS",
    "LOG_FORMATS",
    "Auth",
    "Config",
    "Limits",
    "Logging",
    "Tls",
]

DURABILITIES = ("full", "relaxed")
"""When what was answered is on disk: at once, the default; or within a second, so that only a power cut takes it."""
HTTP_SERVERS = ("uvicorn", "hypercorn")
"""What can carry HTTP; the first, which measured best, is the default."""
ENFORCEMENTS = ("none", "token", "authfile", "dsg")
"""What a request must show (DVID: server/auth.go): nothing, a token of ours, one of a listed user, DatasetGateway's."""
LOG_FORMATS = ("text", "json")


@dataclass(frozen=True)
class Auth:
    """Who may do what."""

    enforce: str = "none"
    """One of ENFORCEMENTS."""
    enforce_internal: str = ""
    """In place of `enforce` for requests that a trusted proxy marks as internal; empty: the same."""
    auth_file: Path | None = None
    """JSON {user: "read", "write" or "readwrite"}; "*" is any user."""
    dsg_address: str = ""
    dsg_cache_ttl: int = 300
    """Seconds for which an answer of DatasetGateway holds."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks whose headers about the client are believed."""
    public_versions: tuple[str, ...] = ()
    """UUIDs of committed versions that anybody may read, with all versions before them."""
    dataset_map: Mapping[str, str] = field(default_factory=dict)
    """The dataset of DatasetGateway for the root UUID of a repo."""
    block_file: Path | None = None
    """Users and addresses that are kept out."""

    @cached_property
    def proxies(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The trusted networks."""
        return tuple(ip_network(text, strict=False) for text in self.trusted_proxies)

    @property
    def enforced(self) -> bool:
        """Whether some requests must show who sends them."""
        return self.enforce != "none"


@dataclass(frozen=True)
class Logging:
    """Where and how the server writes what happens."""

    logfile: Path | None = None
    """None is standard error."""
    max_log_size: int = 0
    """MB after which a new file is begun; 0: never."""
    max_log_age: int = 0
    """Days after which old files are deleted; 0: never."""
    format: str = "text"
    """One of LOG_FORMATS."""
    slow: int = 0
    """Seconds after which a request is logged as slow; 0: none is."""


@dataclass(frozen=True)
class Limits:
    """What one process of the server gives to all requests together, or to one."""

    requests: int = 1000
    """Requests in work at once; more are told to come back."""
    body: int = 0
    """Bytes of a body, below the route's own limit; 0: that limit."""
    body_memory: int = 0
    """MB of bodies held in memory at once; 0: half of the machine's, divided by the processes."""
    seconds: int = 600
    """That a client may take to send a body, or to take a piece of an answer (DVID: server/web.go)."""


@dataclass(frozen=True)
class Tls:
    """The certificate with which the server answers https; without one it answers http."""

    certificate: Path | None = None
    key: Path | None = None


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
    admin_token: str = field(default="", repr=False)
    jwt_secret: str = field(default="", repr=False)
    """With which tokens of ours are signed."""
    cors_domains: tuple[str, ...] = ()
    note: str = ""
    hostname: str = ""
    mutation_start: int = 0
    """No repo gives out mutation ids below it."""
    toml_path: str = ""
    toml_text: str = field(default="", repr=False)
    jsonstore: Path | None = None
    """The folder of the mutation logs as files."""
    access_log: bool = True
    durability: str = "full"
    """One of DURABILITIES."""
    quota: int = 0
    """MB that the store may take; 0: no limit."""
    reserve: int = 32
    """MB of the disk that are kept free for commits and for collecting garbage."""
    http_server: str = "uvicorn"
    """What carries HTTP: one of HTTP_SERVERS."""
    grace: int = 30
    """Seconds that running requests have once the server is told to stop."""
    pid_file: Path | None = None
    allow_timing: bool = False
    """Web pages of others may see how long requests to instances took (Timing-Allow-Origin)."""
    labelmap_split: bool = False
    """POST split of labelmap is served."""
    start_webhook: str = ""
    start_janelia_config: str = ""
    web_client: Path | None = None
    """A folder that is served beside the API."""
    web_redirect_path: str = ""
    web_default_file: str = ""
    remote_hosts: tuple[str, ...] | None = None
    """Hosts that clients may have the server talk to; None: see `reaches_any`."""
    auth: Auth = Auth()
    logging: Logging = Logging()
    limits: Limits = Limits()
    tls: Tls = Tls()
    member: bool = False
    """It is one of several processes of a server, whose supervisor holds the data directory."""
    writer: Path | None = None
    """Of a member that takes writes: the socket of the process that makes them."""

    @property
    def switches(self) -> frozenset[str]:
        """What is on that is off by default and that endpoints look at: names of settings."""
        return frozenset({"allowLabelmapSplit"} if self.labelmap_split else ())

    @cached_property
    def loopback_only(self) -> bool:
        """Whether only this machine can reach the server, so that whoever reaches it may manage it."""
        if self.auth.enforced or self.auth.trusted_proxies:
            return False  # a proxy on this machine brings everybody
        if self.host.lower() == "localhost":
            return True
        try:
            return ip_address(self.host.partition("%")[0]).is_loopback
        except ValueError:
            return False

    @property
    def reaches_any(self) -> bool:
        """Whether clients may have the server talk to any host: where they could do that without it."""
        return self.remote_hosts is None and self.loopback_only

    @property
    def relaxed(self) -> bool:
        """Whether answers do not wait for the disk."""
        return self.durability == "relaxed"

    def as_member(self, writer: Path | None = None) -> Config:
        """The same, for one worker process of several."""
        return replace(self, member=True, writer=writer)
