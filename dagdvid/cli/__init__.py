"""The command line: every command but `serve` and `demo` is a client of the HTTP API."""

from __future__ import annotations

from typing import Any

import click

from dagdvid import __version__
from dagdvid.errors import DagdvidError

from .copies import backup, restore
from .demo import demo
from .differences import diff
from .serving import serve
from .store import fsck, gc, repair, stats
from .transfer import clone, pull, push
from .versions import branch, commit, log, repos

__all__ = ["main"]


class _Commands(click.Group):
    """Errors become one line on standard error and exit status 1."""

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


@click.group("dagdvid", cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dagdvid")
@click.option("--debug", is_flag=True, help="Show where an error comes from.")
def main(debug: bool) -> None:
    """dagdvid: versioned images, labels and records, served as DVID serves them.

    Where a command asks for UUID, any prefix of a version's UUID will do that only it has, or UUID:BRANCH, or
    :BRANCH if there is only one repo.
    """


for command in (
    serve,
    demo,
    repos,
    log,
    commit,
    branch,
    diff,
    push,
    pull,
    clone,
    backup,
    restore,
    fsck,
    repair,
    gc,
    stats,
):
    main.add_command(command)
