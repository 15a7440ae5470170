"""Runs: however staged changes are kept, they read the same, conflicts are exact, and staging stays small."""

from __future__ import annotations

import pickle
import random
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_views import Line, agrees, changes

from dagdvid.errors import DamageError, StaleRead
from dagdvid.objects.local.turns import take_turn
from dagdvid.objects.memory import MemoryStore
from dagdvid.objects.tree.node import BLOB, Ref
from dagdvid.objects.tree.nodes import EMPTY, Nodes, NodeWriter
from dagdvid.repo import fold, tidy, txn
from dagdvid.repo.batches import in_batches
from dagdvid.repo.collect import collect
from dagdvid.repo.runs import NewRun, Run, changes_of, make_run, settle
from dagdvid.repo.staging import runs_of


class Stop(Exception):
    """The process ends here."""


@pytest.fixture
def small(monkeypatch):
    """Runs of very few changes, and few of them."""
    monkeypatch.setattr(txn, "RUN", 3)
    monkeypatch.setattr(tidy, "RUN", 1)
    monkeypatch.setattr(tidy, "FACTOR", 2)


@pytest.fixture
def line(call) -> Line:
    return Line(call)


def place(line: Line, uuid: str) -> tuple[int, int]:
    repo, version, instance = line.target(uuid)
    return (version.id if instance.versioned else 0), repo.numbers[instance.uuid]


def tidied(line: Line, uuid: str, most: int = 0, ends: int = 0) -> None:
    """Tidy; with `ends`, the process ends at that pause."""
    left = ends

    def pause() -> None:
        nonlocal left
        left -= 1
        if not left:
            raise Stop

    try:
        with take_turn(line.catalog.store.folder):
            tidy.tidy_instance(line.catalog, *place(line, uuid), pause if ends else lambda: None, most)
    except Stop:
        pass


def kept(line: Line, uuid: str, space: str = "keys") -> tuple[int, list[Run]]:
    """Rows and runs."""
    database = line.catalog.store.database
    sql = "SELECT count(*) FROM staging WHERE version = ? AND data = ? AND space = ?"
    return database.rows(sql, (*place(line, uuid), space))[0][0], runs_of(database.reader, *place(line, uuid), space)


