"""Published stores and chained clones between real servers: folders, static web servers, servers as bases (SPEC 8)."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from reader import Published
from sites import Site, same
from static import Static

from dagdvid.cli.child import ServerProcess
from dagdvid.interchange.keyvalues import keyvalue_chunks
from dagdvid.remote.published.form import decode_head

BIG = random.Random(7).randbytes(9 * 2**20)


def sample(site: Site, n: int = 700) -> tuple[str, str, str]:
    """A repo with values of all forms, two versions on master and one beside: their UUIDs."""
    root = site.repo("published")
    site.instance(root, "loose", versioned="false")
    values = random.Random(3)
    body = b"".join(
        part
        for i in range(n)
        for part in keyvalue_chunks(f"k{i:04}".encode(), values.randbytes(values.choice([10, 1000])))
    )
    site.json("POST", f"/api/node/{root}/kv/keyvalues", body)
    site.put(root, "large", BIG)
    site.put(root, "u", b"unversioned", "loose")
    site.commit(root)
    child = site.step(root, k0007=b"seven" * 300)
    side = site.step(root, "side", k0008=b"eight")
    return root, child, side


def publish(site: Site, root: str, folder: Path, *versions: str) -> dict:
    body = {"url": folder.as_uri(), "versions": list(versions)}
    return site.json("POST", f"/api/repo/{root}/publish", body)


def chained(site: Site, url: str) -> dict:
    return site.json("POST", "/api/repos/clone", {"url": url, "chain": True})


@pytest.fixture
def there(tmp_path):
    """A server that stays away from the shared ones: it ends with the test."""
    with ServerProcess(tmp_path / "there", "127.0.0.1:0") as process:
        site = Site(process.url)
        yield site
        site.close()


def test_clone_of_a_folder_read_write_commit_and_push_back(a: Site, there: Site, tmp_path):
    root, child, side = sample(a)
    done = publish(a, root, tmp_path / "site")
    assert done["branches"] == ["master", "side"]
    again = publish(a, root, tmp_path / "site")
    assert (again["objects"], again["bytes"], again["branches"]) == (0, 0, [])

    assert chained(there, (tmp_path / "site").as_uri())["versions"] == 3
    same(a, there, root)
    assert there.keys(child) == a.keys(child)
    for uuid, key in [(child, "k0007"), (root, "k0007"), (side, "k0008"), (child, "k0690"), (child, "large")]:
        assert there.get(uuid, key) == a.get(uuid, key) is not None
    assert there.get(root, "u", "loose") == b"unversioned"
    assert there.get(child, "absent") is None
    assert there.json("GET", f"/api/node/{root}/diff/{child}") == a.json("GET", f"/api/node/{root}/diff/{child}")
    report = there.fsck()
    assert report["ok"]
    assert report["promised"]
    assert not report["unsure"]

    mine = there.step(child, mine=b"y" * 5000, k0001=b"z" * 5000)
    assert there.fsck()["ok"]
    there.remote(root, a)
    assert there.push(root)["objects"] == 4
    same(a, there, root)
    assert a.get(mine, "k0001") == b"z" * 5000

    added = a.step(mine, k0100=b"z" * 3000)
    more = publish(a, root, tmp_path / "site")
    assert more["bytes"] < 60_000
    assert there.pull(root, "origin")["versions"] == 1
    assert there.get(added, "k0100") == b"z" * 3000
    same(a, there, root)
    assert there.fsck()["ok"]


def test_a_reader_written_from_the_text(a: Site, tmp_path):
    root, child, side = sample(a)
    publish(a, root, tmp_path, child)
    publish(a, root, tmp_path)
    for branch, uuids in (("master", [root, child]), ("side", [root, side])):
        read = Published(tmp_path, root, branch)
        assert read.commits() == {uuid: a.hash(uuid) for uuid in uuids}
        for uuid in uuids:
            ((_, spaces),) = read.version(a.hash(uuid)).items()
            values = spaces["keys"] if "keys" in spaces else next(s for n, s in spaces.items() if n != "log")
            assert [key.decode() for key in values] == a.keys(uuid)
            assert {key: values[key.encode()] for key in ("k0000", "k0007", "k0350", "k0699", "large")} == {
                key: a.get(uuid, key) for key in ("k0000", "k0007", "k0350", "k0699", "large")
            }
        assert read.searched == 0
        for index in read.head["indexes"]:
            data = (tmp_path / "indexes" / index["id"]).read_bytes()
            start = len(data) - 48 * index["n"]
            assert all(read.search(data[i : i + 32]) for i in range(start, len(data), 480))


@pytest.mark.parametrize("ranges", [True, False])
def test_a_static_web_server_is_enough(a: Site, there: Site, tmp_path, ranges):
    root, child, _ = sample(a)
    publish(a, root, tmp_path / "site")
    with Static(tmp_path / "site", ranges=ranges) as web:
        assert chained(there, f"{web.url}/{root[:9]}")["versions"] == 3
        same(a, there, root)
        web.asked.clear()
        assert there.get(child, "k0690") == a.get(child, "k0690")
        assert len(web.asked) <= 2
        assert there.get(root, "k0007") == a.get(root, "k0007")
        assert there.get(child, "large") == BIG
        assert there.pull(root, "origin")["versions"] == 0
    assert there.get(child, "k0690") == a.get(child, "k0690")
    absent = there.ask("GET", f"/api/node/{child}/kv/key/k0699x")
    assert absent.status_code == 404
    if ranges:
        lost = there.ask("GET", f"/api/node/{child}/kv/keyrangevalues/k0000/k0400?json=true")
        assert lost.status_code == 503, lost.content[:3000]
        assert lost.headers["x-dagdvid-error"] == "offline"
        assert web.url in lost.text
    assert there.fsck()["ok"]


def test_a_server_as_base_and_a_chain_of_three(a: Site, b: Site, there: Site):
    root, child, side = sample(a)
    assert chained(b, f"{a.url}/{root}")["versions"] == 3
    same(a, b, root)
    assert b.get(side, "k0008") == b"eight"
    mine = b.step(child, mine=b"m" * 3000)
    assert chained(there, f"{b.url}/{root}")["versions"] == 4
    same(b, there, root)
    assert there.get(mine, "mine") == b"m" * 3000
    assert there.get(mine, "large") == BIG
    assert there.get(mine, "k0500") == a.get(child, "k0500")
    assert there.fsck()["ok"]
    theirs = there.step(mine, more=b"t" * 3000)
    assert there.push(root, "origin")["versions"] == 1
    b.remote(root, a)
    assert b.push(root)["versions"] == 2
    assert a.get(theirs, "more") == b"t" * 3000
    same(a, there, root)


def test_what_is_brought_here_needs_no_base(a: Site, there: Site, tmp_path):
    root, child, _ = sample(a)
    publish(a, root, tmp_path / "site")
    chained(there, (tmp_path / "site").as_uri())
    there.step(child, k0001=b"mine" * 500)
    part = there.json("POST", f"/api/repo/{root}/materialize", {"versions": [child], "instances": ["kv"]})
    assert part["objects"]
    assert there.json("POST", f"/api/repo/{root}/materialize", {"versions": [child]})["objects"] == 0
    rest = there.json("POST", f"/api/repo/{root}/materialize")
    assert rest["objects"] < part["objects"]
    (tmp_path / "site").rename(tmp_path / "away")
    assert there.fsck()["promised"] == 0
    for uuid in (root, child):
        assert [there.get(uuid, key) for key in ("k0007", "large")] == [a.get(uuid, key) for key in ("k0007", "large")]
    assert there.ask("POST", f"/api/repo/{root}/materialize", {"instances": ["none"]}).status_code == 400


def test_a_head_of_a_server(a: Site):
    root, child, _ = sample(a, 10)
    answer = a.ask("POST", "/api/sync/head", {"repo": root})
    head = decode_head(answer.content)
    assert head.facts["repo"] == root
    assert a.hash(child) in {item.object.id.hex() for item in head.items}
    assert a.ask("POST", "/api/sync/head", {"repo": "0" * 32}).status_code == 400


def test_what_is_published_is_never_amended_and_can_be_withdrawn(a: Site, there: Site, tmp_path):
    root, child, _ = sample(a, 10)
    publish(a, root, tmp_path, child)
    assert not (tmp_path / "refs" / root / "side").exists()
    record = a.json("GET", f"/api/repo/{root}/record/history")
    url = tmp_path.as_uri()
    a.json("POST", f"/api/repo/{root}/unpublish", {"url": url, "branches": ["master"]})
    ref = json.loads((tmp_path / "refs" / root / "master").read_bytes())
    assert ref["unpublished"]
    refused = there.ask("POST", "/api/repos/clone", {"url": url})
    assert refused.status_code == 502
    assert "unpublished" in refused.text
    assert record == a.json("GET", f"/api/repo/{root}/record/history")
    assert publish(a, root, tmp_path, child)["branches"] == ["master"]
    assert chained(there, url)["versions"] == 2


def test_a_site_that_went_on_differently_is_left_alone(a: Site, there: Site, tmp_path):
    root, child, _ = sample(a, 10)
    publish(a, root, tmp_path)
    chained(there, tmp_path.as_uri())
    theirs = there.step(child, k=b"theirs")
    publish(there, root, tmp_path, theirs)
    ours = a.step(child, k=b"ours")
    refused = a.ask("POST", f"/api/repo/{root}/publish", {"url": tmp_path.as_uri(), "versions": [ours]})
    assert refused.status_code == 409
    assert theirs in refused.text
    assert json.loads((tmp_path / "refs" / root / "master").read_bytes())["uuid"] == theirs
    behind = publish(a, root, tmp_path, child)
    assert behind["branches"] == []


@pytest.mark.parametrize(
    ("url", "status"),
    [("file://elsewhere/x", 400), ("ftp://x/y", 400), ("s3://", 400), ("file:///nonexistent-site", 502)],
)
def test_urls_that_are_no_sites(a: Site, url, status):
    answer = a.ask("POST", "/api/repos/clone", {"url": url, "chain": True})
    assert answer.status_code in (status, 503), answer.text
    root = a.repo()
    if status == 400:
        assert a.ask("POST", f"/api/repo/{root}/publish", {"url": url}).status_code == 400
