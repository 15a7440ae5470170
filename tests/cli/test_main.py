"""The command line as a whole: help, what is refused, and how."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from dagdvid.cli import main
from dagdvid.cli.child import ServerProcess
from dagdvid.cli.client import LocalApi
from dagdvid.cli.target import Target

OWN = [
    "serve",
    "config",
    "token",
    "demo",
    "repos",
    "log",
    "commit",
    "branch",
    "diff",
    "history",
    "revert",
    "reflog",
    "undelete",
    "push",
    "pull",
    "clone",
    "publish",
    "unpublish",
    "materialize",
    "backup",
    "restore",
]
OWN += ["fsck", "repair", "gc", "stats", "server"]
COMMANDS = [*OWN, "repo", "node", "types", "shutdown", "googlevoxels", "help", "about"]


def test_the_commands(run):
    assert list(main.commands) == COMMANDS
    said = run("--help").stdout
    assert [line.split()[0] for line in said.partition("Commands:\n")[2].splitlines()] == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, run):
    said = run(command, "-h").stdout
    assert said.startswith(f"Usage: dagdvid {command} ")
    options = {name for option in main.commands[command].params for name in option.opts}
    if command in OWN and command not in ("serve", "config", "token", "demo", "backup", "restore"):
        assert {"--data", "--server", "--json"} <= options


def test_both_places_at_once(tmp_path, run):
    said = run("repos", "--data", tmp_path, "--server", "http://x", status=2).stderr
    assert "give either --data or --server, not both" in said


def test_no_data_directory(tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    said = run("repos", status=1).stderr
    assert said == "Error: there is no data directory dagdvid-data; name one (--data DIR) or a server (--server URL)\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["repos"], ["commit", "0123", "-m", "x"]])
def test_a_folder_of_something_else_is_left_alone(tmp_path, words, run):
    said = run(*words, "--data", tmp_path, status=1).stderr
    assert said == f"Error: there is no dagdvid data in {tmp_path}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_directory_in_use_is_read_but_not_written(tmp_path, run):
    with ServerProcess(tmp_path / "data", "127.0.0.1:0"):
        assert run("repos", "--data", tmp_path / "data").stdout == "no repos\n"
        said = run("commit", "0123", "-m", "x", "--data", tmp_path / "data", status=1).stderr
    assert "in use by process" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "http://", ""])
def test_no_url(url, run):
    assert "not the URL of a server" in run("repos", "--server", url, status=1).stderr


def test_no_server(run):
    said = run("repos", "--server", "http://127.0.0.1:1", status=1).stderr
    assert said == "Error: cannot reach http://127.0.0.1:1: is a server running there?\n"


def test_errors_of_the_system_are_one_line(tmp_path, monkeypatch, run):
    def fail(self):
        raise PermissionError(13, "Permission denied", "/some/file")

    monkeypatch.setattr(Target, "read", fail)
    assert run("repos", status=1).stderr == "Error: /some/file: Permission denied\n"


def test_mistakes_of_our_own_are_one_line(monkeypatch, run):
    def fail(self):
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr(Target, "read", fail)
    said = run("repos", status=1).stderr
    assert said == "Error: a mistake of dagdvid's own, ZeroDivisionError: by zero; dagdvid --debug … shows where\n"
    with pytest.raises(ZeroDivisionError):
        main(["--debug", "repos"], standalone_mode=False)


def test_debug_shows_refusals_too(tmp_path):
    with pytest.raises(Exception, match="no dagdvid data") as caught:
        main(["--debug", "repos", "--data", str(tmp_path)], standalone_mode=False)
    assert not isinstance(caught.value, click.ClickException)


def test_python_m_dagdvid():
    done = subprocess.run([sys.executable, "-m", "dagdvid", "--version"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout.startswith("dagdvid, version ")


def test_a_local_api_knows_no_other_paths(tmp_path):
    with LocalApi(tmp_path / "data") as api, pytest.raises(Exception, match="no such endpoint: GET /api/nosuch"):
        api.get("/api/nosuch")
