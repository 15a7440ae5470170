"""Commands on one repo: data instances, versions, merges, pushes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from dagdvid.commands.context import Context
from dagdvid.errors import BadRequest
from dagdvid.remote.peer import check_url
from dagdvid.remote.transfer import push
from dagdvid.repo.instances import new_instance
from dagdvid.repo.merging import merge_versions
from dagdvid.repo.model import MASTER
from dagdvid.repo.stats import statistics
from dagdvid.words import Call, Command, CommandTable

__all__ = ["REPO"]


def new_data(context: Context, call: Call) -> str:
    """repo UUID new. As DVID, and unlike POST instance, it does not ask for an open version."""
    target = context.target(call)
    typename, name = call.args["type"], call.args["name"]
    settings = {**call.settings, "typename": typename, "dataname": name}
    context.catalog.create_instance(target.repo.root, new_instance(settings, target.version.uuid), call.user)
    context.note(target, call)
    return f'Data "{name}" [{typename}] added to node {target.version.uuid}'


def branch(context: Context, call: Call) -> str:
    """repo UUID branch."""
    name = call.args["branch"]
    if name == MASTER:
        raise BadRequest("master goes on with newversion; branch is for another name")
    return _child(context, call, name)


def new_version(context: Context, call: Call) -> str:
    """repo UUID newversion."""
    return _child(context, call, None)


def _child(context: Context, call: Call, name: str | None) -> str:
    target = context.target(call)
    parent = target.version
    child = context.catalog.new_version(target.repo, parent, f"branch of {parent.uuid}", call.get("child"), name)
    context.note(target, call)
    return f"Branch {child} added to node {parent.uuid}"


def merge(context: Context, call: Call) -> str:
    """repo UUID merge. DVID's own fails, as it takes the word "merge" for a parent."""
    target = context.target(call)
    others = [context.catalog.find(text) for text in call.rest]
    for repo, version in others:
        if repo.root != target.repo.root:
            raise BadRequest(f"{version.uuid} is a version of another repo")
    parents = [target.version, *(version for _, version in others)]
    shown = " ".join(parent.uuid for parent in parents)
    child = merge_versions(context.catalog, target.repo, parents, f"merge of parents [{shown}]").uuid
    context.note(target, call)
    return f"Parents [{shown}] merged into node {child}"


def storage_details(context: Context, call: Call) -> str:
    """repo UUID storage-details."""
    found = statistics(context.catalog)
    root = context.target(call).repo.root
    return json.dumps({"store": found["store"], "repo": found["repos"][root]}, indent=2, ensure_ascii=False)


def push_repo(context: Context, call: Call) -> Iterator[dict[str, Any]]:
    """repo UUID push."""
    target = context.target(call)
    address = call.args["address"]
    for name, only in (("transmit", ("", "all", "branch")), ("data", ("",)), ("filter", ("",))):
        if call.settings.get(name, "") not in only:
            raise BadRequest(
                f"push sends whole versions, so that their hashes hold there, too: {name}={call.settings[name]} cannot "
                "be; transmit=branch leaves out what is not before the version"
            )
    url = check_url(address if "://" in address else f"http://{address}")
    last = target.version.uuid if call.settings.get("transmit") == "branch" else ""
    for step in push(context.catalog, target.repo, url, last):
        if "result" not in step:
            yield step
            continue
        sent = step["result"]
        yield {"result": f"Pushed repo {target.repo.root} to {address}: {sent['versions']} versions were missing there"}


REPO = CommandTable(
    (
        Command(
            "repo UUID new TYPE NAME [KEY=VALUE...]",
            new_data,
            "Make a data instance; the settings are those of its datatype, and versioned, Compression, Checksum, Tags.",
        ),
        Command("repo UUID branch BRANCH [CHILD]", branch, "Make an open child on a new branch; CHILD is its UUID."),
        Command("repo UUID newversion [CHILD]", new_version, "Make an open child on the same branch."),
        Command(
            "repo UUID merge PARENT...",
            merge,
            "Make an open version of committed ones that do not conflict: UUID and one PARENT or more.",
        ),
        Command(
            "repo UUID push ADDRESS [transmit=WHAT] [data=NAMES] [filter=FILTERS]",
            push_repo,
            "Send a server what it lacks of the repo; ADDRESS is HOST:PORT or a URL. WHAT is all, which is the "
            "default, or branch: the version UUID and those before it.",
        ),
        Command("repo UUID storage-details", storage_details, "What is stored, as JSON.", changes=False),
    )
)
