"""What strangers may ask: the names of routes in the list are those of routes."""

from __future__ import annotations

from dagdvid.access.publicity import CLOSED_DATA, OPEN, is_open
from dagdvid.routes import Right


def test_the_lists_name_routes(server):
    patterns: dict[str, set[str]] = {}
    for scope, _, table in server.tables():
        patterns.setdefault(scope, set()).update(route.pattern for route in table)
    for scope, named in OPEN.items():
        assert named <= patterns[scope], scope
    assert patterns["data"] >= CLOSED_DATA


def test_what_names_other_versions_is_closed(server):
    """A placeholder that looks as if it took a version must not be open to those who see only some."""
    for scope, _, table in server.tables():
        for route in table:
            words = {word.strip("{}?") for word in route.segments if word.startswith("{")}
            if scope != "server" and (
                words & {"a", "b", "beg", "other", "version"} or {w for w in words if "uuid" in w}
            ):
                assert not is_open(scope, route.pattern), route.pattern


def test_nothing_that_changes_is_open(server):
    for scope, _, table in server.tables():
        for route in table:
            if scope == "server" and is_open(scope, route.pattern):
                assert route.right is Right.READ
                assert set(route.methods) <= {"GET", "HEAD"}
