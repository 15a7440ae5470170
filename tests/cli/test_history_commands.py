"""`log --graph`, `history`, `revert`: on a data directory and against a server."""

from __future__ import annotations

import random
import re
from itertools import pairwise

import pytest

from dagdvid.cli.graph import graph_lines


def repo(versions, notes=()):
    """DVID's JSON of a repo: UUID -> (branch, parents), in order of creation; leaves are open."""
    ids = {uuid: i + 1 for i, uuid in enumerate(versions)}
    children = {uuid: [ids[c] for c, (_, parents) in versions.items() if uuid in parents] for uuid in versions}
    nodes = {
        uuid: {
            "UUID": uuid,
            "VersionID": ids[uuid],
            "Branch": branch,
            "Parents": [ids[parent] for parent in parents],
            "Children": children[uuid],
            "Created": f"2026-01-02T03:{ids[uuid] // 60:02}:{ids[uuid] % 60:02}.5Z",
            "Note": "" if uuid not in notes else f"about\n{uuid}",
            "Locked": bool(children[uuid]) or branch.startswith("tag-"),
        }
        for uuid, (branch, parents) in versions.items()
    }
    return {"DAG": {"Nodes": nodes}}


VERSIONS = {
    "a": ("", []),
    "b": ("", ["a"]),
    "c": ("side", ["a"]),
    "d": ("third", ["a"]),
    "v1": ("tag-v1", ["b"]),
    "e": ("", ["b", "c"]),
    "f": ("side", ["c"]),
    "g": ("", ["e", "f", "d"]),
    "h": ("third", ["d"]),
}


def without_times(lines):
    return [re.sub(r"  2026-01-02 03:\d\d:\d\d", "", line) for line in lines]


def test_the_graph():
    assert without_times(graph_lines(repo(VERSIONS, notes="b"))) == [
        "o  h  (third, open)",
        "│ o  g  (master, open)",
        "├─┤",
        "│ ├─╮",
        "│ │ *  f  (side)",
        "│ * │  e",
        "│ ├─┤",
        "* │ │  d",
        "│ │ *  c",
        "│ * │  b  (tag: v1)  about b",
        "├─┴─╯",
        "*  a",
    ]


def test_a_part_of_the_graph_and_an_empty_one():
    assert len([line for line in graph_lines(repo(VERSIONS), 3) if "2026" in line]) == 3
    assert list(graph_lines(repo({}))) == []


def test_a_terminal_without_unicode(monkeypatch):
    class Plain:
        encoding = "ascii"

    with monkeypatch.context() as patched:
        patched.setattr("sys.stdout", Plain())
        lines = list(graph_lines(repo(VERSIONS)))
    assert all(line.isascii() for line in lines)
    assert "|-|" in lines


@pytest.mark.parametrize("seed", range(5))
def test_every_version_once_after_its_children_and_tied_to_its_parents(seed):
    chance = random.Random(seed)
    versions = {"n0": ("", [])}
    for i in range(1, 1000):
        known = list(versions)[-8:]
        versions[f"n{i}"] = (f"b{i % 7}", chance.sample(known, min(len(known), chance.choice([1, 1, 1, 2, 3]))))
    lines = list(graph_lines(repo(versions)))
    rows = {match[1]: i for i, line in enumerate(lines) if (match := re.search(r"(n\d+)  2026", line))}
    assert len(rows) == 1000
    assert all(rows[parent] > rows[uuid] for uuid, (_, parents) in versions.items() for parent in parents)
    width = max(len(line.partition("  n")[0]) for line in lines)
    assert width < 40, "lanes are used again"
    lanes = [line.partition("  n")[0] for line in lines]
    for lane, below in pairwise(lanes[:-1]):
        for at in range(0, len(lane), 2):
            if lane[at] in "│*o├┤╮┬┼":
                assert below[at : at + 1] in tuple("│*o├┤┼╯┴"), f"{lane} goes on in {below}"


def test_log_graph(place):
    root, child, leaf = place.fill()
    place.run("branch", "side", "--at", root)
    lines = place.run("log", "--graph").stdout.splitlines()
    assert [line.split()[-2:] for line in lines if "open" in line] == [["(side,", "open)"], ["(master,", "open)"]]
    assert lines[-1].startswith(f"*  {root[:12]}  ")
    assert place.run("log", "--graph", "-n", "1").stdout.count("\n") == 1
    assert [node["UUID"] for node in place.json("log", "--graph", "-n", "2")][1] == leaf
    assert place.run("log", "-n", "1").stdout.count("\n") == 2
    assert any(child[:12] in line for line in lines)


