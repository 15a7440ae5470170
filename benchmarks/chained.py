"""Published stores: publishing, clone --chain, cold reads beside a plain parallel client, publishing a difference.

A volume of 256^3 voxels and 100,000 keys (512^3 and 1,000,000 with --full) go to a folder, which a server of static
files in a process of its own serves. Rounds are what a reader must wait for one after another.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from dagdvid.cli.child import ServerProcess
from dagdvid.interchange.keyvalues import keyvalue_chunks

STATIC = """
import os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        try:
            fd = os.open(self.path.lstrip("/"), os.O_RDONLY)
        except OSError:
            self.send_response(404); self.send_header("Content-Length", "0"); self.end_headers(); return
        size = os.fstat(fd).st_size
        start, end, asked = 0, size, self.headers.get("Range", "")
        if asked:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, end = int(first), min(size, int(last) + 1)
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self.send_header("Content-Length", str(end - start)); self.end_headers()
        self.wfile.write(os.pread(fd, end - start, start)); os.close(fd)
    def log_message(self, *_): pass
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler); server.daemon_threads = True
print(server.server_port, flush=True); server.serve_forever()
"""


def post(client: httpx.Client, path: str, body: Any = b"") -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post(f"/api/{path}", content=data)
    assert answer.status_code == 200, (path, answer.text)
    return answer.json() if answer.content[:1] in (b"{", b"[") else None


def fill(client: httpx.Client, side: int, keys: int) -> tuple[str, str]:
    """A repo with a committed volume and keys, and a child of it with one block changed: their UUIDs."""
    root = post(client, "repos", {})["root"]
    post(client, f"repo/{root}/instance", {"typename": "uint8blk", "dataname": "gray"})
    post(client, f"repo/{root}/instance", {"typename": "keyvalue", "dataname": "kv"})
    rng = np.random.default_rng(1)
    for z in range(0, side, 64):
        x = np.linspace(0, 9, side)
        slab = (np.sin(x)[:, None] * 90 + np.cos(x + z)[None, :] * 30)[None] + rng.normal(120, 9, (64, side, side))
        post(client, f"node/{root}/gray/raw/0_1_2/{side}_{side}_64/0_0_{z}", slab.clip(0, 255).astype("u1").tobytes())
    for start in range(0, keys, 50_000):
        pairs = ((f"{i:08}".encode(), f"value of {i}".encode()) for i in range(start, min(keys, start + 50_000)))
        post(client, f"node/{root}/kv/keyvalues", b"".join(part for pair in pairs for part in keyvalue_chunks(*pair)))
    post(client, f"node/{root}/commit", {})
    while "Hash" not in client.get(f"/api/repo/{root}/info").json()["DAG"]["Nodes"][root]:
        time.sleep(0.1)
    child = post(client, f"node/{root}/newversion", {})["child"]
    post(client, f"node/{child}/gray/raw/0_1_2/32_32_32/0_0_0", rng.integers(0, 255, 32**3, "u1").tobytes())
    post(client, f"node/{child}/commit", {})
    return root, child


def counts(client: httpx.Client) -> dict[str, int]:
    found = next(iter(client.get("/api/store/stats").json()["bases"].values()))
    return {name: found[name] for name in ("rounds", "requests", "objects", "bytes")}


def timed(client: httpx.Client, what: str, path: str) -> tuple[float, dict[str, int], bytes]:
    """Read something; seconds, what it cost the base, and the answer."""
    before = counts(client)
    start = time.perf_counter()
    answer = client.get(f"/api/{path}")
    seconds = time.perf_counter() - start
    assert answer.status_code == 200, answer.text
    cost = {name: n - before[name] for name, n in counts(client).items()}
    print(f"{what}: {seconds * 1e3:.1f} ms, {cost}")
    return seconds, cost, answer.content


def plain(url: str, folder: Path, size: int) -> float:
    """Seconds that a plain client takes for as many bytes of packs, 16 requests of 1 MiB at once."""
    packs = sorted((folder / "packs").iterdir(), key=lambda path: -path.stat().st_size)
    jobs = [(f"packs/{p.name}", at) for p in packs for at in range(0, p.stat().st_size, 2**20)][: -(-size // 2**20)]
    with httpx.Client(base_url=url, timeout=60) as client, ThreadPoolExecutor(16) as pool:

        def get(job: tuple[str, int]) -> int:
            ask = {"Range": f"bytes={job[1]}-{job[1] + 2**20 - 1}"}
            return len(client.get(job[0], headers=ask).content)

        start = time.perf_counter()
        got = sum(pool.map(get, jobs))
        return (time.perf_counter() - start) * size / got


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    full = parser.parse_args().full
    side, keys = (512, 1_000_000) if full else (256, 100_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        site = folder / "site"
        with ServerProcess(folder / "a", "127.0.0.1:0") as one, ServerProcess(folder / "b", "127.0.0.1:0") as two:
            a, b = (httpx.Client(base_url=p.url, timeout=600) for p in (one, two))
            root, child = fill(a, side, keys)
            body = {"url": site.as_uri(), "versions": [root]}
            first = post(a, f"repo/{root}/publish", body)
            print(f"publish: {first['objects']} objects, {first['bytes']} bytes, {first['seconds']} s")
            again = post(a, f"repo/{root}/publish", body)
            print(f"again: {again['bytes']} bytes, {again['seconds']} s")
            more = post(a, f"repo/{root}/publish", body | {"versions": [child]})
            print(f"one block changed: {more['objects']} objects, {more['bytes']} bytes, {more['seconds']} s")
            static = subprocess.Popen([sys.executable, "-c", STATIC], stdout=subprocess.PIPE, cwd=site, text=True)
            assert static.stdout is not None
            url = f"http://127.0.0.1:{static.stdout.readline().strip()}"
            start = time.perf_counter()
            post(b, "repos/clone", {"url": url, "chain": True})
            print(f"clone --chain: {time.perf_counter() - start:.3f} s")
            timed(b, "a cold key", f"node/{child}/kv/key/{keys // 2:08}")
            timed(b, "a key near it", f"node/{child}/kv/key/{keys // 2 + 1:08}")
            box = f"node/{child}/gray/raw/0_1_2/{side}_{side}_{side}/0_0_0"
            seconds, cost, data = timed(b, f"a cold box of {side}^3", box)
            assert data == a.get(f"/api/{box}").content
            times = sorted(plain(url, site, cost["bytes"]) for _ in range(3))
            print(f"as many bytes with a plain client: {times[1] * 1e3:.1f} ms; ratio {times[1] / seconds:.2f}")
            timed(b, "the box again, from the cache", box)
            start = time.perf_counter()
            a.get(f"/api/{box}")
            print(f"the box at the source: {(time.perf_counter() - start) * 1e3:.1f} ms")
            static.terminate()
            static.wait()
            print(f"cache: {(folder / 'b' / 'cache.sqlite').stat().st_size} bytes")


if __name__ == "__main__":
    main()
