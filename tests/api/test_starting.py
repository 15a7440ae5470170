"""`dagdvid serve` with a configuration, as an institute runs it: files, signals, TLS, several processes that agree."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs

import httpx
import pytest
from test_processes import serve

from dagdvid.config import HTTP_SERVERS


def until(condition):
    for _ in range(400):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not come about within 8 s")


@pytest.fixture
def monitor():
    """What the server tells others when it starts."""
    told = []

    class Monitor(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            told.append((self.path, self.headers["Content-Type"], body))
            self.send_response(500 if "bad" in self.path else 200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Monitor)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", told
    server.shutdown()
    server.server_close()


def test_files_and_words_to_others(tmp_path, monitor):
    url, told = monitor
    config = tmp_path / "c.toml"
    config.write_text(
        f"""
        [server]
        host = "images"
        note = "a note"
        pidFile = "run/pid"
        startWebhook = "{url}/hook"
        startJaneliaConfig = "{url}/config"
        allowTiming = true
        [logging]
        logfile = "logs/server.log"
        format = "json"
        [store.main]
        path = "data"
        """
    )
    with serve(config) as served:
        assert int((tmp_path / "run" / "pid").read_text()) == served.process.pid
        httpx.get(f"{served.url}/api/repos/info")
        assert served.stop() == 0
        assert " INFO dagdvid" not in served.process.stderr.read()
    assert not (tmp_path / "run" / "pid").exists()
    wanted = {"Host": "images", "Note": "a note", "HTTP Address": "127.0.0.1:0", "RPC Address": ""}
    (path, kind, body), (other, form, fields) = told
    assert (path, kind, json.loads(body)) == ("/hook", "application/json", wanted)
    assert (other, form) == ("/config", "application/x-www-form-urlencoded")
    assert json.loads(parse_qs(fields)["config"][0]) == wanted
    lines = [json.loads(line) for line in (tmp_path / "logs" / "server.log").read_text().splitlines()]
    assert ("/api/repos/info", 200) in [(line.get("path"), line.get("status")) for line in lines]
    config.write_text(f'[server]\npidFile = "run/pid"\nstartWebhook = "{url}/bad"\n[store.main]\npath = "data"')
    with serve(config) as refused:
        assert refused.wait(30) == 1
        assert "which must be told that the server starts, answered 500" in refused.stderr.read()


@pytest.mark.parametrize("carrier", HTTP_SERVERS)
def test_tls(tmp_path, carrier):
    openssl = shutil.which("openssl")
    assert openssl, "this test makes a certificate with openssl"
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / "key", "-out", tmp_path / "pem"]
    subprocess.run([openssl, *made, *names], check=True, capture_output=True)
    config = tmp_path / "c.toml"
    config.write_text('[tls]\ncertificate = "pem"\nkey = "key"\n[store.main]\npath = "data"')
    with serve(config, "--http-server", carrier) as served:
        assert served.url.startswith("https://")
        import ssl

        with httpx.Client(verify=ssl.create_default_context(cafile=tmp_path / "pem")) as client:
            root = client.post(f"{served.url}/api/repos", json={}).json()["root"]
            client.post(f"{served.url}/api/repo/{root}/instance", json={"typename": "keyvalue", "dataname": "kv"})
            for body in (b"small", os.urandom(3 << 20)):
                assert client.post(f"{served.url}/api/node/{root}/kv/key/k", content=body).status_code == 200
                assert client.get(f"{served.url}/api/node/{root}/kv/key/k").content == body
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{served.port}/api/heartbeat").raise_for_status()
        assert served.stop() == 0


def test_whoever_can_be_reached_by_all_says_so(tmp_path):
    words = ("--data", tmp_path / "data", "--quiet", "--http", "0.0.0.0:0")
    with serve(*words, DVID_ADMIN_TOKEN="") as served:
        url = f"http://127.0.0.1:{served.port}"
        for path, token in (("repos", ""), ("repos", "?admintoken="), ("server/settings", "")):
            answer = httpx.post(f"{url}/api/{path}{token}", json={})
            assert (answer.status_code, answer.headers["X-Dagdvid-Error"]) == (400, "forbidden")
        served.stop()
        said = served.process.stderr.read()
    assert "WARNING dagdvid.api: ANYBODY who reaches 0.0.0.0:0 can read and change all that it has" in said
    assert "refused, as there is no DVID_ADMIN_TOKEN" in said


def test_processes_agree(tmp_path):
    """Block list, settings, counts and what is logged are those of the server, not of one of its processes."""
    blocked = tmp_path / "blocked"
    blocked.touch()
    config = tmp_path / "c.toml"
    config.write_text(
        """
        [server]
        workers = 2
        blockListFile = "blocked"
        shutdownDelay = 5
        [logging]
        logfile = "server.log"
        max_log_size = 1
        [store.main]
        path = "data"
        """
    )

    def asked(url, n=12, **query):
        """The statuses of many requests, each on a connection of its own, so that both processes answer."""
        return {web.get(f"{url}/api/server/info", params=query).status_code for _ in range(n)}

    each_its_own = httpx.Limits(max_keepalive_connections=0)
    with serve(config, DVID_ADMIN_TOKEN="adm") as served, httpx.Client(limits=each_its_own) as web:
        url = served.url
        assert asked(url, u="ann") == {200}
        blocked.write_text("u=ann,away")
        assert asked(url, u="ann") == {200}
        assert web.post(f"{url}/api/server/reload-blocklist?admintoken=adm").status_code == 200
        assert asked(url, u="ann") == {429}
        blocked.write_text("u=bob")
        served.process.send_signal(signal.SIGHUP)
        until(lambda: asked(url, 1, u="bob") == {429})
        assert asked(url, u="ann") == {200}
        web.post(f"{url}/api/server/settings?admintoken=adm", json={"throttle": "7"}).raise_for_status()
        until(lambda: asked(url, 4) and web.get(f"{url}/metrics").text.count("dagdvid_resident_bytes{pid=") == 2)
        for _ in range(8):
            page = web.get(f"{url}/metrics").text
            assert "\ndagdvid_throttle_limit 7\n" in page
            assert page.count("dagdvid_resident_bytes{pid=") == 2
            assert 'dagdvid_requests_total{method="POST",status="2xx"} 2' in page
        assert web.get(f"{url}/readyz").text == "OK"
        assert served.stop() == 0
    lines = (tmp_path / "server.log").read_text().splitlines()
    assert len([line for line in lines if "/api/server/info?u=ann" in line]) == 12 * 4
