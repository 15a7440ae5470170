"""The compiled twins of the kernels. Only `dagdvid.kernels.twins` imports these modules, for they need numba.

A module's kernels compile when it is imported, or come from numba's cache, in some 10 ms each. They take explicit
types, let other threads run, and start none themselves. They tell of malformed bytes by a number; the plain form then
says why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

__all__ = ["BYTES", "inlined", "kernel"]

F = TypeVar("F", bound=Callable[..., object])

BYTES = "Array(uint8, 1, 'C', readonly=True)"
"""The type of bytes that a kernel reads, in a signature."""


def kernel(signature: str) -> Callable[[F], F]:
    """Compiles a function for arguments of these types: numba's names, the result's before those in parentheses."""

    def compile_one(function: F) -> F:
        return cast(F, numba.njit(signature, nogil=True, cache=True)(function))

    return compile_one


def inlined(function: F) -> F:
    """A function that kernels of the same module call; its types are those of its callers."""
    return cast(F, numba.njit(nogil=True)(function))
