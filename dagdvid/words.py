"""Commands as data: what a table of command words says, and nothing of consoles or HTTP.

A `Command` states its words once, in `usage`; from that come matching, the refusal of what does not fit, help and the
page of documentation. As in DVID, words that are `NAME=VALUE` are settings wherever they stand (dvid/command.go).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from typing import Any, NamedTuple

from dagdvid.errors import BadRequest

__all__ = ["Call", "Command", "CommandTable"]

ANY = "KEY"
"""The name that stands in a usage for settings of any name."""


@dataclass(frozen=True)
class Call:
    """One command as it was given: `args` by the names of the usage, in lower case; `rest` is what `...` stands for."""

    words: tuple[str, ...]
    args: Mapping[str, str] = field(default_factory=dict)
    rest: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""
    stdin: bytes = b""
    user: str = ""
    app: str = ""

    def get(self, name: str) -> str:
        """An argument that may be absent; then it is empty."""
        return self.args.get(name, "")


class _Token(NamedTuple):
    """A word of a usage."""

    name: str
    literal: bool = False
    optional: bool = False
    many: bool = False
    setting: bool = False


@dataclass(frozen=True)
class Command:
    """One command.

    `usage` has words as they are typed, in lower case, and arguments in capitals: `NAME`, `[NAME]` if it may be absent,
    `NAME...` or `[NAME...]` for the rest of the line, `[name=VALUE]` for a setting, `[KEY=VALUE...]` for any settings.
    """

    usage: str
    handler: Callable[..., Any] | None
    """What it does; the table's owner says what is passed before the `Call`, and what comes back. None: it is a command
    of DVID's that has no sense here, and `doc` says what takes its place."""
    doc: str
    changes: bool = True
    """It changes something, so that it needs a right and a server that takes writes."""
    steps: bool = False
    """It takes many transactions: how, its table's owner says."""
    file: str = ""
    """The argument that names a file of the caller's: its content is sent as standard input."""

    @cached_property
    def tokens(self) -> tuple[_Token, ...]:
        """The words of the usage."""
        return tuple(_token(word) for word in self.usage.split())

    @cached_property
    def literals(self) -> dict[int, str]:
        """The words that must stand as they are, by place."""
        return {i: token.name for i, token in enumerate(self.tokens) if token.literal}

    def served(self) -> Callable[..., Any]:
        """The handler.

        Raises:
            BadRequest: there is none; the text says what takes the command's place.
        """
        if self.handler is None:
            raise BadRequest(f"{' '.join(self.literals.values())!r} is a command of DVID's alone: {self.doc}")
        return self.handler

    def bind(self, words: Sequence[str], stdin: bytes = b"", user: str = "", app: str = "") -> Call:
        """The call that words make.

        Raises:
            BadRequest: too few of them or too many; the text has the usage.
        """
        names = {token.name for token in self.tokens if token.setting}
        settings = {}
        plain = []
        for word in words:
            name, equals, value = word.partition("=")
            if equals and "=" not in value and (ANY in names or name.lower() in names):
                settings[name.lower()] = value
            else:
                plain.append(word)
        args: dict[str, str] = {}
        rest: tuple[str, ...] = ()
        for i, token in enumerate(self.tokens):
            if token.setting:
                continue
            if i >= len(plain):
                if not token.optional:
                    raise BadRequest(f"{token.name} is missing; the words are: {self.usage}")
            elif token.many:
                rest, plain = tuple(plain[i:]), plain[:i]
            elif not token.literal:
                args[token.name.lower()] = plain[i]
        most = sum(not token.setting for token in self.tokens)
        if len(plain) > most:
            raise BadRequest(f"{plain[most]!r} is one word too many; the words are: {self.usage}")
        return Call(tuple(words), args, rest, settings, stdin, user, app)


def _token(word: str) -> _Token:
    optional = word.startswith("[")
    word = word.strip("[]")
    many = word.endswith("...")
    word = word.removesuffix("...")
    name, equals, _ = word.partition("=")
    if equals:
        return _Token(name, optional=True, setting=True)
    return _Token(word, literal=word.islower(), optional=optional, many=many)


class CommandTable:
    """Commands in the order of their help."""

    def __init__(self, commands: Iterable[Command] = ()) -> None:
        self.commands = tuple(commands)

    def __iter__(self) -> Iterator[Command]:
        return iter(self.commands)

    def under(self, prefix: str) -> CommandTable:
        """The same commands with words before theirs."""
        return CommandTable(replace(c, usage=f"{prefix} {c.usage}") for c in self.commands)

    def find(self, words: Sequence[str]) -> Command:
        """The command that words begin.

        Raises:
            BadRequest: none; the text names the nearest one, or all that could stand there.
        """
        left = list(self.commands)
        for i, word in enumerate(words):
            typed = word.lower()
            fitting = [c for c in left if c.literals.get(i) == typed] or [c for c in left if i not in c.literals]
            if not fitting:
                raise BadRequest(_unknown(words[:i], word, {c.literals[i] for c in left}))
            left = fitting
        for command in left:
            if all(i < len(words) for i in command.literals):
                return command
        raise BadRequest(_unfinished(words, left))


def _unfinished(words: Sequence[str], left: Sequence[Command]) -> str:
    """What is missing after words that begin several commands, or one."""
    count = len(words)
    ends = [min(i for i in command.literals if i >= count) for command in left]
    following = {
        " ".join(token.name for token in command.tokens[count : end + 1])
        for command, end in zip(left, ends, strict=True)
    }
    where = f"after {' '.join(words)!r} must come" if words else "the first word must be"
    return f"{where} one of: {', '.join(sorted(following))}"


def _unknown(before: Sequence[str], word: str, known: set[str]) -> str:
    where = f"after {' '.join(before)!r}" if before else "as a command"
    near = get_close_matches(word.lower(), sorted(known), 1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(sorted(known))}"
    return f"{word!r} is unknown {where}; {hint}"
