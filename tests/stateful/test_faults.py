"""Faults at every store call of a life of commits, deletes and collections: killed, cut off, refused, failing, flipped.

What was acknowledged is there, a version is committed whole or not at all, fsck finds nothing, and all goes on. Each
kind of fault can be injected at every call; the soak injects more than 10,000 and prints how many of each.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from fault_files import FaultFiles

from dagdvid.errors import DagdvidError, DamageError
from dagdvid.objects.local.store import LocalStore
from dagdvid.repo import fold
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.collect import collect
from dagdvid.repo.instances import new_instance
from dagdvid.repo.operations import Seal
from dagdvid.repo.removal import DeleteRepo
from dagdvid.repo.schema import TABLES
from dagdvid.repo.verify import verify

ROOTS = ["a" * 32, "b" * 32]
LIMIT = 2500
SPACE = "keys"
Entries = dict[str, bytes]
Step = Callable[["Life"], None]


class Life:
    """A store, and what it must hold: by version its entries."""

    def __init__(self, folder: Path, files: FaultFiles | None, relaxed: bool = False) -> None:
        self.store = LocalStore(folder, tables=TABLES, files=files, pack_limit=LIMIT, relaxed=relaxed, reserve=0)
        self.catalog = Catalog(self.store)

    def create(self, root: str) -> None:
        self.catalog.create_repo("", "", root)

    def instance(self, root: str) -> None:
        self.catalog.create_instance(root, new_instance({"typename": "keyvalue", "dataname": "kv"}, root))

    def put(self, root: str, version: str, entries: dict[str, bytes | None]) -> None:
        repo = self.catalog.repo(root)
        txn = self.catalog.txn(repo, repo.versions[version], repo.instance("kv"))
        for key, value in entries.items():
            if value is None:
                txn.delete(SPACE, key.encode())
            else:
                txn.put(SPACE, key.encode(), value)
        self.catalog.commit_txn(txn, repo.versions[version])

    def seal(self, root: str, version: str) -> None:
        repo = self.catalog.repo(root)
        self.store.run(Seal(repo.id, repo.versions[version].id, "", [], ""))

    def fold(self, root: str, version: str) -> None:
        fold.fold(self.catalog, root, version)

    def child(self, root: str, version: str, uuid: str) -> None:
        repo = self.catalog.repo(root)
        self.catalog.new_version(repo, repo.versions[version], "", uuid)

    def drop(self, root: str) -> None:
        repo = self.catalog.repo(root)
        self.store.run(DeleteRepo(repo.id, repo.record, list(repo.numbers)))

    def collect(self) -> None:
        for _ in collect(self.catalog, forget=True, alone=True):
            pass

    def state(self) -> dict[str, Entries | None]:
        """What is visible: of each version its entries, None where it has no instance yet."""
        found: dict[str, Entries | None] = {}
        for repo in self.catalog.repos().values():
            for version in repo.versions.values():
                key = f"{version.uuid} {'locked' if version.locked else 'open'}"
                instance = repo.instances.get("kv")
                found[key] = None
                if instance is not None:
                    view = self.catalog.snapshot(repo, version, instance)
                    found[key] = {name.decode(): value for name, value in view.items(SPACE)}
        return found


def value(n: int, size: int) -> bytes:
    return random.Random(n).randbytes(size)


def steps() -> list[Step]:
    """A life: two repos that share values, one of which goes; commits, and collections in between."""
    first, second = ROOTS
    child, grandchild = "c" * 32, "d" * 32
    do: list[Step] = []
    for n, root in enumerate(ROOTS):
        do += [lambda life, root=root: life.create(root), lambda life, root=root: life.instance(root)]
        for part in range(3):
            entries = {f"k{i}": value(i, 90 * i) for i in range(part * 5, part * 5 + 5 + n)}
            do.append(lambda life, root=root, entries=entries: life.put(root, root, entries))
        do += [lambda life, root=root: life.seal(root, root), lambda life, root=root: life.fold(root, root)]
    do += [
        lambda life: life.child(first, first, child),
        lambda life: life.put(first, child, {"k3": b"changed", "k14": None, "new": value(77, 2000)}),
        lambda life: life.drop(second),
        lambda life: life.collect(),
        lambda life: life.put(first, child, {"again": value(15, 90 * 15)}),
        lambda life: life.seal(first, child),
        lambda life: life.child(first, child, grandchild),
        lambda life: life.put(first, grandchild, {f"k{i}": None for i in range(8)}),
        lambda life: life.fold(first, child),
        lambda life: life.collect(),
    ]
    return do


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Entries | None]], FaultFiles]:
    """What is visible before each step and after the last, and the calls of a life without faults."""
    files = FaultFiles()
    life = Life(tmp_path_factory.mktemp("clean") / "data", files)
    seen = [life.state()]
    for step in steps():
        step(life)
        seen.append(life.state())
    life.store.close()
    return seen, files


def live(folder: Path, files: FaultFiles, seen: list[dict[str, Entries | None]], *, relaxed: bool = False) -> int:
    """Live until a step fails; how many were done. A refused step is tried once more with more room."""
    try:
        life = Life(folder, files, relaxed)
    except (OSError, DagdvidError):
        return 0
    done = 0
    try:
        for step in steps():
            try:
                step(life)
            except (OSError, DagdvidError) as error:
                if files.off:
                    break
                assert not isinstance(error, DamageError), error
                files.full, files.full_at = False, 0
                if life.state() == seen[done]:  # else it was done, and only what comes after it failed
                    step(life)
            done += 1
    finally:
        life.store.close()
    return done


def check(folder: Path, seen: list[dict[str, Entries | None]], done: int) -> None:
    """The folder holds what was acknowledged; the step that failed is done or not; the rest of the life goes on."""
    life = Life(folder, None)
    with closing(life.store):
        assert not life.store.packs.damaged
        state = life.state()
        at = next((n for n in (done, done + 1) if n < len(seen) and state == seen[n]), None)
        assert at is not None, (done, state.keys(), seen[done].keys())
        for step in steps()[at:]:
            step(life)
        assert life.state() == seen[-1]
        *_, found = verify(life.catalog)
        assert found["result"]["ok"], found


def inject(tmp_path: Path, kind: str, at: int, seed: int, seen: list[dict[str, Entries | None]]) -> bool:
    """One fault; whether the life came to it."""
    folder = tmp_path / "data"
    shutil.rmtree(folder, ignore_errors=True)
    files = FaultFiles(**{{"fail": "fail_at", "full": "full_at"}.get(kind, "cut_at"): at})
    done = live(folder, files, seen)
    if kind == "power":
        files.power_cut(random.Random(1000 * at + seed))
    if (folder / "dagdvid.json").exists():
        check(folder, seen, done)
    return files.writes >= at if kind == "full" else files.calls >= at


def flip(tmp_path: Path, rng: random.Random, seen: list[dict[str, Entries | None]]) -> str:
    """Flip a bit of any file but the database; what kind of file it was. What is read is right, or damage is told."""
    folder, clean = tmp_path / "flipped", tmp_path / "clean"
    if not clean.exists():
        assert live(clean, FaultFiles(), seen) == len(steps())
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(clean, folder)
    path = rng.choice(sorted([*(folder / "packs").iterdir(), *(folder / "indexes").iterdir()]))
    data = bytearray(path.read_bytes())
    at = rng.randrange(len(data))
    data[at] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    life = Life(folder, None)
    with closing(life.store):
        for version, entries in seen[-1].items():
            for key, expected in (entries or {}).items():
                try:
                    repo, found = life.catalog.find(version.split()[0])
                    assert life.catalog.snapshot(repo, found, repo.instance("kv")).get(SPACE, key.encode()) == expected
                except DamageError:
                    assert path.suffix == ".pack"  # what a tier has can be found without it
    return path.suffix


KINDS = ("kill", "power", "fail", "full")


def test_a_sample(tmp_path: Path, states: tuple[list[dict[str, Entries | None]], FaultFiles]) -> None:
    seen, calls = states
    rng = random.Random(3)
    assert calls.calls > 150
    for kind in KINDS:
        most = calls.writes if kind == "full" else calls.calls
        for at in rng.sample(range(1, most), 4):
            assert inject(tmp_path, kind, at, 0, seen)
    for _ in range(30):
        flip(tmp_path, rng, seen)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_more_than_ten_thousand(tmp_path: Path, states: tuple[list[dict[str, Entries | None]], FaultFiles]) -> None:
    seen, calls = states
    counts: Counter[str] = Counter()
    for kind in ("kill", "fail", "full"):
        for at in range(1, (calls.writes if kind == "full" else calls.calls) + 1):
            counts[kind] += inject(tmp_path, kind, at, 0, seen)
    seed = 0
    while counts["power"] < 6000:
        for at in range(1, calls.calls + 1):
            counts["power"] += inject(tmp_path, "power", at, seed, seen)
        seed += 1
    rng = random.Random(4)
    while counts.total() < 10_500:
        counts[f"bit of a {flip(tmp_path, rng, seen)[1:]}"] += 1
    print(f"{counts.total():,} faults: " + ", ".join(f"{kind} {n:,}" for kind, n in sorted(counts.items())))
