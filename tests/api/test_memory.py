"""The allocator keeps what it has."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from dagdvid.api.memory import keep_memory
if sys.argv[1] == "keep":
    keep_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for i in range(21):
    if i == 1:
        before = faults()
    a = bytes(b"x" * (1 << 20)); b = a + b"y"; del a, b
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator has these settings")
def test_large_blocks_come_from_what_is_there():
    def faults(word):
        words = [sys.executable, "-c", FAULTS, word]
        return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)

    assert faults("keep") < 200 < faults("as-is")
