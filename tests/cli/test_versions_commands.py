"""`repos`, `log`, `commit`, `branch`, `diff`, `fsck`, `stats`, on a data directory and against a server."""

from __future__ import annotations

import re


def test_repos(place):
    with place.api():
        pass
    assert place.run("repos").stdout == "no repos\n"
    root, _, _ = place.fill("first repo")
    lines = place.run("repos").stdout.splitlines()
    assert lines[0].split() == ["repo", "alias", "versions", "data", "instances", "updated"]
    assert re.fullmatch(rf"{root[:12]}  first repo  3 +kv \(keyvalue\) +\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d", lines[1])
    assert set(place.json("repos")) == {root}


def test_log(place):
    root, child, leaf = place.fill()
    lines = place.run("log").stdout.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [
        [leaf[:12], "master", "open"],
        [child[:12], "master", "committed"],
        [root[:12], "master", "committed"],
    ]
    assert lines[2].endswith("  second")
    nodes = place.json("log")
    assert [node["UUID"] for node in nodes] == [leaf, child, root]
    assert nodes[1]["Hash"].startswith(lines[2].split()[3])
    assert place.run("log", "--repo", child[:8]).stdout.splitlines() == lines


def test_which_repo(place):
    with place.api():
        pass
    assert "there is no repo here yet" in place.run("log", status=1).stderr
    one, _, _ = place.fill("one")
    two, _, _ = place.fill("two")
    said = place.run("log", status=1).stderr
    assert said.startswith("Error: there are 2 repos; name one with --repo: ")
    assert f"{one[:12]} (one)" in said
    assert said.count("\n") == 1
    assert place.json("log", "--repo", two)[-1]["UUID"] == two
    assert "could not find" in place.run("log", "--repo", "ffffffffffff", status=1).stderr.lower()


def test_commit(place):
    _, _, leaf = place.fill()
    lines = place.run("commit", leaf[:10], "-m", "third").stdout.splitlines()
    assert lines[0] == f"committed {leaf}"
    node = place.json("log")[0]
    assert (node["Locked"], node["Note"], lines[1]) == (True, "third", f"hash      {node['Hash']}")
    assert "locked" in place.run("commit", leaf, "-m", "again", status=1).stderr
    assert "Missing option '-m'" in place.run("commit", leaf, status=2).stderr


def test_branch(place):
    root, child, leaf = place.fill()
    made = place.json("branch", "side", "--at", child)
    assert made["branch"] == "side"
    assert [line.split() for line in place.run("branch").stdout.splitlines()] == [
        ["branch", "last", "version", "state", "versions"],
        ["master", leaf[:12], "open", "3"],
        ["side", made["child"][:12], "open", "1"],
    ]
    assert {(each["branch"], each["leaf"]) for each in place.json("branch")} == {("", leaf), ("side", made["child"])}
    said = place.run("branch", "other", status=1).stderr  # the leaf of master is open
    assert said.startswith("Error: ")
    place.run("commit", leaf, "-m", "x")
    assert place.run("branch", "other").stdout.startswith("branch other begins with the open version ")
    assert "--at and -m go with the NAME" in place.run("branch", "--at", root, status=2).stderr


def test_diff_of_versions(place):
    root, child, _ = place.fill()
    lines = place.run("diff", root[:8], f"{root}:master~1").stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["data", "instance", "type", "added", "removed", "changed"],
        ["~", "kv", "keyvalue", "1", "1", "1"],
    ]
    found = place.json("diff", root, child)
    assert [(each["name"], each["change"]) for each in found["instances"]] == [("kv", "changed")]
    assert place.run("diff", root, root).stdout == "no difference\n"


def test_diff_of_an_instance(place):
    root, child, _ = place.fill()
    assert place.run("diff", root, child, "kv").stdout == '~ "b"\n- "c"\n+ "été"\n1 added, 1 removed, 1 changed\n'
    found = place.json("diff", root, child, "kv")
    assert [(each["change"], each["key"]) for each in found["changes"]] == [
        ("changed", "b"),
        ("removed", "c"),
        ("added", "été"),
    ]
    assert place.run("diff", child, root, "kv").stdout.startswith('~ "b"\n+ "c"\n- "été"\n')
    assert "invalid data instance name" in place.run("diff", root, child, "none", status=1).stderr.lower()


def test_fsck(place):
    place.fill()
    assert place.run("fsck").stdout.startswith("all is well: checked ")
    report = place.json("fsck")
    assert report["ok"] is True
    assert report["problems"] == []
    assert report["objects"] > 0


def test_stats(place):
    place.fill()
    found = place.json("stats")
    assert found
    assert place.run("stats").stdout.count("\n") >= len(found)
