"""The store itself: `fsck`, `gc`, `stats`."""

from __future__ import annotations

from typing import Any

import click

from dagdvid.errors import BadRequest

from .client import Show
from .output import print_json, progress, size
from .target import Target, as_json, show_progress, target_options

__all__ = ["fsck", "gc", "repair", "stats"]


@click.command
@click.option(
    "--level",
    type=click.Choice(["refs", "trees", "presence", "content"]),
    default="content",
    help="How deep to look: the catalogue, commits and records; all tree nodes, too; whether the values are there, "
    "too; their content, too. Default: all of it.",
)
@click.option(
    "--sample",
    metavar="PERCENT",
    type=click.FloatRange(0, 100, min_open=True),
    default=100.0,
    help="Read the content of so many values in a hundred, chosen at random, and look whether the others are there.",
)
@show_progress
@target_options
@as_json
def fsck(target: Target, *, level: str, sample: float, always: bool, as_json: bool) -> None:
    """Check what the versions hold against its hashes. The exit status is 1 if something is bad.

    What is bad is named by version, instance, and key range or box of blocks.
    """
    with target.read() as api, progress(always) as show:
        query = {"level": level, "sample": str(sample / 100)}
        report: dict[str, Any] = api.follow("/api/store/fsck", {}, show, query)
    if as_json:
        print_json(report)
    else:
        for found in report["problems"]:
            click.echo(", ".join(f"{name}: {value}" for name, value in found.items()))
        verdict = "all is well" if report["ok"] else f"{len(report['problems'])} problems, above"
        checked = f"{report['versions']:,} versions, {report['objects']:,} objects, {size(report['bytes'])}"
        click.echo(f"{verdict}: checked {checked}")
        if report["promised"]:
            why = f"; not all is sure: {report['unsure']}" if report["unsure"] else ""
            click.echo(f"{report['promised']:,} objects and what they refer to lie in bases{why}")
        if report["lost"]:
            click.echo(f"{report['lost']:,} objects are lost, as is known; dagdvid repair --from BACKUP may find them")
        if not report["ok"]:
            click.echo(report["advice"])
    if not report["ok"]:
        raise click.exceptions.Exit(1)


@click.command
@click.option(
    "--from", "places", metavar="DIR|URL", multiple=True, help="A backup, clone or server that may have what is lost."
)
@click.option("--dry-run", is_flag=True, help="Say what is wrong, and change nothing.")
@click.option(
    "--rebuild-database",
    is_flag=True,
    help="Make the database anew first: committed versions come back, changes of open versions do not.",
)
@show_progress
@target_options
@as_json
def repair(
    target: Target, places: tuple[str, ...], always: bool, dry_run: bool, rebuild_database: bool, as_json: bool
) -> None:
    """Save what is intact of damaged packs, and get what is missing from other places, by its hash.

    No server may have the directory. Damaged packs are kept beside the others, with names that end in ".damaged".
    What is found nowhere is noted as lost, and reading it says so; the exit status is 1 then.
    """
    if target.server is not None:
        raise BadRequest("repair needs the data directory for itself: stop the server, then name it with --data DIR")
    if rebuild_database:
        if dry_run:
            raise BadRequest("--rebuild-database and --dry-run do not go together")
        found = target.rebuild()
        if not as_json:
            click.echo(f"the database was made anew: {found['repos']:,} repos, {found['versions']:,} versions")
    with target.alone() as server, progress(always) as show:
        told: dict[str, Any] = {}
        for told in server.repair(places, dry_run=dry_run):
            if "progress" in told:
                show(told["progress"], told["done"], told["total"])
    found = told["result"]
    if as_json:
        print_json(found)
    else:
        for pack in found["packs"]:
            click.echo(f"{pack['problem']}: {pack['saved']:,} objects of it are intact")
        for place, n in found["healed"].items():
            click.echo(f"{n:,} objects brought back from {place}")
        for problem in found["problems"]:
            click.echo(", ".join(f"{name}: {value}" for name, value in problem.items()))
        what = "all is well" if found["ok"] else "nothing was changed" if dry_run else "repaired"
        click.echo(f"{what}; {found['lost']:,} objects are {'missing' if dry_run else 'lost'}")
    if found["lost"] or (dry_run and not found["ok"]):
        raise click.exceptions.Exit(1)


@click.command
@click.option("--dry-run", is_flag=True, help="Say what would be given up, and change nothing.")
@click.option("--forget", is_flag=True, help="Give up also what the reflog remembers: what was deleted lately.")
@show_progress
@target_options
@as_json
def gc(target: Target, *, always: bool, dry_run: bool, forget: bool, as_json: bool) -> None:
    """Give back the room of objects that no version and no record needs.

    A server goes on with all else meanwhile; what its requests may be reading goes once they have ended. What was
    deleted or replaced in the last 30 days is kept (dagdvid reflog), unless --forget.
    """
    with progress(always) as show:
        found = _collected(target, show, dry_run=dry_run, forget=forget)
    if as_json:
        print_json(found)
        return
    done = "would give up" if dry_run else "gave up"
    text = f"{done} {found['objects']:,} objects, {size(found['bytes'])}, in {found['packs']:,} packs"
    click.echo(f"{text}; {found['live']:,} objects are in use")


def _collected(target: Target, show: Show, *, dry_run: bool, forget: bool) -> dict[str, Any]:
    if target.server is not None:
        chosen = {name: "true" for name, on in (("dry-run", dry_run), ("forget", forget)) if on}
        with target.read() as api:
            return dict(api.follow("/api/store/gc", {}, show, chosen))
    told: dict[str, Any] = {}
    with target.alone() as server:
        for told in server.collect(dry_run=dry_run, forget=forget):
            if "progress" in told:
                show(told["progress"], told["done"], told["total"])
    return dict(told["result"])


@click.command
@click.option("--usage", is_flag=True, help="Walk all trees: what sharing and compression save, growth, garbage.")
@show_progress
@target_options
@as_json
def stats(target: Target, *, usage: bool, always: bool, as_json: bool) -> None:
    """Show what the store holds and what it takes on the disk."""
    with target.read() as api, progress(always) as show:
        found: dict[str, Any] = api.follow("/api/store/usage", {}, show) if usage else api.get("/api/store/stats")
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
