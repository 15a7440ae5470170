"""A real server under load from several clients, killed at random moments: nothing acknowledged is lost."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from dagdvid.cli.child import ServerProcess

BLOCK = 16
SIZE = f"{BLOCK}_{BLOCK}_{BLOCK}"


@dataclass
class Branch:
    """One client's own branch, and what the server has acknowledged on it."""

    number: int
    head: str
    rng: random.Random
    values: dict[str, bytes] = field(default_factory=dict)
    blocks: dict[int, int] = field(default_factory=dict)
    pending: tuple[str, object, object] | None = None
    """The request that was under way when the server died: it may count or not, but not by half."""
    commits: dict[str, str] = field(default_factory=dict)
    """Hash of each version whose commit was acknowledged."""
    frozen: dict[str, tuple[dict[str, bytes], dict[int, int]]] = field(default_factory=dict)
    acknowledged: int = 0
    turn: int = 0


class Load:
    """Writes on a branch until the server dies."""

    def __init__(self, url: str, root: str, branch: Branch) -> None:
        self.branch = branch
        self.root = root
        self.client = httpx.Client(base_url=url, timeout=30)

    def run(self) -> None:
        try:
            while True:
                self.step()
        except httpx.TransportError:
            pass
        finally:
            self.client.close()

    def step(self) -> None:
        branch, rng = self.branch, self.branch.rng
        branch.turn += 1
        choice = rng.random()
        if choice < 0.65:
            key = f"k{rng.randrange(40)}"
            value = b"%d " % branch.turn * rng.choice([1, 10, 300])
            branch.pending = "key", key, value
            self.post(f"/api/node/{branch.head}/kv/key/{key}", value)
            branch.values[key] = value
        elif choice < 0.75 and branch.values:
            key = rng.choice(sorted(branch.values))
            branch.pending = "key", key, None
            self.ask("DELETE", f"/api/node/{branch.head}/kv/key/{key}")
            branch.values.pop(key)
        elif choice < 0.9:
            at, value = rng.randrange(8), rng.randrange(1, 256)
            branch.pending = "block", at, value
            # two blocks in one request: both or none
            path = f"/api/node/{branch.head}/gray/raw/0_1_2/{2 * BLOCK}_{BLOCK}_{BLOCK}"
            self.post(f"{path}/{2 * BLOCK * at}_{BLOCK * branch.number}_0", bytes([value]) * (2 * BLOCK**3))
            branch.blocks[at] = value
        else:
            self.commit()
        branch.pending = None
        branch.acknowledged += 1

    def commit(self) -> None:
        branch = self.branch
        head = branch.head
        branch.pending = "commit", head, None
        self.post(f"/api/node/{head}/commit", b'{"note": "under load"}')
        branch.pending = "committed", head, None
        branch.commits[head] = self.client.get(f"/api/node/{head}/hash").json()["hash"]
        branch.frozen[head] = dict(branch.values), dict(branch.blocks)
        self.child()

    def child(self) -> None:
        uuid = f"{self.branch.rng.getrandbits(128):032x}"
        self.branch.pending = "child", uuid, None
        self.post(f"/api/node/{self.branch.head}/newversion", f'{{"uuid": "{uuid}"}}'.encode())
        self.branch.head = uuid

    def post(self, path: str, body: bytes) -> None:
        self.ask("POST", path, body)

    def ask(self, method: str, path: str, body: bytes = b"") -> None:
        answer = self.client.request(method, path, content=body)
        assert answer.status_code == 200, answer.text


def prepare(url: str, branches: int, seed: int) -> tuple[str, list[Branch]]:
    with httpx.Client(base_url=url) as client:
        root = client.post("/api/repos", json={"alias": "killed"}).json()["root"]
        for typename, name in (("keyvalue", "kv"), ("uint8blk", "gray")):
            body = {"typename": typename, "dataname": name, "BlockSize": ",".join([str(BLOCK)] * 3)}
            client.post(f"/api/repo/{root}/instance", json=body).raise_for_status()
        client.post(f"/api/node/{root}/commit", json={}).raise_for_status()
        made = []
        for i in range(branches):
            answer = client.post(f"/api/node/{root}/branch", json={"branch": f"b{i}"})
            made.append(Branch(i, answer.json()["child"], random.Random(seed * 100 + i)))
    return root, made


