"""The page of all commands, from the commands themselves: `python -m dagdvid.cli.manual > docs/commands.md`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from inspect import cleandoc

import click

from dagdvid.cli import main
from dagdvid.commands import COMMANDS
from dagdvid.helptext import installed
from dagdvid.words import Command

from .words import FLAGS, FORWARDED

__all__ = ["page"]

_HEAD = """\
# Commands

This page is written from the commands themselves; a test tells when one is missing, and how to write it anew.

Commands work on a data directory (`--data DIR`) that nobody serves, or through a server (`--server URL`); both options
may also stand before the command. Where a command asks for UUID, any prefix of a version's UUID will do that only it
has, or UUID:BRANCH, or :BRANCH if there is only one repo. The exit status is 0, or 1 with one line on standard error;
2 where the options or arguments are wrong.

No word means two things. `repos` alone lists the repos, where DVID refuses; `log`, `commit`, `branch`, `diff`, `push`,
`pull` and the like are ours, and DVID's words of the same name stand after `repo UUID`.
"""
_DVID = """\
## DVID's commands

The words of DVID's command line are sent to where the data is and interpreted there, as
`POST /api/server/command {"words": [...], "stdin": base64}` does. In capitals stand arguments; in brackets, what may be
left out. Words NAME=VALUE are settings.
"""
_FLAGS = """\
### DVID's flags

They stand before the command, with one dash or two: `-stdin` sends standard input with a command, `-readonly` and
`-fullwrite` go with serve, `-h` and `-help` show help. `-rpc` is refused: give `--server URL`. These are taken and do
nothing:
"""


def page() -> str:
    """The whole page, in Markdown."""
    own = [command for name, command in main.commands.items() if name not in FORWARDED]
    parts = [_HEAD, "## Our commands\n", *map(_own, own)]
    parts += [
        _DVID,
        *_words(COMMANDS),
        _FLAGS,
        "\n".join(f"- `-{name}`: {text}" for name, text in FLAGS.items()) + "\n",
    ]
    for kind in installed():
        if kind.commands.commands:
            parts += [f"### Commands of {kind.name}\n", *_words(kind.commands.under("node UUID NAME"))]
    return "\n".join(parts)


def _own(command: click.Command) -> str:
    above = click.Context(main, info_name="dagdvid", **main.context_settings)
    with above, click.Context(command, above, command.name) as ctx:
        usage = " ".join(["dagdvid", str(command.name), *command.collect_usage_pieces(ctx)])
        options_of = [each for each in command.params if isinstance(each, click.Option)]
        records = [option.get_help_record(ctx) for option in options_of]
    options = "".join(f"- `{names}`: {text}\n" for names, text in filter(None, records))
    text = cleandoc(command.help or "").replace("\b\n", "")
    return f"### {command.name}\n\n    {usage}\n\n{text}\n" + (f"\n{options}" if options else "")


def _words(commands: Iterable[Command]) -> Iterator[str]:
    served = [command for command in commands if command.handler is not None]
    yield "\n".join(f"- `{command.usage}`  \n  {_doc(command)}" for command in served) + "\n"
    absent = [command for command in commands if command.handler is None]
    if absent:
        yield "DVID's alone, with what takes their place:\n"
        yield "\n".join(f"- `{command.usage}`  \n  {_doc(command)}" for command in absent) + "\n"


def _doc(command: Command) -> str:
    return command.doc + (f" {command.file} is a file of yours." if command.file else "")


if __name__ == "__main__":
    click.echo(page(), nl=False)
