"""Endpoints of published stores and of what chained clones ask of a server."""

from __future__ import annotations

from typing import Any

from dagdvid.errors import BadRequest, UnknownName
from dagdvid.objects.store import Object
from dagdvid.remote.history import in_order
from dagdvid.remote.materialize import materialize
from dagdvid.remote.published.form import encode_head, encode_items
from dagdvid.remote.published.heading import head_items
from dagdvid.remote.published.publish import publish, unpublish
from dagdvid.remote.published.site import open_site
from dagdvid.remote.send import offer, parents_of
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.model import MASTER
from dagdvid.repo.routes import Target
from dagdvid.routes import Example, Reply, Request, Right, Route, RouteTable, json_reply, progress_reply

__all__ = ["HEAD", "PUBLISH"]


def publish_to(catalog: Catalog, target: Target, request: Request) -> Reply:
    """POST publish."""
    body = request.json_object()
    uuids = []
    for text in _texts(body, "versions"):
        repo, version = catalog.find(text)
        if repo.root != target.repo.root:
            raise BadRequest(f"{text!r} is a version of another repo")
        uuids.append(version.uuid)
    return _told(publish(catalog, target.repo, _url(catalog, body), uuids), request)


def unpublish_from(catalog: Catalog, target: Target, request: Request) -> Reply:
    """POST unpublish."""
    body = request.json_object()
    branches = ["" if name == MASTER else name for name in _texts(body, "branches")]
    if not branches:
        raise BadRequest("'branches' is missing")
    return _told(unpublish(target.repo, _url(catalog, body), branches), request)


def bring(catalog: Catalog, target: Target, request: Request) -> Reply:
    """POST materialize."""
    body = request.json_object() if request.body else {}
    found = [catalog.find(text) for text in _texts(body, "versions")]
    if any(repo.root != target.repo.root for repo, _ in found):
        raise BadRequest("'versions' has a version of another repo")
    versions = [version for _, version in found]
    return _told(materialize(catalog, target.repo, versions, _texts(body, "instances")), request)


def get_head(catalog: Catalog, request: Request) -> Reply:
    """POST sync/head."""
    repo = catalog.repos().get(str(request.json_object().get("repo")))
    if repo is None:
        raise UnknownName(f"there is no repo {request.json_object().get('repo')} here")
    offered = offer(catalog, repo)
    owners = in_order(offered.tips, (), lambda name: parents_of(catalog, name))
    found: list[Object] = [item for item in catalog.store.get_many(owners) if item is not None]
    items = [(item, b"") for item in found] + list(head_items(catalog, lambda _: {}, None, offered))
    facts: dict[str, Any] = {
        **offered.json(),
        "branches": {uuid: offered.branches[name] for uuid, name in offered.versions.items()},
        "given_up": sorted(offered.given_up),
        "protocol": 1,
        "repo": offered.repo,
    }
    return Reply(encode_head(facts, encode_items(items)), "application/octet-stream")


def _url(catalog: Catalog, body: dict[str, Any]) -> str:
    url = body.get("url")
    if not isinstance(url, str):
        raise BadRequest("'url' is missing")
    catalog.check_remote(url)
    open_site(url).close()
    return url


def _texts(body: dict[str, Any], name: str) -> list[str]:
    texts = body.get(name, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadRequest(f"{name!r} must be a list of texts")
    return texts


def _told(steps: Any, request: Request) -> Reply:
    if request.flag("progress"):
        return progress_reply(steps)
    *_, last = steps
    return json_reply(last["result"])


_PROGRESS = {"progress": "true streams lines of JSON while it runs, the last with the result"}

PUBLISH = RouteTable(
    (
        Route(
            ("POST",),
            "publish",
            publish_to,
            "Bring committed versions to a published store: plain files that anybody can clone from. Body: JSON"
            ' {"url"}: file:///FOLDER, s3://, gs:// or az://BUCKET/PREFIX, and "versions": [UUIDs], else the last of'
            ' every branch. Answers {"root", "branches", "versions", "objects", "bytes", "seconds"}.',
            right=Right.MANAGE,
            query=_PROGRESS,
            examples=(Example("publish", "{...}", '{"url":"file:///srv/site"}'),),
        ),
        Route(
            ("POST",),
            "unpublish",
            unpublish_from,
            'Leave a dated tombstone for branches at a published store. Body: JSON {"url", "branches": [names]}.',
            right=Right.MANAGE,
            query=_PROGRESS,
        ),
        Route(
            ("POST",),
            "materialize",
            bring,
            "Bring here what lies in bases, so that it can be read without them. Body, if any: JSON"
            ' {"versions": [UUIDs], "instances": [names]}, else everything. Answers {"root", "checked", "objects",'
            ' "bytes", "seconds"}.',
            right=Right.MANAGE,
            query=_PROGRESS,
            examples=(Example("materialize", "{...}", '{"instances":["kv"]}'),),
        ),
    )
)

HEAD = RouteTable(
    (
        Route(
            ("POST",),
            "sync/head",
            get_head,
            "Between servers: the version graph and the record of a repo, without what is in its versions (SPEC 8.10).",
        ),
    )
)
