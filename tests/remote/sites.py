"""A server under test, with a client for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx


class Site:
    """One server and a client for it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, timeout=60)

    def close(self) -> None:
        self._client.close()

    def ask(self, method: str, path: str, body: Any = b"", **query: str) -> httpx.Response:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self._client.request(method, path, content=data, params=query)

    def json(self, method: str, path: str, body: Any = b"", **query: str) -> Any:
        answer = self.ask(method, path, body, **query)
        assert answer.status_code == 200, (method, path, answer.status_code, answer.text)
        return json.loads(answer.content) if answer.content else None

    def repo(self, alias: str = "") -> str:
        """A new repo with a keyvalue instance kv."""
        root = self.json("POST", "/api/repos", {"alias": alias})["root"]
        self.instance(root, "kv")
        return root

    def instance(self, uuid: str, name: str, typename: str = "keyvalue", **settings: str) -> None:
        self.json("POST", f"/api/repo/{uuid}/instance", {"typename": typename, "dataname": name, **settings})

    def put(self, uuid: str, key: str, value: bytes, data: str = "kv") -> None:
        self.json("POST", f"/api/node/{uuid}/{data}/key/{key}", value)

    def get(self, uuid: str, key: str, data: str = "kv") -> bytes | None:
        answer = self.ask("GET", f"/api/node/{uuid}/{data}/key/{key}")
        assert answer.status_code in (200, 404), answer.text
        return answer.content if answer.status_code == 200 else None

    def keys(self, uuid: str, data: str = "kv") -> list[str]:
        return self.json("GET", f"/api/node/{uuid}/{data}/keys")

    def commit(self, uuid: str, note: str = "") -> str:
        self.json("POST", f"/api/node/{uuid}/commit", {"note": note})
        return self.hash(uuid)

    def hash(self, uuid: str) -> str:
        return self.json("GET", f"/api/node/{uuid}/hash")["hash"]

    def child(self, uuid: str, branch: str = "") -> str:
        if branch:
            return self.json("POST", f"/api/node/{uuid}/branch", {"branch": branch})["child"]
        return self.json("POST", f"/api/node/{uuid}/newversion", {})["child"]

    def step(self, uuid: str, branch: str = "", **values: bytes) -> str:
        """A committed child with some keys set; its UUID."""
        child = self.child(uuid, branch)
        for key, value in values.items():
            self.put(child, key, value)
        self.commit(child)
        return child

    def info(self, uuid: str) -> dict[str, Any]:
        return self.json("GET", f"/api/repo/{uuid}/info")

    def nodes(self, uuid: str) -> dict[str, Any]:
        return self.info(uuid)["DAG"]["Nodes"]

    def branches(self, uuid: str) -> dict[str, str]:
        """The branch of each version."""
        return {name: node["Branch"] for name, node in self.nodes(uuid).items()}

    def remote(self, root: str, other: Site | str, name: str = "other") -> None:
        url = other if isinstance(other, str) else other.url
        self.json("POST", f"/api/repo/{root}/remotes", {"name": name, "url": url})

    def push(self, root: str, name: str = "other", **body: Any) -> dict[str, Any]:
        return self.json("POST", f"/api/repo/{root}/push", {"remote": name, **body})

    def pull(self, root: str, name: str = "other", **body: Any) -> dict[str, Any]:
        return self.json("POST", f"/api/repo/{root}/pull", {"remote": name, **body})

    def clone(self, url: str) -> dict[str, Any]:
        return self.json("POST", "/api/repos/clone", {"url": url})

    def has(self, root: str) -> bool:
        return self.ask("HEAD", f"/api/repo/{root}").status_code == 200

    def fsck(self) -> dict[str, Any]:
        return self.json("POST", "/api/store/fsck")


class Process:
    """A server of any form, that can be killed and started again."""

    def __init__(self, data: Path, *words: str) -> None:
        self._words = ["serve", "--data", str(data), "--http", "127.0.0.1:0", "--quiet", *words]
        self._start()

    def _start(self) -> None:
        # a session of its own, so that its workers can be killed with it
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dagdvid", *self._words], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.url = self._process.stdout.readline().rpartition(" on ")[2].strip()

    @property
    def pid(self) -> int:
        """Of the process that serves, or of the one over all that do."""
        return self._process.pid

    def restart(self, how: signal.Signals) -> None:
        """End it, by SIGKILL with all its workers at one moment, and start it again: the URL changes."""
        self.stop(how)
        self._start()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it."""
        if how == signal.SIGKILL:
            os.killpg(self._process.pid, how)
        else:
            self._process.send_signal(how)
        self._process.wait(60)
        self._process.stdout.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def same(one: Site, two: Site, root: str) -> None:
    """Both have the same committed versions with the same hashes, and the same instances."""
    hashes = [{u: n["Hash"] for u, n in site.nodes(root).items() if "Hash" in n} for site in (one, two)]
    assert hashes[0] == hashes[1]
    assert hashes[0]
    names = [{i["Base"]["DataUUID"] for i in site.info(root)["DataInstances"].values()} for site in (one, two)]
    assert names[0] == names[1]
