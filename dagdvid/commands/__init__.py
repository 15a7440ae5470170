"""DVID's command words (server/rpc.go), interpreted where the data is. `COMMANDS` is the table of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dagdvid.commands.absent import ABSENT
from dagdvid.commands.context import Context
from dagdvid.commands.managing import MANAGING
from dagdvid.commands.node import NODE
from dagdvid.commands.repo import REPO
from dagdvid.commands.server import SERVER
from dagdvid.helptext import commands_help
from dagdvid.words import Call, Command, CommandTable

__all__ = ["COMMANDS", "Context", "run"]


def show_help(context: Context, call: Call) -> str:  # noqa: ARG001
    """help."""
    words = [word.lower() for word in call.rest]
    chosen = CommandTable(c for c in COMMANDS if [*c.literals.values()][: len(words)] == words)
    if not chosen.commands:
        COMMANDS.find(call.rest)  # says what there is
    return commands_help(chosen)


COMMANDS = CommandTable(
    (
        Command(
            "help [WORD...]", show_help, "The commands of the server, or those that begin with words.", changes=False
        ),
        *SERVER,
        *REPO,
        *MANAGING,
        *NODE,
        *ABSENT,
    )
)


def run(
    context: Context, words: Sequence[str], stdin: bytes = b"", user: str = "", app: str = ""
) -> Iterator[dict[str, Any]]:
    """Run one command. Yields {"progress", "done", "total"} now and then, at last {"result": its text}.

    Raises:
        DagdvidError: whatever is wrong. What is wrong with the words is raised before anything is yielded.
    """
    command = COMMANDS.find(words)
    outcome = command.served()(context, command.bind(words, stdin, user, app))
    return iter([{"result": outcome}]) if isinstance(outcome, str) else outcome
