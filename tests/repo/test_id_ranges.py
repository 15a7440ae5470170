"""Ids across servers, without the servers (SPEC 6.10): what a ledger may say, and what is given out of ranges."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagdvid.config import Config
from dagdvid.errors import BadRequest, Diverged, OutOfIds
from dagdvid.objects.local.backup import FolderOrigin, copy_store
from dagdvid.registry import datatype
from dagdvid.repo import ids, leases
from dagdvid.repo.ids import MUTATION, MUTATION_START, Grant, Held
from dagdvid.repo.schema import TABLES
from dagdvid.server import Server

A, B, C = ("0" * 31 + x for x in "abc")
DATA = "d" * 32
LABELS = ids.label_counter(DATA)


@pytest.fixture
def conn():
    conn = sqlite3.connect(":memory:")
    conn.executescript(TABLES)
    conn.execute("INSERT INTO repos VALUES (1, 'root', x'00', '', 0)")
    yield conn
    conn.close()


def numbers(ranges):
    return [n for part in ranges for n in part]


def test_a_lone_server_counts_as_dvid_does(call):
    root = call.json("POST", "/api/repos", {})["root"]
    assert call.json("POST", f"/api/repo/{root}/ids", {"count": 3})["ranges"] == [[MUTATION_START, MUTATION_START + 2]]
    assert call.json("GET", f"/api/repo/{root}/info")["MutationID"] == MUTATION_START + 3
    shown = call.json("GET", f"/api/repo/{root}/ids")
    (only,) = shown["counters"][MUTATION]["ranges"]
    assert only == {"first": MUTATION_START, "last": 2**52 - 1, "server": shown["server"], "by": ""}
    assert shown["counters"][MUTATION]["next"] == MUTATION_START + 3


def test_the_least_mutation_id_is_a_setting(config, tmp_path):
    with_start = type(config)(data=config.data, mutation_start=2_000_000_000)
    server = Server.open(config)
    old = server.catalog.create_repo("old", "")
    server.close()
    server = Server.open(with_start)
    fresh = server.catalog.create_repo("new", "")
    starts = [server.catalog.mutation_id(server.catalog.repos()[root]) for root in (old, fresh)]
    server.close()
    assert starts == [2_000_000_000] * 2
    server = Server.open(config)  # without the setting it goes on where it was
    assert server.catalog.mutation_id(server.catalog.repos()[old]) == 2_000_000_000
    server.close()


@pytest.mark.parametrize("body", [{"count": 0}, {"count": -1}, {"count": 2**20 + 1}, {"count": True}, {"count": "1"}])
def test_how_many_can_be_had(call, body):
    root = call.json("POST", "/api/repos", {})["root"]
    with pytest.raises(BadRequest):
        call("POST", f"/api/repo/{root}/ids", body)
    assert call.json("GET", f"/api/repo/{root}/info")["MutationID"] == MUTATION_START


@pytest.mark.parametrize("counter", ["", "label", "mutation/x", "label/", f"label/{'D' * 32}", "other", 7])
def test_counters_that_cannot_be(call, counter):
    root = call.json("POST", "/api/repos", {})["root"]
    for path in ("ids", "ids/claim"):
        with pytest.raises(BadRequest):
            call("POST", f"/api/repo/{root}/{path}", {"counter": counter})


def test_labels_have_a_counter_of_their_own(call, monkeypatch):
    monkeypatch.setattr(type(datatype("uint8blk")), "labels", True)
    root = call.json("POST", "/api/repos", {})["root"]
    for name in ("one", "two"):
        call("POST", f"/api/repo/{root}/instance", {"typename": "uint8blk", "dataname": name})
    data = call.json("GET", f"/api/repo/{root}/info")["DataInstances"]
    one, two = (ids.label_counter(data[name]["Base"]["DataUUID"]) for name in ("one", "two"))
    assert call.json("POST", f"/api/repo/{root}/ids", {"counter": one, "count": 5})["ranges"] == [[1, 5]]
    assert call.json("POST", f"/api/repo/{root}/ids", {"counter": two})["ranges"] == [[1, 1]]
    assert call.json("POST", f"/api/repo/{root}/ids", {"counter": one})["ranges"] == [[6, 6]]
    with pytest.raises(OutOfIds):
        call("POST", f"/api/repo/{root}/ids", {"counter": LABELS})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_nothing_is_given_out_twice(conn, data):
    """Ranges of one server that come, shrink, are seen used, and are given out of, against a set of numbers."""
    conn.execute("DELETE FROM ids")
    free: set[int] = set()
    ends: dict[int, int] = {}
    for step in range(data.draw(st.integers(1, 12))):
        kind = data.draw(st.sampled_from(["hold", "allocate", "observe", "shrink"]))
        if kind == "hold":
            first = 100 * step
            held = Held(MUTATION, first, first + data.draw(st.integers(0, 40)))
            assert ids.hold(conn, 1, [held])
            free |= {*range(held.first, held.last + 1)}
            ends[step] = held.last
        elif kind == "observe":
            seen = 100 * data.draw(st.integers(0, step)) + data.draw(st.integers(0, 45))
            ids.observe(conn, 1, {MUTATION: [seen]})
            if seen <= ends.get(seen // 100, -1):
                free -= {n for n in free if n <= seen and n // 100 == seen // 100}
        elif kind == "shrink" and free:
            top = max(free)
            assert ids.hold(conn, 1, [Held(MUTATION, top // 100 * 100, top - 1)])
            free.discard(top)
            ends[top // 100] = top - 1
        elif kind == "allocate":
            n = data.draw(st.integers(1, 30))
            if n > len(free):
                with pytest.raises(OutOfIds):
                    ids.allocate(conn, 1, MUTATION, n)
            else:
                got = numbers(ids.allocate(conn, 1, MUTATION, n))
                assert got == sorted(free)[:n]
                free -= {*got}
    assert numbers(ids.allocate(conn, 1, MUTATION, len(free)) if free else []) == sorted(free)


def test_what_was_given_out_meanwhile_cannot_be_given_on(conn):
    ids.hold(conn, 1, [Held(MUTATION, 1, 100)])
    ids.allocate(conn, 1, MUTATION, 50)
    assert ids.hold(conn, 1, [Held(MUTATION, 1, 50)])
    ids.hold(conn, 1, [Held(LABELS, 1, 100)])
    ids.allocate(conn, 1, LABELS, 51)
    assert not ids.hold(conn, 1, [Held(LABELS, 1, 50)])


def test_rows_outlive_their_repo(conn):
    """A repo that is deleted and cloned again goes on where it stood."""
    ids.hold(conn, 1, [Held(MUTATION, 1, 100)])
    ids.allocate(conn, 1, MUTATION, 10)
    conn.execute("DELETE FROM repos")
    conn.execute("INSERT INTO repos VALUES (2, 'root', x'00', '', 0)")
    ids.hold(conn, 2, [Held(MUTATION, 1, 100)])
    assert ids.allocate(conn, 2, MUTATION, 1) == [range(11, 12)]


ALL = ids.whole(LABELS, A)
TO_B = Grant(LABELS, 1000, 1999, B, A)
TO_C = Grant(LABELS, 1900, 1999, C, B)


def test_who_holds_what_by_the_ledger():
    grants = [ALL, TO_B, TO_C]
    ids.check(grants, grants)
    assert ids.held_by(grants, A) == [Held(LABELS, 1, 999)]
    assert ids.held_by(grants, B) == [Held(LABELS, 1000, 1899)]
    assert ids.held_by(grants, C) == [TO_C.held]


@pytest.mark.parametrize(
    "other",
    [
        Grant(LABELS, 1000, 1999, C, A),  # the same to another one
        Grant(LABELS, 1990, 2010, C, A),  # beyond the end of one that was given
        Grant(LABELS, 500, 1500, C, A),
        Grant(LABELS, 1500, 1510, C, A),  # given by who had given it away
        Grant(LABELS, 2000, 2010, C, B),  # given by who never had it
        Grant(LABELS, 1, 2**47 - 1, C, ""),  # made twice
        Grant(LABELS, 2**47, 2**47 + 1, C, B),
    ],
)
def test_ledgers_that_cannot_be_one(other):
    for ours, theirs in (([ALL, TO_B], [ALL, other]), ([ALL, other], [ALL, TO_B]), ([], [ALL, TO_B, other])):
        with pytest.raises(Diverged, match=f"ids of {LABELS!r}"):
            ids.check(ours, theirs)


def test_claims_lie_in_the_upper_half_beside_those_that_are_known():
    known = [ALL]
    for _ in range(200):
        known.append(ids.claim(LABELS, B, known))
    ids.check(known[:100], known)
    assert min(grant.first for grant in known[1:]) >= 2**47
    assert max(grant.last for grant in known[1:]) < 2**48
    assert {grant.last - grant.first + 1 for grant in known[1:]} == {2**21}
    with pytest.raises(Diverged):
        ids.check(known, [known[-1]._replace(to=C)])


def test_giving_is_recorded_and_repeated_only_when_short(call):
    catalog = call.server.catalog
    root = call.json("POST", "/api/repos", {})["root"]
    repo = catalog.repos()[root]
    (first,) = leases.give(catalog, repo, B)
    assert leases.give(catalog, repo, B) == []
    (second,) = leases.give(catalog, repo, B, [MUTATION, "no such"])
    (third,) = leases.give(catalog, repo, C)
    assert leases.give(catalog, repo, catalog.server_id, [MUTATION]) == []
    assert leases.ledger(catalog, catalog.repos()[root]) == [
        ids.whole(MUTATION, catalog.server_id),
        *sorted([first, second, third]),
    ]
    assert first.last + 1 == 2**52
    assert (second.last + 1, third.last + 1) == (first.first, second.first)
    assert first.last - first.first + 1 > 2**35
    with pytest.raises(BadRequest, match="id of a server"):
        leases.give(catalog, repo, "b")


def test_copies_of_a_folder_give_out_other_ids(config, tmp_path, call):
    """Whether it is brought back from a backup, or goes on beside it: nothing is given out twice, nor given to two."""
    catalog = call.server.catalog
    root = call.json("POST", "/api/repos", {})["root"]
    given = [*leases.next_ids(catalog, catalog.repos()[root], MUTATION, 10)]
    backup = tmp_path / "backup"
    (*_, _) = copy_store(FolderOrigin(catalog.store.folder), backup, backup=True)
    handed = []
    for i in range(3):
        (*_, _) = copy_store(FolderOrigin(backup), tmp_path / f"copy{i}", backup=False)
        for _ in range(2):  # it skips once, and then goes on
            server = Server.open(Config(data=tmp_path / f"copy{i}"))
            repo = server.catalog.repos()[root]
            given += leases.next_ids(server.catalog, repo, MUTATION, 10)
            handed += [range(g.first, g.last + 1) for g in leases.give(server.catalog, repo, B, [MUTATION])]
            server.close()
        assert given[-1].start == given[-2].stop
        assert given[-1].stop < 2**38
    given += leases.next_ids(catalog, catalog.repos()[root], MUTATION, 10)
    handed_here = [g for _ in range(20) for g in leases.give(catalog, catalog.repos()[root], C, [MUTATION])]
    assert len({*numbers(given)}) == 80
    assert max(part.stop for part in handed) <= min(grant.first for grant in handed_here)


def test_a_range_ends_and_says_so(call):
    catalog = call.server.catalog
    root = call.json("POST", "/api/repos", {})["root"]
    call("POST", f"/api/repo/{root}/instance", {"typename": "keyvalue", "dataname": "kv"})
    repo = catalog.repos()[root]
    held = [Held(MUTATION, MUTATION_START, MUTATION_START + 2)]
    catalog.change_record(root, lambda _: {"alias": "x"}, around=partial(replace, held=held))
    assert leases.short_of(catalog, repo) == [MUTATION]
    for i in range(3):
        call("POST", f"/api/node/{root}/kv/key/{i}", b"x")
    with pytest.raises(OutOfIds, match="ids/claim|pull from"):
        call("POST", f"/api/node/{root}/kv/key/3", b"x")
    assert call.json("GET", f"/api/node/{root}/kv/keys") == ["0", "1", "2"]
    assert call.json("GET", f"/api/repo/{root}/ids")["counters"][MUTATION]["left"] == 0
    first, last = call.json("POST", f"/api/repo/{root}/ids/claim", {"counter": MUTATION})["range"]
    call("POST", f"/api/node/{root}/kv/key/3", b"x")
    assert call.json("GET", f"/api/repo/{root}/info")["MutationID"] == first + 1
    assert 2**52 <= first < last < 2**53
    with pytest.raises(BadRequest, match="no counter"):
        call("POST", f"/api/repo/{root}/ids/claim", {"counter": LABELS})
