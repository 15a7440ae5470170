"""Ids of servers that have the same repo: clones, their clones, those pushed to: none is given out twice."""

from __future__ import annotations

import signal
import threading
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from sites import Process, Site

from dagdvid.config import Config
from dagdvid.errors import Diverged, Unverified
from dagdvid.remote.transfer import clone
from dagdvid.repo import ids, leases
from dagdvid.repo.ids import MUTATION, SHORT, Held
from dagdvid.server import Server


@pytest.fixture
def root(a: Site) -> str:
    root = a.repo("shared")
    a.put(root, "k", b"0")
    a.commit(root)
    return root


def have(site: Site, root: str, n: int) -> list[int]:
    ranges = site.json("POST", f"/api/repo/{root}/ids", {"count": n})["ranges"]
    return [i for first, last in ranges for i in range(first, last + 1)]


def upcoming(site: Site, root: str) -> int:
    """The id that the next mutation will take."""
    return site.info(root)["MutationID"]


def test_two_clones_and_their_origin_give_out_ten_thousand_each(a: Site, b: Site, c: Site, root: str):
    b.clone(f"{a.url}/{root}")
    c.clone(f"{a.url}/{root}")
    got: dict[Site, list[int]] = {site: [] for site in (a, b, c)}

    def work(site: Site) -> None:
        while len(got[site]) < 10_000:
            got[site] += have(site, root, 1 + len(got[site]) % 97)

    threads = [threading.Thread(target=work, args=(site,)) for site in got]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = [n for numbers in got.values() for n in numbers]
    assert len({*everything}) == len(everything) >= 30_000
    assert max(everything) < 2**52
    assert got[a] == list(range(got[a][0], got[a][0] + len(got[a])))


def test_a_clone_of_a_clone_that_was_offline(a: Site, b: Site, c: Site, root: str):
    b.clone(f"{a.url}/{root}")
    c.clone(f"{b.url}/{root}")
    firsts = [upcoming(site, root) for site in (a, b, c)]
    tips = [site.step(root, f"of-{i}", k=b"%d" % i) for i, site in enumerate((a, b, c))]
    c.remote(root, a, "first")
    c.push(root, "first")
    b.push(root, "origin")  # its record went on elsewhere, and nothing of that is in its way
    assert {*tips} <= {*a.nodes(root)}
    later = [n for site in (a, b, c) for n in have(site, root, 50)]
    assert [later[0], later[50], later[100]] == [n + 1 for n in firsts]
    assert len({*firsts, *later}) == 153


def test_who_is_pushed_to_gets_ids(a: Site, b: Site, root: str):
    a.remote(root, b)
    a.push(root)
    assert not {*have(a, root, 100)} & {*have(b, root, 100)}
    b.step(root, k=b"1")
    ours, theirs = (site.json("GET", f"/api/repo/{root}/ids")["counters"][MUTATION]["ranges"] for site in (a, b))
    assert ours == theirs
    assert a.push(root)["objects"] == 0


@pytest.fixture
def pair(tmp_path, a: Site, root: str):
    """A clone in this process, of a repo of another."""
    server = Server.open(Config(data=tmp_path / "here"))
    for _ in clone(server.catalog, a.url, root):
        pass
    yield server
    server.close()


def exhaust(server: Server, root: str, left: int) -> None:
    """Leave so many mutation ids."""
    catalog = server.catalog
    held = [
        Held(counter, first, at + left - 1)
        for counter, first, at, _ in catalog.store.database.rows("SELECT counter, first, next, last FROM ids")
    ]
    around = partial(replace, held=held)
    catalog.change_record(root, lambda _: {"description": f"{left} left"}, around=around)


def test_a_server_that_runs_short_gets_more(pair: Server, a: Site, root: str, call):
    here = type(call)(pair)
    catalog = pair.catalog
    exhaust(pair, root, 2)
    for verb in ("pull", "push"):
        before = leases.ledger(catalog, catalog.repos()[root])
        assert leases.short_of(catalog, catalog.repos()[root]) == [MUTATION]
        assert "claimed_ids" not in here.json("POST", f"/api/repo/{root}/{verb}", {"remote": "origin"})
        (fresh,) = {*leases.ledger(catalog, catalog.repos()[root])} - {*before}
        assert fresh.last - fresh.first > SHORT
        assert leases.short_of(catalog, catalog.repos()[root]) == []
        got = here.json("POST", f"/api/repo/{root}/ids", {"count": 3})["ranges"]
        assert got[-1][0] == fresh.first or got[0][0] == fresh.first
        exhaust(pair, root, 0)


