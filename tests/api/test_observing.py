"""What the service says of itself while it runs: its log, its counts, whether it is well."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import re
import time
from dataclasses import replace

import httpx
import pytest
from test_lanes import LANES, fill, served

from dagdvid.api.logs import JsonLines, RotatedFile
from dagdvid.config import Auth, Config, Logging
from dagdvid.meters import BOUNDS, Meters
from dagdvid.server import Server
from dagdvid.sharedfolder import SharedFolder


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("observing") / "data"
    return folder, *fill(folder)


@pytest.fixture(params=[lane for lane in LANES if lane != "quart"])
async def site(request, stored, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    config = Config(data=stored[0], auth=Auth(trusted_proxies=("127.0.0.1",)))
    server = Server.open(config)
    async with (
        served(server, request.param) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        client.server = server
        yield client
    server.close()


def samples(text):
    """The values of a page of metrics, by name and labels; its form is checked."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            assert re.fullmatch(r'[a-z_]+(\{([a-z]+="[^"]*",?)+\})? [-+.0-9e]+', line), line
            name, _, value = line.rpartition(" ")
            found[name] = float(value)
    return found


async def test_metrics(site, stored):
    _, locked, opened = stored
    for path in ("one", "absent", "blob", "large"):
        await site.get(f"{locked}/{path}")
    await site.post(f"{opened}/x", content=b"12345")
    answer = await site.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    found = samples(answer.text)
    assert found['dagdvid_requests_total{method="GET",status="2xx"}'] == 3
    assert found['dagdvid_requests_total{method="GET",status="4xx"}'] == 1
    assert found['dagdvid_requests_total{method="POST",status="2xx"}'] == 1
    assert found['dagdvid_request_seconds_count{kind="read"}'] == 4
    assert found['dagdvid_request_seconds_bucket{kind="read",le="+Inf"}'] == 4
    assert found["dagdvid_received_bytes_total"] == 5
    assert found["dagdvid_sent_bytes_total"] > 1 << 20
    assert found["dagdvid_requests_in_work"] == 1  # this one
    assert found["dagdvid_disk_free_bytes"] > 0
    assert found["dagdvid_database_bytes"] > 0
    assert found[f'dagdvid_resident_bytes{{pid="{os.getpid()}"}}'] >= 0
    again = samples((await site.get("/api/metrics")).text)
    assert again['dagdvid_requests_total{method="GET",status="2xx"}'] == 4
    load = (await site.get("/api/load")).json()
    assert load["requests in work"] == 1
    assert set(load) >= {"GET requests", "PUT requests", "goroutines"}


async def test_whether_it_is_well(site):
    for path in ("/healthz", "/readyz", "/api/health", "/api/ready"):
        answer = await site.get(path)
        assert (answer.status_code, answer.text) == (200, "OK")
        assert answer.headers["Cache-Control"] == "no-store"
    site.server.state.stopping = True
    answer = await site.get("/readyz")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert (await site.get("/healthz")).status_code == 200


async def test_requests_have_numbers(site, stored, caplog):
    locked = stored[1]
    with caplog.at_level(logging.INFO, "dagdvid.access"):
        good, bad = await site.get(f"{locked}/one"), await site.get(f"{locked}/absent")
        named = await site.get(f"{locked}/absent", headers={"X-Request-Id": "abc-1", "X-Forwarded-For": "9.9.9.9"})
        odd = await site.get(f"{locked}/absent", headers={"X-Request-Id": b"a b\xff"})
    records = [record for record in caplog.records if record.name == "dagdvid.access"]
    numbers = [record.fields["id"] for record in records]
    assert len(set(numbers)) == 4
    assert "X-Request-Id" not in good.headers
    assert [answer.headers["X-Request-Id"] for answer in (bad, named, odd)] == numbers[1:]
    assert numbers[2] == "abc-1"
    assert re.fullmatch("[0-9a-f-]+", numbers[3])
    assert [record.fields["client"] for record in records] == ["127.0.0.1", "127.0.0.1", "9.9.9.9", "127.0.0.1"]
    assert records[2].getMessage().startswith(f"9.9.9.9 GET {locked}/absent 404 ")
    line = json.loads(JsonLines().format(records[2]))
    assert (line["status"], line["path"], line["id"], line["whole"]) == (404, f"{locked}/absent", "abc-1", True)


async def test_slow_requests_are_told(small, caplog):
    small.config = replace(small.config, logging=Logging(slow=1))
    async with served(small, "asgi") as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        with caplog.at_level(logging.WARNING, "dagdvid.access"):
            await client.get("/api/pause/1.1")
            await client.get("/api/pause/0")
    slow = [record.getMessage() for record in caplog.records if record.name == "dagdvid.access"]
    assert len(slow) == 1
    assert slow[0].startswith("slow: 127.0.0.1 GET /api/pause/1.1 200 ")
    assert small.meters.totals()["slow"] == 1


