"""Clients of several workers write, commit, branch, delete and read while gc and backups run, against dictionaries.

No request may fail; in the end all that was ever committed and is not deleted is there, and in the backups, too.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from sites import Process

from dagdvid.config import Config
from dagdvid.repo.verify import verify
from dagdvid.server import Server, backup, restore

TOKEN = "secret"
VALUES = [random.Random(i).randbytes(600 + 40 * i) for i in range(300)]
LARGE = [random.Random(-i).randbytes(5 * 2**20) for i in (1, 2)]


class Client:
    """One that has repos of its own, whose content is that of other repos that come and go."""

    def __init__(self, url: str, seed: int, counts: Counter[str]) -> None:
        self.rng = random.Random(seed)
        self.counts = counts
        self.http = httpx.Client(base_url=url, timeout=60, params={"admintoken": TOKEN})
        self.open: dict[str, str] = {}
        """By root: the open version."""
        self.models: dict[str, dict[str, dict[str, bytes]]] = {}
        """By root and version: what is there."""

    def ask(self, method: str, path: str, body: Any = None, **query: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else None
        answer = self.http.request(
            method, path, content=content, json=None if content is not None else body, params=query
        )
        assert answer.status_code == 200, (method, path, answer.status_code, answer.text)
        self.counts[method] += 1
        return answer

    def step(self) -> None:
        if len(self.open) < 2:
            self.create()
        do = self.rng.choices(
            [self.put, self.put_many, self.remove, self.commit, self.read, self.drop], [8, 2, 2, 3, 6, 1]
        )[0]
        do(self.rng.choice(list(self.open)))

    def create(self) -> None:
        root = self.ask("POST", "/api/repos", {}).json()["root"]
        self.ask("POST", f"/api/repo/{root}/instance", {"typename": "keyvalue", "dataname": "kv"})
        self.open[root] = root
        self.models[root] = {root: {}}
        for i, value in enumerate(VALUES[:12]):  # in all repos, so that gc finds again what it gave up
            self.put(root, f"a{i:02d}", value)
        self.commit(root)

    def put(self, root: str, key: str = "", value: bytes = b"") -> None:
        version = self.open[root]
        key, value = key or f"k{self.rng.randrange(60)}", value or self.rng.choice(VALUES)
        self.ask("POST", f"/api/node/{version}/kv/key/{key}", value)
        self.models[root][version][key] = value

    def put_many(self, root: str) -> None:
        if self.rng.random() < 0.1:
            self.put(root, "large", self.rng.choice(LARGE))
        for _ in range(10):
            self.put(root)

    def remove(self, root: str) -> None:
        version = self.open[root]
        for key in self.rng.sample(sorted(self.models[root][version]), min(8, len(self.models[root][version]))):
            self.ask("DELETE", f"/api/node/{version}/kv/key/{key}")
            del self.models[root][version][key]

    def commit(self, root: str) -> None:
        version = self.open[root]
        self.ask("POST", f"/api/node/{version}/commit", {"note": "n"})
        words = {"branch": f"b{len(self.models[root])}"} if self.rng.random() < 0.5 else {}
        kind = "branch" if words else "newversion"
        self.open[root] = self.ask("POST", f"/api/node/{version}/{kind}", words).json()["child"]
        self.models[root][self.open[root]] = dict(self.models[root][version])

    def read(self, root: str) -> None:
        version = self.rng.choice(list(self.models[root]))
        held = self.models[root][version]
        for key in self.rng.sample(sorted(held), min(5, len(held))):
            assert self.ask("GET", f"/api/node/{version}/kv/key/{key}").content == held[key]

    def drop(self, root: str) -> None:
        self.ask("DELETE", f"/api/repo/{root}", imsure="true")
        del self.open[root], self.models[root]

    def check(self, get: Callable[[str], bytes]) -> int:
        n = 0
        for versions in self.models.values():
            for version, held in versions.items():
                assert sorted(held) == sorted(self.ask("GET", f"/api/node/{version}/kv/keys").json())
                for key, value in held.items():
                    assert get(f"/api/node/{version}/kv/key/{key}") == value
                    n += 1
        return n


def run(folder: Path, seconds: float, clients: int, workers: int) -> None:
    counts: Counter[str] = Counter()
    with Process(folder / "data", "--workers", str(workers), "--durability", "relaxed") as process:
        everybody = [Client(process.url, seed, counts) for seed in range(clients)]
        stop = threading.Event()
        deadline = time.monotonic() + seconds

        def work(client: Client) -> None:
            while time.monotonic() < deadline and not stop.is_set():
                client.step()

        def collect() -> None:
            with httpx.Client(timeout=600, params={"admintoken": TOKEN, "forget": "true"}) as http:
                while not stop.is_set():
                    answer = http.post(f"{process.url}/api/store/gc")
                    assert answer.status_code == 200, answer.text
                    counts["collections"] += 1
                    counts["objects given up"] += answer.json()["objects"]
                    counts["packs given up"] += answer.json()["packs"]
                    stop.wait(0.1)

        def copy() -> None:
            while not stop.is_set():
                for _ in backup(process.url, folder / "backup", TOKEN):
                    pass
                counts["backups"] += 1
                stop.wait(0.5)

        with ThreadPoolExecutor(clients + 2) as pool:
            beside = [pool.submit(collect), pool.submit(copy)]
            jobs = [pool.submit(work, client) for client in everybody]
            try:
                for job in jobs:
                    job.result()
            finally:
                stop.set()
            for job in beside:
                job.result()
        report = everybody[0].ask("POST", "/api/store/fsck").json()
        assert report["ok"], report
        for client in everybody:
            counts["values compared"] += client.check(lambda path, c=client: c.ask("GET", path).content)  # type: ignore[misc]
            client.http.close()
    for _ in restore(folder / "backup", folder / "restored"):
        pass
    server = Server.open(Config(data=folder / "restored"))
    *_, found = verify(server.catalog)
    assert found["result"]["ok"], found
    server.close()
    print(", ".join(f"{what}: {n:,}" for what, n in sorted(counts.items())))
    assert counts["objects given up"] > 0
    assert counts["backups"] > 0


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVID_ADMIN_TOKEN", TOKEN)


def test_some_seconds(tmp_path: Path) -> None:
    run(tmp_path, seconds=4, clients=4, workers=2)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_five_minutes(tmp_path: Path) -> None:
    run(tmp_path, seconds=300, clients=16, workers=4)
