"""Signed tokens: those that DVID's library takes are taken, and no other."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagdvid.access.tokens import sign, user_of
from dagdvid.errors import Forbidden


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def made(claims, *, key=b"key", alg="HS256", hashing=hashlib.sha256):
    head = encoded(json.dumps({"alg": alg}).encode()) + "." + encoded(json.dumps(claims).encode())
    return head + "." + encoded(hmac.new(key, head.encode(), hashing).digest())


@given(st.text(max_size=50), st.text(st.characters(codec="utf-8"), min_size=1))
def test_what_is_signed_is_believed(user, secret):
    user = user.encode("utf-8", "replace").decode()
    assert user_of(sign(user, secret), secret) == user
    with pytest.raises(Forbidden):
        user_of(sign(user, secret), secret + "x")


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_tokens_of_others(alg):
    token = made({"user": "ann", "exp": time.time() + 9, "nbf": time.time() - 9}, alg=alg, hashing=f"sha{alg[2:]}")
    assert user_of(token, "key") == "ann"


NOW = int(time.time())


@pytest.mark.parametrize(
    ("token", "says"),
    [
        (made({"user": "ann"}, key=b"other"), "signature is invalid"),
        (made({"user": "ann", "exp": NOW - 60}), "Token is expired"),
        (made({"user": "ann", "nbf": NOW + 600}), "Token is not valid yet"),
        (made({"user": "ann", "iat": NOW + 600}), "Token used before issued"),
        (made({"user": "ann", "exp": "never"}), "'exp' is not a time"),
        (made({}), "not a simple string"),
        (made({"user": 5}), "not a simple string"),
        (made({"user": "ann"}, alg="none"), "must be signed with"),
        (made({"user": "ann"}, alg="RS256"), "must be signed with"),
        (made([]), "a segment is not JSON"),
        (made("[" * 3000), "a segment is not JSON"),
        ("junk", "number of segments"),
        ("a.b", "number of segments"),
        ("a.b.c.d", "number of segments"),
        ("!.b.c", "illegal base64"),
        ("." * 2, "a segment is not JSON"),
        ("a" * 9000 + "..", "number of segments"),
    ],
)
def test_what_is_not_believed(token, says):
    with pytest.raises(Forbidden, match=says):
        user_of(token, "key")


def test_nobody_signs_with_nothing():
    with pytest.raises(Forbidden, match="signature"):
        user_of(sign("ann", ""), "")


@given(st.data())
def test_a_changed_token_is_not_believed(data):
    token = sign("ann", "secret")
    at = data.draw(st.integers(0, len(token) - 2))  # the last digit has bits that mean nothing
    other = data.draw(st.sampled_from("AZaz09-_.").filter(lambda c: c != token[at]))
    with pytest.raises(Forbidden):
        user_of(token[:at] + other + token[at + 1 :], "secret")
