"""The store itself: `fsck`, `gc`, `stats`."""

from __future__ import annotations

from typing import Any

import click

from dagdvid.errors import BadRequest

from .output import print_json, progress, size
from .target import Target, as_json, show_progress, target_options

__all__ = ["fsck", "gc", "stats"]


@click.command
@show_progress
@target_options
@as_json
def fsck(target: Target, always: bool, as_json: bool) -> None:
    """Check every object of every version against its hash. The exit status is 1 if one is bad."""
    with target.read() as api, progress(always) as show:
        report: dict[str, Any] = api.follow("/api/store/fsck", {}, show)
    if as_json:
        print_json(report)
    else:
        for found in report["problems"]:
            click.echo(", ".join(f"{name}: {value}" for name, value in found.items()))
        verdict = "all is well" if report["ok"] else f"{len(report['problems'])} problems, above"
        checked = f"{report['versions']:,} versions, {report['objects']:,} objects, {size(report['bytes'])}"
        click.echo(f"{verdict}: checked {checked}")
    if not report["ok"]:
        raise click.exceptions.Exit(1)


@click.command
@click.option("--dry-run", is_flag=True, help="Say what would be given up, and change nothing.")
@show_progress
@target_options
@as_json
def gc(target: Target, always: bool, dry_run: bool, as_json: bool) -> None:
    """Give back the room of objects that no version and no record needs. No server may have the directory."""
    if target.server is not None:
        raise BadRequest(
            "gc needs the data directory for itself: stop the server, then run dagdvid gc --data DIR there"
        )
    with target.alone() as server, progress(always) as show:
        told: dict[str, Any] = {}
        for told in server.collect(dry_run=dry_run):
            if "progress" in told:
                show(told["progress"], told["done"], told["total"])
    found = told["result"]
    if as_json:
        print_json(found)
        return
    done = "would give up" if dry_run else "gave up"
    text = f"{done} {found['objects']:,} objects, {size(found['bytes'])}, in {found['packs']:,} packs"
    click.echo(f"{text}; {found['live']:,} objects are in use")


@click.command
@target_options
@as_json
def stats(target: Target, as_json: bool) -> None:
    """Show what the store holds and what it takes on the disk."""
    with target.read() as api:
        found: dict[str, Any] = api.get("/api/store/stats")
    if as_json:
        print_json(found)
        return
    leaves = _flat(found)
    width = max(len(name) for name, _ in leaves)
    for name, value in leaves:
        click.echo(f"{name:{width}}  {value:,}" if isinstance(value, int) else f"{name:{width}}  {value}")


def _flat(value: dict[str, Any], above: str = "") -> list[tuple[str, object]]:
    """The leaves of nested objects with their names joined."""
    leaves: list[tuple[str, object]] = []
    for name, item in value.items():
        full = f"{above}{name}"
        if isinstance(item, dict):
            leaves += _flat(item, f"{full}.")
        elif isinstance(item, list):
            leaves += _flat({str(i): each for i, each in enumerate(item)}, f"{full}.")
        else:
            leaves.append((full, item))
    return leaves
