"""The sample that the examples of the help speak of, on a real server with another one beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from dagdvid.cli.child import ServerProcess

__all__ = ["INSTANCES", "TOKEN", "Sample", "Servers", "two_servers"]

TOKEN = "for-examples"

INSTANCES = {
    "keyvalue": ("kv", {"Tags": "type=meshes"}),
    "uint8blk": ("gray", {}),
    "roi": ("region", {}),
    "labelmap": ("seg", {"MaxDownresLevel": "1"}),
}
"""Of each datatype with examples: the name and the settings of its instance in the sample."""

DATA = (
    ("kv/key/neuron-1", b'{"type":"Mi1"}'),
    ("kv/key/neuron-2", b'{"type":"Tm3"}'),
    ("kv/blobstore", b"hello"),
    ("gray/raw/0_1_2/64_64_64/0_0_0", bytes(range(256)) * 1024),
    ("region/roi", b"[[0,0,0,1],[0,1,0,0]]"),
    ("seg/raw/0_1_2/64_64_64/0_0_0", b"".join((5 if z < 40 else 7).to_bytes(8, "little") * 4096 for z in range(64))),
    ("seg/raw/0_1_2/64_64_64/0_64_0", (9).to_bytes(8, "little") * 64**3),
    ("seg/merge", b"[7,9]"),
)
"""What the root version of the sample holds."""


class Servers(NamedTuple):
    """A server with another one beside it."""

    http: httpx.Client
    elsewhere: str
    """The address of the other."""
    other: str
    """The root of a repo that is only there."""
    site: Path
    """A folder to publish to."""


@contextmanager
def two_servers(folder: Path) -> Iterator[Servers]:
    """Two servers with an admin token, on folders in a folder."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVID_ADMIN_TOKEN", TOKEN)
        first, second = (
            stack.enter_context(ServerProcess(folder / name, "127.0.0.1:0")) for name in ("first", "second")
        )
        client = stack.enter_context(httpx.Client(base_url=first.url, timeout=60))
        other = httpx.post(f"{second.url}/api/repos", content=b"{}").json()["root"]
        httpx.post(f"{second.url}/api/node/{other}/commit", content=b"{}").raise_for_status()
        yield Servers(client, second.url, other, folder / "site")


class Sample:
    """A repo of its own in a server, with the versions that `Example` speaks of."""

    def __init__(self, servers: Servers) -> None:
        http, elsewhere, other, site = servers
        self._http = http
        self._places = {"http://other-host:8000": elsewhere, "file:///srv/site": site.as_uri()}
        uuid = self.post("repos", {"alias": "sample"})["root"]
        self.names = {"root": uuid, "other": other}
        for typename, (name, settings) in INSTANCES.items():
            self.post(f"repo/{uuid}/instance", {"typename": typename, "dataname": name, **settings})
        self.post(f"repo/{uuid}/instance", {"typename": "keyvalue", "dataname": "gone"})
        http.delete(f"/api/repo/{uuid}/gone?imsure=true").raise_for_status()
        self.post(f"repo/{uuid}/log", {"log": ["imported"]})
        self.post(f"node/{uuid}/log", {"log": ["stained"]})
        self.post(f"repo/{uuid}/remotes", {"name": "backup", "url": f"{elsewhere}?admintoken={TOKEN}"})
        for path, body in DATA:
            self.post(f"node/{uuid}/{path}", body)
        self.post(f"node/{uuid}/commit", {"note": "first volume"})
        for branch, key, value in (("ann", "1", "Mi4"), ("bob", "1", "Mi9"), ("cat", "3", "L2")):
            child = self.names[branch] = self.post(f"node/{uuid}/branch", {"branch": branch})["child"]
            self.post(f"node/{child}/kv/key/neuron-{key}", {"type": value})
            self.post(f"node/{child}/commit", {})
        parents = [self.names["ann"], self.names["bob"]]
        merged = self.post(f"repo/{uuid}/merge", {"mergeType": "three-way", "parents": parents, "note": "both"})
        self.names["merge"] = merged["child"]
        self.names["open"] = self.post(f"node/{uuid}/newversion", {})["child"]
        self.post(f"node/{self.names['open']}/kv/key/neuron-2", b'{"type":"Tm3"}')
        self.post(f"repo/{uuid}/push", {"remote": "backup"})
        gone = self.names["gone"] = self.post("repos", {"alias": "gone"})["root"]
        self.post(f"node/{gone}/commit", {})
        http.delete(f"/api/repo/{gone}?imsure=true").raise_for_status()

    def post(self, path: str, body: Any) -> Any:
        answer = self._http.post(
            f"/api/{path}?u=ann&app=sample", content=body if isinstance(body, bytes) else json.dumps(body)
        )
        assert answer.status_code == 200, (path, answer.text)
        return answer.json() if answer.content else None

    def named(self, text: str) -> str:
        """A text of the help with what is here: versions in the place of their names, another server, a folder."""
        text = re.sub(r"\{(\w+)\}", lambda found: self.names.get(found[1], found[0]), text)
        for place, here in self._places.items():
            text = text.replace(place, here)
        return text
