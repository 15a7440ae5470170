"""Push, pull and clone between real servers: what arrives, what is sent, what is refused."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest
from sites import Site, same

from dagdvid.cli.child import ServerProcess

BIG = random.Random(7).randbytes(9 * 2**20)


def test_push_to_an_empty_server(a: Site, b: Site):
    root = a.repo("pushed")
    a.put(root, "k", b"one")
    a.commit(root, "first")
    child = a.step(root, k=b"two", large=b"x" * 5000)
    side = a.step(root, "side", k=b"three")
    a.remote(root, b)
    result = a.push(root)
    assert (result["root"], result["versions"]) == (root, 3)
    assert result["round_trips"] <= 4
    same(a, b, root)
    assert [b.get(uuid, "k") for uuid in (root, child, side)] == [b"one", b"two", b"three"]
    assert b.get(child, "large") == b"x" * 5000
    there, here = b.info(root), a.info(root)
    assert (there["Alias"], there["Log"]) == (here["Alias"], here["Log"])
    for uuid, node in a.nodes(root).items():
        other = b.nodes(root)[uuid]
        same_members = ("Note", "Log", "Branch", "Locked", "Created", "Updated", "Hash")
        assert [node[m] for m in same_members] == [other[m] for m in same_members]
    assert b.json("GET", f"/api/node/{root}/diff/{child}") == a.json("GET", f"/api/node/{root}/diff/{child}")


def test_a_repeated_push_sends_nothing(a: Site, b: Site):
    root = a.repo()
    a.commit(root)
    at = root
    for i in range(100):  # more versions than one question names
        at = a.child(at)
        a.put(at, "k", str(i).encode())
        a.json("POST", f"/api/node/{at}/commit", {"note": ""})
    a.remote(root, b)
    assert a.push(root)["versions"] == 101
    again = a.push(root)
    assert (again["versions"], again["objects"], again["round_trips"]) == (0, 0, 1)
    assert again["bytes"] < 16_384
    assert b.get(at, "k") == b"99"
    a.step(at, k=b"more")
    further = a.push(root)
    assert (further["versions"], further["objects"]) == (1, 1)


def test_pull_and_clone(a: Site, b: Site, c: Site):
    root = a.repo()
    a.put(root, "k", b"one")
    a.commit(root)
    assert b.clone(f"{a.url}/{root[:12]}")["root"] == root
    same(a, b, root)
    child = a.step(root, k=b"two")
    assert b.pull(root, "origin")["versions"] == 1
    assert b.get(child, "k") == b"two"
    nothing = b.pull(root, "origin")
    assert (nothing["versions"], nothing["objects"], nothing["round_trips"]) == (0, 0, 1)
    assert c.clone(f"{b.url}/{child}")["versions"] == 2
    same(a, c, root)
    assert c.json("GET", f"/api/repo/{root}/remotes") == [{"name": "origin", "url": b.url}]


def test_clone_of_the_only_repo(sites, tmp_path):
    with ServerProcess(tmp_path / "one", "127.0.0.1:0") as process:
        one = Site(process.url)
        root = one.repo()
        refused = sites[0].ask("POST", "/api/repos/clone", {"url": one.url})
        assert refused.status_code == 502
        assert "nothing" in refused.text
        assert not sites[0].has(root)
        one.commit(root)
        assert sites[0].clone(one.url)["root"] == root
        one.repo()
        refused = sites[1].ask("POST", "/api/repos/clone", {"url": one.url})
        assert refused.status_code == 502
        assert "2 repos" in refused.text
        one.close()


def test_chain_and_both_ways(a: Site, b: Site, c: Site):
    root = a.repo()
    a.put(root, "k", b"0")
    a.commit(root)
    a.remote(root, b)
    a.push(root)
    b.remote(root, c)
    b.push(root)
    one = a.step(root, k=b"1")
    a.push(root)
    assert b.push(root)["versions"] == 1
    two = c.step(one, k=b"2")
    assert b.pull(root)["versions"] == 1
    three = b.step(two, "side", k=b"3")
    assert a.pull(root)["versions"] == 2
    assert c.json("POST", f"/api/repo/{root}/remotes", {"name": "a", "url": a.url}) is None
    assert c.pull(root, "a")["versions"] == 1
    for site in (a, b, c):
        assert [site.get(u, "k") for u in (root, one, two, three)] == [b"0", b"1", b"2", b"3"]
    same(a, b, root)
    same(b, c, root)
    assert all(site.push(root, name)["objects"] == 0 for site, name in ((a, "other"), (b, "other"), (c, "a")))


def test_one_version_and_those_before_it(a: Site, b: Site):
    root = a.repo()
    a.commit(root)
    one = a.step(root, k=b"1")
    two = a.step(one, k=b"2")
    a.remote(root, b)
    assert a.push(root, uuid=one)["versions"] == 2
    assert set(b.nodes(root)) == {root, one}
    assert a.push(root)["versions"] == 1
    assert b.get(two, "k") == b"2"


def test_open_versions_stay_at_home(a: Site, b: Site):
    root = a.repo()
    a.remote(root, b)
    refused = a.ask("POST", f"/api/repo/{root}/push", {"remote": "other"})
    assert refused.status_code == 400
    assert "commit" in refused.text
    assert not b.has(root)
    a.commit(root)
    open_child = a.child(root)
    a.put(open_child, "k", b"unfinished")
    a.push(root)
    assert set(b.nodes(root)) == {root}
    mine = b.child(root)
    b.put(mine, "k", b"of b")
    assert a.pull(root)["versions"] == 0
    assert b.get(mine, "k") == b"of b"


def test_large_values(a: Site, b: Site, c: Site):
    root = a.repo()
    a.put(root, "big", BIG)
    a.put(root, "again", BIG)
    a.commit(root)
    a.remote(root, b)
    first = a.push(root)
    assert first["bytes"] < 1.2 * len(BIG)  # equal chunks travel once
    assert b.get(root, "big") == b.get(root, "again") == BIG
    child = a.child(root)
    a.put(child, "big", BIG[: 4 * 2**20] + b"inserted" + BIG[4 * 2**20 :])
    a.commit(child)
    second = a.push(root)
    assert second["bytes"] < len(BIG) / 2  # of what was cut at other places only
    assert b.get(child, "big") == a.get(child, "big")
    c.clone(f"{b.url}/{root}")
    assert c.get(root, "again") == BIG
    same(a, c, root)


def test_volumes(a: Site, b: Site):
    root = a.repo()
    a.instance(root, "gray", "uint8blk", BlockSize="32,32,32")
    voxels = random.Random(1).randbytes(64**3)
    a.json("POST", f"/api/node/{root}/gray/raw/0_1_2/64_64_64/0_0_-64", voxels)
    a.commit(root)
    a.remote(root, b)
    a.push(root)
    answer = b.ask("GET", f"/api/node/{root}/gray/raw/0_1_2/64_64_64/0_0_-64")
    assert answer.content == voxels
    path = f"/api/node/{root}/gray/info"
    assert b.json("GET", path)["Extended"] == a.json("GET", path)["Extended"]


def test_unversioned_instances(a: Site, b: Site):
    root = a.repo()
    a.instance(root, "free", versioned="false")
    a.commit(root)
    a.put(root, "k", b"1", "free")
    a.remote(root, b)
    a.push(root)
    assert b.get(root, "k", "free") == b"1"
    a.put(root, "k", b"2", "free")
    assert a.push(root)["versions"] == 0
    assert b.get(root, "k", "free") == b"2"
    b.put(root, "k", b"3", "free")
    assert "left_alone" not in a.pull(root)
    assert a.get(root, "k", "free") == b"3"
    a.put(root, "k", b"of a", "free")
    b.put(root, "other", b"of b", "free")
    refused = a.ask("POST", f"/api/repo/{root}/push", {"remote": "other"})
    assert refused.status_code == 409
    assert b.get(root, "k", "free") == b"3"
    assert len(a.pull(root)["left_alone"]) == 1
    assert (a.get(root, "k", "free"), a.get(root, "other", "free")) == (b"of a", None)


def test_tags_and_merges_travel(a: Site, b: Site):
    root = a.repo()
    a.put(root, "k", b"0")
    a.commit(root)
    one = a.step(root, here=b"1")
    two = a.step(root, "side", there=b"2")
    body = {"mergeType": "conflict-free", "parents": [one, two], "note": "joined"}
    merged = a.json("POST", f"/api/repo/{root}/merge", body)["child"]
    a.put(merged, "after", b"3")
    a.commit(merged)
    tag = f"v-{root[:6]}"
    a.json("POST", f"/api/node/{merged}/tag", {"tag": tag})
    a.remote(root, b)
    assert a.push(root)["versions"] == 5
    same(a, b, root)
    assert b.branches(root) == a.branches(root)
    assert b.keys(merged) == b.keys(tag) == ["after", "here", "k", "there"]


def test_a_readonly_server_can_be_cloned(b: Site, tmp_path):
    with ServerProcess(tmp_path / "still", "127.0.0.1:0") as process:
        one = Site(process.url)
        root = one.repo()
        one.instance(root, "free", versioned="false")
        one.put(root, "k", b"v")
        one.put(root, "k", b"staged", "free")
        one.commit(root)
        one.close()
    words = ["serve", "--data", str(tmp_path / "still"), "--http", "127.0.0.1:0", "--readonly", "--quiet"]
    process = subprocess.Popen([sys.executable, "-m", "dagdvid", *words], stdout=subprocess.PIPE, text=True)
    try:
        url = process.stdout.readline().rpartition(" on ")[2].strip()
        assert b.clone(f"{url}/{root}")["versions"] == 1
        assert b.get(root, "k") == b"v"
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("nonsense", 400),
        ("ftp://127.0.0.1/", 400),
        ("http://[::1", 400),
        ("http://127.0.0.1:99999", 400),
        ("http://127.0.0.1:1", 502),
    ],
)
def test_bad_urls(a: Site, url: str, status: int):
    assert a.ask("POST", "/api/repos/clone", {"url": url}).status_code == status
    chained = a.ask("POST", "/api/repos/clone", {"url": url, "chain": True})
    assert chained.status_code == (503 if status == 502 else 400)
    root = a.repo()
    named = a.ask("POST", f"/api/repo/{root}/remotes", {"name": "x", "url": url})
    assert named.status_code == (200 if status == 502 else 400)


def test_other_refusals(a: Site, b: Site):
    root = a.repo()
    a.commit(root)
    for what in ("push", "pull"):
        answer = a.ask("POST", f"/api/repo/{root}/{what}", {"remote": "nowhere"})
        assert (answer.status_code, "no remote 'nowhere'" in answer.text) == (400, True)
    a.remote(root, b)
    assert a.ask("POST", f"/api/repo/{root}/pull", {"remote": "other"}).status_code == 502
    other = a.repo()
    answer = a.ask("POST", f"/api/repo/{root}/push", {"remote": "other", "uuid": other})
    assert answer.status_code == 400
    assert a.ask("POST", "/api/repos/clone", {"url": f"{a.url}/{root}"}).status_code == 400
    assert a.ask("POST", "/api/repos/clone", {"url": f"{b.url}/{'f' * 32}"}).status_code == 502
    for name in ("", "a/b", "-x", 5):
        assert a.ask("POST", f"/api/repo/{root}/remotes", {"name": name, "url": b.url}).status_code == 400


def test_a_push_to_oneself_sends_nothing(a: Site):
    root = a.repo()
    a.commit(root)
    a.remote(root, a)
    assert a.push(root)["objects"] == 0


def test_secrets_of_remotes_are_not_shown(a: Site):
    root = a.repo()
    a.remote(root, "http://user:word@127.0.0.1:1/?admintoken=secret")
    shown = a.ask("GET", f"/api/repo/{root}/remotes").text
    assert "secret" not in shown
    assert "word" not in shown
    a.commit(root)
    failed = a.ask("POST", f"/api/repo/{root}/push", {"remote": "other"})
    assert (failed.status_code, "secret" in failed.text) == (502, False)


def test_progress(a: Site, b: Site):
    root = a.repo()
    a.put(root, "k", b"x" * 1000)
    a.commit(root)
    a.remote(root, b)
    lines = a.ask("POST", f"/api/repo/{root}/push", {"remote": "other"}, progress="true").text.splitlines()
    steps = [json.loads(line) for line in lines]
    assert all("progress" in step for step in steps[:-1])
    assert steps[-1]["result"]["versions"] == 1
    lines = a.ask("POST", "/api/repos/clone", {"url": "http://127.0.0.1:1"}, progress="true").text.splitlines()
    assert json.loads(lines[-1])["code"] == "remote"
