"""Every example of the help, sent to a real server that holds the sample which the help speaks of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest
from sample_repo import INSTANCES, TOKEN, Sample, Servers, two_servers

from dagdvid.config import Config
from dagdvid.helptext import installed
from dagdvid.registry import datatype
from dagdvid.routes import Example, Right, Route
from dagdvid.server import Server

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
    with two_servers(tmp_path_factory.mktemp("examples")) as found:
        yield found


def fits(answer: httpx.Response, wanted: str | int, sample: Sample) -> bool:
    """Whether an answer is as an example says."""
    if isinstance(wanted, int):
        return len(answer.content) == wanted
    pattern = b".*".join(map(re.escape, sample.named(wanted).encode().split(b"...")))
    return re.fullmatch(pattern, answer.content.rstrip(b"\n"), re.DOTALL) is not None


def fault(servers: Servers, sample: Sample, case: Case) -> str:
    """What is wrong with the answer to an example; empty if nothing is."""
    prefix, data, route, example = case
    method = example.method or route.methods[0]
    at = sample.named(prefix.replace("{data}", data).replace("{uuid}", f"{{{example.version}}}"))
    query = {"admintoken": TOKEN} if route.right is Right.ADMIN else {}
    body = example.body
    if isinstance(body, str):
        body = sample.named(body).encode()
    body = bytes(body) if isinstance(body, int) else body
    url = httpx.URL(f"{at}{sample.named(example.path)}".replace("/?", "?").rstrip("/"))
    answer = servers.http.request(method, url.copy_merge_params(query), content=body or None)
    if answer.status_code == example.status and fits(answer, example.answer, sample):
        return ""
    return f"{method} {url} {body[:99]!r}: {answer.status_code} {answer.content[:400]!r}"


def test_all_examples_work(servers: Servers, documented: list[Case]) -> None:
    """Each does on a fresh sample. The one at hand may serve as well, though others have changed it."""
    sample = Sample(servers)
    wrong = []
    for case in documented:
        said = fault(servers, sample, case)
        if said:
            sample = Sample(servers)
            said = fault(servers, sample, case)
        if said:
            wrong.append(said)
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
