"""Commands about the server and its repos as a whole: help, types, shutdown, repos new."""

from __future__ import annotations

from dagdvid.commands.context import Context
from dagdvid.errors import BadRequest
from dagdvid.helptext import commands_help, datatype_help, installed
from dagdvid.registry import datatype
from dagdvid.words import Call, Command, CommandTable

__all__ = ["SERVER", "types_help"]


def types(context: Context, call: Call) -> str:  # noqa: ARG001
    """types."""
    kinds = installed()
    width = max(len(kind.name) for kind in kinds)
    return "\n".join(f"{kind.name:{width}}  {kind.url}" for kind in kinds)


def type_help(context: Context, call: Call) -> str:  # noqa: ARG001
    """types TYPE help."""
    return types_help(call.args["type"])


def types_help(name: str) -> str:
    """The help of a datatype: what it is, its settings, its commands, its routes."""
    kind = datatype(name)
    commands = commands_help(kind.commands.under("node UUID NAME"))
    return datatype_help(kind) + (f"\nCommands\n\n{commands}" if commands else "")


def shutdown(context: Context, call: Call) -> str:  # noqa: ARG001
    """shutdown."""
    if context.stop is None:
        raise BadRequest("nobody serves this data directory, so that there is nothing to stop")
    context.stop()
    return "The server is stopping."


def new_repo(context: Context, call: Call) -> str:
    """repos new."""
    alias = call.args["alias"]
    uuid, passcode = (call.settings.get(name, "") for name in ("uuid", "passcode"))
    root = context.catalog.create_repo(alias, call.get("description"), uuid, passcode)
    return f'New repo "{alias}" created with head node {root}'


SERVER = CommandTable(
    (
        Command("types", types, "The datatypes that are installed, with their URLs.", changes=False),
        Command("types TYPE help", type_help, "What a datatype is: settings, commands, endpoints.", changes=False),
        Command("shutdown", shutdown, "Stop the server; requests that run are finished first."),
        Command(
            "repos new ALIAS [DESCRIPTION] [uuid=UUID] [passcode=TEXT]",
            new_repo,
            "Make a repo with an open root version, which may be given its UUID. The passcode must then be said to "
            "rename or delete.",
        ),
    )
)
