"""A large grayscale volume through the API: loaded, read back, compared; beside what the disk writes by itself.

    python benchmarks/load.py [--size 2048_2048_1024] [--connections 4] [--workers 2] [--folder DIR]

Posts cubes of 256^3 voxels of 8 bits, every answer flushed, and prints the rate, the rate of plain sequential writes of
as many bytes in the same folder (before and after, with a flush at the end), and the most memory the server's
processes had. Needs twice the volume's bytes on the disk. Ends with status 1 if anything comes back different.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from dagdvid.cli.child import ServerProcess

EDGE = 256
CUBE = EDGE**3


def texture() -> bytes:
    """Noisy smooth voxels, twice over, so that every cube can be cut out of them at a place of its own."""
    rng = np.random.default_rng(6)
    z, y, x = np.meshgrid(*(np.arange(EDGE, dtype=np.float32),) * 3, indexing="ij", sparse=True)
    smooth = 128 + 40 * np.sin(x / 9) + 30 * np.sin(y / 13 + z / 7)
    noisy = smooth + rng.standard_normal((EDGE,) * 3, np.float32) * 9
    return noisy.clip(0, 255).astype(np.uint8).tobytes() * 2


class Requests:
    """Requests of many threads, each with a connection of its own."""

    def __init__(self, url: str) -> None:
        self._host = urlsplit(url).netloc
        self._own = threading.local()

    def __call__(self, method: str, path: str, body: bytes | memoryview | None = None) -> bytes:
        connection = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = http.client.HTTPConnection(self._host, timeout=600)
        connection.request(method, path, body=body)
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != http.client.OK:
            raise RuntimeError(f"{method} {path}: {answer.status} {said[:200]!r}")
        return said


def memory(pid: int) -> int:
    """Bytes that a process and those it started had at most, added up."""
    found, total = [pid], 0
    while found:
        now = found.pop()
        try:
            total += next(
                int(line.split()[1]) << 10
                for line in Path(f"/proc/{now}/status").read_text().splitlines()
                if line.startswith("VmHWM")
            )
            for task in Path(f"/proc/{now}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        except (OSError, StopIteration):
            continue
    return total


def plain(folder: Path, cubes: int, data: bytes) -> float:
    """Bytes a second that sequential writes reach, flushed at the end."""
    path = folder / "plain"
    start = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for _ in range(cubes):
            file.write(memoryview(data)[:CUBE])
        os.fdatasync(file.fileno())
    seconds = time.perf_counter() - start
    path.unlink()
    return cubes * CUBE / seconds


def timed(name: str, size: int, work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    rate = size / (time.perf_counter() - start)
    print(f"{name:28s} {rate / 1e6:8.0f} MB/s", flush=True)
    return rate


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="2048_2048_1024")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--workers", default="2")
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    counts = [int(n) // EDGE for n in options.size.split("_")]
    corners = [tuple(EDGE * i for i in reversed(at)) for at in product(*map(range, reversed(counts)))]
    data, size = texture(), len(corners) * CUBE
    folder = Path(tempfile.mkdtemp(prefix="load-", dir=options.folder))

    def cube(number: int) -> memoryview:
        at = number * 65_537 % CUBE
        return memoryview(data)[at : at + CUBE]

    try:
        before = plain(folder, len(corners), data)
        print(f"{'plain writes, before':28s} {before / 1e6:8.0f} MB/s", flush=True)
        with (
            ServerProcess(folder / "data", "127.0.0.1:0", "--workers", options.workers) as server,
            ThreadPoolExecutor(options.connections) as threads,
        ):
            ask = Requests(server.url)
            root = json.loads(ask("POST", "/api/repos", b"{}"))["root"]
            ask("POST", f"/api/repo/{root}/instance", b'{"typename": "uint8blk", "dataname": "gray"}')

            def path(corner: tuple[int, ...]) -> str:
                return f"/api/node/{root}/gray/raw/0_1_2/{EDGE}_{EDGE}_{EDGE}/" + "_".join(map(str, corner))

            def post(number: int) -> None:
                ask("POST", path(corners[number]), cube(number))

            def same(number: int) -> bool:
                return ask("GET", path(corners[number])) == cube(number)

            numbers = range(len(corners))
            rate = timed("load", size, lambda: list(threads.map(post, numbers)))
            equal: list[bool] = []
            timed("read back", size, lambda: equal.extend(threads.map(same, numbers)))
            print(f"{'memory of the server':28s} {memory(server._process.pid) / 1e6:8.0f} MB")
        after = plain(folder, len(corners), data)
        print(f"{'plain writes, after':28s} {after / 1e6:8.0f} MB/s")
        print(f"load / plain: {2 * rate / (before + after):.2f}; equal: {sum(equal)} of {len(equal)} cubes")
        return 0 if all(equal) else 1
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
