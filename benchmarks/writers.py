"""Many processes that write: each commits one staged row after another, every one durable before the next.

    python benchmarks/writers.py [--processes 8] [--seconds 5] [--folder DIR]

Rows go the way of a server with several workers: to one writer process, by a Unix socket. Prints transactions a second
of all, what the slowest and the fastest process did, and how long a transaction took.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import shutil
import socket
import statistics
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

from dagdvid.objects.local.store import LocalStore
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.schema import TABLES
from dagdvid.repo.staging import Stage, row_of


def serve(folder: Path, listener: socket.socket, stop: socket.socket) -> None:
    with closing(LocalStore(folder, tables=TABLES)) as store:
        store.serve_writer(listener, stop)


def write(folder: Path, address: Path, version: int, process: int, seconds: float, start, results) -> None:
    rng = random.Random(process)
    times = []
    with closing(LocalStore(folder, writer=address)) as store:
        store.run(Stage(version, 1, [row_of("s", b"first %d" % process, b"x")], {}, ()))
        start.wait()
        end = time.perf_counter() + seconds
        while (before := time.perf_counter()) < end:
            key = rng.randbytes(8)
            store.run(Stage(version, 1, [row_of("s", key, b"a value of some bytes")], {}, ()))
            times.append(time.perf_counter() - before)
    results.put((process, times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--folder", type=Path, help="where to make the store; default: a temporary folder")
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    base = Path(tempfile.mkdtemp(dir=args.folder))
    folder, address = base / "data", Path(tempfile.mkdtemp()) / "writer"
    try:
        with closing(LocalStore(folder, tables=TABLES)) as store:
            catalog = Catalog(store)
            root = catalog.create_repo("bench", "")
            version = catalog.repos()[root].versions[root].id
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(address))
        listener.listen()
        stop, stopper = socket.socketpair()
        writer = context.Process(target=serve, args=(folder, listener, stop))
        writer.start()
        start, results = context.Event(), context.Queue()
        clients = [
            context.Process(target=write, args=(folder, address, version, i, args.seconds, start, results))
            for i in range(args.processes)
        ]
        for client in clients:
            client.start()
        time.sleep(1 + args.processes / 2)  # all have come up
        peak = [0]
        watching = threading.Event()

        def watch() -> None:
            wal = folder / "dagdvid.sqlite-wal"
            while not watching.wait(0.05):
                peak[0] = max(peak[0], wal.stat().st_size)

        watcher = threading.Thread(target=watch)
        watcher.start()
        start.set()
        done = dict(results.get() for _ in clients)
        watching.set()
        watcher.join()
        stopper.send(b"x")
        for process in (*clients, writer):
            process.join()
        times = sorted(t for each in done.values() for t in each)
        counts = sorted(map(len, done.values()))
        print(f"{'transactions of one row, all processes':46s} {len(times) / args.seconds:14,.0f} /s")
        print(f"{'slowest, fastest process':46s} {counts[0] / args.seconds:14,.0f} {counts[-1] / args.seconds:,.0f} /s")
        for name, value in (
            ("median", statistics.median(times)),
            ("99th percentile", times[int(len(times) * 0.99)]),
            ("longest", times[-1]),
        ):
            print(f"{name:46s} {1000 * value:14,.2f} ms")
        print(f"{'largest WAL':46s} {peak[0] / 1e6:14,.1f} MB")
    finally:
        shutil.rmtree(base)
        shutil.rmtree(address.parent)


if __name__ == "__main__":
    main()
