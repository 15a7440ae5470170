"""Endpoints that look back and take back: `(catalog, target, request)`."""

from __future__ import annotations

from typing import Any

from dagdvid.errors import BadRequest, UnknownName
from dagdvid.registry import datatype
from dagdvid.repo import manage, reflog
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.history import key_history
from dagdvid.repo.revert import Selection, revert
from dagdvid.repo.routes import Target
from dagdvid.routes import Example, Reply, Request, Right, Route, RouteTable, json_reply

__all__ = ["NODE_HISTORY", "REFLOG", "REPO_REFLOG"]

_TEXT_BODY = 16 * 2**20
_ALL = 2**62
_REFLOG_LIMIT = 100


def get_key_history(catalog: Catalog, target: Target, request: Request) -> Reply:
    """GET {data}/key-history/{key}."""
    instance = target.repo.instance(request.args["data"])
    space, key = datatype(instance.typename).find_key(instance, request.args["key"])
    return json_reply(key_history(catalog, *target, instance, space, key, _limit(request)))


def get_reflog(catalog: Catalog, request: Request) -> Reply:
    """GET repos/reflog."""
    return json_reply(list(reflog.entries(catalog, None, _limit(request, _REFLOG_LIMIT))))


def get_repo_reflog(catalog: Catalog, target: Target, request: Request) -> Reply:
    """GET reflog."""
    return json_reply(list(reflog.entries(catalog, target.repo, _limit(request, _REFLOG_LIMIT))))


def post_undelete(catalog: Catalog, target: Target, request: Request) -> Reply:
    """POST undelete."""
    body = request.json_object()
    if ("data" in body) == ("branch" in body):
        raise BadRequest("say either what 'data' to bring back, or which hidden 'branch'")
    repo = target.repo
    if "branch" in body:
        branch = _text(body, "branch")
        count = manage.show_versions(catalog, repo, branch, request.user)
        if not count:
            raise UnknownName(f"no version of a branch {branch!r} is hidden in the repo of {repo.root}")
        return json_reply({"versions": count})
    name = _text(body, "data")
    dead = {uuid: str(tombstone.get("time")) for uuid, tombstone in repo.deleted.items() if tombstone["name"] == name}
    uuid = name if name in repo.deleted or not dead else max(dead, key=lambda uuid: dead[uuid])
    manage.restore_instance(catalog, repo, uuid, _text(body, "name", ""), request.user)
    return json_reply({"data": uuid})


def _limit(request: Request, default: int = _ALL) -> int:
    text = request.query.get("limit")
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise BadRequest(f"'limit' must be a number, not {text[:40]!r}")
    return int(text)


def post_revert(catalog: Catalog, target: Target, request: Request) -> Reply:
    """POST revert."""
    body = request.json_object()
    repo, undone = catalog.find(_text(body, "version"))
    if repo.root != target.repo.root:
        raise BadRequest(f"{undone.uuid} is a version of another repo")
    dry_run = body.get("dry_run", False)
    if not isinstance(dry_run, bool):
        raise BadRequest("'dry_run' must be true or false")
    selection = Selection(_names(body), _keys(body))
    note = _text(body, "note", "")
    return json_reply(revert(catalog, *target, undone, selection, note, request.user, dry_run=dry_run))


def _text(body: dict[str, Any], name: str, default: str | None = None) -> str:
    value = body.get(name, default)
    if not isinstance(value, str):
        raise BadRequest(f"{name!r} must be a string")
    return value


def _names(body: dict[str, Any]) -> list[str]:
    names = body.get("data", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadRequest("'data' must be a list of names of data instances")
    return names


def _keys(body: dict[str, Any]) -> tuple[str, str] | None:
    keys = body.get("keys")
    if keys is None:
        return None
    if not isinstance(keys, list) or len(keys) != 2 or not all(isinstance(key, str) for key in keys):
        raise BadRequest("'keys' must be a list of two keys, the first and the last")
    return keys[0], keys[1]


NODE_HISTORY = RouteTable(
    (
        Route(
            ("GET", "HEAD"),
            "{data}/key-history/{key}",
            get_key_history,
            "The versions before this one, and itself, that changed a key (of images: a block, as x,y,z), newest "
            'first: [{"version", "branch", "locked", "change", "time", "user", "note", "bytes", "hash"}].',
            query={"limit": "at most so many"},
            examples=(
                Example(
                    "kv/key-history/neuron-1",
                    '[{"version":"{ann}",...,"change":"...",...},{"version":"{root}",...}]',
                    version="ann",
                ),
            ),
        ),
        Route(
            ("POST",),
            "revert",
            post_revert,
            "Take back what a version changed: here, or in a new child if this version is committed. Body: JSON "
            '{"version"}, and "data": [names] for these data instances only, "keys": [first, last] for these keys of '
            'one instance, "note" of the new child, "dry_run": true to be told what would be done. Keys that were '
            "changed again later are conflicts; with one, nothing is changed. Answers "
            '{"version", "reverted", "conflicts"}.',
            on_locked=True,
            right=Right.WRITE,
            max_body=_TEXT_BODY,
            examples=(
                Example(
                    "revert",
                    '{"version":"{open}","reverted":...,"conflicts":...}',
                    '{"version":"{root}","data":["kv"],"dry_run":true}',
                ),
            ),
        ),
    )
)

_LIMIT = {"limit": f"at most so many; {_REFLOG_LIMIT} if not given"}
_MOVEMENT = (
    '[{"time", "repo", "ref", "action", "before", "after", "user"}], and for the repo record "keys", the first that '
    'changed, and "changed", how many.'
)

REFLOG = RouteTable(
    (
        Route(
            ("GET", "HEAD"),
            "repos/reflog",
            get_reflog,
            "How refs moved in the last 30 days, those of deleted repos among them, newest first: " + _MOVEMENT,
            query=_LIMIT,
            examples=(Example("repos/reflog?limit=1", '[{"time":...}]'),),
        ),
    )
)

REPO_REFLOG = RouteTable(
    (
        Route(
            ("GET", "HEAD"),
            "reflog",
            get_repo_reflog,
            "How the refs of the repo moved in the last 30 days, newest first: " + _MOVEMENT,
            query=_LIMIT,
            examples=(Example("reflog?limit=1", '[{"time":...}]'),),
        ),
        Route(
            ("POST",),
            "undelete",
            post_undelete,
            "Bring back a data instance that was deleted and not collected since, or a hidden branch. Body: JSON "
            '{"data": name or data UUID, "name": a new one}, the second optional, or {"branch"}.',
            right=Right.MANAGE,
            examples=(Example("undelete", "...", '{"data":"gone"}'),),
        ),
    )
)
