"""Which hosts clients may have the server talk to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dagdvid.access.hosts import check_host
from dagdvid.config import Auth, Config
from dagdvid.errors import BadRequest, Forbidden

HERE = Config(data=Path("x"))
AWAY = replace(HERE, host="0.0.0.0")


@pytest.mark.parametrize(
    ("hosts", "url", "fits"),
    [
        (("a.example",), "http://a.example", True),
        (("a.example",), "http://A.EXAMPLE:8000/x", True),
        (("a.example",), "http://b.a.example", False),
        (("a.example",), "http://a.example.evil", False),
        (("a.example",), "http://a.example@evil/", False),
        (("a.example:8000",), "http://a.example:8000", True),
        (("a.example:8000",), "http://a.example", False),
        (("a.example:443",), "https://a.example", True),
        (("*.example",), "http://b.a.example:1", True),
        (("*.example",), "http://example", False),
        (("*.example",), "http://notexample", False),
        (("*.example:80",), "http://a.example", True),
        (("::1",), "http://[::1]:8000", True),
        (("[::1]:8000",), "http://[::1]:8000", True),
        (("[::1]:8000",), "http://[::1]:8001", False),
        ((), "http://127.0.0.1", False),
        (("file:///srv/out",), "file:///srv/out/site", True),
        (("file:///srv/out",), "file:///srv/out", True),
        (("file:///srv/out",), "file:///srv/out/../secret", False),
        (("file:///srv/out",), "file:///srv/out/%2e%2e/secret", False),
        (("file:///srv/out",), "file:///srv/outer", False),
        (("file:///srv/out",), "file://elsewhere/srv/out", False),
        (("s3://bucket/a",), "s3://bucket/a/b", True),
        (("s3://bucket",), "s3://bucket/any", True),
        (("s3://bucket",), "gs://bucket/any", False),
        (("s3://bucket",), "s3://other/any", False),
        (("bucket", "*.example"), "s3://bucket/any", False),
        (("a.example",), "gopher://a.example", False),
    ],
)
def test_named_hosts(hosts, url, fits):
    for config in (HERE, AWAY):
        if fits:
            check_host(url, replace(config, remote_hosts=hosts))
        else:
            with pytest.raises(Forbidden, match="may not"):
                check_host(url, replace(config, remote_hosts=hosts))


def test_what_is_no_url():
    for url in ("http://[", "http://a:99999999"):
        with pytest.raises(BadRequest):
            check_host(url, AWAY)


def test_without_a_list():
    check_host("http://anywhere", HERE)
    for config in (AWAY, replace(HERE, auth=Auth(enforce="token"))):
        with pytest.raises(Forbidden):
            check_host("http://anywhere", config)
