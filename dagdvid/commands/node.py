"""Commands on one data instance at a version: those that its datatype gives."""

from __future__ import annotations

from dagdvid.commands.context import Context
from dagdvid.commands.server import types_help
from dagdvid.datatype import Instance
from dagdvid.errors import BadRequest, Locked
from dagdvid.registry import datatype
from dagdvid.repo.model import Repo, Version
from dagdvid.repo.transact import transact
from dagdvid.words import Call, Command, CommandTable

__all__ = ["NODE", "PREFIX", "run_node"]

PREFIX = "node UUID NAME"


def data_help(context: Context, call: Call) -> str:
    """node UUID NAME help."""
    return types_help(context.target(call).repo.instance(call.args["name"]).typename)


def run_node(context: Context, call: Call) -> str:
    """node UUID NAME and a command of the datatype; it is matched only here, as the instance says which type it is."""
    target = context.target(call)
    instance = target.repo.instance(call.args["name"])
    table = datatype(instance.typename).commands
    if not table.commands:
        raise BadRequest(f"the datatype of {instance.name!r}, {instance.typename}, has no commands")
    command = table.under(PREFIX).find(call.words)
    handler = command.served()
    bound = command.bind(call.words, call.stdin, call.user, call.app)
    if not command.changes:
        return str(handler(instance, context.catalog.snapshot(*target, instance), bound))

    def check(repo: Repo, version: Version, instance: Instance) -> None:  # noqa: ARG001
        if instance.versioned and version.locked and not context.unlocked:
            raise Locked(f"version {version.uuid} is committed and takes no more changes: make a child with newversion")

    check(*target, instance)
    return transact(
        context.catalog,
        *target,
        instance,
        lambda instance, txn: str(handler(instance, txn, bound)),
        check,
        call.user,
        unlocked=context.unlocked,
    )


NODE = CommandTable(
    (
        Command(
            f"{PREFIX} help",
            data_help,
            "What the instance's datatype is: settings, commands, endpoints.",
            changes=False,
        ),
        Command(f"{PREFIX} COMMAND [WORD...]", run_node, "A command of the instance's datatype; its help has them."),
    )
)