async def test_bugs_have_the_number_of_their_request(small, caplog):
    async with served(small, "asgi") as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        answer = await client.get("/api/fail/bug")
    assert answer.text == f"internal error, logged as request {answer.headers['X-Request-Id']}\n"
    assert f"request {answer.headers['X-Request-Id']} failed: GET '/api/fail/bug'" in caplog.text


def _count(folder, ready):
    meters = Meters(SharedFolder(folder))
    meters.request("GET", 200, 0.003, 10)
    meters.work(1)
    ready.put(1)
    time.sleep(60)


def test_counts_of_all_processes(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    mine = Meters(SharedFolder(tmp_path))
    assert mine.totals()["GET 2xx"] == 0
    mine.request("PATCH", 204, BOUNDS[-1] + 1, 5)
    context = multiprocessing.get_context("fork")
    ready = context.SimpleQueue()
    others = [context.Process(target=_count, args=(tmp_path, ready)) for _ in range(2)]
    for other in others:
        other.start()
    for _ in others:
        ready.get()
    totals = mine.totals()
    assert (totals["GET 2xx"], totals["other 2xx"], totals["sent"], totals["work"]) == (2, 1, 25, 2)
    assert totals["read 1"] == 2
    assert totals[f"write {len(BOUNDS)}"] == 1
    assert mine.processes() == sorted([os.getpid(), *(other.pid for other in others)])
    others[0].kill()
    others[0].join()
    totals = mine.totals()
    assert (totals["GET 2xx"], totals["work"]) == (2, 1)  # what it has counted stays
    Meters.reset(SharedFolder(tmp_path))
    assert mine.totals()["GET 2xx"] == 1
    others[1].kill()
    others[1].join()
    mine.close()


def test_requests_of_the_last_second(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    clock = 1000.0
    monkeypatch.setattr("dagdvid.meters.time.time", lambda: clock)
    meters = Meters(SharedFolder(tmp_path))
    said = []
    for reads, writes in ((3, 1), (5, 0), (0, 0), (2, 2)):
        for method, n in (("GET", reads), ("POST", writes)):
            for _ in range(n):
                meters.request(method, 200, 0.1, 0)
        said.append(meters.per_second())
        clock += 1
    assert said == [(0, 0), (3, 1), (5, 0), (0, 0)]
    assert meters.per_second() == (2, 2)


@pytest.fixture
def record():
    return logging.LogRecord("a.logger", logging.ERROR, "", 0, "what %s \u00e9\n", ("happened",), None)


def test_lines_of_json(record):
    record.fields = {"status": 200}
    text = JsonLines().format(record)
    assert "\n" not in text
    line = json.loads(text)
    assert (line["message"], line["level"], line["logger"]) == ("what happened \u00e9\n", "ERROR", "a.logger")
    assert line["status"] == 200
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])


def _write_lines(path, n):
    handler = RotatedFile(path, 2000, 0)
    for i in range(300):
        handler.emit(logging.LogRecord("x", logging.INFO, "", 0, f"{n} {i:03} {'.' * 40}", (), None))
    handler.close()


def test_a_file_that_several_processes_rotate(tmp_path):
    path = tmp_path / "logs" / "server.log"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_lines, args=(path, n)) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    files = list(path.parent.iterdir())
    assert len(files) > 10
    assert all(re.fullmatch(r"server(-[\dT-]+\.\d{4})?\.log", file.name) for file in files)
    assert max(file.stat().st_size for file in files) < 2000 + 3 * 50
    lines = [line for file in files for line in file.read_text().splitlines()]
    assert sorted(lines) == sorted(f"{n} {i:03} {'.' * 40}" for n in range(3) for i in range(300))


def test_old_files_are_deleted(tmp_path, record):
    path = tmp_path / "server.log"
    old, other = tmp_path / "server-2020-01-01T00-00-00.0000.log", tmp_path / "server-mine.log"
    for file in (old, other):
        file.touch()
        os.utime(file, (0, 0))
    handler = RotatedFile(path, 30, 3600.0)
    for _ in range(3):
        handler.emit(record)
    handler.close()
    assert not old.exists()
    assert other.exists()
    assert len(list(tmp_path.iterdir())) == 4


def test_a_file_that_others_put_aside_is_begun_anew(tmp_path, record):
    path = tmp_path / "server.log"
    handler = RotatedFile(path, 0, 0)
    handler.emit(record)
    path.rename(tmp_path / "moved")
    handler.emit(record)
    handler.close()
    assert path.read_bytes() == (tmp_path / "moved").read_bytes() == "what happened é\n\n".encode()
