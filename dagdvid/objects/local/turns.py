"""Turns: long work on a data directory that one thread of one process does at a time, among all of its workers."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["take_turn"]

_LOCK = "upkeep.lock"
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
