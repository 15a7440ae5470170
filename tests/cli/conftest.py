"""Data to run commands on: a data directory, or a server with one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from dagdvid.cli import main
from dagdvid.cli.child import ServerProcess
from dagdvid.cli.client import HttpApi, LocalApi


def run_command(*words, status=0):
    """The result of one command; its exit status is checked."""
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == status, (words, result.output, result.exception)
    assert "Traceback" not in result.output
    return result


def run_json(*words):
    return json.loads(run_command(*words, "--json").stdout)


class Place:
    """Somewhere to run commands: `words` name it to them, `api()` to the test."""

    def __init__(self, words, api):
        self.words, self.api = words, api

    def run(self, *words, status=0):
        return run_command(*words, *self.words, status=status)

    def json(self, *words):
        return run_json(*words, *self.words)

    def fill(self, alias="sample"):
        """A repo: root (committed), a child on master with edits (committed), and its open child."""
        with self.api() as api:
            root = api.post("/api/repos", {"alias": alias, "description": "d"})["root"]
            api.post(f"/api/repo/{root}/instance", {"typename": "keyvalue", "dataname": "kv"})
            for key in ("a", "b", "c"):
                api.request("POST", f"/api/node/{root}/kv/key/{key}", None, key.encode()).read()
            api.post(f"/api/node/{root}/commit", {"note": "first", "log": []})
            child = api.post(f"/api/node/{root}/newversion", {"note": ""})["child"]
            api.request("POST", f"/api/node/{child}/kv/key/b", None, b"changed").read()
            api.request("DELETE", f"/api/node/{child}/kv/key/c").read()
            api.request("POST", f"/api/node/{child}/kv/key/été", None, b"new").read()
            api.post(f"/api/node/{child}/commit", {"note": "second", "log": []})
            leaf = api.post(f"/api/node/{child}/newversion", {"note": ""})["child"]
            for uuid in (root, child):  # folded in the background, or now
                api.get(f"/api/node/{uuid}/hash")
        return root, child, leaf


@pytest.fixture
def run():
    """Runs a command as a person would, and checks its exit status."""
    return run_command


@pytest.fixture
def folder(tmp_path) -> Place:
    """A data directory that nobody serves."""
    data: Path = tmp_path / "folder"
    return Place(["--data", data], lambda: LocalApi(data))


@pytest.fixture
def served(tmp_path):
    """A running server."""
    with ServerProcess(tmp_path / "served", "127.0.0.1:0") as process:
        yield Place(["--server", process.url], lambda: HttpApi(process.url))


@pytest.fixture(params=["folder", "served"])
def place(request) -> Place:
    """Either of the two: commands cannot tell which."""
    return request.getfixturevalue(request.param)
