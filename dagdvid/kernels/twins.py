"""Kernels with a plain and a compiled form: the plain one answers until the compiled one is there.

Numba takes most of a second to import, and a first compile up to a minute. So the first call of any kernel makes a
thread load `dagdvid.kernels.fast`, and goes on in plain numpy; where nothing is compiled yet, a process of its own does
that first (`python -m dagdvid.kernels`), so that it delays nobody, neither requests nor the end of this process. What
is compiled stays in numba's cache: beside the source files or, where these cannot be written, in the folder of
`keep_in`.
"""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import importlib
import logging
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar

__all__ = ["FOLDER", "Twin", "compile_all", "compile_soon", "is_compiled", "keep_in", "load"]

P = ParamSpec("P")
R = TypeVar("R")

FOLDER = Path(__file__).parent / "fast"
"""The compiled forms' source files."""

_log = logging.getLogger(__name__)
_twins: list[Twin[Any, Any]] = []
_kept = FOLDER / "__pycache__"
_started = threading.Lock()
_once = threading.Lock()
PATIENCE = 10.0
"""Seconds that the end of a process waits for a load that is under way: LLVM must not be cut off."""


class Twin(Generic[P, R]):
    """A function `NAME_ref` that is replaced by `NAME` of a module of `dagdvid.kernels.fast` once that is loaded."""

    def __init__(self, plain: Callable[P, R], module: str) -> None:
        self.plain = plain
        self.name = plain.__name__.removesuffix("_ref")
        self.module = module
        self._chosen = self._first
        _twins.append(self)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """What both forms give."""
        return self._chosen(*args, **kwargs)

    def _first(self, *args: P.args, **kwargs: P.kwargs) -> R:
        _load_soon()
        return self.plain(*args, **kwargs)

    def choose(self) -> None:
        """From now on take the compiled form."""
        self._chosen = getattr(importlib.import_module(f"dagdvid.kernels.fast.{self.module}"), self.name)


def keep_in(folder: Path) -> None:
    """Keep what is compiled in a folder, which is made, if it cannot be kept beside the source."""
    global _kept  # noqa: PLW0603 - one place in a process, as the kernels themselves
    if not os.access(FOLDER, os.W_OK):
        _kept = folder


def is_compiled() -> bool:
    """Whether the kernels of this source are compiled for this Python, numba and kind of machine."""
    return _stamp().exists()


def load() -> None:
    """Load, and where it is new compile, all kernels; return when they are there."""
    for _ in compile_all():
        pass


def compile_all() -> Iterator[str]:
    """Load or compile all kernels, and from then on take them; yields what is next, as in "cseg (1 of 4)"."""
    with _once, ExitStack() as stack:
        if _kept != FOLDER / "__pycache__":
            importlib.import_module("numba").config.CACHE_DIR = str(_kept)
        if not is_compiled():
            _kept.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((_kept / "compiling").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)  # one process at a time, so that others find it done
        stamp = _stamp()
        if not stamp.exists():
            for old in _kept.rglob("*.nb[ic]"):  # numba does not see that a file changed from which others import
                old.unlink(missing_ok=True)
        names = sorted(file.stem for file in FOLDER.glob("[a-z]*.py"))
        for number, name in enumerate(names, 1):
            yield f"{name} ({number} of {len(names)})"
            importlib.import_module(f"dagdvid.kernels.fast.{name}")
        for twin in _twins:
            twin.choose()
        stamp.touch()


def compile_soon() -> None:
    """Have the kernels compiled beside what goes on, if they are not."""
    if not is_compiled():
        threading.Thread(target=_prepare, args=(_compile_elsewhere,), name="kernels", daemon=True).start()


def _load_soon() -> None:
    """Have the kernels loaded beside what goes on. Further calls do nothing."""
    if _started.acquire(blocking=False):
        threading.Thread(target=_prepare, args=(_load_carefully,), name="kernels", daemon=True).start()


def _prepare(step: Callable[[], None]) -> None:
    try:
        step()
    except Exception:  # noqa: BLE001 - whatever is wrong with numba or its cache, the plain forms work
        _log.exception("compiled kernels cannot be had; plain ones go on, slower")


def _load_carefully() -> None:
    if not is_compiled():
        _compile_elsewhere()
    done = threading.Event()
    atexit.register(done.wait, PATIENCE)
    try:
        load()
    finally:
        done.set()
        atexit.unregister(done.wait)


def _compile_elsewhere() -> None:
    began = time.monotonic()
    words = [sys.executable, "-P", "-m", "dagdvid.kernels", str(_kept)]
    # Not our standard error: whoever reads that to its end would wait for the compiler, after we have gone.
    ways: Any = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(words, text=True, **ways) as child:  # noqa: S603
        for line in child.stdout or ():
            _log.info("compiling kernels, once; plain ones answer meanwhile: %s", line.strip())
    _log.info("kernels compiled in %.0f s", time.monotonic() - began)


def _stamp() -> Path:
    """The file that says that all is compiled: its name has what numba goes by."""
    parts = [version("numba"), version("numpy"), platform.python_version(), platform.machine()]
    for file in sorted(FOLDER.glob("*.py")):
        known = file.stat()
        parts.append(f"{file.name} {known.st_size} {known.st_mtime_ns}")
    return _kept / f"compiled-{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:16]}"
