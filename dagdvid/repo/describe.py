"""The JSON of repos, versions and instances, as DVID writes it (behaviours of datastore/repo_local.go MarshalJSON)."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from typing import Any

from dagdvid.datatype import Datatype, Instance
from dagdvid.errors import DamageError, UnknownName
from dagdvid.registry import datatype
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.instances import TAGGED
from dagdvid.repo.model import Repo, Version

__all__ = ["describe_instance", "describe_repo", "shown_tags"]

log = logging.getLogger(__name__)


def describe_repo(catalog: Catalog, repo: Repo, only: Collection[str] | None = None) -> dict[str, Any]:
    """A repo with all its versions and instances; extents are those of the master leaf.

    Args:
        catalog: of the repo.
        repo: what to describe.
        only: UUIDs of the versions to show, where not all may be seen; then there is no log, and extents are those of
            the last of them.
    """
    leaf = repo.leaf("") or repo.versions[repo.root]
    shown = [version for version in repo.shown if only is None or version.uuid in only]
    if only is not None and leaf.uuid not in only and shown:
        leaf = shown[-1]
    mutation = catalog.mutation_id(repo)
    return {
        "Root": repo.root,
        "Alias": repo.texts.get("alias", ""),
        "Description": repo.texts.get("description", ""),
        "Log": list(repo.log) if only is None else [],
        "Properties": {},
        "DataInstances": {
            name: _readable(catalog, repo, leaf, repo.instances[name]) for name in sorted(repo.instances)
        },
        "DAG": {
            "Root": repo.root,
            "Nodes": {v.uuid: _describe_version(repo, v, only) for v in sorted(shown, key=lambda v: v.uuid)},
        },
        "MutationID": mutation,
        "SavedMutationID": mutation,
        "Created": repo.texts.get("created", ""),
        "Updated": repo.updated,
    }


def _readable(catalog: Catalog, repo: Repo, version: Version, instance: Instance) -> dict[str, Any]:
    """An instance as far as it can be read: damage of one must not hide all others."""
    try:
        return describe_instance(catalog, repo, version, instance)
    except DamageError as error:
        log.error("instance %s of repo %s cannot be read in full: %s", instance.name, repo.root, error)
        return {"Base": _base(catalog, instance), "Extended": {}}


def describe_instance(catalog: Catalog, repo: Repo, version: Version, instance: Instance) -> dict[str, Any]:
    """An instance as it is at a version."""
    kind = _kind(instance)
    members = kind.info(instance, catalog.snapshot(repo, version, instance)) if kind else {"Extended": {}}
    return {"Base": _base(catalog, instance), **members}


def _kind(instance: Instance) -> Datatype | None:
    try:
        return datatype(instance.typename)
    except UnknownName:
        return None


def _base(catalog: Catalog, instance: Instance) -> dict[str, Any]:
    kind = _kind(instance)
    where = f"dagdvid @ {catalog.store.folder}"
    return {
        "TypeName": instance.typename,
        "TypeURL": kind.url if kind else "",
        "TypeVersion": kind.version if kind else "",
        "DataUUID": instance.uuid,
        "Name": instance.name,
        "RepoUUID": instance.origin,
        "Compression": instance.config.get("Compression", ""),
        "Checksum": instance.config.get("Checksum", ""),
        "Syncs": sorted(instance.syncs),
        "Versioned": instance.versioned,
        "KVStore": where,
        "LogStore": where,
        "Tags": shown_tags(instance),
    }


def shown_tags(instance: Instance) -> dict[str, str] | None:
    """The tags of an instance; None, as DVID has it, if it never had any."""
    return dict(instance.tags) if instance.tags or instance.properties.get(TAGGED) else None


def _describe_version(repo: Repo, version: Version, only: Collection[str] | None) -> dict[str, Any]:
    def ids(versions: Iterable[Version]) -> list[int]:
        return [each.id for each in versions if only is None or each.uuid in only]

    node = {
        "Branch": version.branch,
        "Note": version.note,
        "Log": list(version.log),
        "UUID": version.uuid,
        "VersionID": version.id,
        "Locked": version.locked,
        "Parents": ids(repo.shown_parents(version)),
        "Children": ids(repo.shown_children(version)),
        "Created": version.created,
        "Updated": version.updated,
    }
    if version.commit is not None:
        node["Hash"] = version.commit.hex()
    return node
