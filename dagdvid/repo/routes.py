"""Endpoints of repos and versions: handlers `(catalog, target, request)`, or `(catalog, request)` without a UUID."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from dagdvid.errors import BadRequest
from dagdvid.repo import fold, manage
from dagdvid.repo.activity import note_act
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.changes import Change, ChangeHandler, Target
from dagdvid.repo.describe import describe_repo
from dagdvid.repo.instances import new_instance, setting_texts
from dagdvid.repo.merging import merge_versions
from dagdvid.repo.model import MASTER, Repo, Version
from dagdvid.repo.operations import Seal, new_child
from dagdvid.repo.record import log_facts, record_stamp
from dagdvid.routes import Cache, Example, Reply, Request, Right, Route, RouteTable, json_reply

__all__ = ["NODE", "REPO", "REPOS", "Target"]

_TEXT_BODY = 16 * 2**20


def _fields(body: Mapping[str, Any]) -> dict[str, Any]:
    """JSON members by lower-case name: DVID's clients write them in any case."""
    return {key.lower(): value for key, value in body.items()}


def _text(fields: Mapping[str, Any], name: str, default: str = "") -> str:
    value = fields.get(name, default)
    if not isinstance(value, str):
        raise BadRequest(f"{name!r} must be a string")
    return value


def _lines(fields: Mapping[str, Any], *, required: bool = False) -> list[str]:
    lines = fields.get("log")
    if lines is None and not required:
        return []
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise BadRequest("'log' must be a list of strings")
    return lines


def create_repo(catalog: Catalog, request: Request) -> Reply:
    """POST repos."""
    fields = _fields(request.json_object(required=False))
    texts = (_text(fields, name) for name in ("alias", "description", "root", "passcode"))
    root = catalog.create_repo(*texts)
    reply = json_reply({"root": root})
    note_act(catalog, root, request, reply, "repos")
    return reply


def all_info(catalog: Catalog, request: Request) -> Reply:
    """GET repos/info."""
    seen = {root: (repo, _seen(repo, request)) for root, repo in sorted(catalog.repos().items())}
    return json_reply(
        {root: describe_repo(catalog, repo, only) for root, (repo, only) in seen.items() if only is None or only}
    )


def _seen(repo: Repo, request: Request) -> frozenset[str] | None:
    """The versions that who asks may see; None: all."""
    visitor = request.visitor
    return None if visitor.sees(repo.root) else visitor.public & repo.versions.keys()


def exists(catalog: Catalog, target: Target, request: Request) -> Reply:  # noqa: ARG001
    """HEAD repo."""
    return Reply(content_type="text/plain")


def repo_info(catalog: Catalog, target: Target, request: Request) -> Reply:
    """GET info."""
    return json_reply(describe_repo(catalog, target.repo, _seen(target.repo, request)))


def set_repo_info(catalog: Catalog, target: Target, request: Request) -> Reply:
    """POST info."""
    fields = _fields(request.json_object(required=False))
    facts: dict[str, Any] = {name: _text(fields, name) for name in ("alias", "description") if name in fields}
    if facts:
        catalog.change_record(target.repo.root, lambda _: facts, request.user)
    return Reply()


def repo_log(catalog: Catalog, target: Target, request: Request) -> Reply:  # noqa: ARG001
    """GET log."""
    return json_reply({"log": list(target.repo.log)})


def add_repo_log(catalog: Catalog, target: Target, request: Request) -> Reply:
    """POST log."""
    catalog.add_log(target.repo.root, _lines(_fields(request.json_object()), required=True), request.user)
    return Reply()


def branch_versions(catalog: Catalog, target: Target, request: Request) -> Reply:  # noqa: ARG001
    """GET branch-versions."""
    branch = request.args["branch"]
    return json_reply([v.uuid for v in target.repo.line("" if branch == MASTER else branch)])


def delete_repo(catalog: Catalog, target: Target, request: Request) -> Reply:
    """DELETE repo."""
    _sure(request)
    if target.version.uuid != target.repo.root:
        raise BadRequest(f"to delete a repo, name it by its root: {target.repo.root}")
    manage.delete_repo(catalog, target.repo, passcode=request.query.get("passcode", ""))
    return Reply()


def delete_instance(catalog: Catalog, target: Target, request: Request) -> Reply:
    """DELETE {data}."""
    _sure(request)
    passcode = request.query.get("passcode", "")
    manage.delete_instance(catalog, target.repo, request.args["data"], request.user, passcode)
    return Reply()


def _sure(request: Request) -> None:
    if not request.flag("imsure"):
        raise BadRequest("this takes data away for good: say ?imsure=true")


