"""Answers that do not wait for the disk (SPEC 4.10): what a power cut may take and what not; and the WAL's size."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import closing
from dataclasses import dataclass

import pytest
from fault_files import FaultFiles, PowerCut

from dagdvid.errors import InUse
from dagdvid.objects.ids import ObjectType
from dagdvid.objects.local.files import Files
from dagdvid.objects.local.mark import FLUSHED, Mark, MarkFile, read_mark, wal_state
from dagdvid.objects.local.operation import prepare_operation
from dagdvid.objects.local.store import DATABASE, LocalStore
from dagdvid.objects.store import prepare

TABLES = "CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY, id BLOB, more BLOB)"
LIMIT = 6000
SECTOR = 512


@dataclass(frozen=True)
class Add:
    """A row that speaks of an object."""

    n: int
    objects: tuple
    id: bytes

    def apply(self, conn):
        conn.execute("INSERT INTO t VALUES (?, ?, ?)", (self.n, self.id, bytes(100 * (self.n % 7))))


def item(n: int):
    rng = random.Random(n)
    return prepare(rng.choice((ObjectType.BLOB, ObjectType.LEAF)), rng.randbytes(rng.choice([20, 300, 1500])))


def add(n: int) -> Add:
    return Add(n, (item(n),), item(n).id)


class PowerFiles(FaultFiles):
    """Keeps a copy of the whole folder, SQLite's files included, as it is when the power goes."""

    def __init__(self, folder, *, cut_at=0):
        super().__init__(cut_at=cut_at)
        self.folder, self.copy = folder, folder.with_name(folder.name + "-cut")
        self.wal = folder / f"{DATABASE}-wal"
        if self.wal.exists():
            self._durable[self.wal] = self.wal.read_bytes()
            self._unsynced[self.wal] = []

    def _call(self):
        if self.calls + 1 == self.cut_at:
            shutil.copytree(self.folder, self.copy)
        super()._call()

    def power_cut(self, rng):
        """As FaultFiles, and any sectors of the WAL that were not synced. SQLite syncs the database and WAL headers."""
        shutil.rmtree(self.folder)
        self.copy.rename(self.folder)
        wal = self.wal
        self._unsynced.pop(wal, None)
        if wal.exists():
            now, before = wal.read_bytes(), self._durable.get(wal, b"")
            if now:
                before = now[:32] + before[32:]
                size = max(len(now), len(before))
                parts = [now.ljust(size, b"\0"), before.ljust(size, b"\0")]
                keep = rng.choice([0.1, 0.5, 0.9])
                cuts = range(0, size, SECTOR)
                now = b"".join(parts[rng.random() > keep][at : at + SECTOR] for at in cuts)
            wal.write_bytes(now if rng.random() < 0.5 or now else before)
        (self.folder / f"{DATABASE}-shm").unlink(missing_ok=True)
        super().power_cut(rng)


def write(folder, files, seed=0, n=60) -> tuple[int, int]:
    """Rows in groups, flushed now and then: how many were acknowledged, how many of them were flushed."""
    rng = random.Random(seed)
    done = flushed = 0
    try:
        store = LocalStore(folder, tables=TABLES, relaxed=True, files=files, pack_limit=LIMIT)
    except OSError:
        return 0, 0
    commit = store._commit
    try:
        while done < n:
            group = [prepare_operation(add(done + i)) for i in range(rng.randrange(1, 4))]
            if any(outcome.error for outcome in commit.commit(group)):
                break
            done += len(group)
            if rng.random() < 0.2:
                commit.flush()
                flushed = done
    except OSError:
        pass
    store.close()
    return done, flushed


def check(folder, at_least: int, *, relaxed: bool) -> int:
    """The rows are the first so many of those that were written, each with its object; more can be added."""
    found = []
    for more in (3, 0):
        with closing(LocalStore(folder, tables=TABLES, relaxed=relaxed, pack_limit=LIMIT)) as store:
            assert not store.packs.damaged
            rows = store.database.rows("SELECT n, id FROM t ORDER BY n")
            assert [n for n, _ in rows] == list(range(len(rows)))
            assert len(rows) >= at_least
            assert store.get_many([name for _, name in rows]) == [item(n) for n, _ in rows]
            found.append(len(rows))
            for n in range(len(rows), len(rows) + more):
                store.run(add(n))
    return found[0]


def test_power_cuts(tmp_path):
    """At every call to the disk: what was flushed is there, what came after is whole or gone, and in order."""
    clean = PowerFiles(tmp_path / "clean")
    done, _ = write(clean.folder, clean)
    assert check(clean.folder, done, relaxed=True) == done
    taken = 0
    for at in range(1, clean.calls + 1, 2):
        files = PowerFiles(tmp_path / str(at), cut_at=at)
        files.folder.mkdir()
        done, flushed = write(files.folder, files)
        assert files.off
        files.power_cut(random.Random(at))
        taken += done - min(done, check(files.folder, flushed, relaxed=at % 2 == 0))
        shutil.rmtree(files.folder)
    assert taken > 20, "no cut took anything"


def test_power_cuts_during_recovery(tmp_path):
    for at in range(20, 110, 6):
        files = PowerFiles(tmp_path / str(at), cut_at=at)
        files.folder.mkdir()
        _, flushed = write(files.folder, files)
        files.power_cut(random.Random(at))
        for again in range(1, 9):
            files = PowerFiles(files.folder, cut_at=again)
            try:
                LocalStore(files.folder, tables=TABLES, relaxed=True, files=files, pack_limit=LIMIT).close()
            except PowerCut:
                files.power_cut(random.Random(again))
            shutil.rmtree(files.copy, ignore_errors=True)
        check(files.folder, flushed, relaxed=True)


