"""Several worker processes on one directory: what one wrote, any shows at the next request."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import httpx
import pytest

CLIENTS = 6


@pytest.fixture
def url(tmp_path):
    words = ["serve", "--data", str(tmp_path / "data"), "--http", "127.0.0.1:0", "--workers", "2", "--quiet"]
    environment = os.environ | {"DVID_ADMIN_TOKEN": "secret"}
    process = subprocess.Popen(
        [sys.executable, "-m", "dagdvid", *words], stdout=subprocess.PIPE, text=True, env=environment
    )
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


def test_amendments_of_many_clients_all_come_to_be(url):
    """Admins change a locked version while others go on below it: nothing that was acknowledged is missing anywhere."""
    root = good(url, "POST", "/api/repos", b"{}").json()["root"]
    good(url, "POST", f"/api/repo/{root}/instance", b'{"typename": "keyvalue", "dataname": "kv"}')
    good(url, "POST", f"/api/node/{root}/commit", b"{}")
    child = good(url, "POST", f"/api/node/{root}/newversion").json()["child"]
    faults: list[str] = []
    tips: list[str] = []

    def amend(i: int) -> None:
        try:
            for j in range(6):
                good(url, "POST", f"/api/node/{root}/kv/key/a{i}-{j}?admintoken=secret", b"amended")
                if good(url, "GET", f"/api/node/{child}/kv/key/a{i}-{j}").content != b"amended":
                    faults.append(f"{i} does not see its change {j} below")
        except AssertionError as error:
            faults.append(str(error))

    def go_on() -> None:
        at = child
        try:
            for j in range(5):
                good(url, "POST", f"/api/node/{at}/kv/key/o{j}", b"own" * 300)
                good(url, "POST", f"/api/node/{at}/commit", b"{}")
                at = good(url, "POST", f"/api/node/{at}/newversion").json()["child"]
                tips.append(at)
        except AssertionError as error:
            faults.append(str(error))

    threads = [*(threading.Thread(target=amend, args=(i,)) for i in range(4)), threading.Thread(target=go_on)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    amended = [f"a{i}-{j}" for i in range(4) for j in range(6)]
    assert good(url, "GET", f"/api/node/{root}/kv/keys").json() == amended
    assert good(url, "GET", f"/api/node/{tips[-1]}/kv/keys").json() == [*amended, *(f"o{j}" for j in range(5))]
    assert len(good(url, "GET", f"/api/node/{root}/kv/mutations").json()) == len(amended)
    assert good(url, "POST", "/api/store/fsck").json()["ok"]


def test_an_instance_deleted_by_one_is_gone_for_all(url):
    root = good(url, "POST", "/api/repos?admintoken=secret", b"{}").json()["root"]
    for n in range(6):
        good(url, "POST", f"/api/repo/{root}/instance", b'{"typename": "keyvalue", "dataname": "kv"}')
        assert good(url, "GET", f"/api/node/{root}/kv/keys").json() == []
        good(url, "POST", f"/api/node/{root}/kv/key/k{n}", b"v" * 5000)
        good(url, "DELETE", f"/api/repo/{root}/kv?imsure=true")
        assert [ask(url, "GET", f"/api/node/{root}/kv/keys").status_code for _ in range(4)] == [400] * 4
    good(url, "DELETE", f"/api/repo/{root}?imsure=true")
    assert [good(url, "GET", "/api/repos/info").json() for _ in range(3)] == [{}] * 3
