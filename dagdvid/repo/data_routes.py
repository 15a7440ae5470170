"""Endpoints of all instances, `(catalog, target, instance, request)`, and diffs, `(catalog, target, request)`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from dagdvid.datatype import Comparing, Instance
from dagdvid.errors import BadRequest, KeyAbsent, UnknownName
from dagdvid.registry import datatype
from dagdvid.repo.blobstore import get_blob, put_blob
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.describe import describe_instance, shown_tags
from dagdvid.repo.diff import Counts, changed_instances, changes, kind_of
from dagdvid.repo.instances import TAGGED
from dagdvid.repo.model import Repo, Version
from dagdvid.repo.mutations import along, mutations
from dagdvid.repo.record import Facts, log_facts
from dagdvid.repo.routes import Target
from dagdvid.repo.snapshot import VersionSnapshot
from dagdvid.routes import Example, Reply, Request, Right, Route, RouteTable, json_reply

__all__ = ["ANY_DATA", "DIFF"]

_CHUNK = 64 * 2**10


def info(catalog: Catalog, target: Target, instance: Instance, request: Request) -> Reply:
    """GET info, and HEAD and POST where DVID's type takes them."""
    if request.method not in datatype(instance.typename).info_methods:
        raise BadRequest(f"{instance.typename} answers info to GET only, not to {request.method}")
    return json_reply(describe_instance(catalog, target.repo, target.version, instance))


def tags(catalog: Catalog, target: Target, instance: Instance, request: Request) -> Reply:  # noqa: ARG001
    """GET tags."""
    return json_reply({"Tags": shown_tags(instance)})


def set_tags(catalog: Catalog, target: Target, instance: Instance, request: Request) -> Reply:
    """POST tags."""
    new = request.json_object(required=False)
    if not all(isinstance(value, str) for value in new.values()):
        raise BadRequest("tags must be strings")
    at = f"data/{instance.uuid}/tag/"
    tagged = {f"data/{instance.uuid}/property/{TAGGED}": True}

    def facts(repo: Any) -> dict[str, Any]:
        old = repo.instances[instance.name].tags if request.flag("replace") else ()
        cleared: dict[str, Any] = {at + name: None for name in old}
        return cleared | {at + name: value for name, value in new.items()} | tagged

    catalog.change_record(target.repo.root, facts, request.user)
    return Reply()


def set_syncs(catalog: Catalog, target: Target, instance: Instance, request: Request) -> Reply:
    """POST sync."""
    follows = datatype(instance.typename).syncs_with
    if follows is None:
        raise UnknownName(f"Bad API call ({request.path}) for data {instance.name!r}: its datatype follows no others")
    text = request.json_object(required=False).get("sync")
    if not isinstance(text, str):
        raise BadRequest("'sync' is missing: it is a string, names of data instances with commas between them")
    names = text.split(",") if text else []
    replacing = request.flag("replace")
    if not names and not replacing:
        return Reply()

    def facts(repo: Repo) -> Facts:
        others = [repo.instance(name) for name in names]
        for other in others:
            if other.typename not in follows:
                raise BadRequest(
                    f"Can't create syncs for instance {instance.name!r}: {instance.typename} does not follow "
                    f"{other.typename}, which {other.name!r} is"
                )
        at = f"data/{instance.uuid}/sync/"
        dropped: dict[str, Any] = {at + uuid: None for uuid in instance.synced} if replacing else {}
        line = f'Data instance "{instance.name}" set to sync with {", ".join(names) or "none"}'
        return dropped | {at + other.uuid: True for other in others} | log_facts([line])

    catalog.change_record(target.repo.root, facts, request.user)
    return Reply()


def get_mutations(catalog: Catalog, target: Target, instance: Instance, request: Request) -> Reply:
    """GET mutations."""
    _check_logs(instance, request)
    return _told(mutations(catalog, target.repo, target.version, instance), request)