def test_a_counter_that_is_made_later_is_shared_at_the_next_meeting(pair: Server, a: Site, root: str, tmp_path, call):
    here = type(call)(pair)
    labels = ids.label_counter("d" * 32)
    grant = ids.whole(labels, pair.catalog.server_id)
    pair.catalog.change_record(root, lambda _: grant.facts(), around=partial(replace, held=[grant.held]))
    here.json("POST", f"/api/repo/{root}/push", {"remote": "origin"})
    other = Server.open(Config(data=tmp_path / "other"))
    for _ in clone(other.catalog, a.url, root):
        pass
    third = type(call)(other)
    got = [
        here.json("POST", f"/api/repo/{root}/ids", {"counter": labels, "count": 1000})["ranges"],
        third.json("POST", f"/api/repo/{root}/ids", {"counter": labels, "count": 1000})["ranges"],
        a.json("POST", f"/api/repo/{root}/ids", {"counter": labels, "count": 1000})["ranges"],
    ]
    other.close()
    spans = sorted(tuple(span) for ranges in got for span in ranges)
    assert spans[0] == (1, 1000)
    assert all(one[1] < two[0] for one, two in pairwise(spans))
    assert spans[-1][1] < 2**47


def test_where_nobody_gives_ids_are_drawn_by_lot(tmp_path, root: str, a: Site, call):
    """A server that takes no writes cannot note what it gives, and one may not ask everybody for it."""
    data = tmp_path / "mirror"
    server = Server.open(Config(data=data))
    for _ in clone(server.catalog, a.url, root):
        pass
    server.close()
    with Process(data, "--readonly") as mirror:
        here = type(call)(call.server)
        result = here.json("POST", "/api/repos/clone", {"url": f"{mirror.url}/{root}"})
        (claimed,) = result["claimed_ids"]
        assert claimed.startswith("mutation: ")
        ((first, _),) = here.json("POST", f"/api/repo/{root}/ids", {"count": 10})["ranges"]
        assert 2**52 <= first < 2**53
        assert here.json("POST", f"/api/repo/{root}/pull", {"remote": "origin"})["objects"] == 0
    here.json("POST", f"/api/repo/{root}/remotes", {"name": "main", "url": a.url})
    here.json("POST", f"/api/repo/{root}/push", {"remote": "main"})
    assert first in [r["first"] for r in a.json("GET", f"/api/repo/{root}/ids")["counters"][MUTATION]["ranges"]]


def test_two_servers_with_the_same_ids_are_never_joined(pair: Server, a: Site, root: str, call):
    """As after a copy of a folder: both claim the same numbers. Neither side changes."""
    here = type(call)(pair)
    grant = ids.claim(MUTATION, "f" * 32, [])
    pair.catalog.change_record(root, lambda _: grant.facts())
    server = Server.open(Config(data=pair.config.data.parent / "third"))
    for _ in clone(server.catalog, a.url, root):
        pass
    server.catalog.change_record(root, lambda _: grant._replace(to="e" * 32).facts())
    third = type(call)(server)
    third.json("POST", f"/api/repo/{root}/push", {"remote": "origin"})
    before = a.info(root)
    for verb in ("push", "pull"):
        with pytest.raises(Exception, match="two servers hold the same ids of 'mutation'") as caught:
            here.json("POST", f"/api/repo/{root}/{verb}", {"remote": "origin"})
        assert caught.value.code == "diverged"
    assert a.info(root) == before
    server.close()


@pytest.mark.parametrize(
    "body",
    [
        {"repo": "f" * 32, "server": "e" * 32, "short": []},
        {"server": "e" * 32, "short": ["x", 1]},
        {"server": "e" * 32, "short": "mutation"},
        {"server": "E" * 32, "short": []},
        {"server": None, "short": []},
    ],
)
def test_questions_for_ids_that_make_no_sense(a: Site, root: str, body):
    before = a.info(root)
    assert a.ask("POST", "/api/sync/lease", {"repo": root} | body).status_code == 400
    assert a.info(root) == before


