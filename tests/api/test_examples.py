"""Every example of the help, sent to a real server that holds the sample which the help speaks of."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from dagdvid.cli.child import ServerProcess
from dagdvid.config import Config
from dagdvid.helptext import installed
from dagdvid.registry import datatype
from dagdvid.routes import Example, Right, Route
from dagdvid.server import Server

TOKEN = "for-examples"
ELSEWHERE = "http://other-host:8000"
"""Stands in examples for the address of a second server."""
PUBLISHED = "file:///srv/site"
"""Stands in examples for a place to publish to."""

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

WITHOUT = {
    "unpublish": "for what was published",
    "sync/": "for servers among themselves: their bodies are made by programs",
    "store/copy/pack": "takes the name of a pack, which GET store/copy/info has",
    "server/reload-": "for servers whose configuration names such a file",
    "server/token": "says only where tokens come from",
}
"""Routes without an example, and why."""


class Case(NamedTuple):
    prefix: str
    data: str
    route: Route
    example: Example


def cases(server: Server) -> Iterator[Case]:
    """Each example, once for all datatypes that share it."""
    owners = {id(kind.routes): kind.name for kind in reversed(installed())}
    owners |= {id(kind.routes): kind.name for kind in installed() if kind.name in INSTANCES}
    seen = set()
    for _, prefix, table in server.tables():
        if id(table) not in seen:
            seen.add(id(table))
            data = INSTANCES.get(owners.get(id(table), "keyvalue"), ("", {}))[0]
            for route in table:
                for example in route.examples:
                    yield Case(prefix, data, route, example)


@pytest.fixture(scope="module")
def documented(tmp_path_factory: Any) -> list[Case]:
    server = Server.open(Config(data=tmp_path_factory.mktemp("tables") / "data"))
    try:
        return list(cases(server))
    finally:
        server.close()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: Any) -> Iterator[Servers]:
    """A client of a server; the address of a second one, and of a repo that is only there."""
    folder = tmp_path_factory.mktemp("examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVID_ADMIN_TOKEN", TOKEN)
        first, second = (ServerProcess(folder / name, "127.0.0.1:0") for name in ("first", "second"))
    with first, second, httpx.Client(base_url=first.url) as client:
        other = httpx.post(f"{second.url}/api/repos", content=b"{}").json()["root"]
        httpx.post(f"{second.url}/api/node/{other}/commit", content=b"{}").raise_for_status()
        yield client, second.url, other, folder / "site"


Servers = tuple[httpx.Client, str, str, Path]


class Sample:
    """A repo of its own in a server, with the versions that `Example` speaks of."""

    def __init__(self, servers: Servers) -> None:
        http, elsewhere, other, _ = servers
        self._http = http
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
        """A text with the versions in the place of their names."""
        return re.sub(r"\{(\w+)\}", lambda found: self.names.get(found[1], found[0]), text)


def fits(answer: httpx.Response, wanted: str | int, sample: Sample) -> bool:
    """Whether an answer is as an example says."""
    if isinstance(wanted, int):
        return len(answer.content) == wanted
    pattern = b".*".join(map(re.escape, sample.named(wanted).encode().split(b"...")))
    return re.fullmatch(pattern, answer.content.rstrip(b"\n"), re.DOTALL) is not None


def test_all_examples_work(servers: Servers, documented: list[Case]) -> None:
    http, elsewhere, _, folder = servers
    sample: Sample | None = None
    wrong = []
    for prefix, data, route, example in documented:
        method = example.method or route.methods[0]
        sample = sample or Sample(servers)
        at = sample.named(prefix.replace("{data}", data).replace("{uuid}", f"{{{example.version}}}"))
        query = {"admintoken": TOKEN} if route.right is Right.ADMIN else {}
        body = example.body
        if isinstance(body, str):
            body = sample.named(body).replace(ELSEWHERE, elsewhere).replace(PUBLISHED, folder.as_uri()).encode()
        body = bytes(body) if isinstance(body, int) else body
        url = httpx.URL(f"{at}{sample.named(example.path)}".replace("/?", "?").rstrip("/"))
        answer = http.request(method, url.copy_merge_params(query), content=body or None)
        if answer.status_code != example.status or not fits(answer, example.answer, sample):
            wrong.append(f"{method} {url} {body[:99]!r}: {answer.status_code} {answer.content[:400]!r}")
        if method not in ("GET", "HEAD") and "{uuid}" in prefix:
            sample = None
    assert not wrong, "\n".join(wrong)


def test_every_route_has_an_example(tmp_path: Any) -> None:
    others = {id(kind.routes) for kind in installed()} - {id(datatype(name).routes) for name in INSTANCES}
    server = Server.open(Config(data=tmp_path / "data"))
    try:
        lacking = [
            f"{', '.join(route.methods)} {prefix}{route.pattern}"
            for _, prefix, table in server.tables()
            if id(table) not in others
            for route in table
            if not route.examples and not any(route.pattern.startswith(start) for start in WITHOUT)
        ]
    finally:
        server.close()
    assert lacking == []
