"""Compiles all kernels: `python -m dagdvid.kernels [FOLDER]`, the folder for what cannot be kept beside the source."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from dagdvid.kernels import twins


def main() -> None:
    """Compile, and say on standard output how far it is."""
    if len(sys.argv) > 1:
        twins.keep_in(Path(sys.argv[1]))
    names = sorted(file.stem for file in twins.FOLDER.glob("[a-z]*.py"))
    for name in names:
        importlib.import_module(f"dagdvid.kernels.{name}")
    for number, name in enumerate(twins.compile_all(), 1):
        sys.stdout.write(f"{name} ({number} of {len(names)})\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
