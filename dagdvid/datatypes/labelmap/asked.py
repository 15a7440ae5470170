"""What requests about bodies say: labels in paths and lists of labels in bodies."""

from __future__ import annotations

import hashlib
import json
import re

import numpy as np
from numpy.typing import NDArray

from dagdvid.errors import BadRequest
from dagdvid.routes import Request

__all__ = ["check_hash", "label_of", "labels_of", "number_of", "unsigned"]

_DIGITS = re.compile(r"[0-9]{1,20}", re.ASCII)
_TOP = 1 << 64


def unsigned(text: str, what: str) -> int:
    """A number below 2^64.

    Raises:
        BadRequest: not one.
    """
    value = int(text) if _DIGITS.fullmatch(text) else _TOP
    if value >= _TOP:
        raise BadRequest(f"{what} must be a number from 0 to 2^64 - 1, not {text[:40]!r}")
    return value


def label_of(request: Request, name: str = "label") -> int:
    """The label in the path.

    Raises:
        BadRequest: no number, or 0.
    """
    label = unsigned(request.args[name], name)
    if not label:
        raise BadRequest("Label 0 is protected background value and cannot be used here")
    return label


def number_of(request: Request, name: str, default: int | None) -> int | None:
    """A number in the query.

    Raises:
        BadRequest: not one.
    """
    text = request.query.get(name, "")
    return unsigned(text, name) if text else default


def labels_of(body: bytes, what: str) -> list[int]:
    """A JSON list of labels.

    Raises:
        BadRequest: anything else.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"{what} takes a JSON list of labels: {error}") from None
    if not isinstance(found, list) or not all(type(label) is int and 0 <= label < _TOP for label in found):
        raise BadRequest(f"{what} takes a JSON list of labels, each from 0 to 2^64 - 1")
    return found


def array(labels: list[int]) -> NDArray[np.uint64]:
    """Labels as an array."""
    return np.array(labels, np.uint64)


def check_hash(request: Request) -> None:
    """Raises BadRequest: the body is not the one whose MD5 the query states (`?hash=`)."""
    stated = request.query.get("hash", "")
    if stated and stated != hashlib.md5(request.body, usedforsecurity=False).hexdigest():
        raise BadRequest(f"the body does not have the MD5 {stated[:40]!r} that the query states")
