"""Lookups among many objects: a store whose indexes are made up, as large as those of real objects.

    python benchmarks/lookups.py [--objects 100000 10000000] [--folder DIR]

The objects lie in as many tiers as they would after years, each half as large as the next. Opens the store in a
process of its own, then asks for objects that are there and for others, in batches of 500 and one by one.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import random
import shutil
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np

from dagdvid.objects.local.files import Files
from dagdvid.objects.local.packs import note_change
from dagdvid.objects.local.store import LocalStore
from dagdvid.objects.local.tier import ROW, Columns, write_tier

BATCH, ASKED = 500, 50_000


class Invented:
    """A source of `n` random ids."""

    def __init__(self, n: int, pack: int) -> None:
        self.n = n
        rng = np.random.default_rng(pack)
        self.prefixes = np.sort(rng.integers(0, 2**64, n, np.uint64))
        self._pack = pack

    def columns(self, start: int, end: int) -> Columns:
        rows = np.zeros(end - start, ROW)
        rest = np.zeros((end - start, 24), np.uint8)
        rest[:, :8] = np.arange(start, end, dtype="<u8").view(np.uint8).reshape(-1, 8)
        rows["rest"] = rest.view("V24")[:, 0]
        rows["pack"] = self._pack
        return self.prefixes[start:end], rows

    def id(self, i: int) -> bytes:
        return int(self.prefixes[i]).to_bytes(8, "big") + i.to_bytes(8, "little") + bytes(16)


def make(folder: Path, objects: int) -> list[bytes]:
    """A store of that many invented objects; some of their ids."""
    rng = random.Random(objects)
    names: list[bytes] = []
    with closing(LocalStore(folder)) as store:
        conn = store.database.connect(write=True)
        left, pack = objects, 0
        while left:
            n = left if left <= 40_000 else left // 2
            left -= n
            pack += 1
            source, name = Invented(n, pack), rng.randbytes(16).hex()
            write_tier(store.packs.tier_path(name), Files(), [source], {pack})
            store.packs.path(name).write_bytes(b"x")
            conn.execute("INSERT INTO packs VALUES (?, ?, 2, 'sealed', 1)", (pack, name))
            (no,) = conn.execute("INSERT INTO tiers (name) VALUES (?) RETURNING no", (name,)).fetchone()
            conn.execute("INSERT INTO tiered VALUES (?, ?)", (pack, no))
            names += [source.id(rng.randrange(n)) for _ in range(ASKED * n // objects)]
        note_change(conn)
    rng.shuffle(names)
    return names


def memory() -> int:
    with open("/proc/self/status") as file:  # noqa: PTH123
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS"))


def measure(folder: Path, names: list[bytes], results) -> None:
    gc.collect()
    before = memory()
    start = time.perf_counter()
    store = LocalStore(folder, readonly=True)
    opened = time.perf_counter() - start
    absent = [os.urandom(32) for _ in names]
    figures = []
    for ids, there in ((names, True), (absent, False)):
        for size in (BATCH, 1):
            start = time.perf_counter()
            for i in range(0, len(ids), size):
                assert all(found == there for found in store.has_many(ids[i : i + size]))
            figures.append(1e6 * (time.perf_counter() - start) / len(ids))
    results.put((len(store.packs.view.tiers), opened, figures, memory() - before))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, nargs="+", default=[100_000, 10_000_000])
    parser.add_argument("--folder", type=Path, help="where to make the stores; default: a temporary folder")
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    for objects in args.objects:
        folder = Path(tempfile.mkdtemp(dir=args.folder))
        try:
            names = make(folder / "data", objects)
            results = context.Queue()
            process = context.Process(target=measure, args=(folder / "data", names, results))
            process.start()
            tiers, opened, figures, used = results.get()
            process.join()
            there, one, absent, absent_one = figures
            print(f"{objects:,} objects in {tiers} tiers: open {1000 * opened:.1f} ms, memory {used / 1e6:.0f} MB")
            print(f"  there: {there:.2f} us each in batches of {BATCH}, {one:.2f} one by one")
            print(f"  absent: {absent:.2f} us each in batches of {BATCH}, {absent_one:.2f} one by one", flush=True)
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
