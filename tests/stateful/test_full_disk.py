"""A server whose disk is full, or whose quota is used up: 507 with a reason; reads go on, and all else with more room.

The disk is a real one, of 60 MB in memory, which the server mounts for itself alone where the system lets it.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

TOKEN = "secret"
DISK = "mount -t tmpfs -o size=60m none {mount} && mkdir {mount}/data && exec {python} -m dagdvid {words}"
UNSHARE = shutil.which("unshare")


def value(i: int) -> bytes:
    return random.Random(i).randbytes(400_000)


@contextmanager
def serving(command: list[str]) -> Iterator[tuple[httpx.Client, int]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().rpartition(" on ")[2].strip()
            if not url:
                pytest.skip("no disk can be mounted here")
            with httpx.Client(base_url=url, timeout=60, params={"admintoken": TOKEN}) as http:
                yield http, process.pid
        finally:
            process.terminate()


def fill(http: httpx.Client, root: str, n: int) -> tuple[list[int], httpx.Response]:
    """Write until it is refused; what was taken, and the refusal."""
    kept = []
    for i in range(n, n + 1000):
        answer = http.post(f"/api/node/{root}/kv/key/k{i}", content=value(i))
        if answer.status_code != 200:
            return kept, answer
        kept.append(i)
    raise AssertionError("never full")


def story(http: httpx.Client, make_room: Callable[[], None], reason: str) -> None:
    root = http.post("/api/repos", json={}).json()["root"]
    http.post(f"/api/repo/{root}/instance", json={"typename": "keyvalue", "dataname": "kv"}).raise_for_status()
    kept, refusal = fill(http, root, 0)
    assert len(kept) > 5
    assert refusal.status_code == 507
    assert reason in refusal.text
    small = http.post(f"/api/node/{root}/kv/key/small", content=b"small")
    assert small.status_code == 507
    assert http.get(f"/api/node/{root}/kv/key/small").status_code == 404

    def check() -> None:
        for i in kept:
            assert http.get(f"/api/node/{root}/kv/key/k{i}").content == value(i)

    check()
    http.post(f"/api/node/{root}/commit", json={"note": "goes on"}).raise_for_status()
    other = http.post("/api/repos", json={}).json()["root"]
    http.delete(f"/api/repo/{other}", params={"imsure": "true"}).raise_for_status()
    make_room()
    child = http.post(f"/api/node/{root}/newversion").raise_for_status().json()["child"]
    http.post(f"/api/node/{child}/kv/key/again", content=value(5000)).raise_for_status()
    assert http.get(f"/api/node/{child}/kv/key/again").content == value(5000)
    check()
    report = http.post("/api/store/fsck").json()
    assert report["ok"], report


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVID_ADMIN_TOKEN", TOKEN)


@pytest.mark.skipif(UNSHARE is None or sys.platform != "linux", reason="no mounts of one's own")
def test_a_full_disk(tmp_path: Path) -> None:
    words = f"serve --data {tmp_path}/data --http 127.0.0.1:0 --quiet --workers 2"
    script = DISK.format(mount=tmp_path, python=sys.executable, words=words)
    with serving([str(UNSHARE), "--user", "--map-root-user", "--mount", "sh", "-c", script]) as (http, pid):
        disk = Path(f"/proc/{pid}/root{tmp_path}")
        (disk / "ballast").write_bytes(bytes(12 * 2**20))
        story(http, (disk / "ballast").unlink, "store.reserve")


def test_a_quota(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(f'[store.main]\nengine = "dagdvid"\npath = "{tmp_path}/data"\nquota = 12\n')
    command = [
        sys.executable,
        "-m",
        "dagdvid",
        "serve",
        str(tmp_path / "config.toml"),
        "--http",
        "127.0.0.1:0",
        "--quiet",
    ]
    with serving(command) as (http, _):

        def make_room() -> None:
            """A large repo that was there before goes, and is collected."""
            http.delete(f"/api/repo/{large}", params={"imsure": "true"}).raise_for_status()
            found = http.post("/api/store/gc", params={"forget": "true"})
            assert found.status_code == 200, found.text
            assert found.json()["bytes"] > 10**6

        large = http.post("/api/repos", json={}).json()["root"]
        http.post(f"/api/repo/{large}/instance", json={"typename": "keyvalue", "dataname": "kv"}).raise_for_status()
        for i in range(10):
            http.post(f"/api/node/{large}/kv/key/{i}", content=value(9000 + i)).raise_for_status()
        story(http, make_room, "store.quota")
