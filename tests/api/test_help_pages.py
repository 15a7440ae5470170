"""/api/help and /api/openapi.json, on a real server with the installed datatypes."""

from __future__ import annotations

import re
from html import escape

import httpx
import pytest

from dagdvid.api.bind import create_app
from dagdvid.api.openapi import openapi
from dagdvid.config import Config
from dagdvid.helptext import datatype_help, example_help, installed
from dagdvid.server import Server


@pytest.fixture
def real(tmp_path):
    server = Server.open(Config(data=tmp_path / "data"))
    yield server
    server.close()


@pytest.fixture
async def web(real):
    async with create_app(real).test_app() as running:
        transport = httpx.ASGITransport(app=running.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://real") as client:
            yield client


@pytest.mark.parametrize("path", ["/api/help", "/api/help/"])
async def test_the_page_links_to_all_types(web, path):
    answer = await web.get(path)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    links = re.findall(r'href="(/api/[^"]+)"', answer.text)
    assert {f"/api/help/{kind.name}" for kind in installed()} <= set(links)
    for link in links:
        assert (await web.get(link)).status_code == 200, link


async def test_the_page_has_every_route_and_example(web, real):
    page = (await web.get("/api/help")).text
    for _, prefix, table in real.tables():
        for route in table:
            assert f"<h3>{', '.join(route.methods)} {prefix}{route.pattern.lstrip('/')}</h3>" in page
            for example in route.examples:
                assert escape("\n".join(example_help(prefix, route, example))) in page
    anchors = re.findall(r'href="#([^"]+)"', page)
    assert anchors == re.findall(r'<h2 id="([^"]+)">', page)
    assert {"the-server", "repos", "versions", "every-data-instance", "keyvalue", "roi"} <= set(anchors)


async def test_openapi_has_the_examples(web, real):
    paths = (await web.get("/api/openapi.json")).json()["paths"]
    raw = paths["/api/node/{uuid}/{data}/raw/{dims}/{size}/{offset}"]["get"]
    values = {parameter["name"]: parameter.get("example") for parameter in raw["parameters"]}
    in_path = {"uuid": None, "data": None, "dims": "0_1_2", "size": "64_64_64", "offset": "0_0_0"}
    assert values.items() >= in_path.items()
    assert values.keys() >= {"roi", "attenuation", "throttle"}
    assert values["roi"] == "region"
    branch = paths["/api/node/{uuid}/branch"]["post"]["requestBody"]["content"]["application/octet-stream"]
    assert branch["examples"] == {"1": {"value": '{"branch":"trial"}'}}


async def test_the_help_of_a_type(web):
    for kind in installed():
        answer = await web.get(f"/api/help/{kind.name}")
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert answer.text == datatype_help(kind)
        assert kind.summary in answer.text
        for route in kind.routes:
            assert f"{', '.join(route.methods)} /api/node/{{uuid}}/{{data}}/{route.pattern}" in answer.text
        for name in kind.settings_help:
            assert name in answer.text


async def test_an_unknown_type(web):
    answer = await web.get("/api/help/nosuchtype")
    assert answer.status_code == 400
    assert answer.text.startswith("unknown datatype 'nosuchtype'; installed: ")


async def test_openapi_names_every_route(web, real):
    answer = await web.get("/api/openapi.json")
    assert answer.headers["Content-Type"] == "application/json"
    document = answer.json()
    assert document["openapi"].startswith("3.1")
    for _, prefix, table in real.tables():
        for route in table:
            path = (prefix + route.pattern).rstrip("/").replace("?}", "}")
            for method in route.methods:
                operation = document["paths"][path][method.lower()]
                assert " ".join(route.doc.split()) in operation["description"]
                names = [parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"]
                assert names == re.findall(r"\{(\w+)\}", path)
                assert set(route.query) <= {parameter["name"] for parameter in operation["parameters"]}


def test_openapi_joins_what_types_share(real):
    tables = [("data", "/api/node/{uuid}/{data}/", kind.routes) for kind in installed()]
    alone = [openapi([table])["paths"] for table in tables]
    together = openapi(tables)["paths"]
    assert set(together) == set().union(*alone)


async def test_real_errors_are_dvids(web):
    answer = await web.get("/api/repo/ffff/info")
    assert answer.status_code == 400
    assert answer.text.endswith(" (/api/repo/ffff/info).\n")
    assert answer.headers["X-Dagdvid-Error"] == "unknown-name"
    root = (await web.post("/api/repos", json={"alias": "a"})).json()["root"]
    answer = await web.get(f"/api/node/{root}/nosuch/keys")
    assert (answer.status_code, "invalid data instance name" in answer.text) == (400, True)
    assert (await web.head(f"/api/repo/{root}")).status_code == 200
    assert (await web.head("/api/repo/ffff")).status_code == 400
    assert (await web.get(f"/api/node/{root}/status")).status_code == 200
    assert (await web.get(f"/api/node/{root}/status/")).status_code == 404
    answer = await web.options(f"/api/node/{root}/commit")
    assert answer.headers["Allow"] == "GET, HEAD, POST, OPTIONS"