def create_instance(catalog: Catalog, target: Target, request: Request) -> Reply:
    """POST instance."""
    settings = setting_texts(_fields(request.json_object()))
    if target.version.locked and not request.unlocked:
        raise BadRequest(f"new data instance cannot be created on locked node {target.version.uuid}")
    instance = new_instance(settings, target.version.uuid)
    catalog.create_instance(target.repo.root, instance, request.user)
    text = f"Added {instance.name} [{instance.typename}] to node {target.version.uuid}"
    return json_reply({"result": text})


def note(catalog: Catalog, target: Target, request: Request) -> Reply:  # noqa: ARG001
    """GET note."""
    return json_reply({"note": target.version.note})


def set_note(catalog: Catalog, target: Target, request: Request) -> Reply:
    """POST note."""
    fields = _fields(request.json_object())
    if "note" not in fields:
        raise BadRequest("'note' is missing")
    _set_texts(catalog, target, request, _text(fields, "note"), ())
    return Reply()


def _set_texts(catalog: Catalog, target: Target, request: Request, note: str | None, lines: Sequence[str]) -> None:
    """Change the note or log of a version; of a locked one in the repo record, as its commit is made."""
    if not target.version.locked:
        catalog.set_texts(target.repo, target.version, note, lines)
        return
    fold.fold(catalog, target.repo.root, target.version.uuid)
    at = f"version/{target.version.uuid}/"
    facts: dict[str, Any] = {} if note is None else {at + "note": note}
    facts |= {at + key: line for key, line in log_facts(lines).items()}
    if facts:
        catalog.change_record(target.repo.root, lambda _: facts, request.user)


def node_log(catalog: Catalog, target: Target, request: Request) -> Reply:  # noqa: ARG001
    """GET log."""
    return json_reply({"log": list(target.version.log)})


def add_node_log(catalog: Catalog, target: Target, request: Request) -> Reply:
    """POST log."""
    _set_texts(catalog, target, request, None, _lines(_fields(request.json_object()), required=True))
    return Reply()


def status(catalog: Catalog, target: Target, request: Request) -> Reply:  # noqa: ARG001
    """GET status, GET commit."""
    return json_reply({"Locked": target.version.locked})


def commit(catalog: Catalog, target: Target, request: Request) -> Change:
    """POST commit: lock the version for good. Its commit is made in the background; `fold` waits for it."""
    repo, version = target
    fields = _fields(request.json_object())
    note, lines = _text(fields, "note"), _lines(fields)
    repo.check()
    crowded = fold.crowded(catalog, repo, version)
    return Change(
        Seal(repo.id, version.id, note, [record_stamp(line) for line in lines], request.user),
        json_reply({"committed": version.uuid}),
        before=partial(fold.fold, catalog, repo.root, crowded) if crowded else None,
        after=partial(catalog.upkeep.sealed, repo.root, version.uuid) if catalog.upkeep is not None else None,
    )


def version_hash(catalog: Catalog, target: Target, request: Request) -> Reply:  # noqa: ARG001
    """GET hash."""
    if not target.version.locked:
        raise BadRequest(f"version {target.version.uuid} has no hash before it is committed")
    return json_reply({"hash": fold.fold(catalog, target.repo.root, target.version.uuid).hex()})


def new_version(catalog: Catalog, target: Target, request: Request) -> Change:  # noqa: ARG001
    """POST newversion."""
    fields = _fields(request.json_object(required=False))
    return _child(target, fields, None)


def new_branch(catalog: Catalog, target: Target, request: Request) -> Change:  # noqa: ARG001
    """POST branch."""
    fields = _fields(request.json_object())
    return _child(target, fields, _text(fields, "branch"))


def _child(target: Target, fields: Mapping[str, Any], branch: str | None) -> Change:
    added = new_child(*target, _text(fields, "note"), _text(fields, "uuid"), branch)
    return Change(added, json_reply({"child": added.uuid}))


def tag(catalog: Catalog, target: Target, request: Request) -> Reply:
    """POST tag."""
    name = _text(_fields(request.json_object()), "tag")
    catalog.tag(target.repo, target.version, name)
    fold.fold(catalog, target.repo.root, name)
    return json_reply({"child": name})


