"""Blobs and activity of a repo between servers: they travel, they join, and no bundle can change or fake one."""

from __future__ import annotations

import pytest
from calling import Caller
from sites import Site

from dagdvid.config import Config
from dagdvid.errors import Unverified
from dagdvid.kernels.fnv import fnv1_128
from dagdvid.remote import shared
from dagdvid.remote.receive import Received
from dagdvid.remote.send import offer
from dagdvid.remote.shared import join_shared
from dagdvid.repo.shared import ACTS, BLOBS
from dagdvid.server import Server

LARGE = bytes(range(256)) * 20_000


def post(site: Site, root: str, content: bytes) -> str:
    return str(site.json("POST", f"/api/node/{root}/kv/blobstore", content)["reference"])


def get(site: Site, root: str, reference: str) -> bytes | None:
    answer = site.ask("GET", f"/api/node/{root}/kv/blobstore/{reference}")
    assert answer.status_code in (200, 404), answer.text
    return answer.content if answer.status_code == 200 else None


def test_they_travel_with_clone_push_and_pull(a: Site, b: Site) -> None:
    root = a.repo()
    first = [post(a, root, content) for content in (b"inline", b"z" * 9000, LARGE)]
    a.commit(root)
    b.clone(f"{a.url}/{root}")
    assert [get(b, root, reference) for reference in first] == [b"inline", b"z" * 9000, LARGE]
    later = post(a, root, b"posted later")
    b.pull(root, "origin")
    assert get(b, root, later) == b"posted later"
    back = post(b, root, b"from the clone" * 100)
    b.push(root, "origin")
    assert get(a, root, back) == b"from the clone" * 100


def test_both_sides_may_add(a: Site, b: Site) -> None:
    root = a.repo()
    shared = post(a, root, b"before")
    a.commit(root)
    b.clone(f"{a.url}/{root}")
    b.step(root, key=b"so that there is something to push")
    ours, theirs, same = post(a, root, b"on a"), post(b, root, b"on b"), post(a, root, b"on both")
    assert post(b, root, b"on both") == same
    b.push(root, "origin")
    a_has = [get(a, root, reference) for reference in (shared, ours, theirs, same)]
    assert a_has == [b"before", b"on a", b"on b", b"on both"]
    b.pull(root, "origin")
    assert [get(b, root, reference) for reference in (shared, ours, theirs, same)] == a_has
    assert b.pull(root, "origin")["objects"] == 0


def test_both_join_to_the_same(a: Site, b: Site) -> None:
    root = a.repo()
    a.commit(root)
    b.clone(f"{a.url}/{root}")
    a.remote(root, b, "clone")
    one, two = post(a, root, b"one"), post(b, root, b"two")
    b.pull(root, "origin")  # b joins
    post(a, root, b"one")
    a.pull(root, "clone")
    for site in (a, b):
        assert (get(site, root, one), get(site, root, two)) == (b"one", b"two")
    assert a.pull(root, "clone")["objects"] == 0
    assert b.pull(root, "origin")["objects"] == 0


def test_activity_of_both_sides_joins(a: Site, b: Site) -> None:
    root = a.repo()
    a.json("POST", f"/api/node/{root}/commit", {}, u="ann")
    b.clone(f"{a.url}/{root}")
    child = b.json("POST", f"/api/node/{root}/newversion", {}, u="bob")["child"]
    b.json("POST", f"/api/node/{child}/commit", {}, u="bob")
    a.json("POST", f"/api/node/{root}/branch", {"branch": "side"}, u="ann")
    b.push(root, "origin")
    b.pull(root, "origin")
    acts = [site.json("GET", f"/api/repo/{root}/activity") for site in (a, b)]
    assert acts[0] == acts[1]
    assert [(act["user"], act["action"]) for act in acts[0]] == [
        ("ann", "commit"),
        ("bob", "newversion"),
        ("bob", "commit"),
        ("ann", "branch"),
    ]


@pytest.mark.parametrize("how", ["fake", "changed", "removed", "act"])
def test_what_comes_is_checked(config: Config, tmp_path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """The record of another state of the same blobs, with an entry that no honest server makes."""
    server = Server.open(config)
    try:
        call = Caller(server)
        root = call.json("POST", "/api/repos", {})["root"]
        call("POST", f"/api/repo/{root}/instance", {"typename": "keyvalue", "dataname": "kv"})
        call("POST", f"/api/node/{root}/kv/blobstore", b"honest")

        def record() -> bytes:
            repo = server.catalog.repos()[root]
            return offer(server.catalog, repo).data[repo.shared.uuid]

        ours = record()
        repo = server.catalog.repos()[root]
        txn = server.catalog.txn(repo, repo.versions[root], repo.shared)
        if how == "fake":
            txn.put(BLOBS, fnv1_128(b"another"), b"not that")
        elif how == "act":
            txn.put(ACTS, bytes(16), b'{"user":1}')
        elif how == "changed":
            txn.put(BLOBS, fnv1_128(b"honest"), b"other")
        else:
            txn.delete(BLOBS, fnv1_128(b"honest"))
            txn.put(BLOBS, fnv1_128(b"good"), b"good")
        server.catalog.commit_txn(txn, repo.versions[root])
        theirs = record()
        assert ours != theirs
        with pytest.raises(Unverified, match=r"not its hash|changes or removes|wrong form"):
            join_shared(server.catalog, Received(root), ours, theirs, ours)
        monkeypatch.setattr(shared, "_BYTES", 1)
        assert join_shared(server.catalog, Received(root), None, ours, None) == (ours, [])
    finally:
        server.close()
