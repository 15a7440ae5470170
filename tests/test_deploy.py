"""What `deploy/` says to run can be run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from dagdvid.cli import main
from dagdvid.config import load, problems

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"


def test_the_configuration_is_right():
    assert problems(DEPLOY / "server.toml") == []
    assert not load(DEPLOY / "server.toml").loopback_only


def commands():
    unit = (DEPLOY / "dagdvid.service").read_text()
    for line in re.findall(r"^ExecStart(?:Pre)?=(.*dagdvid .*)$", unit, re.MULTILINE):
        yield shlex.split(line)[1:]
    container = (DEPLOY / "Containerfile").read_text()
    yield re.findall(r'"([^"]*)"', re.search(r"^CMD (.*)$", container, re.MULTILINE)[1])


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_commands_are_known(words):
    """Their words are parsed by the commands themselves, which are not run."""
    command, words = main.commands[words[0]], words[1:]
    if isinstance(command, click.Group):
        command, words = command.commands[words[0]], words[1:]
    with click.Context(command) as ctx:
        command.parse_args(ctx, list(words))
    assert ctx.params


def test_the_unit_waits_for_the_server():
    wait = int(re.search(r"^TimeoutStopSec=(\d+)$", (DEPLOY / "dagdvid.service").read_text(), re.MULTILINE)[1])
    assert wait >= load(DEPLOY / "server.toml").grace + 15
