"""Mutation logs as files under several worker processes that are killed: what was acknowledged stands in them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from dagdvid.interchange.protolog import read_records

CLIENTS = 4


@contextmanager
def serving(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server of two workers in a process group of its own; what is left of it is killed."""
    toml = folder / "server.toml"
    toml.write_text('[store.main]\npath = "data"\n[mutations]\njsonstore = "logs"\n')
    words = ["serve", str(toml), "--http", "127.0.0.1:0", "--workers", "2", "--quiet"]
    process = subprocess.Popen(
        [sys.executable, "-m", "dagdvid", *words], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().rpartition(" on ")[2].strip()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(60)
        assert process.stdout is not None
        process.stdout.close()


def post(url: str, path: str, body: Any) -> Any:
    """On a connection of its own, so that any worker may get it."""
    answer = httpx.post(f"{url}{path}", content=body if isinstance(body, bytes) else json.dumps(body), timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json() if answer.content else None


def keys_in(folder: Path) -> list[str]:
    """The keys that the only file names, in its order."""
    (path,) = (folder / "logs").iterdir()
    data = path.read_bytes()
    return [json.loads(record.payload)["Key"] for record in read_records(lambda at, n: data[at : at + n])]


def test_all_that_was_acknowledged_is_in_the_file(tmp_path: Path) -> None:
    acknowledged: list[str] = []

    with serving(tmp_path) as (process, url):
        root = post(url, "/api/repos", {})["root"]
        post(url, f"/api/repo/{root}/instance", {"typename": "keyvalue", "dataname": "kv"})

        def work(n: int) -> None:
            with contextlib.suppress(httpx.TransportError):
                for i in range(10_000):
                    post(url, f"/api/node/{root}/kv/key/{n}-{i}", b"x")
                    acknowledged.append(f"{n}-{i}")

        threads = [threading.Thread(target=work, args=(n,)) for n in range(CLIENTS)]
        for thread in threads:
            thread.start()
        while len(acknowledged) < 60:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        for thread in threads:
            thread.join()
    assert set(acknowledged) <= set(keys_in(tmp_path))

    with serving(tmp_path) as (_, url):
        said = httpx.get(f"{url}/api/node/{root}/kv/mutations", timeout=60).json()
        assert keys_in(tmp_path) == [record["Key"] for record in said]
        assert len(said) == len({record["Key"] for record in said}) >= len(acknowledged)
        post(url, f"/api/node/{root}/kv/key/after", b"x")
        assert keys_in(tmp_path)[-1] == "after"