def merge(catalog: Catalog, target: Target, request: Request) -> Reply:
    """POST merge."""
    fields = _fields(request.json_object())
    kind = _text(fields, "mergetype")
    if kind not in ("conflict-free", "three-way"):
        raise BadRequest(f'\'mergeType\' must be "conflict-free" or "three-way", not {kind!r}')
    parents = _parents(catalog, target, fields)
    keep = kind == "three-way"
    merged = merge_versions(catalog, target.repo, parents, _text(fields, "note"), keep_conflicts=keep)
    return json_reply({"child": merged.uuid} | ({"conflicts": merged.conflicts} if keep else {}))


def resolve(catalog: Catalog, target: Target, request: Request) -> Reply:
    """POST resolve."""
    fields = _fields(request.json_object())
    data = fields.get("data")
    if not isinstance(data, list) or not data or not all(isinstance(name, str) for name in data):
        raise BadRequest("'data' must be a list of names of data instances")
    parents = _parents(catalog, target, fields)
    return json_reply({"child": merge_versions(catalog, target.repo, parents, _text(fields, "note"), data).uuid})


def _parents(catalog: Catalog, target: Target, fields: Mapping[str, Any]) -> list[Version]:
    named = fields.get("parents")
    if not isinstance(named, list) or not all(isinstance(text, str) for text in named):
        raise BadRequest("'parents' must be a list of UUIDs")
    found = [catalog.find(text) for text in named]
    for repo, version in found:
        if repo.root != target.repo.root:
            raise BadRequest(f"{version.uuid} is a version of another repo")
    return [version for _, version in found]


REPOS = RouteTable(
    (
        Route(
            ("POST",),
            "repos",
            create_repo,
            'Make a repo with an open root version. Body: JSON {"alias", "description", "root", "passcode"}, all '
            'optional; "root" is the UUID to give it, and the passcode must then be said to rename or delete. Answers '
            '{"root": UUID}.',
            right=Right.MANAGE,
            max_body=_TEXT_BODY,
            examples=(Example("repos", '{"root":"..."}', '{"alias":"optic lobe","description":"first volume"}'),),
        ),
        Route(
            ("GET", "HEAD"),
            "repos/info",
            all_info,
            "All repos with their versions and instances, by root UUID.",
            examples=(Example("repos/info", '{"...":{...}}'),),
        ),
    )
)

_SURE = {"imsure": "true, else nothing is done", "passcode": "that of the repo, if it has one"}
REPO = RouteTable(
    (
        Route(
            ("HEAD",),
            "",
            exists,
            "200 if there is such a repo, else 400.",
            examples=(Example(""),),
        ),
        Route(
            ("DELETE",),
            "",
            delete_repo,
            "Delete the repo whose root this is, with all its versions and data.",
            right=Right.MANAGE,
            query=_SURE,
            examples=(Example("?imsure=true", version="root"),),
        ),
        Route(
            ("DELETE",),
            "{data}",
            delete_instance,
            "Delete a data instance, by name or data UUID, with its data in all versions.",
            right=Right.MANAGE,
            query=_SURE,
            examples=(Example("kv?imsure=true", "..."),),
        ),
        Route(
            ("GET", "HEAD"),
            "info",
            repo_info,
            "The repo with its versions and instances.",
            examples=(Example("info", '{...,"Alias":"sample",...}'),),
        ),
        Route(
            ("POST",),
            "info",
            set_repo_info,
            'Change alias or description. Body: JSON {"alias", "description"}, both optional.',
            right=Right.WRITE,
            max_body=_TEXT_BODY,
            examples=(Example("info", body='{"alias":"fly","description":"a volume and records"}'),),
        ),
        Route(
            ("POST",),
            "instance",
            create_instance,
            'Make a data instance. Body: JSON of strings: "typename" and "dataname", then settings: "versioned", '
            '"Compression", "Checksum", "Tags", and those of the datatype.',
            right=Right.WRITE,
            max_body=_TEXT_BODY,
            examples=(
                Example(
                    "instance",
                    "...",
                    '{"typename":"uint8blk","dataname":"em","BlockSize":"64,64,64","Compression":"lz4"}',
                ),
            ),
        ),
        Route(
            ("GET", "HEAD"),
            "log",
            repo_log,
            "The log of the repo.",
            examples=(Example("log", '{"log":["... imported"]}'),),
        ),
        Route(
            ("POST",),
            "log",
            add_repo_log,
            'Append to the log of the repo. Body: JSON {"log": [lines]}.',
            right=Right.WRITE,
            max_body=_TEXT_BODY,
            examples=(Example("log", body='{"log":["alignment done"]}'),),
        ),
        Route(
            ("POST",),
            "merge",
            merge,
            "Make an open version with the changes of several committed ones. Body: JSON "
            '{"mergeType", "parents": [UUIDs], "note"}. With the type "conflict-free" they must not conflict; with '
            '"three-way" there are two parents, and conflicts are kept to be resolved: see /api/node/{uuid}/conflicts. '
            'Answers {"child": UUID}, and how many "conflicts" were kept.',
            right=Right.WRITE,
            max_body=_TEXT_BODY,
            examples=(
                Example(
                    "merge",
                    '{"child":"..."}',
                    '{"mergeType":"conflict-free","parents":["{ann}","{cat}"],"note":"both"}',
                ),
                Example(
                    "merge", '{"child":"...","conflicts":1}', '{"mergeType":"three-way","parents":["{bob}","{ann}"]}'
                ),
            ),
        ),
        Route(
            ("POST",),
            "resolve",
            resolve,
            "Merge versions that disagree: in the instances named, the first parent has the last word. Body: JSON "
            '{"data": [names], "parents": [UUIDs], "note"}.',
            right=Right.WRITE,
            max_body=_TEXT_BODY,
            examples=(
                Example(
                    "resolve", '{"child":"..."}', '{"data":["kv"],"parents":["{ann}","{bob}"],"note":"ann is right"}'
                ),
            ),
        ),
        Route(
            ("GET", "HEAD"),
            "branch-versions/{branch}",
            branch_versions,
            "UUIDs from the leaf of a branch to the root; [] if there is no such branch.",
            examples=(Example("branch-versions/master", '["{open}","{root}"]'),),
        ),
    )
)


