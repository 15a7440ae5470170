"""Cross-origin headers."""

from __future__ import annotations

from dagdvid.api.cors import cors_headers


def test_nothing_configured():
    assert cors_headers((), "https://a.example", "x") == {}


def test_anyone():
    assert cors_headers(("*",), "", None) == {"Access-Control-Allow-Origin": "*"}


def test_named_origins():
    domains = ("https://a.example", "http://b.example:8080")
    assert cors_headers(domains, "https://A.example", None) == {
        "Vary": "Origin",
        "Access-Control-Allow-Origin": "https://A.example",
    }
    assert cors_headers(domains, "https://c.example", "x") == {"Vary": "Origin"}
    assert cors_headers(domains, "", None) == {"Vary": "Origin"}


def test_preflight():
    headers = cors_headers(("https://a.example",), "https://a.example", "")
    assert headers["Access-Control-Allow-Methods"] == "GET, HEAD, POST, DELETE"
    assert headers["Access-Control-Max-Age"] == "600"
    assert "Access-Control-Allow-Headers" not in headers
    assert cors_headers(("*",), "", "x-y")["Access-Control-Allow-Headers"] == "x-y"
