"""Collecting garbage: as many live objects as dead ones, which lie among each other; then with nothing to do.

    python benchmarks/gc.py [--objects 1000000] [--folder DIR]

Values of 600 bytes in a keyvalue instance, committed; between them blobs that nothing names. The collection runs in a
process of its own, whose memory (without mapped files) is measured.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import shutil
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np

from dagdvid.config import Config
from dagdvid.objects.ids import ObjectType
from dagdvid.objects.store import prepare
from dagdvid.repo import fold
from dagdvid.repo.collect import collect
from dagdvid.repo.instances import new_instance
from dagdvid.repo.operations import Seal
from dagdvid.server import Server

SIZE, BATCH = 600, 20_000


def random_values(rng: np.random.Generator, n: int) -> list[bytes]:
    data = rng.bytes(SIZE * n)
    return [data[i : i + SIZE] for i in range(0, len(data), SIZE)]


def make(folder: Path, objects: int) -> None:
    rng = np.random.default_rng(1)
    with closing(Server.open(Config(data=folder, durability="relaxed"))) as server:
        catalog = server.catalog
        root = catalog.create_repo("", "")
        catalog.create_instance(root, new_instance({"typename": "keyvalue", "dataname": "kv"}, root))
        for start in range(0, objects, BATCH):
            repo = catalog.repo(root)
            txn = catalog.txn(repo, repo.versions[root], repo.instance("kv"))
            values = random_values(rng, BATCH)
            txn.put_many("keys", [(b"%09d" % (start + i), value) for i, value in enumerate(values)])
            catalog.commit_txn(txn, repo.versions[root])
            server.store.put_many([prepare(ObjectType.BLOB, value) for value in random_values(rng, BATCH)])
        repo = catalog.repo(root)
        server.store.run(Seal(repo.id, repo.versions[root].id, "", [], ""))
        fold.fold(catalog, root, root)


def memory() -> int:
    with open("/proc/self/status") as file:  # noqa: PTH123
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))


def measure(folder: Path, results) -> None:
    with closing(Server.open(Config(data=folder, durability="relaxed"))) as server:
        server.upkeep.settle()
        before = most = memory()
        running = threading.Event()

        def watch() -> None:
            nonlocal most
            while not running.wait(0.02):
                most = max(most, memory())

        watcher = threading.Thread(target=watch)
        watcher.start()
        times, found = [], []
        for _ in range(2):
            start = time.perf_counter()
            *_, last = collect(server.catalog, forget=True)
            times.append(time.perf_counter() - start)
            found.append(last["result"])
        running.set()
        watcher.join()
    results.put((times, found, most - before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where to make the store; default: a temporary folder")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=args.folder))
    try:
        make(folder / "data", args.objects)
        context = multiprocessing.get_context("spawn")
        results = context.Queue()
        process = context.Process(target=measure, args=(folder / "data", results))
        process.start()
        (first, second), found, used, peak = results.get()
        process.join()
        print(f"{found[0]['live']:,} live, {found[0]['objects']:,} given up, {found[0]['copied'] / 1e6:.0f} MB copied")
        print(f"first run {first:.1f} s, second {second:.3f} s ({100 * second / first:.2f} %)")
        print(f"memory {used / 1e6:.0f} MB above the process at rest, {peak / 1e6:.0f} MB in all")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
