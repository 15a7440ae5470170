"""What a command works on: the options --data and --server, and the repo that is meant."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dagdvid.config import DEFAULT_DATA, Config
from dagdvid.errors import BadRequest

from .client import Api, HttpApi, LocalApi
from .output import short

if TYPE_CHECKING:
    from dagdvid.server import Server

__all__ = ["Target", "as_json", "repo_option", "show_progress", "target_options", "the_repo"]


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
repo_option = click.option(
    "--repo", metavar="UUID", help="A version of the repo; not needed if there is only one repo."
)
show_progress = click.option("--progress", "always", is_flag=True, help="Tell of progress even off a terminal.")


@dataclass(frozen=True)
class Target:
    """A data directory or a server, not opened yet."""

    data: Path | None
    server: str | None

    def read(self) -> Api:
        """The API of it, for requests that change nothing; a server may have the directory in use meanwhile.

        Raises:
            BadRequest: there is no such directory, or nothing of ours in it.
            DagdvidError: it cannot be opened.
        """
        if self.server is not None:
            return HttpApi(self.server)
        data = self.data or DEFAULT_DATA
        if not data.is_dir():
            raise BadRequest(f"there is no data directory {data}; name one (--data DIR) or a server (--server URL)")
        return LocalApi(data, readonly=True)

    def write(self, *, create: bool = False) -> Api:
        """The API of it, for any request. What is no data directory is made one only if `create`.

        Raises:
            InUse: a server has the directory.
            DagdvidError: as in `read`.
        """
        if self.server is not None:
            return HttpApi(self.server)
        if not create:
            with self.read():
                pass
        return LocalApi(self.data or DEFAULT_DATA)

    def rebuild(self) -> dict[str, Any]:
        """Make the database of the data directory anew; what was found.

        Raises:
            InUse: a server has the directory.
        """
        from dagdvid.server import rebuild  # noqa: PLC0415  it loads all that a server needs

        return rebuild(Config(data=self.data or DEFAULT_DATA))

    def alone(self) -> AbstractContextManager[Server]:
        """The data directory opened by this process alone.

        Raises:
            InUse: a server has the directory.
            DagdvidError: as in `read`.
        """
        with self.read():
            pass
        from dagdvid.server import Server  # noqa: PLC0415  it loads all that a server needs

        return closing(Server.open(Config(data=self.data or DEFAULT_DATA)))


def target_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds --data and --server; the command gets them as `target`."""

    @wraps(command)
    def with_target(*args: Any, data: Path | None, server: str | None, **options: Any) -> None:
        if data is not None and server is not None:
            raise click.UsageError("give either --data or --server, not both")
        command(*args, target=Target(data, server), **options)

    folder = click.Path(path_type=Path, file_okay=False)
    text = f"A data directory; {DEFAULT_DATA} if nothing is named."
    with_data = click.option("--data", metavar="DIR", type=folder, help=text)(with_target)
    return click.option("--server", metavar="URL", help="A running server, as http://HOST:PORT.")(with_data)


def the_repo(api: Api, spec: str | None) -> dict[str, Any]:
    """DVID's JSON of the repo that holds a version, or of the only repo there is.

    Raises:
        BadRequest: there is none, or several and none is named.
    """
    if spec is not None:
        repo: dict[str, Any] = api.get(f"/api/repo/{spec}/info")
        return repo
    repos: dict[str, dict[str, Any]] = api.get("/api/repos/info")
    if not repos:
        raise BadRequest("there is no repo here yet; make one with POST /api/repos, or get one with dagdvid clone")
    if len(repos) > 1:
        names = ", ".join(f"{short(root)} ({repo['Alias']})" for root, repo in sorted(repos.items()))
        raise BadRequest(f"there are {len(repos)} repos; name one with --repo: {names}")
    return next(iter(repos.values()))
