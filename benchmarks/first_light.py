"""The whole path on real input: a 512^3 volume and 100,000 keys posted, committed, edited in a child, diffed, pushed.

    python benchmarks/first_light.py [--generator PATH/volumes.py] [--edge 512] [--keys 100000] [--one-key 1000000]

Starts two servers on loopback, checks that the second answers the same (bytes, keys and commit hashes), and prints one
line a step. The grayscale is made by the generator given (its `grayscale(seed)`, 256^3 each), else by that of
`dagdvid demo`, tiled.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np

from dagdvid.cli.child import ServerProcess
from dagdvid.cli.sample import tissue
from dagdvid.interchange.keyvalues import keyvalue_chunks

BATCH = 50_000


def volume(edge: int, generator: Path | None) -> np.ndarray:
    """uint8 [z, y, x] of edge^3."""
    if generator is not None:
        sys.path.insert(0, str(generator.parent))
        spec = importlib.util.spec_from_file_location("volumes", generator)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        cubes = [np.asarray(module.grayscale(seed)) for seed in range(1, 9)]
        tile = np.block([[[cubes[4 * z + 2 * y + x] for x in (0, 1)] for y in (0, 1)] for z in (0, 1)])
    else:
        tile = tissue()
    repeats = [-(-edge // n) for n in tile.shape]
    return np.ascontiguousarray(np.tile(tile, repeats)[:edge, :edge, :edge])


@contextmanager
def step(name: str, size: int = 0) -> Iterator[dict[str, object]]:
    notes: dict[str, object] = {}
    start = time.perf_counter()
    yield notes
    seconds = time.perf_counter() - start
    rate = f"{size / seconds / 1e6:8.0f} MB/s" if size else " " * 13
    print(f"{name:44s} {seconds:8.3f} s {rate}  {'  '.join(f'{k}={v}' for k, v in notes.items())}", flush=True)


class Client:
    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(timeout=600)

    def __call__(self, method: str, path: str, **kwargs: object) -> httpx.Response:
        response = self._client.request(method, self.url + path, **kwargs)
        if response.status_code != httpx.codes.OK:
            sys.exit(f"{method} {path}: {response.status_code} {response.text}")
        return response


def post_keys(a: Client, node: str, count: int) -> None:
    for start in range(0, count, BATCH):
        names = range(start, min(count, start + BATCH))
        body = b"".join(
            part for i in names for part in keyvalue_chunks(b"body-%09d" % i, b'{"bodyid": %d, "type": "Mi1"}' % i)
        )
        a("POST", f"{node}/keyvalues", content=body)


def one_key_push(a: Client, repo: str, parent: str, data: str, key: str, remote: str) -> None:
    child = a("POST", f"/api/node/{parent}/newversion").json()["child"]
    a("POST", f"/api/node/{child}/{data}/key/{key}", content=b"changed")
    a("POST", f"/api/node/{child}/commit", json={"note": "one key"})
    with step("push of one changed key") as notes:
        notes.update(a("POST", f"/api/repo/{repo}/push", json={"remote": remote}).json())
    with step("the same push again") as notes:
        notes.update(a("POST", f"/api/repo/{repo}/push", json={"remote": remote}).json())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--generator", type=Path)
    parser.add_argument("--edge", type=int, default=512)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--one-key", type=int, default=1_000_000)
    args = parser.parse_args()
    gray = volume(args.edge, args.generator)
    with (
        tempfile.TemporaryDirectory() as folder,
        ServerProcess(Path(folder) / "a", "127.0.0.1:0") as first,
        ServerProcess(Path(folder) / "b", "127.0.0.1:0") as second,
    ):
        run(Client(first.url), Client(second.url), gray, args.keys, args.one_key)


def run(a: Client, b: Client, gray: np.ndarray, keys: int, one_key: int) -> None:
    n = gray.shape[0]
    box = f"raw/0_1_2/{n}_{n}_{n}/0_0_0"
    root = a("POST", "/api/repos", json={"alias": "first light"}).json()["root"]
    for typename, name in (("uint8blk", "gray"), ("keyvalue", "bodies"), ("keyvalue", "many")):
        a("POST", f"/api/repo/{root}/instance", json={"typename": typename, "dataname": name})
    at = f"/api/node/{root}"
    with step(f"post {n}^3 grayscale", gray.size):
        a("POST", f"{at}/gray/{box}", content=gray.tobytes())
    with step(f"post {keys:,} keys"):
        post_keys(a, f"{at}/bodies", keys)
    with step("commit"):
        a("POST", f"{at}/commit", json={"note": "as acquired"})
    child = a("POST", f"{at}/newversion").json()["child"]
    edited = gray.copy()
    half = max(n // 2 // 64 * 64, 0)
    edited[half : half + 64, half : half + 64, half : half + 64] = (
        255 - gray[half : half + 64, half : half + 64, half : half + 64]
    )
    patch = np.ascontiguousarray(edited[half : half + 64, half : half + 64, half : half + 64]).tobytes()
    below = f"/api/node/{child}"
    a("POST", f"{below}/gray/raw/0_1_2/64_64_64/{half}_{half}_{half}", content=patch)
    a("POST", f"{below}/bodies/key/body-000000007", content=b"edited")
    a("DELETE", f"{below}/bodies/key/body-000000008")
    a("POST", f"{below}/commit", json={"note": "edited"})
    with step("read back, both versions", 2 * gray.size):
        assert a("GET", f"{at}/gray/{box}").content == gray.tobytes()
        assert a("GET", f"{below}/gray/{box}").content == edited.tobytes()
    with step("diff of the versions") as notes:
        for found in a("GET", f"{at}/diff/{child}").json()["instances"]:
            notes[found["name"]] = f"+{found['added']} -{found['removed']} ~{found['changed']}"
    a("POST", f"/api/repo/{root}/remotes", json={"name": "b", "url": b.url})
    with step("push of both versions", gray.size) as notes:
        notes.update(a("POST", f"/api/repo/{root}/push", json={"remote": "b"}).json())
    with step("the same push again") as notes:
        notes.update(a("POST", f"/api/repo/{root}/push", json={"remote": "b"}).json())
    with step("compare the servers"):
        for uuid in (root, child):
            for path in ("hash", "bodies/keys", f"gray/{box}", "bodies/keyrangevalues/a/z?json=true"):
                assert a("GET", f"/api/node/{uuid}/{path}").content == b("GET", f"/api/node/{uuid}/{path}").content, (
                    path
                )
    last = a("POST", f"/api/node/{child}/newversion").json()["child"]
    with step(f"post {one_key:,} keys"):
        post_keys(a, f"/api/node/{last}/many", one_key)
    with step("commit"):
        a("POST", f"/api/node/{last}/commit", json={"note": "many keys"})
    with step("push") as notes:
        notes.update(a("POST", f"/api/repo/{root}/push", json={"remote": "b"}).json())
    one_key_push(a, root, last, "many", f"body-{one_key // 2:09d}", "b")
    for server in (a, b):
        with step("fsck") as notes:
            report = server("POST", "/api/store/fsck").json()
            assert report["ok"], report
            notes.update(objects=report["objects"], bytes=report["bytes"])


if __name__ == "__main__":
    main()
