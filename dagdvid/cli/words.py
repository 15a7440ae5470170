"""DVID's own commands: their words go to where the data is and are interpreted there; its flags before them."""

from __future__ import annotations

import base64
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from dagdvid import __version__
from dagdvid.commands import COMMANDS
from dagdvid.errors import BadRequest
from dagdvid.helptext import commands_help, installed
from dagdvid.words import Command, CommandTable

from .output import print_json, progress
from .target import Target, as_json, target_options

__all__ = ["FLAGS", "FORWARDED", "about", "forwarded", "help_command", "pass_flags", "send", "server"]

FORWARDED = {
    "repo": "DVID's commands on a repo: new, branch, merge, push ...",
    "node": "DVID's commands on a data instance, as its type has them.",
    "types": "List the datatypes; types TYPE help describes one.",
    "shutdown": "Stop a server.",
    "googlevoxels": "Not served here: tells what takes its place.",
}
"""First words that are nothing but DVID's, with a line for the list of commands. `repos` without more is ours."""

FLAGS = {
    "numcpu": "serve --workers says how many processes serve",
    "sleep": "nothing is waited for",
    "cpuprofile": "use a profiler, as py-spy, on the process",
    "memprofile": "use a profiler, as memray, on the process",
    "verbose": "the log is as full as it gets unless serve --quiet says otherwise",
    "monitor": "the log has every request, and GET /api/load what runs",
}
"""DVID's flags that are taken and do nothing here, with what to know instead."""


def pass_flags(ctx: click.Context, command: click.Command, flags: Mapping[str, Any]) -> None:
    """Make flags that stand before a command those of the command; say which of DVID's have no effect.

    Raises:
        BadRequest: -rpc was given.
        click.UsageError: one that the command does not take.
    """
    given = {name: value for name, value in flags.items() if value and name != "debug"}
    if "rpc" in given:
        raise BadRequest(
            f"-rpc={given['rpc']}: commands travel over HTTP here. Give the server's web address instead, "
            "--server http://HOST:PORT; DVID's default is port 8000"
        )
    for name in FLAGS.keys() & given.keys():
        click.echo(f"-{name} has no effect here: {FLAGS[name]}", err=True)
        del given[name]
    for name in given.keys() - {parameter.name for parameter in command.params}:
        raise click.UsageError(f"--{name} says nothing to {command.name}")
    ctx.default_map = {str(command.name): given}


def send(target: Target, words: Sequence[str], *, stdin: bool = False) -> None:
    """Run a command where the data is, and print its text."""
    command = COMMANDS.find(words)
    command.served()
    call = command.bind(words)
    data = b""
    if stdin:
        data = sys.stdin.buffer.read()
    elif command.file and call.get(command.file.lower()):
        data = _content(call.args[command.file.lower()])
    value = {"words": list(words), "stdin": base64.b64encode(data).decode()}
    if command.changes:
        with target.write(create=command.usage.startswith("repos new")) as api, progress(always=False) as show:
            text = str(api.follow("/api/server/command", value, show))
    else:
        with target.read() as api:
            text = api.ask("/api/server/command", value).read().decode()
    click.echo(text.rstrip("\n"))


def _content(name: str) -> bytes:
    return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()


def forwarded(name: str) -> click.Command:
    """A command whose words go on as they are."""
    own = CommandTable(c for c in COMMANDS if c.literals.get(0) == name)

    @click.command(
        name,
        help=_forwarded_help(own),
        short_help=FORWARDED[name],
        context_settings={"ignore_unknown_options": True},
    )
    @click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="WORD...")
    @click.option("--stdin", is_flag=True, help="Send standard input with the command.")
    @target_options
    def command(target: Target, words: tuple[str, ...], stdin: bool) -> None:
        send(target, (name, *words), stdin=stdin)

    return command


def _forwarded_help(commands: CommandTable) -> str:
    return "\b\n" + commands_help(commands).replace("\n\n", "\n\n\b\n")


@click.command
@target_options
@as_json
def server(target: Target, as_json: bool) -> None:
    """Show what server it is: version, cores, uptime."""
    with target.read() as api:
        found: dict[str, Any] = api.get("/api/server/info")
    if as_json:
        print_json(found)
    else:
        width = max(map(len, found))
        for name, value in found.items():
            click.echo(f"{name:{width}}  {value}".rstrip())


@click.command
def about() -> None:
    """Show the version of this program and of its datatypes."""
    click.echo(f"dagdvid {__version__}, Python {platform.python_version()}")
    for kind in installed():
        click.echo(f"{kind.name} {kind.version}")


@click.command("help", context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[WORD...]")
@click.pass_context
def help_command(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Show what commands there are, or the help of one. `help server` lists those that DVID's clients send."""
    root = ctx.find_root()
    main = root.command
    assert isinstance(main, click.Group)  # noqa: S101 - it is where this command hangs
    if not words:
        click.echo(main.get_help(root))
    elif words == ("server",):
        click.echo(commands_help(COMMANDS).rstrip("\n"))
    elif len(words) == 1:
        name, command, _ = main.resolve_command(root, list(words))
        assert command is not None  # noqa: S101 - resolve_command raises instead
        with click.Context(command, parent=root, info_name=name) as inner:
            click.echo(command.get_help(inner))
    else:
        click.echo(commands_help(_beginning(words)).rstrip("\n"))


def _beginning(words: Sequence[str]) -> list[Command]:
    typed = [word.lower() for word in words]
    found = [c for c in COMMANDS if list(c.literals.values())[: len(typed)] == typed]
    return found or [COMMANDS.find(words)]
