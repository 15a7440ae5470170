"""The endpoint that takes command words: POST for all of them, GET for those that change nothing."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Any

from dagdvid.commands import COMMANDS, run
from dagdvid.commands.context import Context
from dagdvid.errors import BadRequest, Forbidden
from dagdvid.routes import Example, Reply, Request, Right, Route, RouteTable, progress_reply, text_reply

__all__ = ["COMMAND"]


def post_command(context: Context, request: Request) -> Reply:
    """POST server/command."""
    words, stdin = _asked(request)
    return _told(run(context, words, stdin, request.user, request.app), request)


def get_command(context: Context, request: Request) -> Reply:
    """GET server/command."""
    words, stdin = _asked(request)
    if COMMANDS.find(words).changes:
        raise Forbidden(f"{' '.join(words)!r} may change something: POST it")
    return _told(run(context, words, stdin, request.user, request.app), request)


def _asked(request: Request) -> tuple[list[str], bytes]:
    body = request.json_object()
    words, stdin = body.get("words"), body.get("stdin", "")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise BadRequest("'words' must be a list of strings")
    try:
        return words, base64.b64decode(stdin, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise BadRequest("'stdin' must be text in base64") from None


def _told(steps: Iterator[dict[str, Any]], request: Request) -> Reply:
    if request.flag("progress"):
        return progress_reply(steps)
    last: dict[str, Any] = {}
    for step in steps:
        last = step
    return text_reply(last["result"] + "\n")


_QUERY = {"progress": 'true streams lines of JSON while it runs, the last {"result": text} or {"error": text}'}
_BODY = 'Body: JSON {"words": [...], "stdin": base64}, the second optional. Answers text.'

COMMAND = RouteTable(
    (
        Route(
            ("POST",),
            "server/command",
            post_command,
            "Run a command of DVID's command line; dagdvid help server lists them. " + _BODY,
            right=Right.MANAGE,
            query=_QUERY,
            examples=(Example("server/command", "...", '{"words":["repos","new","fly","a first volume"]}'),),
        ),
        Route(
            ("GET", "HEAD"),
            "server/command",
            get_command,
            "Run a command that changes nothing, as help or types. " + _BODY,
            query=_QUERY,
            examples=(Example("server/command", "...", '{"words":["types"]}'),),
        ),
    )
)
