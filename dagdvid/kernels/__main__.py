"""Compiles all kernels: `python -m dagdvid.kernels [FOLDER]`, the folder for what cannot be kept beside the source."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from dagdvid.kernels import twins


def main() -> None:
    """Compile, and say on standard output how far it is."""
    if len(sys.argv) > 1:
        twins.keep_in(Path(sys.argv[1]))
    for part in twins.compile_all():
        with suppress(OSError):  # who started it may have ended: the next who starts finds all compiled
            os.write(sys.stdout.fileno(), f"{part}\n".encode())


if __name__ == "__main__":
    main()
