"""`dagdvid diff`: what changed between two versions, printed while it arrives."""

from __future__ import annotations

import json
from codecs import getincrementaldecoder
from collections.abc import Iterable, Iterator
from typing import Any

import click

from dagdvid.errors import RemoteError

from .output import print_json, table
from .target import Target, as_json, target_options

__all__ = ["diff", "print_changes", "print_instances", "stream_members"]

SIGNS = {"added": "+", "removed": "-", "changed": "~"}


@click.command
@click.argument("a")
@click.argument("b")
@click.argument("instance", metavar="[DATA]", required=False)
@target_options
@as_json
def diff(target: Target, a: str, b: str, instance: str | None, as_json: bool) -> None:
    """Show what changed from version A to B. Data instances are listed, or the keys or blocks of the instance DATA."""
    with target.read() as api:
        path = f"/api/node/{a}/diff/{b}" if instance is None else f"/api/node/{a}/{instance}/diff/{b}"
        answer = api.request("GET", path)
        if as_json and instance is not None:
            for piece in answer.pieces:
                click.echo(piece, nl=False)
            click.echo()
        elif as_json:
            print_json(answer.json())
        elif instance is None:
            print_instances(answer.json()["instances"])
        else:
            print_changes(stream_members(answer.pieces, "changes"))


def print_instances(instances: list[dict[str, Any]]) -> None:
    """One line a data instance that differs."""
    if not instances:
        click.echo("no difference")
        return
    rows = [
        (SIGNS[each["change"]], each["name"], each["type"], each["added"], each["removed"], each["changed"])
        for each in instances
    ]
    table(("", "data instance", "type", "added", "removed", "changed"), rows)


def print_changes(members: Iterator[tuple[str, Any]]) -> None:
    """One line a change as it comes, then the counts and what the datatype says of all of them."""
    rest = {}
    for name, value in members:
        if name == "changes":
            words = [json.dumps(item, ensure_ascii=False) for key, item in value.items() if key != "change"]
            click.echo(f"{SIGNS[value['change']]} {' '.join(words)}")
        else:
            rest[name] = value
    counts = [f"{rest.pop(change)} {change}" for change in SIGNS if change in rest]
    for name in ("data", "type"):
        rest.pop(name, None)
    extra = [f"{name} {json.dumps(value)}" for name, value in rest.items() if value]
    click.echo(", ".join([*counts, *extra]) or "no difference")


def stream_members(pieces: Iterable[bytes], array: str) -> Iterator[tuple[str, Any]]:
    """The members of a JSON object as they arrive; the items of its member `array`, a list, one by one under its name.

    Only one item at a time is held in memory, so that a diff of any length can be followed.

    Raises:
        RemoteError: what comes is not a JSON object, or it ends early.
    """
    text = _Text(pieces)
    text.expect("{")
    while not text.take("}"):
        text.take(",")
        name = text.value()
        text.expect(":")
        if name != array:
            yield name, text.value()
            continue
        text.expect("[")
        while not text.take("]"):
            text.take(",")
            yield name, text.value()


class _Text:
    """JSON text that is still arriving."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._utf8 = getincrementaldecoder("utf-8")("replace")
        self._buffer = ""
        self._at = 0
        self._decoder = json.JSONDecoder()

    def take(self, character: str) -> bool:
        """Whether the next character that is no space is this one; it is passed over then."""
        while True:
            while self._at < len(self._buffer):
                if not self._buffer[self._at].isspace():
                    found = self._buffer[self._at] == character
                    self._at += found
                    return found
                self._at += 1
            self._more()

    def expect(self, character: str) -> None:
        """Pass over a character that must come next."""
        if not self.take(character):
            raise RemoteError(f"the answer is not the JSON that was expected: no {character!r} where it should be")

    def value(self) -> Any:
        """The next value."""
        self.take("")  # passes over spaces only
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._at)
            except ValueError:
                self._more()
                continue
            if self._buffer[end : end + 1] not in ("", ".", "e", "E"):  # else a number goes on, or may
                self._at = end
                return value
            self._more()

    def _more(self) -> None:
        piece = next(self._pieces, None)
        if piece is None:
            raise RemoteError("the answer broke off before the end")
        self._buffer = self._buffer[self._at :] + self._utf8.decode(piece)
        self._at = 0