def test_history(place):
    root, child, leaf = place.fill()
    lines = place.run("history", ":master", "kv", "b").stdout.splitlines()
    assert lines[0].split()[:5] == ["version", "branch", "state", "change", "size"]
    assert [line.split()[:5] for line in lines[1:]] == [
        [child[:12], "master", "committed", "changed", "7"],
        [root[:12], "master", "committed", "added", "1"],
    ]
    assert [entry["version"] for entry in place.json("history", leaf, "kv", "b", "-n", "1")] == [child]
    assert [entry["change"] for entry in place.json("history", leaf, "kv", "été")] == ["added"]
    assert place.run("history", leaf, "kv", "none").stdout == "no version up to this one has the key\n"


def test_revert(place):
    _, child, leaf = place.fill()
    said = place.run("revert", leaf, child, "--dry-run").stdout
    assert said == f"kv: 1 added, 1 removed, 1 changed\nwould be made in or after version {leaf}\n"
    assert place.json("diff", child, leaf)["instances"] == []
    found = place.json("revert", leaf, child, "--instance", "kv", "--key-range", "a", "b")
    assert found == {
        "version": leaf,
        "reverted": {"kv": {"added": 0, "removed": 0, "changed": 1}},
        "conflicts": 0,
    }
    with place.api() as api:
        api.request("POST", f"/api/node/{leaf}/kv/key/c", None, b"other").read()
    said = place.run("revert", leaf, child, "--dry-run").stdout.splitlines()
    assert said[-2:] == ["1 conflicts, the first:", "  key 'c' of 'kv' was changed again later"]
    assert "nothing was changed" in place.run("revert", leaf, child, status=1).stderr
    place.run("commit", leaf, "-m", "x")
    made = place.run("revert", leaf, leaf, "-m", "back").stdout.splitlines()[-1]
    assert made.startswith("made in version ")
    assert place.json("log")[0]["Note"] == "back"
    assert place.json("diff", child, made.split()[-1])["instances"] == []
    assert place.run("revert", made.split()[-1], leaf).stdout.startswith("nothing to do")


def test_reflog(place):
    root, child, leaf = place.fill()
    with place.api() as api:
        digest = api.get(f"/api/node/{child}/hash")["hash"]  # made now if it was not in the background
    lines = [re.split(r"  +", line) for line in place.run("reflog", child[:8]).stdout.splitlines()]
    assert lines[0] == ["time", "repo", "ref", "action", "before", "after", "user", "keys"]
    moves = [line[1:4] for line in lines]
    latest = moves[1:4]  # commits are bound in the background: before the next version is made, or after it
    assert [root[:12], f"version/{leaf[:12]}", "made"] in latest
    assert [root[:12], f"version/{child[:12]}", "committed"] in latest
    assert any("and 4 more" in line[-1] for line in lines)
    assert digest in {entry.get("after") for entry in place.json("reflog", "-n", "3")}
    assert len(place.json("reflog")) == len(lines) - 1


def test_undelete(place):
    root, child, _ = place.fill()
    place.run("repo", root, "delete", "kv")
    assert place.run("undelete", root, "--instance", "kv", "--name", "kv2").stdout == "brought back data instance kv2\n"
    place.run("branch", "side", "--at", root)
    place.run("repo", root, "hide-branch", "side")
    assert place.run("undelete", root, "--branch", "side").stdout == "brought back branch side: 1 versions\n"
    with place.api() as api:
        api.get(f"/api/node/{child}/hash")
    place.run("repos", "delete", root)
    assert place.json("undelete", root[:10]) == {"root": root, "versions": 2}
    with place.api() as api:
        assert api.request("GET", f"/api/node/{child}/kv2/key/b").read() == b"changed"
    assert "deleted here lately" in place.run("undelete", "1234", status=1).stderr
    assert "give either" in place.run("undelete", root, "--name", "x", status=2).stderr


def test_log_of_the_record(place):
    root, _, _ = place.fill("first")
    with place.api() as api:
        api.post(f"/api/repo/{root}/info", {"alias": "second"})
    place.run("repo", root, "rename", "kv", "kv2")
    states = place.json("log", "--record", "-n", "2")
    uuid = next(fact["key"] for fact in states[0]["changes"] if fact["key"].endswith("/name")).split("/")[1]
    lines = place.run("log", "--record", "-n", "2").stdout.splitlines()
    assert [line for line in lines if line.startswith("    ~")] == [
        f'    ~ data/{uuid}/name "kv" -> "kv2"',
        '    ~ alias "first" -> "second"',
    ]
    assert lines[0].split("  ")[1] == states[0]["id"][:12]
    assert "either --graph or --record" in place.run("log", "--record", "--graph", status=2).stderr
