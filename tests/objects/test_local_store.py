"""The folder of a local store: its lock, its format, other processes, and the writer that all threads share."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import Future

import pytest

from dagdvid.errors import BadRequest, Busy, Corrupt, InUse, NoSpace, ReadOnly, StaleRead, UnavailableError
from dagdvid.objects.codecs import Codec
from dagdvid.objects.ids import ObjectType
from dagdvid.objects.local.database import Database, translated
from dagdvid.objects.local.pack import Entry, PackIndex, encode_index, scan_entries
from dagdvid.objects.local.packs import _WHOLE
from dagdvid.objects.local.store import FORMAT, LocalStore, hold, next_value
from dagdvid.objects.store import prepare


def blob(text: str, n: int = 1):
    return prepare(ObjectType.BLOB, text.encode() * n)


def python(code: str, *args: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_a_folder_has_one_holder(tmp_path):
    with hold(tmp_path / "data"):
        with pytest.raises(InUse, match=f"process {os.getpid()}"), hold(tmp_path / "data"):
            pass
        child = python(
            """
            import sys, pathlib
            from dagdvid.errors import InUse
            from dagdvid.objects.local.store import hold
            try:
                with hold(pathlib.Path(sys.argv[1])):
                    print("held")
            except InUse as error:
                print(error)
            """,
            str(tmp_path / "data"),
        )
        assert f"process {os.getpid()}" in child.communicate()[0]
    with hold(tmp_path / "data"):
        pass


def test_a_folder_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "data"):
        with pytest.raises(ReadOnly, match="cannot write"), hold(path):
            pass


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        (json.dumps({"format": FORMAT + 1}), UnavailableError, f"format {FORMAT + 1}"),
        (json.dumps({"format": 0}), Corrupt, "impossible"),
        (json.dumps({"id": "x"}), Corrupt, "dagdvid.json"),
        ("[]", Corrupt, "dagdvid.json"),
        ("{", Corrupt, "dagdvid.json"),
        (None, Corrupt, "dagdvid.json"),
    ],
    ids=["newer", "zero", "none", "list", "cut", "missing"],
)
@pytest.mark.parametrize("readonly", [False, True])
def test_a_folder_of_another_format_is_refused_untouched(tmp_path, text, error, match, readonly):
    folder = tmp_path / "data"
    LocalStore(folder).close()
    if text is None:
        (folder / "dagdvid.json").unlink()
    else:
        (folder / "dagdvid.json").write_text(text)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(error, match=match):
        LocalStore(folder, readonly=readonly)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_a_folder_keeps_its_identity(tmp_path):
    store = LocalStore(tmp_path / "data")
    info = store.info
    store.close()
    again = LocalStore(tmp_path / "data")
    assert again.info == info == {"format": FORMAT, "id": info["id"]}
    again.close()


@pytest.mark.parametrize("limit", [1, 10**9])
def test_reading_alone(tmp_path, limit):
    """Beside a writer, and after it; nothing of the folder changes, and nothing can be put."""
    folder = tmp_path / "data"
    with pytest.raises(BadRequest, match="no dagdvid data"):
        LocalStore(folder, readonly=True)
    writer = LocalStore(folder, pack_limit=limit)
    writer.put_many([blob("one")])
    reader = LocalStore(folder, readonly=True)
    assert reader.get_many([blob("one").id]) == [blob("one")]
    writer.put_many([blob("two")])
    assert reader.has_many([blob("two").id, blob("three").id]) == [True, False]
    with pytest.raises(ReadOnly, match="read-only"):
        reader.put_many([blob("three")])
    reader.close()
    writer.close()
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "-" not in path.name}
    alone = LocalStore(folder, readonly=True)
    assert alone.get_many([blob("one").id, blob("two").id]) == [blob("one"), blob("two")]
    alone.close()
    assert {path: path.read_bytes() for path in files} == files


def test_reading_from_a_medium_that_takes_no_writes(tmp_path, monkeypatch):
    """SQLite would make its side files even to read."""
    folder = tmp_path / "data"
    store = LocalStore(folder)
    store.put_many([blob("one")])
    store.close()
    before = sorted(path.name for path in folder.iterdir())
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    reader = LocalStore(folder, readonly=True)
    assert reader.get_many([blob("one").id]) == [blob("one")]
    assert sorted(path.name for path in folder.iterdir()) == before
    reader.close()


def test_two_processes(tmp_path):
    """A process reads whatever was acknowledged, while another seals pack after pack."""
    folder = tmp_path / "data"
    store = LocalStore(folder, pack_limit=3000)
    child = python(
        """
        import sys, pathlib
        from dagdvid.objects.local.store import LocalStore
        store = LocalStore(pathlib.Path(sys.argv[1]), readonly=True)
        for line in sys.stdin:
            ids = [bytes.fromhex(word) for word in line.split()]
            found = store.get_many(ids)
            print(sum(item is not None and item.data().startswith(b"item") for item in found), flush=True)
        """,
        str(folder),
    )
    assert child.stdin is not None
    assert child.stdout is not None
    rng = random.Random(3)
    stored: list[bytes] = []
    before: list[bytes] = []
    for i in range(150):
        batch = [prepare(ObjectType.BLOB, b"item" + rng.randbytes(300)) for _ in range(3)]
        store.put_many(batch)
        stored += [item.id for item in batch]
        wanted = stored[-3:] + rng.sample(stored, min(len(stored), 20))
        child.stdin.write(" ".join(name.hex() for name in wanted) + "\n")
        child.stdin.flush()
        if i % 2:  # the child still reads the last batch while the next one is written and sealed
            assert child.stdout.readline() == f"{len(before)}\n"
            assert child.stdout.readline() == f"{len(wanted)}\n"
        before = wanted
    child.communicate()
    assert child.returncode == 0
    assert len(list((folder / "packs").iterdir())) > 30
    store.close()


def test_readers_while_packs_are_sealed(tmp_path):
    """An entry that moves from the database to an index is found at every moment."""
    store = LocalStore(tmp_path / "data", pack_limit=1)
    known: list[bytes] = []
    misses: list[bytes] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            newest = known[-4:]
            misses.extend(name for name, there in zip(newest, store.has_many(newest), strict=True) if not there)

    threads = [threading.Thread(target=read) for _ in range(2)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # so that they meet in every state
    try:
        for thread in threads:
            thread.start()
        for i in range(100):
            item = blob(f"item {i}")
            store.put_many([item])
            known.append(item.id)
        stop.set()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    store.close()
    assert not misses


@pytest.mark.parametrize("durability", ["full", "relaxed"])
def test_kill(tmp_path, durability):
    """A process dies at some moment of its writing: what it acknowledged is there."""
    folder = tmp_path / "data"
    acknowledged: list[bytes] = []
    for life in range(4):
        child = python(
            """
            import sys, pathlib
            from dagdvid.objects.ids import ObjectType
            from dagdvid.objects.local.store import LocalStore, hold
            from dagdvid.objects.store import prepare
            folder, life, relaxed = pathlib.Path(sys.argv[1]), sys.argv[2].encode(), sys.argv[3] == "relaxed"
            with hold(folder):
                store = LocalStore(folder, pack_limit=20_000, relaxed=relaxed)
                for i in range(10**9):
                    batch = [prepare(ObjectType.BLOB, b"%s %d %d " % (life, i, j) * 50) for j in range(5)]
                    store.put_many(batch)
                    print(" ".join(item.id.hex() for item in batch), flush=True)
            """,
            str(folder),
            str(life),
            durability,
        )
        assert child.stdout is not None
        for _ in range(40 + 17 * life):
            acknowledged += [bytes.fromhex(word) for word in child.stdout.readline().split()]
        child.send_signal(signal.SIGKILL)
        with child:
            rest = child.stdout.read().splitlines(keepends=True)  # not `communicate`: it forgets what readline had
        acknowledged += [bytes.fromhex(word) for line in rest if line.endswith("\n") for word in line.split()]
    store = LocalStore(folder)
    assert len(acknowledged) > 800
    assert all(item is not None and item.data() for item in store.get_many(acknowledged))
    assert not store.packs.damaged
    store.close()


class Operation:
    """A change for the writer."""

    def __init__(self, apply, objects=()):
        self.apply = apply
        self.objects = objects


def test_counters(tmp_path):
    store = LocalStore(tmp_path / "data")
    assert store.run(Operation(lambda conn: next_value(conn, "ids", start=10))) == 10
    assert store.run(Operation(lambda conn: next_value(conn, "ids", step=5))) == 11
    assert store.run(Operation(lambda conn: next_value(conn, "ids"))) == 16
    assert store.run(Operation(lambda conn: next_value(conn, "others"))) == 0
    store.close()


def test_an_operation_fails_alone(tmp_path):
    """Its changes to the database are undone; those of its neighbours, and the objects, stay."""
    store = LocalStore(tmp_path / "data", tables="CREATE TABLE IF NOT EXISTS t (v INTEGER)")
    gate = threading.Event()

    def insert(value, error=None):
        def apply(conn):
            conn.execute("INSERT INTO t VALUES (?)", (value,))
            if error:
                raise error
            return value

        return Operation(apply, [blob(f"value {value}")])

    blocked = store.writer.submit(Operation(lambda conn: gate.wait(10)))
    futures = [store.writer.submit(insert(1)), store.writer.submit(insert(2, StaleRead("moved")))]
    futures.append(store.writer.submit(insert(3)))
    gate.set()
    assert blocked.result() is True
    assert futures[0].result() == 1
    with pytest.raises(StaleRead, match="moved"):
        futures[1].result()
    assert futures[2].result() == 3
    assert store.database.rows("SELECT v FROM t ORDER BY v") == [(1,), (3,)]
    assert store.has_many([blob("value 1").id, blob("value 3").id]) == [True, True]
    store.close()


def test_a_waiting_operation_can_be_cancelled(tmp_path):
    store = LocalStore(tmp_path / "data")
    gate, began = threading.Event(), threading.Event()

    def block(conn):
        began.set()
        return gate.wait(10)

    running = store.writer.submit(Operation(block))
    assert began.wait(10)
    ran: list[int] = []
    waiting: Future = store.writer.submit(Operation(lambda conn: ran.append(1)))
    after = store.writer.submit(Operation(lambda conn: ran.append(2)))
    assert waiting.cancel()
    assert not running.cancel()
    gate.set()
    after.result()
    assert ran == [2]
    store.close()


def test_closing_finishes_what_waits(tmp_path):
    store = LocalStore(tmp_path / "data")
    futures = [store.writer.submit(Operation(lambda conn: None, [blob(str(i))])) for i in range(300)]
    store.close()
    assert all(future.result() is None for future in futures)
    with pytest.raises(Busy):
        store.put_many([blob("late")])
    again = LocalStore(tmp_path / "data")
    assert all(again.has_many([blob(str(i)).id for i in range(300)]))
    again.close()


def test_an_error_of_the_database_fails_the_whole_transaction_by_name(tmp_path):
    """SQLite takes everything back when it finds no room: nobody is told that his change was made."""
    store = LocalStore(tmp_path / "data", tables="CREATE TABLE IF NOT EXISTS t (v BLOB)")
    gate = threading.Event()

    def fill(conn):
        pages = conn.execute("PRAGMA page_count").fetchone()[0]
        conn.execute(f"PRAGMA max_page_count = {pages + 4}")
        conn.execute("INSERT INTO t VALUES (zeroblob(1000000))")

    store.writer.submit(Operation(lambda conn: gate.wait(10)))
    full = store.writer.submit(Operation(fill))
    gate.set()
    with pytest.raises(NoSpace):
        full.result()
    store.run(Operation(lambda conn: conn.execute("PRAGMA max_page_count = 1000000") and None))
    store.put_many([blob("after")])
    assert store.has_many([blob("after").id]) == [True]
    store.close()


def test_errors_of_sqlite(tmp_path):
    database = Database(tmp_path / "t.sqlite")
    database.connect(write=True).execute("CREATE TABLE t (v)")
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        database.rows("SELECT * FROM missing")
    with pytest.raises(ReadOnly):
        database.rows("INSERT INTO t VALUES (1) RETURNING v")
    database.close()
    assert isinstance(translated(ValueError("other")), ValueError)
    with pytest.raises(sqlite3.OperationalError) as caught:
        Database(tmp_path / "missing.sqlite", readonly=True).connect()
    assert isinstance(translated(caught.value), ReadOnly)


@pytest.mark.parametrize("n", [0, 1, 2, 40, 3000])
def test_index_finds_what_it_holds(n):
    rng = random.Random(n)
    entries = [Entry(rng.randbytes(32), rng.randrange(2**40), rng.randrange(2**22)) for _ in range(n)]
    if n > 2:  # ids that crowd at one end, which no hash makes but which must be found all the same
        entries += [Entry(bytes(30) + i.to_bytes(2, "big"), i, i) for i in range(500)]
        entries += [Entry(b"\xff" * 30 + i.to_bytes(2, "big"), i, i) for i in range(500)]
    index = PackIndex(encode_index(entries, 0), 0, len(entries))
    assert [index.find(entry.id) for entry in entries] == entries
    assert sorted(index) == sorted(entry.id for entry in entries)
    for name in (bytes(32), b"\xff" * 32, *(rng.randbytes(32) for _ in range(100))):
        assert (index.find(name) is not None) == (name in {entry.id for entry in entries})


def test_entries_are_found_without_an_index(tmp_path):
    """Also where an object holds the bytes of an entry, and where one is damaged."""
    store = LocalStore(tmp_path / "data")
    items = [blob(f"item {i} ", 30) for i in range(20)]
    store.put_many(items[:10])
    path = next((tmp_path / "data" / "packs").iterdir())
    inside = prepare(ObjectType.BLOB, path.read_bytes()[33:], 0)
    store.put_many([inside, *items[10:]])
    store.close()
    data = path.read_bytes()
    expected = sorted(item.id for item in [*items, inside])
    assert sorted(entry.id for entry in scan_entries(data)) == expected
    damaged = bytearray(data)
    damaged[60] ^= 1
    assert len({entry.id for entry in scan_entries(bytes(damaged))}) == len(expected) - 1


@pytest.mark.parametrize("size", [_WHOLE - 1, _WHOLE, _WHOLE + 1, 1_000_000])
@pytest.mark.parametrize("harm", ["none", "head", "checksum", "payload", "cut"])
def test_entries_of_all_sizes_are_checked_when_read(tmp_path, size, harm):
    store = LocalStore(tmp_path / "data")
    item = prepare(ObjectType.BLOB, os.urandom(size), Codec.RAW)
    store.put_many([item])
    pack = next((tmp_path / "data" / "packs").glob("*.pack"))
    at = pack.stat().st_size - size
    with pack.open("r+b") as file:
        if harm == "cut":
            file.truncate(at + size - 1)
        elif harm != "none":
            file.seek(at + {"head": -20, "checksum": -1, "payload": size // 2}[harm])
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 1]))
    if harm == "none":
        assert store.get_many([item.id])[0].data() == item.data()
    else:
        with pytest.raises(Corrupt, match=f"{pack.stem} is damaged at byte"):
            store.get_many([item.id])
    store.close()
