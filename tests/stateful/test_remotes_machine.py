"""Two real servers that both go on, push and pull: random commands against a model of what each must have."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sites import Site

from dagdvid.cli.child import ServerProcess

KEYS = ["a", "b", "c"]
LARGE = b"large" * 1000

side = st.integers(0, 1)
edits = st.dictionaries(
    st.sampled_from(KEYS), st.sampled_from([None, b"", b"1", b"22", LARGE, LARGE + b"!"]), max_size=3
)


@pytest.fixture(scope="module", autouse=True)
def servers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("remotes")
    processes = [ServerProcess(folder / name, "127.0.0.1:0") for name in ("left", "right")]
    Remotes.sites = [Site(process.url) for process in processes]
    yield
    reports = [site.fsck() for site in Remotes.sites]
    for site, process in zip(Remotes.sites, processes, strict=True):
        site.close()
        process.__exit__(None, None, None)
    assert all(report["ok"] for report in reports), reports


class Remotes(RuleBasedStateMachine):
    sites: list[Site]

    @initialize()
    def begin(self) -> None:
        left, right = self.sites
        self.root = left.repo("both")
        left.put(self.root, "a", b"root")
        left.commit(self.root)
        right.clone(f"{left.url}/{self.root}")
        left.remote(self.root, right)
        right.remote(self.root, left)
        self.values = {self.root: {"a": b"root"}}
        self.has = [[self.root], [self.root]]
        self.lines: list[set[str]] = [set(), set()]
        self.count = 0

    # --- each side by itself -----------------------------------------------------------------------------------------

    @rule(side=side, pick=st.integers(0, 50), branching=st.booleans(), change=edits)
    def step(self, side: int, pick: int, branching: bool, change: dict[str, bytes | None]) -> None:
        """A committed child of any version that this side has."""
        site = self.sites[side]
        parent = self.has[side][pick % len(self.has[side])]
        self.count += 1
        # the same branch names on both sides, from wherever
        name = f"branch{self.count // 2}" if branching else ""
        path, body = (
            (f"/api/node/{parent}/branch", {"branch": name}) if name else (f"/api/node/{parent}/newversion", {})
        )
        answer = site.ask("POST", path, body)
        if answer.status_code != 200:
            assert "already exists" in answer.text
            return
        child = answer.json()["child"]
        self.values[child] = dict(self.values[parent])
        for key, value in change.items():
            if value is None:
                site.ask("DELETE", f"/api/node/{child}/kv/key/{key}")
                self.values[child].pop(key, None)
            else:
                site.put(child, key, value)
                self.values[child][key] = value
        site.commit(child)
        self.has[side].append(child)

    @rule(side=side)
    def say(self, side: int) -> None:
        self.count += 1
        line = f"line {self.count} of {side}"
        self.sites[side].json("POST", f"/api/repo/{self.root}/log", {"log": [line]})
        self.lines[side].add(line)

    @rule(side=side)
    def rename(self, side: int) -> None:
        self.count += 1
        self.sites[side].json("POST", f"/api/repo/{self.root}/info", {"alias": f"alias {self.count}"})

    # --- between them ------------------------------------------------------------------------------------------------

    @rule(side=side)
    def push(self, side: int) -> None:
        here, there = self.sites[side], self.sites[1 - side]
        before = there.info(self.root)
        answer = here.ask("POST", f"/api/repo/{self.root}/push", {"remote": "other"})
        if answer.status_code == 409:
            assert there.info(self.root) == before
            return
        assert answer.status_code == 200, answer.text
        self.receive(side, 1 - side)
        assert here.push(self.root)["objects"] == 0

    @rule(side=side)
    def pull(self, side: int) -> None:
        self.sites[side].pull(self.root)
        self.receive(1 - side, side)
        again = self.sites[side].pull(self.root)
        assert (again["versions"], again["objects"]) == (0, 0)

    def receive(self, source: int, target: int) -> None:
        fresh = [uuid for uuid in self.has[source] if uuid not in self.has[target]]
        self.has[target] += fresh
        self.lines[target] |= self.lines[source]
        for uuid in fresh:
            assert self.sites[target].keys(uuid) == sorted(self.values[uuid])
            for key, value in self.values[uuid].items():
                assert self.sites[target].get(uuid, key) == value
            assert self.sites[target].hash(uuid) == self.sites[source].hash(uuid)

    # --- what always holds -------------------------------------------------------------------------------------------

    @invariant()
    def each_branch_is_one_line(self) -> None:
        for i, site in enumerate(self.sites):
            info = site.info(self.root)
            nodes = info["DAG"]["Nodes"]
            assert set(nodes) == set(self.has[i])
            by_id = {node["VersionID"]: node for node in nodes.values()}
            tips: dict[str, int] = {}
            for node in nodes.values():
                if not any(by_id[c]["Branch"] == node["Branch"] for c in node["Children"]):
                    tips[node["Branch"]] = tips.get(node["Branch"], 0) + 1
            assert set(tips.values()) == {1}, tips
            assert {line.split("  ", 1)[1] for line in info["Log"] if " of " in line} >= self.lines[i]

    def teardown(self) -> None:
        if not hasattr(self, "root"):
            return
        for i in (0, 1, 0):
            self.pull(i)
        left, right = (site.nodes(self.root) for site in self.sites)
        assert {u: n["Hash"] for u, n in left.items()} == {u: n["Hash"] for u, n in right.items()}
        assert self.sites[0].info(self.root)["Log"] == self.sites[1].info(self.root)["Log"]


class TestRemotes(Remotes.TestCase):
    settings = settings(
        max_examples=8, stateful_step_count=15, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )


@pytest.mark.soak
@pytest.mark.timeout(3600)
class TestRemotesLong(Remotes.TestCase):
    settings = settings(
        max_examples=150, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
