"""Turns: long work on a data directory that one thread of one process does at a time, among all of its workers."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["take_turn", "undisturbed", "with_others"]

_LOCK, _GATE, _INSIDE = "upkeep.lock", "runs-gate.lock", "runs.lock"
_PAUSE = 0.005


@contextmanager
def take_turn(folder: Path, pause: Callable[[], None] = lambda: None, lock: str = _LOCK) -> Iterator[None]:
    """Be the only one who keeps up a folder, or does what else has a lock there; whoever dies gives the turn back.

    `pause` is called while others have the turn, and ends the wait by raising.
    """
    fd = os.open(folder / lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of this descriptor: it keeps out threads, too
                break
            except BlockingIOError:
                pause()
                time.sleep(_PAUSE)
        yield
    finally:
        os.close(fd)


@contextmanager
def with_others(folder: Path) -> Iterator[None]:
    """Do what many may do at once, but not while somebody has to be `undisturbed`."""
    with _locked(folder / _GATE, fcntl.LOCK_SH) as gate, _locked(folder / _INSIDE, fcntl.LOCK_SH):
        fcntl.flock(gate, fcntl.LOCK_UN)
        yield


@contextmanager
def undisturbed(folder: Path) -> Iterator[None]:
    """Wait until nobody is in `with_others`, and keep all out, of all processes. Those who come later wait behind."""
    with _locked(folder / _GATE, fcntl.LOCK_EX), _locked(folder / _INSIDE, fcntl.LOCK_EX):
        yield


@contextmanager
def _locked(path: Path, how: int) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, how)
        yield fd
    finally:
        os.close(fd)
