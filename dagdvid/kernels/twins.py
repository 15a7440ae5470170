"""Kernels with a plain and a compiled form: the plain one answers until the compiled one is there.

Numba takes most of a second to import, and a first compile up to a minute; so the first call of any kernel has
`dagdvid.kernels.fast` loaded by a thread of its own, and goes on in plain numpy. What is compiled stays in numba's
cache, beside the source files or, where these cannot be written, in the folder that `load` is given.
"""

from __future__ import annotations

import importlib
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar

__all__ = ["Twin", "load"]

P = ParamSpec("P")
R = TypeVar("R")

_log = logging.getLogger(__name__)
_twins: list[Twin[Any, Any]] = []
_once = threading.Lock()
_loading = threading.Event()


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
        if not _loading.is_set():
            _loading.set()
            threading.Thread(target=_try, name="kernels", daemon=True).start()
        return self.plain(*args, **kwargs)

    def fast(self) -> Callable[P, R]:
        """The compiled form, loaded if need be."""
        found: Callable[P, R] = getattr(importlib.import_module(f"dagdvid.kernels.fast.{self.module}"), self.name)
        return found

    def choose(self) -> None:
        """From now on take the compiled form."""
        self._chosen = self.fast()


def load(cache: Path | None = None) -> None:
    """Load, and where it is new compile, all kernels; return when they are there.

    Args:
        cache: where compiled code is kept if it cannot be beside the source.
    """
    _loading.set()
    with _once:
        folder = Path(__file__).parent / "fast"
        if cache is not None and not os.access(folder, os.W_OK):
            importlib.import_module("numba").config.CACHE_DIR = str(cache)
        for twin in _twins:
            twin.choose()


def _try() -> None:
    started = time.monotonic()
    try:
        load()
    except Exception:  # noqa: BLE001 - whatever is wrong with numba or its cache, the plain forms work
        _log.exception("compiled kernels cannot be loaded; plain ones go on, slower")
    else:
        _log.info("compiled kernels loaded in %.1f s", time.monotonic() - started)
