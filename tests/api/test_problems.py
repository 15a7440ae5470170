"""Statuses and texts of errors."""

from __future__ import annotations

import pytest

from dagdvid import errors
from dagdvid.api.problems import STATUSES, crash, not_found, problem, status_of

EXPECTED = {
    "request": 400,
    "bad-request": 400,
    "unverified": 400,
    "unknown-name": 400,
    "locked": 400,
    "forbidden": 400,
    "unauthenticated": 401,
    "no-access": 403,
    "blocked": 429,
    "key-absent": 404,
    "too-large": 413,
    "conflict": 409,
    "stale-read": 409,
    "unconfirmed": 409,
    "ref-moved": 409,
    "diverged": 409,
    "damage": 500,
    "corrupt": 500,
    "missing-object": 500,
    "lost": 500,
    "pack-gone": 409,
    "error": 500,
    "remote": 502,
    "offline": 503,
    "unavailable": 503,
    "in-use": 503,
    "busy": 503,
    "fate-unknown": 503,
    "read-only": 400,
    "no-space": 507,
    "out-of-ids": 503,
}


def kinds():
    return [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("kind", kinds())
def test_every_error_has_its_status(kind):
    assert status_of(kind("x")) == EXPECTED[kind.code]


def test_the_table_is_the_whole_tree():
    assert set(EXPECTED) == {kind.code for kind in kinds()}
    assert [kind for kind, _ in STATUSES][-1] is errors.DagdvidError


def test_the_form_of_a_refusal():
    reply = problem(errors.BadRequest("two\nlines"), "/api/x")
    assert reply.body == b"two lines (/api/x).\n"
    assert reply.content_type == "text/plain; charset=utf-8"
    assert reply.headers == {"X-Content-Type-Options": "nosniff", "X-Dagdvid-Error": "bad-request"}


def test_a_message_that_names_the_path_is_left():
    assert problem(errors.BadRequest("no (/api/x)."), "/api/x").body == b"no (/api/x).\n"


def test_bytes_that_are_no_text_are_escaped():
    assert problem(errors.BadRequest("key \udcff"), "/k/\udcff").body == b"key \\udcff (/k/\\udcff).\n"


def test_what_passes_says_when_to_come_back():
    assert problem(errors.Busy("full"), "/").headers["Retry-After"] == "1"
    assert "Retry-After" not in problem(errors.NoSpace("full"), "/").headers
    assert "Retry-After" not in problem(errors.FateUnknown("who knows"), "/").headers


def test_pages_without_a_route():
    assert (not_found().status, not_found().body) == (404, b"404 page not found\n")


def test_crashes_name_the_request_only():
    assert crash("abc").body == b"internal error, logged as request abc\n"
