"""Real servers on loopback, one process each, shared by all tests of a module: each test works in repos of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sites import Site

from dagdvid.cli.child import ServerProcess


@pytest.fixture(scope="module")
def sites(tmp_path_factory) -> Iterator[list[Site]]:
    folder = tmp_path_factory.mktemp("sites")
    processes = [ServerProcess(folder / name, "127.0.0.1:0") for name in "abc"]
    sites = [Site(process.url) for process in processes]
    yield sites
    reports = [site.fsck() for site in sites]
    for site, process in zip(sites, processes, strict=True):
        site.close()
        process.__exit__(None, None, None)
    assert all(report["ok"] for report in reports), reports


@pytest.fixture
def a(sites) -> Site:
    return sites[0]


@pytest.fixture
def b(sites) -> Site:
    return sites[1]


@pytest.fixture
def c(sites) -> Site:
    return sites[2]
