"""The helpers of tests/remote, for machines that drive real servers."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "remote"))
