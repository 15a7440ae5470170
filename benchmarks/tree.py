"""The prolly tree in memory: build, read, edit, diff, merge, against the targets of the project.

    python benchmarks/tree.py [--quick]

Prints a line a measurement; ends with status 1 if a target is missed. `--quick` takes 100,000 keys instead of 1,000,000
and judges nothing.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import time
from collections.abc import Callable

from dagdvid.objects.memory import MemoryStore
from dagdvid.objects.tree import edit
from dagdvid.objects.tree.diff import diff
from dagdvid.objects.tree.merge import merge
from dagdvid.objects.tree.nodes import Nodes, NodeWriter
from dagdvid.objects.tree.read import get, get_many, scan, stats

missed: list[str] = []


def report(name: str, value: float, unit: str, *, least: float | None = None, most: float | None = None) -> None:
    target = f"target >= {least:,.0f}" if least is not None else f"target <= {most:g}" if most is not None else ""
    good = (least is None or value >= least) and (most is None or value <= most)
    if not good:
        missed.append(name)
    print(f"{name:46s} {value:14,.3f} {unit:10s} {target}{'' if good else '  MISSED'}", flush=True)


def timed(action: Callable[[], object]) -> float:
    gc.collect()
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def key(i: int) -> bytes:
    return (10 * i).to_bytes(8, "big")


def one_key_diff(nodes: Nodes, n: int) -> float:
    """The median time of a diff of two trees that differ in one value, nodes in the cache."""
    writer = NodeWriter(nodes)
    base = edit.build(writer, ((key(i), b"%d" % i) for i in range(n)))
    rng = random.Random(1)
    times = []
    for _ in range(50):
        other = edit.apply(writer, base, [(key(rng.randrange(n)), b"changed")])
        writer.flush()
        list(diff(nodes, base, other))
        times.append(timed(lambda: list(diff(nodes, base, other))))  # noqa: B023  called at once
    return statistics.median(times)


def never(*args: object) -> None:
    raise AssertionError(args)


def bulk_build(nodes: Nodes, entries: list[tuple[bytes, bytes]]) -> bytes:
    writer = NodeWriter(nodes)
    root = edit.build(writer, entries)
    writer.flush()
    return root


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="100,000 keys, no verdict")
    quick = parser.parse_args().quick
    n = 100_000 if quick else 1_000_000
    entries = [(key(i), b"%d" % i) for i in range(n)]
    rng = random.Random(0)
    print(f"{n:,} keys of 8 bytes, values of {len(entries[-1][1])} bytes, one core")

    best = 0.0
    for _ in range(3):
        nodes = Nodes(MemoryStore())
        roots: list[bytes] = []
        best = max(best, n / timed(lambda: roots.append(bulk_build(nodes, entries))))  # noqa: B023
    root = roots[0]
    report("bulk build", best, "entries/s", least=500_000)
    counts = stats(nodes, root)
    stored = sum(len(item.payload) for item in nodes.store._objects.values())
    print(f"  {counts.levels} levels, {len(nodes.store):,} nodes, {stored / n:.1f} bytes an entry as stored")

    wanted = [key(rng.randrange(n)) for _ in range(20_000)]
    for each in wanted:
        get(nodes, root, each)
    report(
        "point read, warm",
        timed(lambda: [get(nodes, root, each) for each in wanted]) / len(wanted) * 1e6,
        "us",
        most=50,
    )
    wanted.sort()
    report("get_many of 20,000", len(wanted) / timed(lambda: get_many(nodes, root, wanted)), "keys/s")
    report("scan", n / timed(lambda: [None for _ in scan(nodes, root)]), "entries/s")

    small = one_key_diff(Nodes(MemoryStore()), 10_000)
    large = one_key_diff(Nodes(MemoryStore()), n)
    report("one-key diff, 10,000 keys", small * 1e3, "ms")
    report(f"one-key diff, {n:,} keys", large * 1e3, "ms", most=5)
    report("  their ratio", large / small, "", most=2)

    def edits(m: int) -> list[edit.Edit]:
        return sorted({key(rng.randrange(n)) + b"x": b"new" for _ in range(m)}.items())

    for m in (1, 100, 10_000):
        batch = edits(m)
        writer = NodeWriter(nodes)
        seconds = timed(lambda: edit.apply(writer, root, batch))  # noqa: B023
        report(f"apply {m:,} scattered insertions", seconds * 1e3, "ms")
        print(f"  {writer.written / m:.2f} nodes written an edit")

    def side(lo: float, m: int) -> bytes:
        first = int(lo * n)
        writer = NodeWriter(nodes)
        found = edit.apply(writer, root, ((key(i) + b"x", b"new") for i in range(first, first + m)))
        writer.flush()
        return found

    ours, theirs = side(0.1, n // 5), side(0.6, n // 5)
    seconds = timed(lambda: merge(NodeWriter(nodes), root, ours, theirs, never))
    report(f"merge of two disjoint insertions of {n // 5:,}", seconds * 1e3, "ms", most=50)
    scattered = []
    for _ in range(2):
        writer = NodeWriter(nodes)
        scattered.append(edit.apply(writer, root, edits(1000)))
        writer.flush()
    seconds = timed(lambda: merge(NodeWriter(nodes), root, *scattered, never))
    report("merge of two times 1,000 scattered insertions", seconds * 1e3, "ms")
    return 0 if quick or not missed else 1


if __name__ == "__main__":
    raise SystemExit(main())
