"""Copies of a whole store: `backup`, `restore`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import click

from dagdvid.config import admin_token
from dagdvid.errors import BadRequest

from .child import ServerProcess
from .output import print_json, progress, size
from .target import as_json, show_progress

__all__ = ["backup", "restore"]

_folder = click.Path(path_type=Path, file_okay=False)


@click.command
@click.argument("source", metavar="URL|DIR")
@click.argument("folder", metavar="BACKUP", type=_folder)
@show_progress
@as_json
def backup(source: str, folder: Path, always: bool, as_json: bool) -> None:
    """Copy the store of a server (URL) or of a data directory (DIR), which may be in use, to the folder BACKUP.

    All is copied: committed and open versions, of all repos. A second backup into the same folder takes what is new.
    Every byte that was copied is checked before it counts. A server asks for its admin token (DVID_ADMIN_TOKEN).
    """
    from dagdvid.server import backup as steps  # noqa: PLC0415  it loads all that a server needs

    with progress(always) as show:
        report = _last(steps(source, folder, admin_token()), show)
    _tell(report, f"{folder} holds a backup of {source}", as_json)


@click.command
@click.argument("folder", metavar="BACKUP", type=_folder)
@click.argument("data", metavar="DIR", type=_folder)
@click.option("--version", "spec", metavar="UUID", help="Only this committed version and those before it.")
@show_progress
@as_json
def restore(folder: Path, data: Path, spec: str | None, always: bool, as_json: bool) -> None:
    """Make the new data directory DIR from the folder BACKUP."""
    from dagdvid.server import Server, restore  # noqa: PLC0415  as above

    with progress(always) as show:
        if spec is None:
            _tell(_last(restore(folder, data), show), f"{data} holds what {folder} holds", as_json)
            return
        if data.exists() and any(data.iterdir()):
            raise BadRequest(f"{data} holds something already: name a new folder")
        with closing(Server.look(folder)) as server, ServerProcess(data, "127.0.0.1:0") as fresh:
            report = _last(server.push_to(fresh.url, spec), show)
    if as_json:
        print_json(report)
    else:
        click.echo(f"{data} holds version {spec} and those before it: {report['versions']:,} versions")


def _last(steps: Any, show: Any) -> dict[str, Any]:
    """The result of steps that tell their progress."""
    told: dict[str, Any] = {}
    for told in steps:
        if "progress" in told:
            show(told["progress"], told["done"], told["total"])
    result: dict[str, Any] = told["result"]
    return result


def _tell(report: dict[str, Any], what: str, as_json: bool) -> None:
    if as_json:
        print_json(report)
    else:
        click.echo(f"{what}: {report['packs']:,} packs, {size(report['bytes'])}, {size(report['copied'])} copied now")