def test_the_end_of_the_process_takes_nothing(tmp_path):
    folder = tmp_path / "data"
    store = LocalStore(folder, tables=TABLES, relaxed=True, pack_limit=LIMIT)
    for n in range(40):
        store.run(add(n))
        if n % 13 == 0:
            shutil.copytree(folder, tmp_path / str(n))
    store.close()
    for n in range(0, 40, 13):
        assert check(tmp_path / str(n), n + 1, relaxed=n % 2 == 0) == n + 1


def test_all_is_on_disk_within_a_second(tmp_path):
    folder = tmp_path / "data"
    with closing(LocalStore(folder, tables=TABLES, relaxed=True)) as store:
        for n in range(3):
            before = time.monotonic()
            store.run(add(n))
            lengths = dict(store.database.rows("SELECT name, length FROM packs"))
            while read_mark(folder, Files()).packs != lengths:
                assert time.monotonic() < before + 1
                time.sleep(0.02)


def test_a_folder_that_waits_for_the_disk_again(tmp_path):
    folder = tmp_path / "data"
    LocalStore(folder, tables=TABLES, relaxed=True).close()
    assert (folder / FLUSHED).exists()
    with closing(LocalStore(folder, tables=TABLES)) as store:
        assert not (folder / FLUSHED).exists()
        store.run(add(0))
    assert check(folder, 1, relaxed=False) == 1


def test_a_reader_does_not_lose_the_ground_under_its_feet(tmp_path):
    """Who reads after a power cut, before the folder was recovered, keeps it from going back."""
    folder = tmp_path / "data"
    with closing(LocalStore(folder, tables=TABLES, relaxed=True)) as store:
        store.run(add(0))
        shutil.copytree(folder, tmp_path / "cut")
    for path in (tmp_path / "cut" / "packs").iterdir():
        path.write_bytes(path.read_bytes()[:40])
    (tmp_path / "cut" / f"{DATABASE}-shm").unlink()
    code = """
        import pathlib, sys
        from dagdvid.objects.local.store import LocalStore
        store = LocalStore(pathlib.Path(sys.argv[1]), readonly=True)
        print(store.database.rows("SELECT count(*) FROM t"), flush=True)
        sys.stdin.read()
    """
    words = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "cut")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "[(1,)]\n"
        with pytest.raises(InUse, match="another process reads"):
            LocalStore(tmp_path / "cut", tables=TABLES)
        child.stdin.close()
        child.wait(10)
    assert check(tmp_path / "cut", 0, relaxed=False) == 0


def test_a_mark_is_whole_at_any_time(tmp_path):
    files = Files()
    assert read_mark(tmp_path, files) is None
    marks = [Mark(bytes([i]) * 8, 1000 * i, {f"{n:032x}": n for n in range(40 * i)}) for i in range(1, 5)]
    writer = MarkFile(tmp_path, files)
    for i, mark in enumerate(marks):
        writer.write(mark)
        assert read_mark(tmp_path, files) == mark
        data = (tmp_path / FLUSHED).read_bytes()
        slot = (i + 1) % 2 * 4096
        for at in (slot, slot + 20, slot + 60):
            (tmp_path / FLUSHED).write_bytes(data[:at] + b"\xff" + data[at + 1 :])
            assert read_mark(tmp_path, files) == (marks[i - 1] if i else Mark())
        (tmp_path / FLUSHED).write_bytes(data)
    writer.close()


def test_the_end_of_a_wal(tmp_path):
    """As SQLite says itself, through restarts and transactions that were taken back."""
    with closing(LocalStore(tmp_path / "data", tables=TABLES, relaxed=True)) as store:
        conn, files = store._commit._conn, Files()
        fd = files.open(store.database.wal)
        known = (bytes(8), 0)
        for n in range(60):
            if n % 4 == 3:
                conn.execute("PRAGMA cache_size = 5")
                conn.execute("BEGIN")
                conn.executemany("INSERT INTO t VALUES (?, ?, ?)", ((1000 + i, b"", bytes(3000)) for i in range(50)))
                conn.execute("ROLLBACK")
            store._commit.commit([prepare_operation(add(n))])
            if n % 17 == 16:
                conn.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
                store._commit.commit([prepare_operation(add(100 + n))])
            known = wal_state(files, fd, known)
            assert known == wal_state(files, fd)
            _, frames, _ = conn.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            assert known[1] == 32 + frames * (24 + 4096)
        files.close(fd)


@pytest.mark.parametrize("relaxed", [False, True])
def test_the_wal_stays_short_beside_readers(tmp_path, relaxed):
    """One or other of them always reads, so that no moment is without a reader."""
    folder = tmp_path / "data"
    with closing(LocalStore(folder, tables=TABLES, relaxed=relaxed)) as store:
        stop = threading.Event()

        def read():
            conn = store.database.connect()
            while not stop.is_set():
                conn.execute("BEGIN")
                conn.execute("SELECT count(*) FROM t").fetchall()
                time.sleep(0.03)
                conn.execute("COMMIT")

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        longest = 0
        for n in range(400):
            store.run(Fill(n))
            longest = max(longest, store.database.wal.stat().st_size)
        stop.set()
        for thread in threads:
            thread.join()
        assert 2**20 < longest < 40 * 2**20
        assert store.database.path.stat().st_size > 50 * 2**20


@dataclass(frozen=True)
class Fill:
    n: int
    objects: tuple = ()

    def apply(self, conn):
        conn.execute("INSERT INTO t VALUES (?, ?, randomblob(200000))", (self.n, b""))