then = st.sampled_from(["", "", "tidy", "tidy", "end 1", "end 2", "end 3", "seal", "commit", "fold all"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=80)
@given(st.lists(st.tuples(changes, then, st.integers(0, 8)), max_size=14))
def test_any_history_with_runs_reads_as_a_dict(small, call, history):
    line = Line(call)
    at, model = line.root, {}
    past = {}
    views = []
    for change, action, most in history:
        line.write(at, change)
        model = {key: value for key, value in (model | change).items() if value is not None}
        views.append((line.view(at).items("keys"), sorted(model.items())))
        agrees(line.view(at), model, change)
        if action == "tidy" or action.startswith("end"):
            tidied(line, at, most, int(action[4:] or 0))
            agrees(line.view(at), model, change)
        elif action in ("seal", "commit"):
            line.seal(at)
            past[at] = model
            if action == "commit":
                line.fold(at)
            at = line.child(at)
        elif action and past:
            line.fold(list(past)[-1])
    for uuid, old in past.items():
        agrees(line.view(uuid), old)
    agrees(line.view(at), model)
    assert line.call.json("POST", "/api/store/fsck")["problems"] == []
    line.seal(at)
    line.fold(at)
    agrees(line.view(at), model)
    assert line.catalog.store.database.rows("SELECT count(*) FROM runs") == [(0,)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=30)
@given(st.lists(st.tuples(changes, st.sampled_from(["", "tidy", "end 2", "fold"])), max_size=10))
def test_unversioned_instances_with_runs(small, call, history):
    line = Line(call, versioned=False)
    model = {}
    for change, action in history:
        line.write(line.root, change)
        model = {key: value for key, value in (model | change).items() if value is not None}
        if action == "fold":
            repo, _, instance = line.target(line.root)
            fold.fold_unversioned(line.catalog, repo, instance)
            assert kept(line, line.root) == (0, [])
        elif action:
            tidied(line, line.root, 0, int(action[4:] or 0))
        agrees(line.view(line.root), model, change)


def test_a_scan_sees_one_moment(small, line):
    """Rows, runs and trees below a stream may go: it shows what was there when it began."""
    model = {b"%04d" % i: b"%d" % i for i in range(2000)}
    line.write(line.root, model)
    scan = line.view(line.root).items("keys")
    begun = [next(scan) for _ in range(3)]
    line.write(line.root, {b"%04d" % i: b"later" for i in range(0, 2000, 3)})
    tidied(line, line.root)
    line.write(line.root, {b"1999": None, b"0500x": b"new"})
    line.commit(line.root)
    assert begun + list(scan) == sorted(model.items())


def bulk(line: Line, keys, value: bytes = b"bulk") -> None:
    line.write(line.root, {b"bulk %d" % i: value for i in range(10)} | dict.fromkeys(keys, value))


def test_conflicts_with_runs_are_exact(small, line):
    line.write(line.root, {b"k": b"0", b"other": b"0"})

    def meanwhile(read, what) -> None:
        with line.txn(line.root) as txn:
            txn.get("keys", read)
            what()
            txn.put("keys", b"done", b"by " + read)

    for key, value in ((b"k", b"1"), (b"k", None), (b"absent", b"here")):  # a run has the key that was read
        with pytest.raises(StaleRead):
            meanwhile(key, lambda key=key, value=value: bulk(line, [key], value))
    meanwhile(b"k", lambda: bulk(line, [b"other"]))  # it has others only
    meanwhile(b"k", lambda: tidied(line, line.root))  # what was read is kept in another way
    meanwhile(b"nothing", lambda: (bulk(line, [b"other"], b"x"), tidied(line, line.root)))
    line.write(line.root, {b"k": b"1"})
    with pytest.raises(StaleRead):  # changed, and then made a run
        meanwhile(b"k", lambda: (line.write(line.root, {b"k": b"2"}), tidied(line, line.root)))
    assert line.view(line.root).get("keys", b"done") == b"by nothing"


@pytest.mark.parametrize("versioned", [True, False])
def test_no_increment_is_lost_among_runs(small, call, versioned):
    line = Line(call, versioned=versioned)
    stop = threading.Event()

    def count_up() -> None:
        done = 0
        while done < 20:
            try:
                with line.txn(line.root) as txn:
                    n = int(txn.get("keys", b"counter") or b"0")
                    txn.put("keys", b"counter", b"%d" % (n + 1))
            except StaleRead:
                continue
            done += 1

    def disturb(what) -> None:
        while not stop.is_set():
            what()

    def fold_it() -> None:
        repo, _, instance = line.target(line.root)
        fold.fold_unversioned(line.catalog, repo, instance)

    works = [lambda: tidied(line, line.root), lambda: bulk(line, [], b"x")] + ([] if versioned else [fold_it])
    threads = [threading.Thread(target=count_up) for _ in range(6)]
    others = [threading.Thread(target=disturb, args=(work,)) for work in works]
    for thread in threads + others:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    for thread in others:
        thread.join()
    assert line.view(line.root).get("keys", b"counter") == b"120"


def test_requests_of_many_changes_become_runs(line):
    rng = random.Random(5)
    model = {}
    for _ in range(3):
        change = {rng.randbytes(8): rng.randbytes(rng.choice((3, 600))) for _ in range(txn.RUN + 1)}
        gone = rng.sample(sorted(model), 500) if model else []
        line.write(line.root, change | dict.fromkeys(gone))
        model = {key: value for key, value in (model | change | dict.fromkeys(gone)).items() if value is not None}
    rows, runs = kept(line, line.root)
    assert (rows, [run.entries for run in runs]) == (0, [txn.RUN + 501, txn.RUN + 501, txn.RUN + 1])
    agrees(line.view(line.root), model)
    found = line.call.json("GET", "/api/store/stats")["store"]
    assert (found["staged_keys"], found["staged_runs"]) == (3 * txn.RUN + 1003, 3)
    twin = Line(line.call)
    for key in sorted(model):
        model[key] = model[key][:100]
    line.write(line.root, model)
    for i in range(0, len(model), 4000):
        twin.write(twin.root, dict(sorted(model.items())[i : i + 4000]))
    assert kept(twin, twin.root)[1] == []
    assert roots(line) == roots(twin)


def roots(line: Line) -> list[bytes]:
    """Roots of the trees that come of it."""
    line.commit(line.root)
    return sorted(line.catalog.base(*line.target(line.root)).roots.values())


def test_staging_of_a_version_that_stays_open_is_bounded(line):
    """Rows become runs, runs are merged, by the upkeep of the server itself."""
    line.catalog.upkeep.settle()
    model = {}
    rng = random.Random(3)
    for turn in range(40):
        change = {b"%05d" % rng.randrange(60_000): b"%d" % turn for _ in range(4000)}
        line.write(line.root, change)
        model |= change
        if turn % 8 == 7:
            line.catalog.upkeep.settle()
    line.catalog.upkeep.settle()
    rows, runs = kept(line, line.root)
    assert rows <= tidy.MOST_ROWS
    assert 1 <= len(runs) < tidy.FACTOR
    agrees(line.view(line.root), model)


def test_runs_are_merged_geometrically(line, monkeypatch):
    """Few are searched, and each change is written once a level."""
    monkeypatch.setattr(txn, "RUN", 10)
    monkeypatch.setattr(tidy, "RUN", 10)
    monkeypatch.setattr(tidy, "FACTOR", 4)
    written = 0
    n, size = 400, 15
    for turn in range(n):
        line.write(line.root, {b"%06d" % ((7919 * i + turn) % 999_983): b"v" for i in range(size)})
        before = {run.id for run in kept(line, line.root)[1]}
        tidied(line, line.root)
        runs = kept(line, line.root)[1]
        written += sum(run.entries for run in runs if run.id not in before)
        assert len(runs) <= 3 * 5
    levels = 4  # 4^4 < 400 < 4^5
    assert n * size * (levels - 1.5) < written <= n * size * levels


@given(st.lists(st.integers(1, 100_000), max_size=80))
def test_runs_of_any_sizes_come_to_rest(sizes):
    runs = [Run(i, i, i + 1, size, EMPTY, EMPTY) for i, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tidy, "FACTOR", 3)
        patch.setattr(tidy, "RUN", 2)
        while (found := tidy.crowd(runs)) is not None:
            first, end = found
            assert end - first >= 3
            merged = Run(
                0, runs[first].after, runs[end - 1].last, max(r.entries for r in runs[first:end]), EMPTY, EMPTY
            )
            runs[first:end] = [merged]
        for level in {tidy.level(run) for run in runs}:
            stretch = "".join("x" if tidy.level(r) == level else " " if tidy.level(r) > level else "" for r in runs)
            assert all(len(part) < 3 for part in stretch.split())


def test_operations_can_be_sent_to_another_process(small, line):
    with line.txn(line.root) as changes:
        changes.get("keys", b"k")
        changes.put_many("keys", [(b"%d" % i, b"v" * 600) for i in range(5)])
        changes.log({"what": "it"})
        stage = changes.stage(1)
        assert pickle.loads(pickle.dumps(stage)) == stage
    run = NewRun("keys", 1, 2, EMPTY, EMPTY)
    for operation in (tidy.AddRun(1, 2, run, 0, 5, [1, 2], ()), tidy.Sweep(1, 2, "keys", b"", 0, 5)):
        assert pickle.loads(pickle.dumps(operation)) == operation


def test_a_damaged_run_is_named_and_hides_only_its_keys(small, line):
    line.write(line.root, {b"%06d" % i: b"%d" % i for i in range(20_000)})
    line.write(line.root, {b"row": b"v"})
    (run,) = kept(line, line.root)[1]
    nodes = line.catalog.nodes
    leaf = nodes.read(nodes.read(run.held).ids[3])
    packs = line.catalog.store.packs
    name = nodes.read(run.held).ids[3]
    number, offset, _ = packs.locate([name])[name]
    pack = packs.path(packs.database.rows("SELECT name FROM packs WHERE no = ?", (number,))[0][0])
    with pack.open("r+b") as file:
        file.seek(offset + 40)
        file.write(b"\xff\xff\xff")
    nodes.cache.clear()
    with pytest.raises(DamageError):
        line.view(line.root).get("keys", leaf.keys[0])
    assert line.view(line.root).get("keys", b"row") == b"v"
    assert line.view(line.root).get("keys", b"000000") == b"0"
    report = line.call.json("POST", "/api/store/fsck")
    assert not report["ok"]
    problem = next(each for each in report["problems"] if each["object"] == name.hex())
    assert (problem["version"], problem["instance"], problem["space"]) == (line.root, "kv", "keys")


def test_gc_keeps_runs(call, server, config):
    line = Line(call)
    model = {b"%06d" % i: b"%d" % i * (1 + 200 * (i % 50 == 0)) for i in range(9000)}
    line.write(line.root, model)
    assert kept(line, line.root)[1]
    server.close()
    for _ in range(2):
        again = type(server).open(config)
        try:
            line.call.server, line.catalog = again, again.catalog
            list(collect(again.catalog))
            agrees(line.view(line.root), model)
        finally:
            again.close()


run_keys = st.binary(min_size=1, max_size=2)
run_values = st.one_of(st.none(), st.binary(max_size=4), st.just(Ref(BLOB, b"\x11" * 32, 9000)))


@given(st.dictionaries(run_keys, run_values, max_size=40), run_keys, st.one_of(st.none(), run_keys))
def test_a_run_gives_back_what_it_was_made_of(change, lo, hi):
    nodes = Nodes(MemoryStore())
    writer = NodeWriter(nodes)
    made = make_run(writer, "s", in_batches(sorted(change.items())))
    writer.flush()
    run = Run(1, 0, 1, made.entries, made.held, made.removed)
    assert made.entries == len(change)
    found = [pair for keys, values in changes_of(nodes, run) for pair in zip(keys, values, strict=True)]
    assert found == sorted(change.items())
    part = [pair for keys, values in changes_of(nodes, run, lo, hi) for pair in zip(keys, values, strict=True)]
    assert part == [(key, value) for key, value in found if key >= lo and (hi is None or key < hi)]
    assert settle(nodes, [*change, lo], {}, [run]) == change


def test_a_range_is_read_without_the_rest_of_the_runs(line):
    for turn in range(4):
        line.write(line.root, {b"%07d" % (4 * i + turn): b"v" * 100 for i in range(20_000)})
    nodes = line.catalog.nodes
    assert len(kept(line, line.root)[1]) == 4
    whole = sum(nodes.read(run.held).n for run in kept(line, line.root)[1])

    def read(what) -> int:
        nodes.cache.clear()
        what()
        return len(nodes.cache._nodes)

    view = line.view(line.root)
    assert whole > 200
    assert read(lambda: view.get("keys", b"0040001")) <= 4 * 2
    assert read(lambda: list(view.items("keys", b"0040000", b"0041000"))) <= 4 * 4
    assert read(lambda: next(view.items("keys"))) < whole


def test_golden_runs():
    """The bytes of a run are those of two trees (SPEC 6.5): here are their roots."""
    import json

    nodes = Nodes(MemoryStore())
    writer = NodeWriter(nodes)
    change = [(i.to_bytes(8, "big"), None if i % 5 == 0 else str(i).encode()) for i in range(5000)]
    made = make_run(writer, "keys", in_batches(change))
    path = Path(__file__).parents[1] / "golden" / "runs-1.json"
    assert json.loads(path.read_text()) == {
        "entries": made.entries,
        "size": made.size,
        "held": made.held.hex(),
        "removed": made.removed.hex(),
    }
