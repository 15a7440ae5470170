"""Commands that change what there is: rename, delete, copy, branches that change places, versions that are hidden."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from dagdvid.commands.context import Context
from dagdvid.errors import BadRequest
from dagdvid.repo import manage
from dagdvid.repo.flatten import Plan
from dagdvid.repo.model import Version
from dagdvid.words import Call, Command, CommandTable

__all__ = ["MANAGING"]

Wanted = TypeVar("Wanted")


def delete_repo(context: Context, call: Call) -> str:
    """repos delete."""
    target = context.target(call)
    if target.version.uuid != target.repo.root:
        raise BadRequest(f"to delete a repo, name it by its root: {target.repo.root}")
    manage.delete_repo(context.catalog, target.repo, call.get("passcode"))
    return f"Deleted repo {target.repo.root}"


def rename(context: Context, call: Call) -> str:
    """repo UUID rename."""
    target = context.target(call)
    old, new = call.args["old"], call.args["new"]
    manage.rename_instance(context.catalog, target.repo, old, new, call.user, call.get("passcode"))
    return f'Renamed data instance "{old}" to "{new}" in the repo with root {target.repo.root}'


def delete(context: Context, call: Call) -> str:
    """repo UUID delete."""
    target = context.target(call)
    manage.delete_instance(context.catalog, target.repo, call.args["data"], call.user, call.get("passcode"))
    return f'Deleted data instance "{call.args["data"]}" from the repo with root {target.repo.root}'


def copy(context: Context, call: Call) -> str:
    """repo UUID copy."""
    target = context.target(call)
    source, name = call.args["source"], call.args["target"]
    manage.copy_instance(context.catalog, *target, source, name, call.settings, call.user)
    return f'Copied data instance "{source}" to "{name}" at node {target.version.uuid}'


def make_master(context: Context, call: Call) -> str:
    """repo UUID make-master."""
    target = context.target(call)
    manage.make_master(context.catalog, *target, call.args["oldmaster"], call.user)
    return f"Made the branch from {target.version.uuid} the new master"


def hide_branch(context: Context, call: Call) -> str:
    """repo UUID hide-branch."""
    target = context.target(call)
    manage.hide_branch(context.catalog, target.repo, call.args["branch"], call.user)
    return f"Hid branch {call.args['branch']} in the repo with root {target.repo.root}"


def limit_versions(context: Context, call: Call) -> str:
    """repo UUID limit-versions."""
    target = context.target(call)
    try:
        kept = json.loads(call.stdin)["Versions"]
    except (ValueError, TypeError, KeyError, RecursionError):
        kept = None
    if not isinstance(kept, list) or not all(isinstance(uuid, str) for uuid in kept):
        raise BadRequest('the file, or standard input, must be JSON: {"Versions": [UUIDs to keep]}')
    count = manage.limit_versions(context.catalog, target.repo, kept, call.user)
    return f"Hid {count} versions of the repo with root {target.repo.root}"


def flatten(context: Context, call: Call) -> str:
    """repo UUID flatten-metadata."""
    target = context.target(call)
    made = manage.flatten(context.catalog, target.repo, *_plan(call.stdin))
    return f"Made {made['directory']} with {made['versions']} versions of the repo, the root is {made['root']}"


_FLATTEN = (
    '{"Versions": [UUIDs to keep], "DstStore": {"Path": the directory}}, and, optional, "Exclusions": [names of data], '
    '"Alias", "Description", "RepoLog": [lines], "VersionsMeta": [{"Version", "NodeNote", "NodeLog", "Branch"}]'
)


def _plan(stdin: bytes) -> tuple[Path, Plan]:
    """DVID's configuration of this command (datastore/copy_local.go flattenMetaCfg)."""
    try:
        config = json.loads(stdin)
        folder = Path(_of(str, config["DstStore"], "Path"))
        changes = [_Changes(each) for each in _of(list, config, "VersionsMeta")]
        texts = {name.lower(): text for name in ("Alias", "Description") if (text := _of(str, config, name))}
        log = _texts(config, "RepoLog")
        kept, excluded = _texts(config, "Versions"), _texts(config, "Exclusions")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise BadRequest(f"the file, or standard input, must be JSON: {_FLATTEN}") from None

    def changed(version: Version) -> tuple[str, str, tuple[str, ...]]:
        for change in changes:
            if change.version and version.uuid.startswith(change.version):
                return change.branch, change.note or version.note, change.log or version.log
        return version.branch, version.note, version.log

    return folder, Plan(kept, excluded, texts, log or None, changed)


class _Changes:
    """What a version is to be called."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.version, self.note, self.branch = (_of(str, config, name) for name in ("Version", "NodeNote", "Branch"))
        self.log = tuple(_texts(config, "NodeLog"))


def _of(kind: type[Wanted], config: Mapping[str, Any], name: str) -> Wanted:
    value = config.get(name, kind())
    if not isinstance(value, kind):
        raise TypeError(name)
    return value


def _texts(config: Mapping[str, Any], name: str) -> list[str]:
    return [_of(str, {"": text}, "") for text in _of(list, config, name)]


MANAGING = CommandTable(
    (
        Command("repos delete UUID [PASSCODE]", delete_repo, "Delete the repo with this root from this server."),
        Command("repo UUID rename OLD NEW [PASSCODE]", rename, "Give a data instance another name."),
        Command(
            "repo UUID delete DATA [PASSCODE]",
            delete,
            "Delete a data instance, by name or data UUID, with its data in all versions.",
        ),
        Command(
            "repo UUID copy SOURCE TARGET [KEY=VALUE...]",
            copy,
            "Make a data instance with what another has at the open version UUID; it costs next to nothing. The "
            "settings are those that shall differ.",
        ),
        Command(
            "repo UUID make-master OLDMASTER",
            make_master,
            "Make the branch that begins with the version UUID master; what was master from there on is called "
            "OLDMASTER then.",
        ),
        Command("repo UUID hide-branch BRANCH", hide_branch, "Show the versions of a branch no more."),
        Command(
            "repo UUID limit-versions [FILE]",
            limit_versions,
            'Show only some versions and those before them, named by JSON {"Versions": [UUIDs]}.',
            file="FILE",
        ),
        Command(
            "repo UUID flatten-metadata [FILE]",
            flatten,
            "Make a data directory with only some versions of the repo, and without some of its data: "
            + _FLATTEN
            + ".",
            file="FILE",
        ),
    )
)