def get_mutations_range(catalog: Catalog, target: Target, instance: Instance, request: Request) -> Reply:
    """GET mutations-range/{beg}/{end}."""
    _check_logs(instance, request)
    first, last = (_other(catalog, target, request.args[name]) for name in ("beg", "end"))
    versions = along(target.repo, first, last)
    return _told((shown for v in versions for shown in mutations(catalog, target.repo, v, instance)), request)


def _check_logs(instance: Instance, request: Request) -> None:
    if not datatype(instance.typename).logs:
        raise UnknownName(
            f"Bad API call ({request.path}) for data {instance.name!r}: its datatype keeps no mutation log"
        )


def _told(records: Iterator[dict[str, Any]], request: Request) -> Reply:
    """A JSON list, in DVID's content type; of one user's mutations, if the query names one."""
    user = request.query.get("userid", "")

    def parts() -> Iterator[str]:
        lead = "["
        for record in records:
            if user and record.get("User") != user:
                continue
            yield lead + _json(record)
            lead = ","
        yield "[]" if lead == "[" else "]"

    return Reply(_chunked(parts()), "text/plain")


def get_blobstore(catalog: Catalog, target: Target, instance: Instance, request: Request) -> Reply:  # noqa: ARG001
    """GET blobstore/{reference}."""
    if "reference" not in request.args or "rest" in request.args:
        raise BadRequest("GET blobstore needs one reference behind it")
    content = get_blob(catalog, target.repo, request.args["reference"])
    if content is None:
        raise KeyAbsent(f'Reference "{request.args["reference"]}" not found')
    return Reply(content, "application/octet-stream")


def post_blobstore(catalog: Catalog, target: Target, instance: Instance, request: Request) -> Reply:  # noqa: ARG001
    """POST blobstore."""
    return json_reply({"reference": put_blob(catalog, target.repo, request.body)})


def diff_versions(catalog: Catalog, target: Target, request: Request) -> Reply:
    """GET diff/{b}."""
    other = _other(catalog, target, request.args["b"])
    return Reply(_chunked(_diff_versions(catalog, target, other)), "application/json")


def diff_instance(catalog: Catalog, target: Target, request: Request) -> Reply:
    """GET {data}/diff/{b}."""
    instance = target.repo.instance(request.args["data"])
    other = _other(catalog, target, request.args["b"])
    a = catalog.snapshot(target.repo, target.version, instance)
    b = catalog.snapshot(target.repo, other, instance)
    return Reply(_chunked(_diff_instance(instance, a, b)), "application/json")


def _other(catalog: Catalog, target: Target, text: str) -> Version:
    repo, version = catalog.find(text)
    if repo.root != target.repo.root:
        raise BadRequest(f"{text!r} is a version of another repo")
    return version


def _diff_versions(catalog: Catalog, target: Target, other: Version) -> Iterator[str]:
    yield f'{{"a":{_json(target.version.uuid)},"b":{_json(other.uuid)},"instances":['
    between = ""
    for instance in changed_instances(catalog, target.repo, target.version, other):
        a = catalog.snapshot(target.repo, target.version, instance)
        b = catalog.snapshot(target.repo, other, instance)
        counts = Counts()
        differ = datatype(instance.typename).differ(instance)
        seen = False
        for space, change in changes(a, b):
            seen = True
            if differ.describe(space, change[0]) is not None:
                counts.add(kind_of(change))
        if seen:
            kind = "added" if _empty(a) else "removed" if _empty(b) else "changed"
            head = {"name": instance.name, "type": instance.typename, "uuid": instance.uuid, "change": kind}
            yield between + _json(head | vars(counts))
            between = ","
    yield "]}"


def _diff_instance(instance: Instance, a: VersionSnapshot, b: VersionSnapshot) -> Iterator[str]:
    yield f'{{"data":{_json(instance.name)},"type":{_json(instance.typename)},"changes":['
    counts = Counts()
    differ = datatype(instance.typename).differ(instance)
    between = ""
    for space, change in changes(a, b):
        described = differ.describe(space, change[0])
        if described is not None:
            kind = kind_of(change)
            counts.add(kind)
            if isinstance(differ, Comparing) and space in differ.compares:
                values = (view.load([value])[0] for view, value in zip((a, b), change[1:], strict=True))
                described |= differ.compare(space, change[0], *values)
            yield between + _json({"change": kind} | described)
            between = ","
    yield "]," + _json(vars(counts) | differ.summary())[1:]


