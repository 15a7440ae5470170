"""`dagdvid demo` as a process."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys

import httpx
import pytest

COMMAND = [sys.executable, "-m", "dagdvid", "demo", "--http", "127.0.0.1:0"]


def demo(*words):
    return subprocess.run([*COMMAND, *map(str, words)], capture_output=True, text=True, timeout=120)


def test_it_shows_everything_and_ends(tmp_path):
    done = demo("--data", tmp_path / "demo", "--no-wait")
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout
    for words in ("posted 2.36 MB", "200 neuron records", "10 changed", "pushed 3 versions", "pushed 0 versions"):
        assert words in said
    assert len(re.findall(r"^\* committed version \w{12} \"[\w ]+\": hash \w{12}…$", said, re.MULTILINE)) == 3
    assert "~ [2, 1, 1] [[64, 32, 32], [95, 63, 63]]" in said
    assert "the second server answers the same for all three versions" in said

    again = demo("--data", tmp_path / "demo", "--no-wait")
    assert (again.returncode, again.stderr) == (0, "")
    assert "the sample data are there from an earlier run" in again.stdout
    assert "posted" not in again.stdout
    assert "pushed 3" not in again.stdout


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_interrupted(tmp_path, name):
    process = subprocess.Popen([*COMMAND, "--data", tmp_path / "demo"], stdout=subprocess.PIPE, text=True)
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "Ctrl-C" in line:
                break
        said = "".join(lines)
        urls = re.findall(r"listens on (http://\S+)", said)
        assert len(urls) == 2
        infos = [httpx.get(f"{url}/api/repos/info").json() for url in urls]
        assert set(infos[0]) == set(infos[1])
        opened = re.findall(r"^  (http://\S+)", said, re.MULTILINE)
        assert len(opened) == 4
        for url in opened:
            assert httpx.get(url).status_code == 200
        for command in re.findall(r"^  (?:curl .*|dagdvid .*)$", said, re.MULTILINE):
            words = [sys.executable, "-m", *command.split()] if "dagdvid " in command.split("curl")[0] else None
            if words and "commit" not in words:
                assert subprocess.run(words, capture_output=True, timeout=60).returncode == 0, command
        process.send_signal(name)
        assert process.wait(60) == 0
        assert "stopped both servers" in process.stdout.read()
        for url in urls:
            with pytest.raises(httpx.ConnectError):
                httpx.get(url)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_taken_address(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = demo("--data", tmp_path / "demo", "--no-wait", "--http", f"127.0.0.1:{port}")
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first.startswith(f"Error: cannot listen on 127.0.0.1:{port}")
    assert second.startswith("Error: the server on ")


def test_a_demo_that_was_cut_short(tmp_path):
    words = [sys.executable, "-m", "dagdvid", "serve", "--http", "127.0.0.1:0", "--data", tmp_path / "demo" / "one"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        url = server.stdout.readline().split()[-1]
        httpx.post(f"{url}/api/repos", json={"alias": "dagdvid-demo", "description": ""}).raise_for_status()
        server.terminate()
    done = demo("--data", tmp_path / "demo", "--no-wait")
    assert done.returncode == 1
    said = f"an earlier demo did not finish making its data; remove the folder {tmp_path / 'demo'} and run it again"
    assert done.stderr == f"Error: {said}\n"
