"""`dagdvid config`: what may stand in a configuration file, and whether one is right. `dagdvid token`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from dagdvid.access.tokens import sign
from dagdvid.config import SETTINGS, Config, Setting, load, problems, token_secret
from dagdvid.config.table import ENGINES, REFUSED, REFUSED_SECTIONS

__all__ = ["config", "page", "token"]

_HEAD = """\
# Configuration

This page is written from the table of settings; `dagdvid config keys` prints it.

`dagdvid serve CONFIG.toml` reads DVID's TOML. Each key is honoured, or refused with what to write instead; `dagdvid
config check CONFIG.toml` tells all that is wrong at once. Paths are relative to the file; the case of keys does not
matter. The environment has the secrets: `DVID_ADMIN_TOKEN`, and `DVID_JWT_SECRET_KEY`, with which tokens are signed.
"""


@click.group
def config() -> None:
    """Check a configuration file, or list what may stand in it."""


@config.command
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), metavar="CONFIG.toml")
def check(file: Path) -> None:
    """Tell all that is wrong with a file; else what a server with it does."""
    wrong = problems(file)
    for each in wrong:
        click.echo(f"{file}: {each}")
    if wrong:
        raise click.exceptions.Exit(1)
    for line in _summary(load(file)):
        click.echo(line)


@config.command
def keys() -> None:
    """List all settings, and the keys of DVID's that are refused."""
    click.echo(page(), nl=False)


def page() -> str:
    """The page of all settings, in Markdown."""
    sections = dict.fromkeys(setting.section for setting in SETTINGS)
    return "\n".join([_HEAD, *map(_section, sections), *_refused()])


def _section(section: str) -> str:
    title = {"store": "store.NAME", "backend": "backend.DATA"}.get(section, section)
    lines = [f"- `{each.key}`, {_kind(each)}: {each.doc}." for each in SETTINGS if each.section == section]
    return "\n".join([f"## [{title}]\n", *lines, ""])


def _kind(setting: Setting) -> str:
    return " or ".join(f'"{word}"' for word in setting.words) or setting.kind.value


def _refused() -> Iterator[str]:
    yield "## DVID's keys that are refused\n"
    yield "\n".join(f"- `{key}` in [{section}]: {why}." for (section, key), why in REFUSED.items())
    yield "\n".join(f"- [{section}]: {why}." for section, why in REFUSED_SECTIONS.items())
    yield "\n".join(f'- engine = "{engine}": {why}.' for engine, why in ENGINES.items())
    yield "- any other engine: name an empty folder as path; dagdvid has its own store, and opens no other."


def _summary(config: Config) -> Iterator[str]:
    scheme = "https" if config.tls.certificate else "http"
    yield f"serves {config.data} on {scheme}://{config.host or '*'}:{config.port}, processes: {config.workers}"
    auth = config.auth
    who = "anybody" if not auth.enforced else f"those who show what {auth.enforce!r} asks for"
    what = "reads" if config.readonly else "reads and writes" + (", even committed versions" * config.fullwrite)
    yield f"{who} {what}; " + (
        "whoever is on this machine manages repos" if config.loopback_only else "repos are managed with the admin token"
    )
    if config.auth.public_versions:
        yield f"anybody reads {', '.join(auth.public_versions)} and what was before"
    if not config.loopback_only and not auth.enforced:
        yield "nobody is asked who they are, although others than this machine may reach the server"


@click.command
@click.argument("user")
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="How long it holds; else for ever.")
def token(user: str, days: float | None) -> None:
    """Make a token for a user, for servers with enforce = "token" or "authfile".

    It is sent as Authorization: Bearer TOKEN. The environment variable DVID_JWT_SECRET_KEY signs it; the server must
    have the same.
    """
    secret = token_secret()
    if not secret:
        raise click.ClickException("set the environment variable DVID_JWT_SECRET_KEY, as the server has it")
    click.echo(sign(user, secret, None if days is None else days * 86400))