def _node(
    methods: tuple[str, ...],
    pattern: str,
    handler: Any,
    doc: str,
    *,
    on_locked: bool = False,
    examples: tuple[Example, ...] = (),
) -> Route:
    writes = "POST" in methods
    return Route(
        methods,
        pattern,
        handler,
        doc,
        on_locked=on_locked,
        right=Right.WRITE if writes else Right.READ,
        cache=Cache.LIVE,
        max_body=_TEXT_BODY,
        examples=examples,
        hot=isinstance(handler, ChangeHandler),
    )


_READ = ("GET", "HEAD")
NODE = RouteTable(
    (
        _node(
            _READ,
            "note",
            note,
            "The note of the version.",
            examples=(Example("note", '{"note":"first volume"}', version="root"),),
        ),
        _node(
            ("POST",),
            "note",
            set_note,
            'Set the note. Body: JSON {"note": text}.',
            examples=(Example("note", body='{"note":"neurons named"}'),),
        ),
        _node(
            _READ,
            "log",
            node_log,
            "The log of the version.",
            examples=(Example("log", '{"log":["... stained"]}', version="root"),),
        ),
        _node(
            ("POST",),
            "log",
            add_node_log,
            'Append to the log. Body: JSON {"log": [lines]}.',
            examples=(Example("log", body='{"log":["synapses found"]}'),),
        ),
        _node(
            _READ,
            "status",
            status,
            "Whether the version is locked.",
            examples=(Example("status", '{"Locked":false}'),),
        ),
        _node(
            _READ,
            "commit",
            status,
            "Whether the version is locked.",
            examples=(Example("commit", '{"Locked":true}', version="root"),),
        ),
        _node(
            ("POST",),
            "commit",
            ChangeHandler("commit", commit),
            'Commit: lock the version for good. Body: JSON {"note", "log"}.',
            examples=(Example("commit", '{"committed":"..."}', '{"note":"neurons named","log":["checked by ann"]}'),),
        ),
        _node(
            _READ,
            "hash",
            version_hash,
            "The hash of a committed version: the id of its commit object.",
            examples=(Example("hash", '{"hash":"..."}', version="root"),),
        ),
        _node(
            ("POST",),
            "newversion",
            ChangeHandler("newversion", new_version),
            'Make an open child on the same branch. Body, optional: JSON {"note", "uuid"}.',
            on_locked=True,
            examples=(Example("newversion", '{"child":"..."}', '{"note":"second pass"}', version="ann"),),
        ),
        _node(
            ("POST",),
            "branch",
            ChangeHandler("branch", new_branch),
            'Make an open child on a new branch. Body: JSON {"branch", "note", "uuid"}, the first required.',
            on_locked=True,
            examples=(Example("branch", '{"child":"..."}', '{"branch":"trial"}', version="root"),),
        ),
        _node(
            ("POST",),
            "tag",
            tag,
            'Give a committed version a name: a committed child that has the tag for its UUID. Body: JSON {"tag"}.',
            on_locked=True,
            examples=(Example("tag", '{"child":"v1"}', '{"tag":"v1"}', version="root"),),
        ),
    )
)
