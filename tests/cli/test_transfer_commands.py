"""`push`, `pull`, `clone`: between a data directory or server and another server."""

from __future__ import annotations

import json

import pytest

from dagdvid.cli.child import ServerProcess
from dagdvid.cli.client import HttpApi


@pytest.fixture
def other(tmp_path):
    with ServerProcess(tmp_path / "other", "127.0.0.1:0") as process:
        yield process.url


def hashes(api, root):
    nodes = api.get(f"/api/repo/{root}/info")["DAG"]["Nodes"].values()
    return {node["UUID"]: node["Hash"] for node in nodes if node["Locked"]}


def test_push(place, other):
    root, child, leaf = place.fill()
    said = place.run("push", other).stdout
    assert said.startswith(f"pushed to origin: repo {root[:12]}, 2 versions, ")
    with HttpApi(other) as there, place.api() as here:
        assert hashes(there, root) == hashes(here, root)
        assert set(hashes(there, root)) == {root, child}
        assert there.request("GET", f"/api/node/{child}/kv/key/b").read() == b"changed"
    assert place.run("push", "origin").stdout == "pushed to origin: nothing was missing\n"
    place.run("commit", leaf, "-m", "third")
    result = place.json("push", other)
    assert result["versions"] == 1
    assert set(result) >= {"root", "versions", "objects", "bytes", "round_trips", "seconds"}
    with place.api() as here:
        assert here.get(f"/api/repo/{root}/remotes") == [{"name": "origin", "url": other}]


def test_what_would_be_pushed_and_what_is_left_out(place, other):
    root, child, _ = place.fill()
    said = place.run("push", other, "--dry-run").stdout
    assert said.startswith(f"would have pushed to origin: repo {root[:12]}, 2 versions, ")
    assert "round trips" not in said
    with HttpApi(other) as there:
        assert root not in there.get("/api/repos/info")
        place.run("push", other, "--without", child)
        assert set(hashes(there, root)) == {root}
    assert place.json("pull", "origin", "--dry-run")["versions"] == 0


def test_pull(place, other):
    with HttpApi(other) as there:
        root = there.post("/api/repos", {"alias": "x", "description": ""})["root"]
        there.post(f"/api/repo/{root}/instance", {"typename": "keyvalue", "dataname": "kv"})
        there.post(f"/api/node/{root}/commit", {"note": "first", "log": []})
        assert place.run("clone", other).stdout.startswith(f"cloned {other}: repo {root[:12]}, 1 versions, ")
        child = there.post(f"/api/node/{root}/newversion", {"note": ""})["child"]
        there.request("POST", f"/api/node/{child}/kv/key/k", None, b"v").read()
        there.post(f"/api/node/{child}/commit", {"note": "second", "log": []})
    assert "1 versions" in place.run("pull", other, "--repo", root[:8]).stdout
    with place.api() as here:
        assert here.request("GET", f"/api/node/{child}/kv/key/k").read() == b"v"
    assert place.run("pull", other).stdout.endswith(": nothing was missing\n")


def test_clone_of_one_repo_of_several(run, served, other, tmp_path):
    first, _, _ = served.fill("first")
    served.fill("second")
    url = served.words[1]
    said = run("clone", url, "--data", tmp_path / "new", status=1).stderr
    assert said.startswith("Error: ")
    assert "2 repos" in said
    result = json.loads(run("clone", f"{url}/{first}", "--data", tmp_path / "new", "--json").stdout)
    assert (result["root"], result["versions"]) == (first, 2)
    assert run("log", "--data", tmp_path / "new").exit_code == 0


def test_names_of_remotes(place, other, tmp_path):
    place.fill()
    port = other.rpartition(":")[2]
    with place.api() as api:
        root = next(iter(api.get("/api/repos/info")))
        api.post(f"/api/repo/{root}/remotes", {"name": "origin", "url": "http://127.0.0.1:1"})
    assert place.run("push", other + "/").stdout.startswith(f"pushed to 127.0.0.1-{port}: ")
    assert place.run("push", other).stdout.startswith(f"pushed to 127.0.0.1-{port}: nothing")
    said = place.run("push", "nowhere", status=1).stderr
    assert said.startswith("Error: there is no remote 'nowhere' (known: ")
    assert "give its URL" in said


def test_a_remote_that_does_not_answer(place):
    place.fill()
    said = place.run("push", "http://127.0.0.1:1", status=1).stderr
    assert said.startswith("Error: ")
    assert "127.0.0.1:1" in said
    assert said.count("\n") == 1


def test_no_url_to_clone(run, tmp_path):
    assert "not the URL of a server" in run("clone", "localhost:8000", "--data", tmp_path / "x", status=2).stderr
    assert not (tmp_path / "x").exists()


def test_progress_is_told_where_asked(place, other):
    place.fill()
    assert place.run("push", other).stderr == ""
    with place.api() as api:
        root = next(iter(api.get("/api/repos/info")))
        child = api.post(f"/api/node/{root}/branch", {"branch": "more", "note": ""})["child"]
        api.request("POST", f"/api/node/{child}/kv/key/more", None, b"x" * 1000).read()
        api.post(f"/api/node/{child}/commit", {"note": "", "log": []})
    assert place.run("push", other, "--progress").stderr != ""


def test_publish_and_clone_from_there(place, tmp_path, run):
    root, _, _ = place.fill()
    site = f"file://{tmp_path / 'site'}"
    assert place.run("publish", root, site).stdout.startswith("published ")
    said = run("clone", "--chain", site, "--data", tmp_path / "chained").stdout
    assert said == f"cloned {site}: repo {root[:12]}, 2 versions, chained\n"
    hashes = [json.loads(run("log", "--json", "--data", tmp_path / "chained").stdout)[0]["Hash"]]
    assert hashes == [place.json("log")[1]["Hash"]]
