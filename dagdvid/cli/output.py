"""What people see: tables, sizes, times, progress."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from .client import Show

__all__ = ["branch_name", "moment", "print_json", "progress", "short", "size", "table"]

UNITS = ("B", "KB", "MB", "GB", "TB", "PB")
INTERVAL = 1.0
"""Seconds between two lines of progress where they cannot overwrite each other."""


def print_json(value: Any) -> None:
    """The machine's answer."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns of text, as wide as needed."""
    lines = [list(titles), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(titles))]
    for line in lines:
        click.echo("  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def short(uuid: str) -> str:
    """Enough of a UUID or hash to know it by."""
    return uuid[:12]


def branch_name(branch: str) -> str:
    """A branch as it is called in URLs; DVID's master has no name in its records."""
    return branch or "master"


def moment(rfc3339: str) -> str:
    """A time, to the second."""
    return rfc3339[:19].replace("T", " ")


def size(count: int) -> str:
    """A number of bytes, in units of 1000."""
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{count} B" if unit == 0 else f"{value:.3g} {UNITS[unit]}"


@contextmanager
def progress(always: bool) -> Iterator[Show]:
    """Where to tell of progress: one line on standard error that is overwritten, if it is a terminal.

    `always`: also where it is none, as lines, one a second.
    """
    terminal = sys.stderr.isatty()
    last = -INTERVAL

    def show(text: str, done: int, total: int | None) -> None:
        nonlocal last
        line = f"{text} {done:,}" + (f" of {total:,}" if total else "")
        if terminal:
            click.echo(f"\r\x1b[K{line}", nl=False, err=True)
        elif always and time.monotonic() - last >= INTERVAL:
            last = time.monotonic()
            click.echo(line, err=True)

    try:
        yield show
    finally:
        if terminal:
            click.echo("\r\x1b[K", nl=False, err=True)
