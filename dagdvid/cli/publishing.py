"""Published stores: `publish`, `unpublish`; and `materialize` for clones of them."""

from __future__ import annotations

from typing import Any

import click

from .output import print_json, progress, short, size
from .target import Target, as_json, repo_option, show_progress, target_options, the_repo

__all__ = ["materialize", "publish", "unpublish"]


@click.command
@click.argument("spec", metavar="REPO[@VERSION,…]")
@click.argument("url")
@show_progress
@target_options
@as_json
def publish(target: Target, spec: str, url: str, always: bool, as_json: bool) -> None:
    """Bring committed versions to a place from which anybody can clone: plain files in a folder or bucket.

    REPO is a version of the repo; what stands after @ are the versions to publish, with all before them; without, the
    last of every branch. URL is file:///FOLDER, s3://, gs:// or az://BUCKET/PREFIX; after ? come settings for the
    bucket, as endpoint=URL. What is there already is not sent again.
    """
    repo, _, versions = spec.partition("@")
    with target.write() as api, progress(always) as show:
        root = the_repo(api, repo)["Root"]
        body = {"url": url, "versions": [text for text in versions.split(",") if text]}
        result: dict[str, Any] = api.follow(f"/api/repo/{root}/publish", body, show)
    if as_json:
        print_json(result)
    elif not result["branches"]:
        click.echo("nothing was missing")
    else:
        click.echo(
            f"published {', '.join(result['branches'])} of repo {short(result['root'])}: "
            f"{result['objects']:,} objects, {size(result['bytes'])}, {result['seconds']:.2f} s"
        )


@click.command
@click.argument("repo", metavar="REPO")
@click.argument("url")
@click.argument("branches", metavar="BRANCH…", nargs=-1, required=True)
@target_options
@as_json
def unpublish(target: Target, repo: str, url: str, branches: tuple[str, ...], as_json: bool) -> None:
    """Mark branches at a published store as withdrawn, with the date: nobody clones them from there any more.

    The files stay, as others may have built on them.
    """
    with target.write() as api:
        root = the_repo(api, repo)["Root"]
        body = {"url": url, "branches": [*branches]}
        result: dict[str, Any] = api.follow(f"/api/repo/{root}/unpublish", body, lambda *_: None)
    if as_json:
        print_json(result)
    else:
        click.echo(f"withdrawn: {', '.join(result['branches'])}")


@click.command
@repo_option
@click.option("--version", "versions", metavar="UUID", multiple=True, help="A version; may be given again. Else all.")
@click.option(
    "--instance", "instances", metavar="NAME", multiple=True, help="An instance; may be given again. Else all."
)
@show_progress
@target_options
@as_json
def materialize(
    target: Target,
    repo: str | None,
    versions: tuple[str, ...],
    instances: tuple[str, ...],
    always: bool,
    as_json: bool,
) -> None:
    """Bring what a chained clone left in its bases here, so that it can be read without them."""
    with target.write() as api, progress(always) as show:
        root = the_repo(api, repo)["Root"]
        body = {"versions": [*versions], "instances": [*instances]}
        result: dict[str, Any] = api.follow(f"/api/repo/{root}/materialize", body, show)
    if as_json:
        print_json(result)
    else:
        click.echo(f"brought here: {result['objects']:,} objects, {size(result['bytes'])}, {result['seconds']:.2f} s")
