"""Where requests come from, and who is believed about it."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from dagdvid.api.proxies import client_address, from_here, is_internal

TRUSTED = tuple(map(ip_network, ("10.0.0.0/8", "::1/128")))


@pytest.mark.parametrize(
    ("peer", "headers", "client"),
    [
        ("1.2.3.4", {"x-forwarded-for": "9.9.9.9"}, "1.2.3.4"),
        ("10.0.0.1", {}, "10.0.0.1"),
        ("10.0.0.1", {"x-forwarded-for": "9.9.9.9"}, "9.9.9.9"),
        ("::ffff:10.0.0.1", {"x-forwarded-for": "9.9.9.9"}, "9.9.9.9"),
        ("::1", {"x-forwarded-for": "6.6.6.6, 9.9.9.9, 10.0.0.2"}, "9.9.9.9"),
        ("::1", {"x-forwarded-for": "10.0.0.2"}, "::1"),
        ("::1", {"x-forwarded-for": "9.9.9.9:4000"}, "9.9.9.9"),
        ("::1", {"x-forwarded-for": "garbage"}, "::1"),
        ("::1", {"x-forwarded-for": ", ,"}, "::1"),
        ("::1", {"forwarded": 'for=6.6.6.6, For="[2001:db8::5]:80";proto=https'}, "2001:db8::5"),
        ("::1", {"forwarded": "for=9.9.9.9", "x-forwarded-for": "6.6.6.6"}, "9.9.9.9"),
        ("::1", {"forwarded": "for=_hidden"}, "::1"),
        ("::1", {"forwarded": "="}, "::1"),
    ],
)
def test_the_client(peer, headers, client):
    assert client_address({"client": (peer, 1)}, headers, TRUSTED) == client


def test_without_proxies_nobody_is_believed():
    assert client_address({"client": ("10.0.0.1", 1)}, {"x-forwarded-for": "9.9.9.9"}, ()) == "10.0.0.1"
    assert client_address({"client": None}, {}, TRUSTED) == ""


def test_from_within():
    mark = {"x-dvid-internal": "True"}
    assert is_internal({"client": ("10.0.0.1", 1)}, mark, TRUSTED)
    assert not is_internal({"client": ("1.2.3.4", 1)}, mark, TRUSTED)
    assert not is_internal({"client": ("10.0.0.1", 1)}, {"x-dvid-internal": ""}, TRUSTED)
    assert not is_internal({"client": None}, mark, TRUSTED)


@pytest.mark.parametrize(
    ("origin", "here"),
    [
        *[(origin, True) for origin in ("", "http://localhost:8000", "http://127.0.0.1", "http://[::1]:9")],
        ("https://a.example", True),
        *[(origin, False) for origin in ("https://b.example", "null", "http://localhost.evil", "http://[", "x")],
    ],
)
def test_pages_of_elsewhere(origin, here):
    assert from_here({"origin": origin} if origin else {}, ("*", "https://a.example")) is here
