"""What people do to a repo from the outside: rename, delete, copy, hide. Each call is one change, or none.

Facts go to the repo record (SPEC 6.3), so that they travel and have a history; commits stay as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

from dagdvid.errors import BadRequest, DamageError, UnknownName
from dagdvid.objects.ids import from_hex
from dagdvid.repo import fold, passcodes
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.duplicate import copy_instance
from dagdvid.repo.flatten import flatten
from dagdvid.repo.instances import check_name
from dagdvid.repo.model import MASTER, Repo, Version, branch_text
from dagdvid.repo.operations import SetRecord
from dagdvid.repo.record import Facts, log_facts, now
from dagdvid.repo.removal import DeleteData, DeleteRepo, DropStaging, RestoreData

__all__ = [
    "copy_instance",
    "delete_instance",
    "delete_repo",
    "flatten",
    "hide_branch",
    "limit_versions",
    "make_master",
    "rename_instance",
    "restore_instance",
    "show_versions",
]

_ROWS = 10_000
"""Staged rows that one transaction removes: some 50 ms."""


def rename_instance(catalog: Catalog, repo: Repo, old: str, new: str, user: str = "", passcode: str = "") -> None:
    """Give an instance another name.

    Raises:
        UnknownName: there is none of the old name.
        BadRequest: the new name is taken or cannot be.
        Forbidden: the repo has another passcode.
    """
    passcodes.check(catalog.store.database, repo.id, passcode)
    check_name(new)

    def facts(repo: Repo) -> Facts:
        instance = repo.instance(old)
        if new in repo.instances:
            raise BadRequest(f"data instance name {new!r} is taken in the repo of {repo.root}")
        return {f"data/{instance.uuid}/name": new, **log_facts([f'Renamed data instance "{old}" to "{new}"'])}

    catalog.change_record(repo.root, facts, user)


def delete_instance(catalog: Catalog, repo: Repo, name: str, user: str = "", passcode: str = "") -> str:
    """Delete an instance, by name or data UUID, with its data in all versions; its data UUID.

    The record keeps a tombstone. Hashes of versions do not change; what they hold of it is given up, and collected.

    Raises:
        UnknownName: there is none.
        Forbidden: the repo has another passcode.
    """
    passcodes.check(catalog.store.database, repo.id, passcode)
    uuid = (repo.by_data_uuid.get(name) or repo.instance(name)).uuid
    number = repo.numbers[uuid]

    def facts(repo: Repo) -> Facts:
        instance = repo.by_data_uuid.get(uuid)
        if instance is None:
            raise UnknownName(f"data instance {name!r} has been deleted")
        record = None if instance.versioned else fold.fold_unversioned(catalog, repo, instance)
        tombstone = {
            "name": instance.name,
            "record": record.hex() if record else "",
            "time": now(),
            "type": instance.typename,
            "user": user,
        }
        line = f"Delete data instance '{instance.name}' of type '{instance.typename}'"
        return {f"data/{uuid}/name": None, f"data/{uuid}/deleted": tombstone, **log_facts([line])}

    catalog.change_record(repo.root, facts, user, around=lambda change: DeleteData(change, uuid))
    for version in [0, *(v.id for v in repo.versions.values() if v.commit is None)]:
        _drop_staging(catalog, version, number)
    return uuid


def restore_instance(catalog: Catalog, repo: Repo, uuid: str, name: str = "", user: str = "") -> None:
    """Take the deletion of an instance back, as long as garbage was not collected; else its data shows as missing.

    What was staged in open versions is not coming back.

    Raises:
        UnknownName: no instance of this data UUID was deleted.
        BadRequest: its name is taken: give another.
    """
    tombstone = repo.deleted.get(uuid)
    if tombstone is None:
        raise UnknownName(f"no data instance with data UUID {uuid} was deleted from the repo of {repo.root}")
    name = name or str(tombstone["name"])
    check_name(name)
    record = str(tombstone.get("record", ""))

    def facts(repo: Repo) -> Facts:
        if name in repo.instances:
            raise BadRequest(f"data instance name {name!r} is taken in the repo of {repo.root}: give another")
        if uuid not in repo.deleted:
            raise BadRequest(f"data instance {uuid} is not deleted")
        line = f'Restored data instance "{name}"'
        return {f"data/{uuid}/name": name, f"data/{uuid}/deleted": None, **log_facts([line])}

    def restored(change: SetRecord) -> RestoreData:
        return RestoreData(change, uuid, from_hex(record) if record else None)

    catalog.change_record(repo.root, facts, user, around=restored)


def delete_repo(catalog: Catalog, repo: Repo, passcode: str = "") -> None:
    """Delete a repo with all its versions and instances; other servers keep theirs. What was committed, and unversioned
    instances, can be brought back for a time: see `dagdvid.remote.undelete`.

    Raises:
        RefMoved: it changed meanwhile.
        Forbidden: it has another passcode.
    """
    passcodes.check(catalog.store.database, repo.id, passcode)
    with suppress(DamageError):  # a damaged repo goes as it is
        _settle(catalog, repo)
    versions = catalog.repo(repo.root).versions
    catalog.store.run(DeleteRepo(repo.id, repo.record, tuple(repo.numbers)))
    for version in versions.values():
        if version.commit is None:
            _drop_staging(catalog, version.id, None)
    for number in repo.numbers.values():
        _drop_staging(catalog, 0, number)


def _settle(catalog: Catalog, repo: Repo) -> None:
    """Make all that is not open to objects that refs name."""
    for version in repo.versions.values():
        if version.locked:
            fold.fold(catalog, repo.root, version.uuid)
    for instance in repo.unversioned:
        fold.fold_unversioned(catalog, repo, instance)


def make_master(catalog: Catalog, repo: Repo, version: Version, old_master: str, user: str = "") -> None:
    """Let the branch that begins with a version be master, and what was master from there on be called otherwise.

    Raises:
        BadRequest: the version is on master, is not the first of its branch, has no sibling on master, or the name for
            the old master is taken or cannot be.
    """
    if old_master in ("", MASTER):
        raise BadRequest("the branch that was master needs another name")

    def facts(repo: Repo) -> Facts:
        first = repo.versions[version.uuid]
        if not first.branch:
            raise BadRequest(f"version {first.uuid} is on master already")
        if any(v.branch == old_master for v in repo.versions.values()):
            raise BadRequest(f"branch already exists with given name {old_master!r}")
        parent = repo.versions[first.parents[0]]
        if parent.branch == first.branch:
            raise BadRequest(f"version {first.uuid} is not the first of branch {first.branch!r}")
        siblings = [repo.versions[c] for c in repo.children[parent.uuid]]
        rival = next((v for v in siblings if not v.branch), None)
        if rival is None:
            raise BadRequest(f"version {first.uuid} has no sibling on master, in whose place it could go")
        moved = {f"version/{v.uuid}/branch": old_master for v in _rest_of_branch(repo, rival)}
        moved |= {f"version/{v.uuid}/branch": "" for v in _rest_of_branch(repo, first)}
        line = f"Made branch {branch_text(first.branch)} master; what was master from there on is {old_master}"
        return moved | log_facts([line])

    _change_versions(catalog, repo, facts, user)


def hide_branch(catalog: Catalog, repo: Repo, branch: str, user: str = "") -> None:
    """Show the versions of a branch no more, nor let them be named. They stay, and so does what stands on them.

    Raises:
        BadRequest: it is master. UnknownName: there is no such branch.
    """
    if branch in ("", MASTER):
        raise BadRequest("master cannot be hidden")

    def facts(repo: Repo) -> Facts:
        hidden = [v for v in repo.shown if v.branch == branch]
        if not hidden:
            raise UnknownName(f"no branch {branch!r} in the repo of {repo.root}")
        return {f"version/{v.uuid}/hidden": True for v in hidden} | log_facts([f"Hid branch {branch}"])

    catalog.change_record(repo.root, facts, user)


def limit_versions(catalog: Catalog, repo: Repo, uuids: Collection[str], user: str = "") -> int:
    """Show only the versions named and those before them; how many were hidden.

    Raises:
        BadRequest: none is named, or one is of another repo. UnknownName: there is no such version.
    """
    if not uuids:
        raise BadRequest("name the versions to keep, at least one")
    named = [catalog.find(uuid) for uuid in uuids]
    if any(found.root != repo.root for found, _ in named):
        raise BadRequest("a version to keep is of another repo")
    hidden: list[Version] = []

    def facts(repo: Repo) -> Facts:
        kept = {v.uuid for _, version in named for v in repo.ancestors(repo.versions[version.uuid])}
        hidden[:] = [v for v in repo.shown if v.uuid not in kept]
        return {f"version/{v.uuid}/hidden": True for v in hidden} | log_facts([f"Hid {len(hidden)} versions"])

    catalog.change_record(repo.root, facts, user)
    return len(hidden)


def show_versions(catalog: Catalog, repo: Repo, branch: str | None = None, user: str = "") -> int:
    """Show hidden versions again: of one branch, or all; how many there were."""
    shown: list[Version] = []

    def facts(repo: Repo) -> Facts:
        shown[:] = [v for v in repo.versions.values() if v.hidden and (branch is None or v.branch == branch)]
        return {f"version/{v.uuid}/hidden": None for v in shown} | log_facts([f"Showed {len(shown)} versions again"])

    catalog.change_record(repo.root, facts, user)
    return len(shown)


def _change_versions(catalog: Catalog, repo: Repo, facts: Any, user: str) -> None:
    """Change the record together with the branches that this server goes by."""
    branches: dict[str, str] = {}

    def remembered(repo: Repo) -> Facts:
        changed: Mapping[str, Any] = facts(repo)
        branches.clear()
        branches.update({k.split("/")[1]: v for k, v in changed.items() if k.startswith("version/")})
        return changed

    def around(change: SetRecord) -> SetRecord:
        return SetRecord(change.repo, change.before, change.after, change.objects, branches=dict(branches))

    catalog.change_record(repo.root, remembered, user, around=around)


def _rest_of_branch(repo: Repo, version: Version) -> list[Version]:
    """A version and those that go on from it on its branch."""
    found = [version]
    for v in found:  # it grows
        found += [w for c in repo.children[v.uuid] if (w := repo.versions[c]).branch == version.branch]
    return list({v.uuid: v for v in found}.values())


def _drop_staging(catalog: Catalog, version: int, data: int | None) -> None:
    while catalog.store.run(DropStaging(version, data, _ROWS)) == _ROWS:
        pass
