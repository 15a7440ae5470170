"""Several worker processes on one directory: what one wrote, any shows at the next request."""

from __future__ import annotations

import subprocess
import sys
import threading

import httpx
import pytest

CLIENTS = 6


@pytest.fixture
def url(tmp_path):
    words = ["serve", "--data", str(tmp_path / "data"), "--http", "127.0.0.1:0", "--workers", "2", "--quiet"]
    process = subprocess.Popen([sys.executable, "-m", "dagdvid", *words], stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().rpartition(" on ")[2].strip()
    finally:
        process.terminate()
        assert process.wait(60) == 0
        process.stdout.close()


def ask(url: str, method: str, path: str, content: bytes = b"") -> httpx.Response:
    """On a connection of its own, so that any worker may get it."""
    return httpx.request(method, f"{url}{path}", content=content, timeout=60)


def good(url: str, method: str, path: str, content: bytes = b"") -> httpx.Response:
    answer = ask(url, method, path, content)
    assert answer.status_code == 200, (path, answer.text)
    return answer


def test_writes_and_versions_are_seen_by_all(url):
    root = good(url, "POST", "/api/repos", b"{}").json()["root"]
    good(url, "POST", f"/api/repo/{root}/instance", b'{"typename": "keyvalue", "dataname": "kv"}')
    at = root
    for i in range(12):
        value = b"%d" % i * (1 + 600 * (i % 2))
        good(url, "POST", f"/api/node/{at}/kv/key/k", value)
        for _ in range(3):
            assert good(url, "GET", f"/api/node/{at}/kv/key/k").content == value
        if i % 3 == 2:
            good(url, "POST", f"/api/node/{at}/commit", b"{}")
            assert ask(url, "POST", f"/api/node/{at}/kv/key/k", b"late").status_code == 400
            name = {good(url, "GET", f"/api/node/{at}/hash").json()["hash"] for _ in range(3)}
            assert len(name) == 1
            at = good(url, "POST", f"/api/node/{at}/newversion").json()["child"]
            for _ in range(3):
                assert good(url, "GET", f"/api/node/{root}:master/kv/key/k").content == value
    assert good(url, "POST", "/api/store/fsck").json()["ok"]


def test_many_clients_of_two_workers(url):
    """Each reads its own write back at once; extents of a volume, read and written by all, lose nothing."""
    root = good(url, "POST", "/api/repos", b"{}").json()["root"]
    good(url, "POST", f"/api/repo/{root}/instance", b'{"typename": "keyvalue", "dataname": "kv"}')
    body = b'{"typename": "uint8blk", "dataname": "gray", "BlockSize": "8,8,8"}'
    good(url, "POST", f"/api/repo/{root}/instance", body)
    faults: list[str] = []

    def work(i: int) -> None:
        try:
            for j in range(10):
                value = b"%d-%d" % (i, j)
                good(url, "POST", f"/api/node/{root}/kv/key/k{i}", value)
                if good(url, "GET", f"/api/node/{root}/kv/key/k{i}").content != value:
                    faults.append(f"{i} does not read its write {j}")
                good(url, "POST", f"/api/node/{root}/gray/raw/0_1_2/8_8_8/{8 * i}_{8 * j}_{-8 * (i + j)}", b"v" * 512)
        except AssertionError as error:
            faults.append(str(error))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert good(url, "GET", f"/api/node/{root}/kv/keys").json() == [f"k{i}" for i in range(CLIENTS)]
    extents = good(url, "GET", f"/api/node/{root}/gray/info").json()["Extents"]
    assert extents == {"MinPoint": [0, 0, -112], "MaxPoint": [47, 79, 7]}
