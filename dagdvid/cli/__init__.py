"""The command line: every command but `serve` and `demo` is a client of the HTTP API."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from dagdvid import __version__
from dagdvid.errors import DagdvidError

from .configuring import config, token
from .copies import backup, restore
from .demo import demo
from .differences import diff
from .history import history, reflog, revert, undelete
from .publishing import materialize, publish, unpublish
from .serving import serve
from .store import fsck, gc, repair, stats
from .transfer import clone, pull, push
from .versions import branch, commit, log, repos
from .words import FORWARDED, about, forwarded, help_command, pass_flags, server

__all__ = ["main"]


class _Commands(click.Group):
    """Errors become one line on standard error and exit status 1."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command of a name in any case; if there is none, the nearest one is told, and all that there are."""
        name = args[0].lower()
        if name not in self.commands:
            near = get_close_matches(name, self.commands, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise click.ClickException(
                f"there is no command {args[0]!r}. {hint.capitalize()}There are: {', '.join(self.commands)}"
            )
        return super().resolve_command(ctx, [name, *args[1:]])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except DagdvidError as error:
            if ctx.params.get("debug"):
                raise
            raise click.ClickException(" ".join(str(error).split())) from None
        except (BrokenPipeError, click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except OSError as error:
            if ctx.params.get("debug"):
                raise
            where = f"{error.filename}: " if error.filename is not None else ""
            raise click.ClickException(f"{where}{error.strerror or error}") from None
        except Exception as error:
            if ctx.params.get("debug"):
                raise
            text = " ".join(str(error).split())
            raise click.ClickException(
                f"a mistake of dagdvid's own, {type(error).__name__}: {text}; dagdvid --debug … shows where"
            ) from error

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click gives it
        """The commands in the order of their use."""
        return list(self.commands)


@click.group(
    "dagdvid",
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help", "-help"]},
    no_args_is_help=False,
    invoke_without_command=True,
)
@click.version_option(__version__, prog_name="dagdvid")
@click.option("--debug", is_flag=True, help="Show where an error comes from.")
@click.option("--data", metavar="DIR", type=click.Path(path_type=Path, file_okay=False), help="As after the command.")
@click.option("--server", metavar="URL", help="As after the command.")
@click.option("-stdin", "--stdin", is_flag=True, help="Send standard input with one of DVID's commands.")
@click.option("-readonly", "--readonly", is_flag=True, help="With serve: take no writes.")
@click.option("-fullwrite", "--fullwrite", is_flag=True, help="With serve: take writes to committed versions, too.")
@click.option("-rpc", "--rpc", metavar="HOST:PORT", hidden=True)
@click.option("-numcpu", "--numcpu", hidden=True)
@click.option("-sleep", "--sleep", hidden=True)
@click.option("-cpuprofile", "--cpuprofile", hidden=True)
@click.option("-memprofile", "--memprofile", hidden=True)
@click.option("-verbose", "--verbose", is_flag=True, hidden=True)
@click.option("-monitor", "--monitor", is_flag=True, hidden=True)
@click.pass_context
def main(ctx: click.Context, /, **flags: object) -> None:
    """dagdvid: versioned images, labels and records, served as DVID serves them.

    Where a command asks for UUID, any prefix of a version's UUID will do that only it has, or UUID:BRANCH, or
    :BRANCH if there is only one repo. DVID's commands (repo, node, types ...) and its flags before them are taken, too.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
    else:
        pass_flags(ctx, main.commands[ctx.invoked_subcommand], flags)


VERSIONS = (repos, log, commit, branch, diff, history, revert, reflog, undelete)
COPIES = (push, pull, clone, publish, unpublish, materialize, backup, restore)
STORE = (fsck, repair, gc, stats, server)
for command in (
    serve,
    config,
    token,
    demo,
    *VERSIONS,
    *COPIES,
    *STORE,
    *map(forwarded, FORWARDED),
    help_command,
    about,
):
    main.add_command(command)
