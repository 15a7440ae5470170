"""The configuration of one server: DVID's TOML, the command line and the environment, in one frozen object."""

from dagdvid.config.model import (
    DURABILITIES,
    ENFORCEMENTS,
    HTTP_SERVERS,
    LOG_FORMATS,
    Auth,
    Config,
    Limits,
    Logging,
    Tls,
)
from dagdvid.config.reading import (
    DEFAULT_DATA,
    DEFAULT_HTTP,
    admin_token,
    load,
    parse_address,
    problems,
    token_secret,
)
from dagdvid.config.table import SETTINGS, Setting

__all__ = [
    "DEFAULT_DATA",
    "DEFAULT_HTTP",
    "DURABILITIES",
    "ENFORCEMENTS",
    "HTTP_SERVERS",
    "LOG_FORMATS",
    "SETTINGS",
    "Auth",
    "Config",
    "Limits",
    "Logging",
    "Setting",
    "Tls",
    "admin_token",
    "load",
    "parse_address",
    "problems",
    "token_secret",
]
