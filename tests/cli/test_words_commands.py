"""DVID's commands and flags on the command line, on a data directory and against a server."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from dagdvid.cli import main
from dagdvid.cli.child import ServerProcess
from dagdvid.cli.client import HttpApi


def test_dvids_words_make_a_repo_with_data(place):
    with place.api():
        pass
    said = place.run("repos", "new", "sample", "some words").stdout
    root = re.fullmatch(r'New repo "sample" created with head node ([0-9a-f]{32})\n', said)[1]
    said = place.run("repo", root[:8], "new", "keyvalue", "kv", "versioned=false").stdout
    assert said == f'Data "kv" [keyvalue] added to node {root}\n'
    assert "kv (keyvalue)" in place.run("repos").stdout
    refused = place.run("repo", root, "new", "keyvalue", "kv", status=1).stderr
    assert refused.startswith("Error: data instance name 'kv' is taken")


def test_flags_before_the_command(place):
    root, _, leaf = place.fill()
    words = [*map(str, place.words), "-stdin", "node", leaf, "kv", "put", "k"]
    done = CliRunner().invoke(main, words, input=b"\x00value\xff")
    assert (done.exit_code, done.stdout) == (0, f'Put 7 bytes into key "k" for keyvalue "kv", uuid {leaf}\n')
    with place.api() as api:
        assert api.request("GET", f"/api/node/{leaf}/kv/key/k").read() == b"\x00value\xff"
    done = CliRunner().invoke(main, [*map(str, place.words), "log", "--repo", root])
    assert done.stdout.count("\n") == 4


def test_the_first_repo_makes_the_data_directory(tmp_path, run):
    run("repos", "new", "first", "--data", tmp_path / "new")
    assert "first" in run("repos", "--data", tmp_path / "new").stdout
    said = run("repo", "12", "new", "keyvalue", "kv", "--data", tmp_path / "none", status=1).stderr
    assert "there is no data directory" in said
    assert not (tmp_path / "none").exists()


def test_rpc_is_answered_with_what_to_write(run):
    said = run("-rpc=localhost:8001", "types", status=1).stderr
    assert said.startswith("Error: -rpc=localhost:8001: ")
    assert "--server http://HOST:PORT" in said


def test_flags_without_effect_are_told(folder):
    folder.fill()
    done = CliRunner().invoke(main, ["-numcpu=4", "-verbose", "repos", *map(str, folder.words)])
    assert done.exit_code == 0
    assert sorted(line.split()[0] for line in done.stderr.splitlines()) == ["-numcpu", "-verbose"]
    refused = CliRunner().invoke(main, ["-readonly", "repos"])
    assert (refused.exit_code, "--readonly says nothing to repos" in refused.stderr) == (2, True)


def test_no_words_and_wrong_words(run):
    everything = run().stdout
    assert everything == run("help").stdout
    assert "Commands:\n  serve " in everything
    said = run("comit", status=1).stderr
    assert said.startswith("Error: there is no command 'comit'. Did you mean commit? There are: serve, ")
    assert "must come one of: UUID branch" in run("repo", status=1).stderr
    assert "Did you mean" not in run("xyzzy", status=1).stderr


@pytest.mark.parametrize("words", [("server",), ("repo",), ("repo", "merge"), ("diff",), ("types",)])
def test_help_of(words, run):
    said = run("help", *words).stdout
    assert ("repo UUID merge PARENT..." in said) == (words in (("server",), ("repo",), ("repo", "merge")))


def test_words_that_change_nothing_work_beside_a_server(tmp_path, run):
    with ServerProcess(tmp_path / "data", "127.0.0.1:0") as process:
        assert "keyvalue" in run("types", "--data", tmp_path / "data").stdout
        assert "in use" in run("repos", "new", "x", "--data", tmp_path / "data", status=1).stderr
        assert "dagdvid 0" in run("server", "--server", process.url).stdout
    assert "nothing to stop" in run("shutdown", "--data", tmp_path / "data", status=1).stderr


def test_words_that_are_not_served_need_no_server(run):
    assert "GET /v1/volumes" in run("googlevoxels", "volumes", "/some/file", status=1).stderr


def test_push_by_dvids_words(served, tmp_path):
    root, child, _ = served.fill()
    with ServerProcess(tmp_path / "other", "127.0.0.1:0") as other:
        address = other.url.removeprefix("http://")
        said = served.run("repo", root, "push", address, "transmit=all").stdout
        assert said == f"Pushed repo {root} to {address}: 2 versions were missing there\n"
        with HttpApi(other.url) as there:
            assert there.request("GET", f"/api/node/{child}/kv/key/b").read() == b"changed"


@pytest.mark.parametrize("workers", [1, 2])
def test_shutdown_ends_all_processes(workers, tmp_path, run):
    words = ["serve", "--data", str(tmp_path / "d"), "--http", "127.0.0.1:0", "--workers", str(workers), "--quiet"]
    with subprocess.Popen([sys.executable, "-m", "dagdvid", *words], stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().split()[-1]
        assert run("shutdown", "--server", url).stdout == "The server is stopping.\n"
        assert process.wait(60) == 0


def test_a_file_of_the_callers_is_sent(place, tmp_path):
    root, child, _ = place.fill()
    (tmp_path / "keep.json").write_text(json.dumps({"Versions": [child]}))
    said = place.run("repo", root, "limit-versions", tmp_path / "keep.json").stdout
    assert said == f"Hid 1 versions of the repo with root {root}\n"
    assert "No such file" in place.run("repo", root, "limit-versions", tmp_path / "none.json", status=1).stderr
