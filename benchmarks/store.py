"""The local store: objects of 7 KB in and out, what they cost on disk, and lookups of what is not there.

    python benchmarks/store.py [--quick] [--folder DIR] [--size 7000] [--objects 20000]

Objects are pseudo-random, stored raw, so that the disk is measured and not the codec; every put is durable when it
returns. Prints a line a measurement.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import threading
import time
from pathlib import Path

from dagdvid.objects.codecs import Codec
from dagdvid.objects.ids import ObjectType, object_id
from dagdvid.objects.local.store import LocalStore
from dagdvid.objects.store import Object, prepare


def report(name: str, value: float, unit: str) -> None:
    print(f"{name:46s} {value:14,.1f} {unit}", flush=True)


def put(store: LocalStore, items: list[Object], batch: int) -> float:
    start = time.perf_counter()
    for i in range(0, len(items), batch):
        store.put_many(items[i : i + batch])
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="2,000 objects")
    parser.add_argument("--folder", type=Path, help="where to make the store; default: a temporary folder")
    parser.add_argument("--size", type=int, default=7000, help="bytes of an object")
    parser.add_argument("--objects", type=int, default=20_000)
    args = parser.parse_args()
    n = 2000 if args.quick else args.objects
    folder = Path(tempfile.mkdtemp(dir=args.folder))
    rng = random.Random(0)
    datas = [rng.randbytes(args.size) for _ in range(n)]
    total = n * args.size / 1e6
    try:
        start = time.perf_counter()
        items = [prepare(ObjectType.BLOB, data, Codec.RAW) for data in datas]
        report("hash and encode", total / (time.perf_counter() - start), "MB/s")
        store = LocalStore(folder / "bulk", pack_limit=64 * 2**20)
        report("put, batches of 500", total / put(store, items, 500), "MB/s")
        store.close()
        store = LocalStore(folder / "bulk")
        ids = [item.id for item in items]
        rng.shuffle(ids)
        start = time.perf_counter()
        for i in range(0, n, 500):
            store.get_many(ids[i : i + 500])
        report("get, random batches of 500", total / (time.perf_counter() - start), "MB/s")
        start = time.perf_counter()
        for name in ids:
            store.get_many([name])
        report("get, one by one", n / (time.perf_counter() - start), "reads/s")
        absent = [object_id(ObjectType.BLOB, name) for name in ids]
        start = time.perf_counter()
        for i in range(0, n, 500):
            store.has_many(absent[i : i + 500])
        report("has, absent, batches of 500", n / (time.perf_counter() - start), "ids/s")
        store.close()
        used = sum(path.stat().st_size for path in (folder / "bulk").rglob("*") if path.is_file())
        report("overhead on disk", 100 * (used / (n * args.size) - 1), "%")

        store = LocalStore(folder / "single")
        few = items[: n // 10]
        report("put, one by one, one thread", len(few) / put(store, few, 1), "puts/s")
        parts = [items[n // 10 + i : n // 2 : 8] for i in range(8)]
        threads = [threading.Thread(target=put, args=(store, part, 1)) for part in parts]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        report("put, one by one, 8 threads", sum(map(len, parts)) / (time.perf_counter() - start), "puts/s")
        store.close()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