def test_answers_that_make_no_sense(pair: Server, root: str):
    catalog = pair.catalog
    before = catalog.repos()[root].record
    one = {"counter": MUTATION, "first": 2**51, "last": 2**51 + 9}
    for given in ([{}], [one], [3], [one | {"by": "", "first": 5}], [one | {"by": "", "last": "9"}]):
        with pytest.raises(Unverified):
            leases.enter(catalog, catalog.repos()[root], given)
    for by in ("f" * 32, catalog.server_id, ""):  # none of them held that, so none could give it
        with pytest.raises(Diverged):
            leases.enter(catalog, catalog.repos()[root], [one | {"by": by}])
    assert catalog.repos()[root].record == before


class Ids(RuleBasedStateMachine):
    """Servers that clone, pull, push, give out ids and are killed, in any order."""

    processes: list[Process]
    sites: list[Site]

    @initialize()
    def begin(self) -> None:
        self.root = self.sites[0].repo("ids")
        self.sites[0].put(self.root, "k", b"0")
        self.sites[0].commit(self.root)
        self.given: set[int] = set()
        self.having = {0}
        self.restarts = 0

    def known(self, i: int) -> int:
        """One of the servers that have the repo."""
        return sorted(self.having)[i % len(self.having)]

    @rule(i=st.integers(0, 2), j=st.integers(0, 2), verb=st.sampled_from(["push", "pull"]))
    def meet(self, i: int, j: int, verb: str) -> None:
        here, there = self.known(i), j
        if here == there or (verb == "pull" and there not in self.having):
            return
        one, two = self.sites[here], self.sites[there]
        one.remote(self.root, two)
        answer = one.ask("POST", f"/api/repo/{self.root}/{verb}", {"remote": "other"})
        if answer.status_code == 200:
            self.having.add(there)
        else:
            assert (verb, answer.status_code) == ("push", 409), answer.text

    @rule(i=st.integers(0, 2), j=st.integers(0, 2))
    def clone(self, i: int, j: int) -> None:
        source = self.known(i)
        if j not in self.having:
            self.sites[j].clone(f"{self.sites[source].url}/{self.root}")
            self.having.add(j)

    @rule(i=st.integers(0, 2), n=st.integers(1, 500))
    def allocate(self, i: int, n: int) -> None:
        fresh = have(self.sites[self.known(i)], self.root, n)
        assert len(fresh) == n
        assert not self.given & {*fresh}
        self.given |= {*fresh}

    @rule(i=st.integers(0, 2))
    def write(self, i: int) -> None:
        """A mutation takes an id, too."""
        here = self.known(i)
        site = self.sites[here]
        child = site.child(self.root, f"w{len(self.given)}-{here}")
        fresh = upcoming(site, self.root)
        assert fresh not in self.given
        site.put(child, "k", b"1")
        assert upcoming(site, self.root) == fresh + 1
        self.given.add(fresh)
        site.commit(child)

    @rule(i=st.integers(0, 2), how=st.sampled_from([signal.SIGKILL, signal.SIGTERM]))
    @precondition(lambda self: self.restarts < 1)
    def restart(self, i: int, how: signal.Signals) -> None:
        self.restarts += 1
        self.processes[i].restart(how)
        self.sites[i].close()
        self.sites[i] = Site(self.processes[i].url)


@pytest.fixture(scope="module", autouse=True)
def killable(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killable")
    Ids.processes = [
        Process(folder / name, *words) for name, words in (("x", ()), ("y", ("--workers", "2")), ("z", ()))
    ]
    Ids.sites = [Site(process.url) for process in Ids.processes]
    yield
    reports = [site.fsck() for site in Ids.sites]
    for site, process in zip(Ids.sites, Ids.processes, strict=True):
        site.close()
        process.stop()
    assert all(report["ok"] for report in reports), reports


class TestIds(Ids.TestCase):
    settings = settings(
        max_examples=6, stateful_step_count=14, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )


@pytest.mark.soak
@pytest.mark.timeout(3600)
class TestIdsLong(Ids.TestCase):
    settings = settings(
        max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