def settle(client: httpx.Client, root: str, branch: Branch) -> None:
    """Find out what became of the request that was under way."""
    pending, branch.pending = branch.pending, None
    if pending is None:
        return
    what, name, value = pending
    if what == "key":
        answer = client.get(f"/api/node/{branch.head}/kv/key/{name}")
        now = answer.content if answer.status_code == 200 else None
        assert now in (value, branch.values.get(name)), name
        if now is None:
            branch.values.pop(name, None)
        else:
            branch.values[name] = now
    elif what == "block":
        now = voxels(client, branch, branch.head, name)
        assert now in (value, branch.blocks.get(name, 0))
        branch.blocks[name] = now
    else:
        nodes = client.get(f"/api/repo/{root}/info").json()["DAG"]["Nodes"]
        assert what != "committed" or nodes[name]["Locked"]
        if what in ("commit", "committed") and nodes[name]["Locked"]:
            branch.commits[name] = client.get(f"/api/node/{name}/hash").json()["hash"]
            branch.frozen[name] = dict(branch.values), dict(branch.blocks)
        if what == "child" and name in nodes:
            branch.head = name


def voxels(client: httpx.Client, branch: Branch, uuid: str, at: int) -> int:
    """The value of one pair of blocks, which must be the same all through."""
    path = f"/api/node/{uuid}/gray/raw/0_1_2/{2 * BLOCK}_{BLOCK}_{BLOCK}/{2 * BLOCK * at}_{BLOCK * branch.number}_0"
    data = client.get(path).content
    assert len(data) == 2 * BLOCK**3
    assert data == bytes([data[0]]) * len(data)
    return data[0]


def check(client: httpx.Client, branch: Branch, uuid: str, values: dict[str, bytes], blocks: dict[int, int]) -> None:
    assert client.get(f"/api/node/{uuid}/kv/keys").json() == sorted(values)
    for key, value in values.items():
        assert client.get(f"/api/node/{uuid}/kv/key/{key}").content == value
    for at, value in blocks.items():
        assert voxels(client, branch, uuid, at) == value


def rounds(folder: Path, n: int, seed: int = 1, clients: int = 4) -> None:
    rng = random.Random(seed)
    root, branches = "", []
    for i in range(n):
        process = ServerProcess(folder / "data", "127.0.0.1:0")
        try:
            with httpx.Client(base_url=process.url, timeout=60) as client:
                if not root:
                    root, branches = prepare(process.url, clients, seed)
                for branch in branches:
                    settle(client, root, branch)
                    check(client, branch, branch.head, branch.values, branch.blocks)
                    for uuid, name in branch.commits.items():
                        assert client.get(f"/api/node/{uuid}/hash").json() == {"hash": name}
                    for uuid in list(branch.frozen)[-2:]:
                        check(client, branch, uuid, *branch.frozen[uuid])
                    if branch.head in branch.commits:
                        load = Load(process.url, root, branch)
                        load.child()
                        load.client.close()
                        branch.pending = None
                report = client.post("/api/store/fsck").json()
                assert report["ok"], report
            threads = [threading.Thread(target=Load(process.url, root, branch).run) for branch in branches]
            for thread in threads:
                thread.start()
            time.sleep(rng.uniform(0.05, 0.8))
        finally:
            process._process.kill()
            process._process.wait()
            process._said.close()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        done, commits = sum(b.acknowledged for b in branches), sum(len(b.commits) for b in branches)
        under_way = [b.pending and b.pending[0] for b in branches]
        print(f"round {i + 1}: {done} acknowledged, {commits} commits, under way: {under_way}")
    assert sum(branch.acknowledged for branch in branches) > 5 * n
    with ServerProcess(folder / "data", "127.0.0.1:0") as process, httpx.Client(base_url=process.url) as client:
        for branch in branches:
            settle(client, root, branch)
            check(client, branch, branch.head, branch.values, branch.blocks)
            for uuid, (values, blocks) in branch.frozen.items():
                check(client, branch, uuid, values, blocks)
                assert client.get(f"/api/node/{uuid}/hash").json() == {"hash": branch.commits[uuid]}


def test_killed_a_few_times(tmp_path):
    rounds(tmp_path, 4)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_killed_fifty_times(tmp_path):
    rounds(tmp_path, 50, seed=2)