def _empty(view: VersionSnapshot) -> bool:
    return all(view.count(space) == 0 for space in datatype(view.instance.typename).spaces)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _chunked(parts: Iterator[str]) -> Iterator[bytes]:
    held: list[str] = []
    size = 0
    for part in parts:
        held.append(part)
        size += len(part)
        if size >= _CHUNK:
            yield "".join(held).encode("utf-8", "surrogateescape")
            held, size = [], 0
    yield "".join(held).encode("utf-8", "surrogateescape")


_ONE_USER = {"userid": "only what this user did"}

ANY_DATA = RouteTable(
    (
        Route(
            ("GET", "HEAD", "POST"),
            "info",
            info,
            "The instance's settings and properties at this version.",
            on_locked=True,
            examples=(Example("info", '{"Base":{...,"Name":"kv",...},"Extended":{...}}'),),
        ),
        Route(
            ("POST",),
            "sync",
            set_syncs,
            'Follow other instances, where the datatype can. Body: JSON {"sync": "name,name"}.',
            right=Right.WRITE,
            query={"replace": "true drops those followed before; with an empty list, all"},
            examples=(Example("sync", "...", '{"sync":"gray"}', status=400),),
        ),
        Route(
            ("GET",),
            "blobstore/{reference?}/{rest?}",
            get_blobstore,
            "The blob of a reference. Blobs belong to the whole repo: all its versions and instances find them.",
            examples=(Example("blobstore/8UtYSGSD2U9wgDh5jClpfw==", "hello"),),
        ),
        Route(
            ("POST",),
            "blobstore",
            post_blobstore,
            'Store the body, unversioned, on open and committed versions alike. Answers {"reference": text}: the FNV-1 '
            "hash of the body with 128 bits, in URL-safe base64.",
            on_locked=True,
            right=Right.WRITE,
            examples=(Example("blobstore", '{"reference":"8UtYSGSD2U9wgDh5jClpfw=="}', "hello"),),
        ),
        Route(
            ("GET", "HEAD"),
            "mutations",
            get_mutations,
            "What was done to the instance in this version, as JSON.",
            query=_ONE_USER,
            examples=(Example("mutations?userid=ann", '[{"Action":"...",...}]'),),
        ),
        Route(
            ("GET", "HEAD"),
            "mutations-range/{beg}/{end}",
            get_mutations_range,
            "What was done in the versions from `end` back to `beg`, newest version first, as JSON.",
            query=_ONE_USER,
            examples=(Example("mutations-range/{root}/{open}", "[...]"),),
        ),
        Route(
            ("GET", "HEAD"),
            "tags",
            tags,
            "The tags of the instance.",
            examples=(Example("tags", '{"Tags":{"type":"meshes"}}'),),
        ),
        Route(
            ("POST",),
            "tags",
            set_tags,
            "Add or change tags. Body: JSON object of strings.",
            right=Right.WRITE,
            query={"replace": "true drops the old tags"},
            examples=(Example("tags", body='{"type":"neurons"}'),),
        ),
    ),
    surplus=True,
)

DIFF = RouteTable(
    (
        Route(
            ("GET",),
            "diff/{b}",
            diff_versions,
            "What changed from this version to another of the repo: instances with counts, streamed JSON.",
            examples=(Example("diff/{open}", "{...}", version="root"),),
        ),
        Route(
            ("GET",),
            "{data}/diff/{b}",
            diff_instance,
            "What changed in one instance from this version to another: keys, blocks and boxes, streamed JSON.",
            examples=(Example("kv/diff/{open}", "{...}", version="root"),),
        ),
    )
)
