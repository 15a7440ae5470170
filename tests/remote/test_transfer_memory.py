"""The memory of a server that takes much at once does not grow with it."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from sites import Process, Site


def peak(process: Process) -> int:
    """Bytes that a process ever had in memory."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])


@pytest.mark.soak
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to tell")
@pytest.mark.parametrize("verb", ["push", "pull"])
def test_a_gigabyte_is_taken_in_little_memory(tmp_path, verb: str):
    with Process(tmp_path / "one") as one, Process(tmp_path / "two") as two:
        source, target = Site(one.url), Site(two.url)
        root = source.repo()
        source.commit(root)
        target.clone(f"{source.url}/{root}")
        source.remote(root, target)
        child = source.child(root)
        piece = random.Random(1).randbytes(4 * 2**20)
        for i in range(256):
            source.put(child, f"k{i}", b"%d" % i + piece)
        source.put(child, "small", b"x")
        source.commit(child)
        before = peak(two)
        if verb == "push":
            source.push(root)
        else:
            target.pull(root, "origin")
        assert target.get(child, "k255") == b"255" + piece
        grown = peak(two) - before
        print(f"{verb} of 1 GiB: {grown / 2**20:.0f} MiB more at the receiver")
        assert grown < 400 * 2**20
        source.close()
        target.close()
