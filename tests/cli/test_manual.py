"""The page of all commands."""

from __future__ import annotations

from pathlib import Path

from dagdvid.cli import main
from dagdvid.cli.manual import page
from dagdvid.commands import COMMANDS
from dagdvid.helptext import installed

PAGE = Path(__file__).resolve().parents[2] / "docs" / "commands.md"


def test_every_command_is_on_the_page_in_the_tree():
    text = PAGE.read_text("utf-8")
    headings = [line for line in page().splitlines() if line.startswith("#")]
    missing = [line for line in headings if line not in text]
    assert not missing, "write it anew: python -m dagdvid.cli.manual > docs/commands.md"


def test_every_command_is_on_it():
    text = page()
    words = [command.usage for command in COMMANDS]
    words += [command.usage for kind in installed() for command in kind.commands.under("node UUID NAME")]
    assert all(f"- `{usage}`" in text for usage in words)
    assert [name for name in main.commands if f"\n### {name}\n" not in text] == [
        "repo",
        "node",
        "types",
        "shutdown",
        "googlevoxels",
    ]
