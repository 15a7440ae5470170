"""`dagdvid serve` as a process: its one line, its signals, several workers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from dagdvid.config import HTTP_SERVERS


@pytest.fixture(params=HTTP_SERVERS)
def carrier(request):
    """The words that choose what carries HTTP."""
    return "--http-server", request.param


class Served:
    def __init__(self, process: subprocess.Popen, url: str) -> None:
        self.process, self.url = process, url
        self.port = int(url.rpartition(":")[2])

    def stop(self, name: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(name)
        return self.process.wait(60)


@contextmanager
def serve(*words, **environment):
    process = subprocess.Popen(
        [sys.executable, "-m", "dagdvid", "serve", "--http", "127.0.0.1:0", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        line = process.stdout.readline()
        yield Served(process, line.rpartition(" on ")[2].strip()) if line else process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def new_repo(url, **query):
    answer = httpx.post(f"{url}/api/repos", json={"alias": "a", "description": ""}, params=query)
    answer.raise_for_status()
    root = answer.json()["root"]
    instance = {"typename": "keyvalue", "dataname": "kv"}
    httpx.post(f"{url}/api/repo/{root}/instance", json=instance).raise_for_status()
    return root


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_one_process_serves_until_a_signal(tmp_path, name, carrier):
    with serve("--data", tmp_path / "data", *carrier) as served:
        root = new_repo(served.url)
        key = f"{served.url}/api/node/{root}/kv/key/k"
        assert httpx.post(key, content=b"value").status_code == 200
        assert served.stop(name) == 0
        log = served.process.stderr.read()
    assert f"POST /api/node/{root}/kv/key/k 200" in log
    assert "Traceback" not in log
    with serve("--data", tmp_path / "data", "--quiet") as served:
        key = f"{served.url}/api/node/{root}/kv/key/k"
        assert httpx.get(key).content == b"value"
        assert served.stop() == 0
        assert served.process.stderr.read() == ""


def test_the_line_that_others_wait_for(tmp_path):
    with serve("--data", tmp_path / "data") as served:
        assert served.url == f"http://127.0.0.1:{served.port}"
        assert served.port > 0
        assert httpx.get(f"{served.url}/api/heartbeat").text == "OK"


def test_a_request_that_runs_is_finished(tmp_path, carrier):
    with serve("--data", tmp_path / "data", *carrier) as served:
        root = new_repo(served.url)
        body = os.urandom(50_000)
        with socket.create_connection(("127.0.0.1", served.port)) as client:
            client.settimeout(20)
            head = f"POST /api/node/{root}/kv/key/k HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            client.sendall(head.encode() + body[:100])
            time.sleep(0.3)
            served.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            assert served.process.poll() is None
            client.sendall(body[100:])
            assert client.recv(100).startswith(b"HTTP/1.1 200 ")
        assert served.process.wait(20) == 0
    with serve("--data", tmp_path / "data") as served:
        assert httpx.get(f"{served.url}/api/node/{root}/kv/key/k").content == body


def test_a_second_signal_ends_at_once(tmp_path, carrier):
    with (
        serve("--data", tmp_path / "data", *carrier) as served,
        socket.create_connection(("127.0.0.1", served.port)) as client,
    ):
        client.sendall(b"POST /api/repos HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
        time.sleep(0.3)
        served.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert served.process.poll() is None
        assert served.stop() == -signal.SIGTERM


def test_a_data_directory_in_use(tmp_path):
    with serve("--data", tmp_path / "data"), serve("--data", tmp_path / "data") as second:
        assert second.wait(20) == 1
        said = second.stderr.read()
    assert said.startswith("Error: ")
    assert "in use by process" in said
    assert said.count("\n") == 1


def test_a_port_in_use(tmp_path):
    with (
        serve("--data", tmp_path / "a") as served,
        serve("--data", tmp_path / "b", "--http", f"127.0.0.1:{served.port}") as second,
    ):
        assert second.wait(20) == 1
        said = second.stderr.read()
    assert said == (
        f"Error: cannot listen on 127.0.0.1:{served.port}: Address already in use; "
        "choose another with --http HOST:PORT (port 0 finds a free one)\n"
    )
    assert not (tmp_path / "b").exists()


def test_a_configuration_file(tmp_path):
    (tmp_path / "c.toml").write_text('[server]\nnote = "hello"\ncorsDomains = ["*"]\n[store.x]\npath = "here"\n')
    with serve(tmp_path / "c.toml", DVID_ADMIN_TOKEN="secret") as served:
        answer = httpx.get(f"{served.url}/api/server/note")
        assert (answer.text, answer.headers["Access-Control-Allow-Origin"]) == ("hello", "*")
        assert httpx.get(f"{served.url}/api/server/config").status_code == 400
        assert "hello" in httpx.get(f"{served.url}/api/server/config?admintoken=secret").text
    assert (tmp_path / "here").is_dir()


def test_a_wrong_configuration_file(tmp_path):
    (tmp_path / "c.toml").write_text("[kafka]\nservers = []\n")
    with serve(tmp_path / "c.toml") as process:
        assert process.wait(20) == 1
        assert "remove the section [kafka]" in process.stderr.read()


def test_readonly(tmp_path):
    with serve("--data", tmp_path / "data") as served:
        root = new_repo(served.url)
        assert served.stop() == 0
    with serve("--data", tmp_path / "data", "--readonly") as served:
        answer = httpx.post(f"{served.url}/api/node/{root}/kv/key/k", content=b"v")
        assert answer.status_code == 400
        assert "read-only" in answer.text
        assert httpx.get(f"{served.url}/api/node/{root}/kv/keys").json() == []


def worker_pids(parent):
    """Processes below a supervisor that serve (not multiprocessing's own helper)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            ppid = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            words = (entry / "cmdline").read_text()
        except OSError:
            continue
        if ppid == parent and "spawn_main" in words:
            found.append(int(entry.name))
    return sorted(found)


def writer_pid(parent):
    """The one of them that has the lock of the data directory."""
    return next(pid for pid in worker_pids(parent) if "lock" in {fd.readlink().name for fd in fds(pid)})


def fds(pid):
    return [fd for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()]


needs_proc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")


@needs_proc
def test_workers_share_the_work_and_are_replaced(tmp_path, carrier):
    with serve("--data", tmp_path / "data", *carrier, "--workers", 2) as served:
        root = new_repo(served.url)
        key = f"{served.url}/api/node/{root}/kv/key"
        for i in range(20):  # each on a connection of its own, so by either worker
            assert httpx.post(f"{key}/{i}", content=b"%d" % i).status_code == 200
            assert httpx.get(f"{key}/{i}").content == b"%d" % i
        before = worker_pids(served.process.pid)
        assert len(before) == 3
        killed = next(pid for pid in before if pid != writer_pid(served.process.pid))
        os.kill(killed, signal.SIGKILL)
        wait_for_another(served, killed)
        for i in range(20):
            assert httpx.get(f"{key}/{i}", timeout=30).content == b"%d" % i
        assert served.stop() == 0
        log = served.process.stderr.read()
        assert worker_pids(served.process.pid) == []
    assert f"worker {killed} died with status -9" in log
    with serve("--data", tmp_path / "data") as served:
        assert len(httpx.get(f"{served.url}/api/node/{root}/kv/keys").json()) == 20


def wait_for_another(served, pid):
    deadline = time.monotonic() + 30
    while pid in (now := worker_pids(served.process.pid)) or len(now) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@needs_proc
def test_a_writer_that_dies_is_replaced(tmp_path):
    """Again and again under load: each write is acknowledged and there, or answered with 503 and whole or absent."""
    with serve("--data", tmp_path / "data", "--workers", 2, "--quiet") as served:
        root = new_repo(served.url)
        stop = threading.Event()
        stored, unknown, refused = {}, {}, []

        def write(name):
            with httpx.Client(base_url=f"{served.url}/api/node/{root}/kv/key", timeout=60) as client:
                for i in range(10**9):
                    if stop.is_set():
                        return
                    key, value = f"{name}-{i}", b"%d" % i * (1 + 300 * (i % 3))
                    answer = client.post(f"/{key}", content=value)
                    if answer.status_code == 200:
                        stored[key] = value
                    elif (answer.status_code, answer.headers["X-Dagdvid-Error"]) == (503, "fate-unknown"):
                        assert "Retry-After" not in answer.headers
                        unknown[key] = value
                    else:
                        refused.append(answer.text)

        threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        try:
            for _ in range(3):
                before, writer = len(stored), writer_pid(served.process.pid)
                deadline = time.monotonic() + 30
                while len(stored) < before + 20:
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
                os.kill(writer, signal.SIGKILL)
                wait_for_another(served, writer)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert refused == []
        assert len(stored) > 60
        with httpx.Client(base_url=f"{served.url}/api/node/{root}/kv/key") as client:
            for key, value in stored.items():
                assert client.get(f"/{key}").content == value
            for key, value in unknown.items():
                assert client.get(f"/{key}").content in (value, b"") or client.get(f"/{key}").status_code == 404
        assert httpx.post(f"{served.url}/api/store/fsck", content=b"{}", timeout=60).json()["ok"]
        assert served.stop() == 0
        log = served.process.stderr.read()
    assert log.count("writer ") >= 3
    assert "Traceback" not in log


@needs_proc
def test_workers_that_only_read_need_no_writer(tmp_path):
    """Beside a server that writes, and alone; what they cannot do they say."""
    with serve("--data", tmp_path / "data") as writing:
        root = new_repo(writing.url)
        key = f"/api/node/{root}/kv/key/k"
        assert httpx.post(writing.url + key, content=b"one").status_code == 200
        with serve("--data", tmp_path / "data", "--readonly", "--workers", 2) as reading:
            assert len(worker_pids(reading.process.pid)) == 2
            assert httpx.get(reading.url + key).content == b"one"
            assert httpx.post(writing.url + key, content=b"two").status_code == 200
            for _ in range(4):
                assert httpx.get(reading.url + key).content == b"two"
            assert "read-only" in httpx.post(reading.url + key, content=b"x").text
            assert reading.stop() == 0


@needs_proc
def test_workers_end_with_their_supervisor(tmp_path):
    with serve("--data", tmp_path / "data", "--workers", 2) as served:
        pids = worker_pids(served.process.pid)
        served.process.kill()
        served.process.wait()
        deadline = time.monotonic() + 30
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_workers_that_cannot_start(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dagdvid.json").write_text("{}")
    with serve("--data", tmp_path / "data", "--workers", 2) as process:
        assert process.wait(60) == 1
        assert "Error: " in process.stderr.read()


def test_many_clients_of_several_workers(tmp_path, carrier):
    with serve("--data", tmp_path / "data", *carrier, "--workers", 2, "--quiet") as served:
        root = new_repo(served.url)
        failures = []

        def work(name):
            with httpx.Client(base_url=f"{served.url}/api/node/{root}/kv/key", timeout=60) as client:
                for i in range(25):
                    sent = client.post(f"/{name}-{i}", content=b"x" * i)
                    got = client.get(f"/{name}-{i}")
                    if sent.status_code != 200 or got.content != b"x" * i:
                        failures.append((name, i, sent.status_code, got.status_code))

        threads = [threading.Thread(target=work, args=(name,)) for name in "abcdef"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(httpx.get(f"{served.url}/api/node/{root}/kv/keys").json()) == 150
        assert served.stop() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_answers_that_do_not_wait_for_the_disk(tmp_path, workers):
    """The death of all processes takes nothing of what was answered."""
    with serve("--data", tmp_path / "data", "--workers", workers, "--durability", "relaxed") as served:
        root = new_repo(served.url)
        for i in range(30):
            httpx.post(f"{served.url}/api/node/{root}/kv/key/{i}", content=b"%d" % i * 600).raise_for_status()
        assert (tmp_path / "data" / "flushed").exists()
        pids = worker_pids(served.process.pid) if workers > 1 else []
        for pid in [served.process.pid, *pids]:
            os.kill(pid, signal.SIGKILL)
    with serve("--data", tmp_path / "data") as served:
        for i in range(30):
            assert httpx.get(f"{served.url}/api/node/{root}/kv/key/{i}").content == b"%d" % i * 600
        assert not (tmp_path / "data" / "flushed").exists()
        assert served.stop() == 0
