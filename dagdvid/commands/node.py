"""Commands on one data instance at a version: those that its datatype gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from dagdvid.commands.context import Context
from dagdvid.commands.server import types_help
from dagdvid.datatype import Instance, Step
from dagdvid.errors import BadRequest, Locked
from dagdvid.registry import datatype
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.instances import new_instance
from dagdvid.repo.model import Repo, Version
from dagdvid.repo.routes import Target
from dagdvid.repo.transact import transact
from dagdvid.words import Call, Command, CommandTable

__all__ = ["NODE", "PREFIX", "run_node"]

PREFIX = "node UUID NAME"


def data_help(context: Context, call: Call) -> str:
    """node UUID NAME help."""
    return types_help(context.target(call).repo.instance(call.args["name"]).typename)


def run_node(context: Context, call: Call) -> str | Iterator[dict[str, Any]]:
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
    check = _checking(context)
    check(*target, instance)
    if command.steps:
        steps = handler(instance, context.catalog.snapshot(*target, instance), bound)
        return _stepped(context, target, instance, steps, bound)
    return transact(
        context.catalog,
        *target,
        instance,
        lambda instance, txn: str(handler(instance, txn, bound)),
        check,
        call.user,
        unlocked=context.unlocked,
    )


def _stepped(
    context: Context, target: Target, instance: Instance, steps: Iterator[Step | str], call: Call
) -> Iterator[dict[str, Any]]:
    """Run the steps of a command, each a transaction of its own."""
    catalog, check = context.catalog, _checking(context)
    text = ""
    for done, step in enumerate(steps, 1):
        if isinstance(step, str):
            text = step
            continue
        name = _made(catalog, target, step, call) if step.into else instance.name
        repo = catalog.repo(target.repo.root)
        version, into = repo.versions[target.version.uuid], repo.instance(name)
        check(repo, version, into)
        transact(catalog, repo, version, into, step.run, check, call.user, unlocked=context.unlocked)
        yield {"progress": " ".join(call.words[3:4]), "done": done}
    yield {"result": text}


def _made(catalog: Catalog, target: Target, step: Step, call: Call) -> str:
    """The name of the instance that a step writes, which is made if it is not there."""
    there = catalog.repo(target.repo.root).instances.get(step.into)
    if there is None:
        settings = {"dataname": step.into, "typename": step.typename, **step.settings}
        catalog.create_instance(target.repo.root, new_instance(settings, target.version.uuid), call.user)
        there = catalog.repo(target.repo.root).instance(step.into)
    if there.typename != step.typename:
        raise BadRequest(f"{step.into!r} is there, and of type {there.typename}, not {step.typename}")
    return there.name


def _checking(context: Context) -> Callable[[Repo, Version, Instance], None]:
    """What refuses a change to a locked version, unless the caller may amend it."""

    def check(repo: Repo, version: Version, instance: Instance) -> None:  # noqa: ARG001
        if instance.versioned and version.locked and not context.unlocked:
            raise Locked(f"version {version.uuid} is committed and takes no more changes: make a child with newversion")

    return check


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
