"""Looking back and taking back: `history`, `revert`, `reflog`, `undelete`."""

from __future__ import annotations

from typing import Any

import click

from .output import branch_name, moment, print_json, short, size, table
from .target import Target, as_json, target_options

__all__ = ["history", "reflog", "revert", "undelete"]

_KEYS_SHOWN = 3
_LONG = 24


@click.command
@click.argument("uuid")
@click.argument("instance", metavar="DATA")
@click.argument("key")
@click.option("-n", "--number", metavar="N", type=click.IntRange(min=1), help="Show the newest N only.")
@target_options
@as_json
def history(target: Target, *, uuid: str, instance: str, key: str, number: int | None, as_json: bool) -> None:
    """Show which versions changed one KEY of the instance DATA, from UUID (or UUID:BRANCH) back, newest first.

    Of an image volume, KEY is a block, as X,Y,Z.
    """
    query = {} if number is None else {"limit": str(number)}
    with target.read() as api:
        found: list[dict[str, Any]] = api.request("GET", f"/api/node/{uuid}/{instance}/key-history/{key}", query).json()
    if as_json:
        print_json(found)
    elif not found:
        click.echo("no version up to this one has the key")
    else:
        titles = ("version", "branch", "state", "change", "size", "hash", "time", "user", "note")
        table(titles, map(_history_row, found))


def _history_row(entry: dict[str, Any]) -> tuple[str, ...]:
    return (
        short(entry["version"]),
        branch_name(entry["branch"]),
        "committed" if entry["locked"] else "open",
        entry["change"],
        size(entry["bytes"]) if "bytes" in entry else "-",
        short(entry.get("hash", "")) or "-",
        moment(entry["time"]),
        entry["user"] or "-",
        " ".join(entry["note"].split()),
    )


@click.command
@click.argument("uuid")
@click.argument("version")
@click.option(
    "--instance", "instances", metavar="DATA", multiple=True, help="Only this data instance; may be repeated."
)
@click.option("--key-range", "keys", metavar="FIRST LAST", nargs=2, help="Only these keys, both included.")
@click.option("-m", "--message", metavar="NOTE", default="", help="What the new version is about.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@target_options
@as_json
def revert(
    target: Target,
    *,
    uuid: str,
    version: str,
    instances: tuple[str, ...],
    keys: tuple[str, str] | None,
    message: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Take back, at UUID, what VERSION changed: in UUID itself if it is open, else in a new child of it.

    If one of the keys was changed again after VERSION, that is told and nothing is done. Of an image volume,
    --key-range is a box, by two corner blocks X,Y,Z.
    """
    wanted = {"version": version, "data": instances, "keys": keys or None, "note": message, "dry_run": dry_run}
    with target.write() as api:
        found = api.post(f"/api/node/{uuid}/revert", wanted)
    if as_json:
        print_json(found)
        return
    for name, counts in found["reverted"].items():
        click.echo(f"{name}: " + ", ".join(f"{count} {change}" for change, count in counts.items()))
    if found["conflicts"]:
        click.echo(f"{found['conflicts']} conflicts, the first:")
        for text in found["first"]:
            click.echo(f"  {text}")
    elif not found["reverted"]:
        click.echo("nothing to do: it has been reverted, or changed nothing")
    else:
        click.echo(f"{'would be made in or after' if dry_run else 'made in'} version {found['version']}")


@click.command
@click.argument("uuid", required=False)
@click.option("-n", "--number", metavar="N", type=click.IntRange(min=1), default=100, help="Show the newest N; 100.")
@target_options
@as_json
def reflog(target: Target, *, uuid: str | None, number: int, as_json: bool) -> None:
    """Show how refs moved in the last 30 days, newest first: of the repo of UUID, or of all, deleted ones included.

    A version is committed, received from another server, or moved to another commit by an amendment; the repo record
    moves with every change of instances, texts and branches; data is the state of an unversioned instance.
    """
    path = "/api/repos/reflog" if uuid is None else f"/api/repo/{uuid}/reflog"
    with target.read() as api:
        found: list[dict[str, Any]] = api.request("GET", path, {"limit": str(number)}).json()
    if as_json:
        print_json(found)
    elif not found:
        click.echo("nothing moved")
    else:
        table(("time", "repo", "ref", "action", "before", "after", "user", "keys"), map(_reflog_row, found))


def _reflog_row(entry: dict[str, Any]) -> tuple[str, ...]:
    kind, slash, name = entry["ref"].partition("/")
    keys = entry.get("keys", [])
    more = entry.get("changed", 0) - _KEYS_SHOWN
    return (
        moment(entry["time"]),
        short(entry["repo"]) or "-",
        f"{kind}{slash}{short(name)}",
        entry["action"],
        short(entry.get("before", "")) or "-",
        short(entry.get("after", "")) or "-",
        entry.get("user") or "-",
        " ".join(map(_shown_key, keys[:_KEYS_SHOWN])) + (f" and {more} more" if more > 0 else ""),
    )


def _shown_key(key: str) -> str:
    """A key of the record; times and UUIDs in it are cut short."""
    return "/".join(short(part) if len(part) > _LONG else part for part in key.split("/"))


@click.command
@click.argument("uuid")
@click.option("--instance", metavar="DATA", help="Bring back this data instance, by name or data UUID.")
@click.option("--name", metavar="NAME", default="", help="Give the instance another name.")
@click.option("--branch", metavar="NAME", help="Show the versions of this hidden branch again.")
@target_options
@as_json
def undelete(target: Target, *, uuid: str, instance: str | None, name: str, branch: str | None, as_json: bool) -> None:
    """Bring back the deleted repo with root UUID; or of the repo of UUID, a data instance or a hidden branch.

    What was committed comes back, for 30 days after the deletion if gc was not told to forget. The reflog shows what
    was deleted.
    """
    if (instance is not None and branch is not None) or (name and instance is None):
        raise click.UsageError("give either --instance, and --name if need be, or --branch")
    with target.write() as api:
        if instance is not None:
            found = api.post(f"/api/repo/{uuid}/undelete", {"data": instance, "name": name})
        elif branch is not None:
            found = api.post(f"/api/repo/{uuid}/undelete", {"branch": branch})
        else:
            found = api.post("/api/repos/undelete", {"root": uuid})
    if as_json:
        print_json(found)
    elif instance is not None:
        click.echo(f"brought back data instance {name or instance}")
    else:
        what = f"branch {branch}" if branch is not None else f"repo {found['root']}"
        click.echo(f"brought back {what}: {found['versions']:,} versions")
