"""Staging: commits of much that is staged, what it costs to stage it, and many open versions.

    python benchmarks/staging.py [--quick] [--folder DIR] [--staged N] [--scattered N] [--batch N] [--only PART]

Keys are 8 random bytes, values 24: as scattered and as small as they come. Each part runs in a process of its own, so
that its memory is its own. While a commit is folded, another thread writes single keys to another version, durably: its
longest wait is the longest time for which anybody was blocked. Prints a line a measurement.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import resource
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dagdvid.config import Config
from dagdvid.datatype import Instance
from dagdvid.repo import fold
from dagdvid.repo.model import Repo, Version
from dagdvid.routes import Request
from dagdvid.server import Server

KEY, VALUE = 8, 24


def report(name: str, value: float, unit: str) -> None:
    print(f"{name:58s} {value:14,.2f} {unit}", flush=True)


class Bench:
    """A server in this process with one repo."""

    def __init__(self, folder: Path) -> None:
        self.server = Server.open(Config(data=folder))
        self.catalog = self.server.catalog
        self.root = self.ask("POST", "/api/repos", {})["root"]
        self.ask("POST", f"/api/repo/{self.root}/instance", {"typename": "keyvalue", "dataname": "kv"})
        self.ask("POST", f"/api/node/{self.root}/commit", {})
        self.ask("GET", f"/api/node/{self.root}/hash")

    def ask(self, method: str, path: str, body: object = None) -> dict:
        found = self.server.find(method, path)
        data = b"" if body is None else json.dumps(body).encode()
        reply = self.server.handle(found, Request(method, path, body=data, local=True))
        return json.loads(reply.body) if reply.body else {}

    def child(self, uuid: str, branch: str = "") -> str:
        how = "branch" if branch else "newversion"
        return self.ask("POST", f"/api/node/{uuid}/{how}", {"branch": branch} if branch else {})["child"]

    def target(self, uuid: str) -> tuple[Repo, Version, Instance]:
        repo = self.catalog.repos()[self.root]
        return repo, repo.versions[uuid], repo.instances["kv"]

    def write(self, uuid: str, items: list[tuple[bytes, bytes]]) -> None:
        txn = self.catalog.txn(*self.target(uuid))
        txn.put_many("keys", items)
        self.catalog.commit_txn(txn, self.target(uuid)[1])

    def get(self, uuid: str, key: bytes) -> bytes | None:
        return self.catalog.snapshot(*self.target(uuid)).get("keys", key)


def batches(n: int, size: int, seed: int = 1) -> Iterator[list[tuple[bytes, bytes]]]:
    rng = random.Random(seed)
    for start in range(0, n, size):
        yield [(rng.randbytes(KEY), rng.randbytes(VALUE)) for _ in range(min(size, n - start))]


class OtherWriter:
    """One durable key after the other in another version, with the time that each took."""

    def __init__(self, bench: Bench, uuid: str) -> None:
        self.waits: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(bench, uuid))
        self._thread.start()

    def _run(self, bench: Bench, uuid: str) -> None:
        i = 0
        while not self._stop.is_set():
            begun = time.perf_counter()
            bench.write(uuid, [(b"key %d" % i, b"value")])
            self.waits.append(time.perf_counter() - begun)
            i += 1

    def done(self, name: str) -> None:
        self._stop.set()
        self._thread.join()
        report(f"{name}: longest wait of another writer", max(self.waits) * 1e3, "ms")
        report(f"{name}: median of its {len(self.waits):,} writes", statistics.median(self.waits) * 1e3, "ms")


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def written() -> int:
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["write_bytes"])


def settled_peak() -> float:
    """Set the peak of resident memory back to what is resident now, where the system can; that, in MB."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def memory(name: str) -> float:
    """VmRSS or VmHWM, in MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def commit_of(folder: Path, n: int, batch: int, how: str) -> None:
    """Seal, fold and memory of one commit, beside another writer."""
    bench = Bench(folder)
    at, other = bench.child(bench.root), bench.child(bench.root, "other")
    name = f"commit of {n:,} keys, {how}"
    for items in batches(n, batch):
        bench.write(at, items)
    bench.server.upkeep.settle()
    bench.catalog.nodes.cache.clear()
    before = settled_peak()
    writer = OtherWriter(bench, other)
    time.sleep(0.5)
    begun = time.perf_counter()
    bench.ask("POST", f"/api/node/{at}/commit", {})
    sealed = time.perf_counter()
    fold.fold(bench.catalog, bench.root, at)
    folded = time.perf_counter()
    writer.done(name)
    report(f"{name}: sealed in", (sealed - begun) * 1e3, "ms")
    report(f"{name}: folded in", folded - sealed, "s")
    report(f"{name}: peak memory of the process", memory("VmHWM"), f"MB ({before:,.0f} before)")
    bench.server.close()


def scattered(folder: Path, n: int, batch: int) -> None:
    """Bytes written to stage and commit keys in transactions of `batch`."""
    bench = Bench(folder)
    at = bench.child(bench.root)
    name = f"{n:,} scattered keys in requests of {batch:,}"
    start, begun = written(), time.perf_counter()
    for items in batches(n, batch):
        bench.write(at, items)
    staged = time.perf_counter()
    report(f"{name}: staged", n / (staged - begun), "keys/s")
    runs = bench.catalog.store.database.rows("SELECT count(*) FROM runs")[0][0]
    report(f"{name}: runs", runs, "")
    keys = [key for key, _ in next(batches(n, 500))]
    lookups = time.perf_counter()
    for key in keys:
        assert bench.get(at, key) is not None
    report(f"{name}: a read while staged", (time.perf_counter() - lookups) / len(keys) * 1e3, "ms")
    bench.server.upkeep.settle()
    runs = bench.catalog.store.database.rows("SELECT count(*) FROM runs")[0][0]
    report(f"{name}: runs, once tidied", runs, "")
    begun = time.perf_counter()
    bench.ask("POST", f"/api/node/{at}/commit", {})
    fold.fold(bench.catalog, bench.root, at)
    report(f"{name}: folded in", time.perf_counter() - begun, "s")
    bench.server.close()
    report(f"{name}: written / bytes of keys and values", (written() - start) / (n * (KEY + VALUE)), "times")
    report(f"{name}: peak memory of the process", peak(), "MB")


def many_open(folder: Path, versions: int) -> None:
    """Writes and reads in turn over many open versions, against one."""
    bench = Bench(folder)
    uuids = [bench.child(bench.root, f"b{i}") for i in range(versions)]
    rng = random.Random(2)
    for uuid in uuids:
        bench.write(uuid, [(rng.randbytes(KEY), rng.randbytes(VALUE)) for _ in range(2000)])

    def timed(what: Callable[[str], object], over: list[str]) -> float:
        begun = time.perf_counter()
        for i in range(1000):
            what(over[i % len(over)])
        return (time.perf_counter() - begun) / 1000 * 1e3

    def write(uuid: str) -> None:
        bench.write(uuid, [(rng.randbytes(KEY), b"v")])

    def read(uuid: str) -> None:
        bench.get(uuid, b"absent")

    for name, what in (("write", write), ("read", read)):
        one = statistics.median(timed(what, uuids[:1]) for _ in range(3))
        many = statistics.median(timed(what, uuids) for _ in range(3))
        report(f"{versions} open versions: a {name} (one version: {one:.2f} ms)", many, "ms")
    bench.server.close()


def deep(folder: Path, versions: int) -> None:
    """A read of the same key at the root and many committed versions on."""
    bench = Bench(folder)
    at = bench.root
    for i in range(versions):
        at = bench.child(at)
        bench.write(at, [(b"%08d" % i, b"v" * VALUE), (b"same", b"v")])
        bench.ask("POST", f"/api/node/{at}/commit", {})
    bench.server.upkeep.settle()
    first = bench.catalog.repos()[bench.root].children[bench.root][0]

    def timed(uuid: str) -> float:
        begun = time.perf_counter()
        for _ in range(2000):
            bench.get(uuid, b"same")
        return (time.perf_counter() - begun) / 2000 * 1e6

    shallow, far = [], []
    for _ in range(5):
        shallow.append(timed(first))
        far.append(timed(at))
    report(
        f"a read {versions} committed versions deep / at the first",
        statistics.median(far) / statistics.median(shallow),
        "times",
    )
    bench.server.close()


def alone(what: Callable[..., None], folder: Path, *args: object) -> None:
    """Run a part in a process and a folder of its own."""
    place = Path(tempfile.mkdtemp(dir=folder))
    process = multiprocessing.get_context("spawn").Process(target=what, args=(place / "data", *args))
    process.start()
    process.join()
    shutil.rmtree(place)
    if process.exitcode:
        raise SystemExit(process.exitcode)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of all")
    parser.add_argument("--folder", type=Path, help="where to make the stores; default: a temporary folder")
    parser.add_argument("--staged", type=int, default=1_000_000)
    parser.add_argument("--scattered", type=int, default=10_000_000)
    parser.add_argument("--batch", type=int, default=10_000)
    parser.add_argument("--only", choices=("commit", "open", "scattered"))
    args = parser.parse_args()
    part = 10 if args.quick else 1
    if args.only in (None, "commit"):
        alone(commit_of, args.folder, args.staged // part, args.batch, f"requests of {args.batch:,}")
        alone(commit_of, args.folder, args.staged // part, 1000, "requests of 1,000")
    if args.only in (None, "open"):
        alone(many_open, args.folder, 100)
        alone(deep, args.folder, 100)
    if args.only in (None, "scattered"):
        alone(scattered, args.folder, args.scattered // part, args.batch)


if __name__ == "__main__":
    main()
