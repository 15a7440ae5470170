"""Between servers: `push`, `pull`, `clone`."""

from __future__ import annotations

from typing import Any

import click

from dagdvid.errors import BadRequest
from dagdvid.urls import split_url

from .client import Api
from .output import print_json, progress, short, size
from .target import Target, as_json, repo_option, show_progress, target_options, the_repo

__all__ = ["clone", "pull", "push", "remote_name"]

without_option = click.option(
    "--without", metavar="UUID", multiple=True, help="A version to leave out, with all after it; may be given again."
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Only tell what would travel.")


@click.command
@click.argument("remote")
@repo_option
@without_option
@dry_run_option
@show_progress
@target_options
@as_json
def push(
    target: Target, remote: str, repo: str | None, without: tuple[str, ...], dry_run: bool, always: bool, as_json: bool
) -> None:
    """Send a repo to a remote: the committed versions that it lacks.

    REMOTE is the name of a remote of the repo, or a URL, which is kept under the name "origin" or that of its host.
    """
    _transfer("push", target, remote, repo, without, dry_run=dry_run, always=always, as_json=as_json)


@click.command
@click.argument("remote")
@repo_option
@without_option
@dry_run_option
@show_progress
@target_options
@as_json
def pull(
    target: Target, remote: str, repo: str | None, without: tuple[str, ...], dry_run: bool, always: bool, as_json: bool
) -> None:
    """Get what a remote has of a repo: the committed versions that are missing here. REMOTE is as for push."""
    _transfer("pull", target, remote, repo, without, dry_run=dry_run, always=always, as_json=as_json)


@click.command
@click.argument("url", metavar="URL[/UUID]")
@click.option("--chain", is_flag=True, help="Leave what is in the versions where it is, and read it when it is needed.")
@show_progress
@target_options
@as_json
def clone(target: Target, url: str, chain: bool, always: bool, as_json: bool) -> None:
    """Get a whole repo from a server or a published store. UUID says which one if it has several.

    The data directory is made if it is not there. Clones from file, s3, gs and az are always chained.
    """
    if "://" not in url:
        raise click.UsageError(f"not the URL of a server: {url!r}; write http://HOST:PORT")
    with target.write(create=True) as api, progress(always) as show:
        result = api.follow("/api/repos/clone", {"url": url, "chain": chain}, show)
    _tell("cloned", url, result, as_json)


def _transfer(
    verb: str,
    target: Target,
    remote: str,
    spec: str | None,
    without: tuple[str, ...],
    *,
    dry_run: bool,
    always: bool,
    as_json: bool,
) -> None:
    with target.write() as api, progress(always) as show:
        root = the_repo(api, spec)["Root"]
        name = remote_name(api, root, remote) if "://" in remote else _known(api, root, remote)
        query = {"dry-run": "true"} if dry_run else {}
        result = api.follow(f"/api/repo/{root}/{verb}", {"remote": name, "without": [*without]}, show, query)
    done = {"push": "pushed to", "pull": "pulled from"}[verb]
    _tell(f"would have {done}" if dry_run else done, name, result, as_json)


def _remotes(api: Api, root: str) -> dict[str, str]:
    """The remotes of a repo, name -> URL."""
    return {remote["name"]: remote["url"] for remote in api.get(f"/api/repo/{root}/remotes")}


def _known(api: Api, root: str, name: str) -> str:
    remotes = _remotes(api, root)
    if name not in remotes:
        known = ", ".join(sorted(remotes)) or "none"
        raise BadRequest(f"there is no remote {name!r} (known: {known}); give its URL, as http://HOST:PORT")
    return name


def remote_name(api: Api, root: str, url: str) -> str:
    """The name of the remote with a URL; it is made if it is new. Servers show URLs without what follows a `?`."""
    where = split_url(url)
    remotes = _remotes(api, root)
    for name, known in remotes.items():
        if known.rstrip("/") == url.partition("?")[0].rstrip("/"):
            if where.query:  # a token for the other server, which may be a new one
                api.post(f"/api/repo/{root}/remotes", {"name": name, "url": url})
            return name
    base = f"{where.hostname or 'remote'}-{where.port}" if where.port else where.hostname or "remote"
    names = ["origin", base.replace(":", "-"), *(f"{base}-{i}" for i in range(2, len(remotes) + 3))]
    name = next(name for name in names if name not in remotes)
    api.post(f"/api/repo/{root}/remotes", {"name": name, "url": url})
    return name


def _tell(what: str, where: str, result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(result)
        return
    if not result["versions"]:
        click.echo(f"{what} {where}: nothing was missing")
        return
    if "objects" not in result:
        click.echo(f"{what} {where}: repo {short(result['root'])}, {result['versions']:,} versions, chained")
        return
    trips = "" if "dry_run" in result else f", {result['round_trips']} round trips, {result['seconds']:.2f} s"
    click.echo(
        f"{what} {where}: repo {short(result['root'])}, {result['versions']:,} versions, "
        f"{result['objects']:,} objects, {size(result['bytes'])}{trips}"
    )
