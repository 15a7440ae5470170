"""The blobstore of a repo: content by reference, in every version, instance and process, and between servers."""

from __future__ import annotations

import base64
import threading
from typing import Any

import pytest
from calling import Caller

from dagdvid.config import Config
from dagdvid.errors import BadRequest, Forbidden, KeyAbsent, UnknownName
from dagdvid.kernels.fnv import fnv1_128
from dagdvid.repo import blobstore
from dagdvid.repo.manage import delete_repo
from dagdvid.server import Server

LARGE = bytes(range(256)) * 20_000
"""Above 4 MiB: stored as a list of blobs."""


@pytest.fixture
def root(call: Any) -> str:
    return made(call)


def made(call: Any) -> str:
    root = call.json("POST", "/api/repos", {})["root"]
    for name in ("kv", "other"):
        call("POST", f"/api/repo/{root}/instance", {"typename": "keyvalue", "dataname": name})
    return str(root)


def post(call: Any, at: str, content: bytes) -> str:
    return str(call.json("POST", f"{at}/blobstore", content)["reference"])


def get(call: Any, at: str, reference: str) -> bytes:
    return bytes(call("GET", f"{at}/blobstore/{reference}").body)


@pytest.mark.parametrize("content", [b"", b"hello", b"x" * 600, LARGE], ids=["empty", "small", "blob", "list"])
def test_a_blob_is_found_by_its_hash(call: Any, root: str, content: bytes) -> None:
    at = f"/api/node/{root}/kv"
    reference = post(call, at, content)
    assert reference == base64.urlsafe_b64encode(fnv1_128(content)).decode()
    assert get(call, at, reference) == content
    assert post(call, at, content) == reference


def test_all_versions_and_instances_of_a_repo_share_them(call: Any, root: str) -> None:
    reference = post(call, f"/api/node/{root}/kv", b"shared")
    call("POST", f"/api/node/{root}/commit", {"note": ""})
    child = call.json("POST", f"/api/node/{root}/newversion")["child"]
    later = post(call, f"/api/node/{root}/other", b"into a committed version")
    for at in (f"/api/node/{v}/{data}" for v in (root, child) for data in ("kv", "other")):
        assert get(call, at, reference) == b"shared"
        assert get(call, at, later) == b"into a committed version"


def test_another_repo_does_not_have_them(call: Any, root: str) -> None:
    reference = post(call, f"/api/node/{root}/kv", b"mine")
    with pytest.raises(KeyAbsent, match="not found"):
        get(call, f"/api/node/{made(call)}/kv", reference)


def test_admins_find_them_without_knowing_the_repo(call: Any, root: str) -> None:
    made(call)
    reference = post(call, f"/api/node/{root}/kv", b"somewhere")
    with pytest.raises(Forbidden):
        call("GET", f"/api/server/blobstore/{reference}")
    admin = Caller(call.server, admin=True)
    assert admin("GET", f"/api/server/blobstore/{reference}").body == b"somewhere"
    with pytest.raises(KeyAbsent):
        admin("GET", "/api/server/blobstore/AAAAAAAAAAAAAAAAAAAAAA==")


@pytest.mark.parametrize("reference", ["AAAAAAAAAAAAAAAAAAAAAA==", "zzzz", ""])
def test_unknown_references_are_absent(call: Any, root: str, reference: str) -> None:
    post(call, f"/api/node/{root}/kv", b"something")
    with pytest.raises(KeyAbsent):
        get(call, f"/api/node/{root}/kv", reference)


@pytest.mark.parametrize(
    "reference", ["8UtYSGSD2U9wgDh5jClpfw", "8UtYSGSD2U9wgDh5jClpfw==\n", "é", "a+b/", "x", "a" * 999]
)
def test_malformed_references_are_refused(call: Any, root: str, reference: str) -> None:
    with pytest.raises((BadRequest, KeyAbsent)):
        get(call, f"/api/node/{root}/kv", reference)


def test_refusals(call: Any, root: str) -> None:
    at = f"/api/node/{root}/kv"
    reference = post(call, at, b"some")
    for path in (f"{at}/blobstore", f"{at}/blobstore/{reference}/more", f"{at}/blobstore/{reference}/"):
        with pytest.raises(BadRequest, match="reference"):
            call("GET", path)
    for method in ("DELETE", "PUT"):
        with pytest.raises(UnknownName):
            call(method, f"{at}/blobstore/{reference}")
    with pytest.raises(UnknownName, match="invalid data instance name"):
        get(call, f"/api/node/{root}/nosuch", reference)
    assert get(call, at, reference) == b"some"


def test_a_reference_never_changes_its_meaning(call: Any, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    at = f"/api/node/{root}/kv"
    monkeypatch.setattr(blobstore, "fnv1_128", lambda _: bytes(16))  # all contents collide
    reference = post(call, at, b"first")
    with pytest.raises(BadRequest, match="another blob"):
        post(call, at, b"second")
    assert get(call, at, reference) == b"first"


def test_many_at_once(call: Any, root: str) -> None:
    at = f"/api/node/{root}/kv"
    found: list[str] = []

    def work(n: int) -> None:
        found.extend(post(call, at, b"%d" % (i // n)) for i in range(20))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 80
    assert {get(call, at, reference) for reference in found} == {b"%d" % i for i in range(20)}


def test_gc_and_fsck_know_them(config: Config) -> None:
    contents = [b"tiny", b"y" * 5000, LARGE]
    server = Server.open(config)
    call = Caller(server)
    root = made(call)
    at = f"/api/node/{root}/kv"
    references = [post(call, at, content) for content in contents]
    server.close()
    server = Server.open(config)
    try:
        list(server.collect())
        call = Caller(server)
        assert [get(call, at, reference) for reference in references] == contents
        report = call.json("POST", "/api/store/fsck")
        assert report["ok"], report
    finally:
        server.close()


def test_they_come_back_with_a_deleted_repo(call: Any, root: str) -> None:
    at = f"/api/node/{root}/kv"
    references = [post(call, at, content) for content in (b"inline", b"z" * 5000)]
    call("POST", f"/api/node/{root}/commit", {}, u="ann")
    repo, _ = call.server.catalog.find(root)
    delete_repo(call.server.catalog, repo)
    assert call.json("POST", "/api/repos/undelete", {"root": root})["versions"] == 1
    assert [get(call, at, reference) for reference in references] == [b"inline", b"z" * 5000]
    assert [act["user"] for act in call.json("GET", f"/api/repo/{root}/activity")] == ["ann"]
