"""Random commands over a graph of versions and instances of a real server of several workers, against dictionaries.

It is stopped, killed and started again in between; in the end a clone has the same versions under the same hashes.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sites import Process, Site

from dagdvid.interchange.keyvalues import keyvalue_chunks

TOKEN = "secret"
KEYS = [f"k{i}" for i in range(6)]
NAMES = ["kv", "kw", "kx"]
VALUES = [b"", b"1", b"22", b"m" * 600]
picks = st.integers(0, 1000)
keys, values, names = st.sampled_from(KEYS), st.sampled_from(VALUES), st.sampled_from(NAMES)
batches = st.dictionaries(keys, values, min_size=1, max_size=4)

Entries = dict[str, bytes]


@dataclass
class Model:
    """A version: for each instance by data UUID what its tree has, and while it is open what lies over it."""

    uuid: str
    parents: list[Model]
    branch: str
    trees: dict[str, Entries] = field(default_factory=dict)
    staged: dict[str, dict[str, bytes | None]] = field(default_factory=dict)
    locked: bool = False
    own: bool = False
    """It stands on a tree of its own: a merge, or committed; else on that of its parent."""
    note: str = ""

    def tree(self, data: str) -> Entries:
        if self.own or not self.parents:
            return self.trees.setdefault(data, {})
        return self.parents[0].view(data)

    def view(self, data: str) -> Entries:
        over = self.staged.get(data, {})
        merged: dict[str, Any] = self.tree(data) | over
        return {key: value for key, value in merged.items() if value is not None}

    def lock(self, instances: set[str]) -> None:
        self.trees = {data: self.view(data) for data in instances}
        self.staged, self.locked, self.own = {}, True, True


class Service(RuleBasedStateMachine):
    process: Process
    other: Process

    @initialize()
    def begin(self) -> None:
        self.site = Site(self.process.url)
        self.root = self.site.json("POST", "/api/repos", {"alias": "model"})["root"]
        self.versions = [Model(self.root, [], "")]
        self.instances: dict[str, str] = {}
        self.loose: dict[str, Entries] = {}
        self.hashes: dict[str, str] = {}
        self.lines: list[str] = []
        self.count = 0
        self.restarts = 0
        self.make(0, "kv", True)

    def pick(self, n: int) -> Model:
        return self.versions[n % len(self.versions)]

    def next(self) -> int:
        self.count += 1
        return self.count

    def ask(self, status: int, method: str, path: str, body: Any = b"", **query: str) -> Any:
        answer = self.site.ask(method, path, body, **query)
        assert answer.status_code == status, (method, path, answer.text)
        return answer

    def held(self) -> set[str]:
        """Data UUIDs of versioned instances."""
        return {*self.instances.values()} - {*self.loose}

    # --- instances ---------------------------------------------------------------------------------------------------

    @rule(n=picks, name=names, versioned=st.booleans())
    def make(self, n: int, name: str, versioned: bool) -> None:
        version = self.pick(n)
        body = {"typename": "keyvalue", "dataname": name, "versioned": str(versioned).lower()}
        good = not version.locked and name not in self.instances
        self.ask(200 if good else 400, "POST", f"/api/repo/{version.uuid}/instance", body)
        if good:
            data = self.site.info(self.root)["DataInstances"][name]["Base"]["DataUUID"]
            self.instances[name] = data
            if not versioned:
                self.loose[data] = {}

    @rule(old=names, new=names)
    def rename(self, old: str, new: str) -> None:
        good = old in self.instances and new not in self.instances
        words = {"words": ["repo", self.root, "rename", old, new]}
        answer = self.site.ask("POST", "/api/server/command", words, admintoken=TOKEN)
        assert (answer.status_code == 200) == good, answer.text
        if good:
            self.instances[new] = self.instances.pop(old)

    @rule(name=names)
    def delete_instance(self, name: str) -> None:
        if self.count % 3 or name not in self.instances:  # seldom: all else needs some
            return
        self.ask(200, "DELETE", f"/api/repo/{self.root}/{name}", imsure="true", admintoken=TOKEN)
        self.loose.pop(self.instances.pop(name), None)

    # --- data --------------------------------------------------------------------------------------------------------

    def write(self, n: int, name: str, many: dict[str, bytes | None], admin: bool) -> None:
        """Set or delete keys, one by one or all at once, by somebody or an admin."""
        version = self.pick(n)
        at = f"/api/node/{version.uuid}/{name}"
        data = self.instances.get(name)
        refused = data is None or (version.locked and data not in self.loose and not admin)
        status = 400 if refused else 200
        query = {"admintoken": TOKEN} if admin else {}
        if len(many) == 1:
            ((key, value),) = many.items()
            if value is None:
                self.ask(status, "DELETE", f"{at}/key/{key}", **query)
            else:
                self.ask(status, "POST", f"{at}/key/{key}", value, **query)
        else:
            body = b"".join(part for key, value in many.items() for part in keyvalue_chunks(key.encode(), value or b""))
            self.ask(status, "POST", f"{at}/keyvalues", body, **query)
        if refused or data is None:
            return
        if data in self.loose:
            merged: dict[str, Any] = self.loose[data] | many
            self.loose[data] = {key: value for key, value in merged.items() if value is not None}
        elif version.locked:
            for key, value in many.items():
                self.amend(version, data, key, value)
        else:
            version.staged.setdefault(data, {}).update(many)

    def amend(self, version: Model, data: str, key: str, value: bytes | None) -> None:
        """Change a key of a committed version, and of all after it that had it from there."""
        before = {version.uuid: version.tree(data).get(key)}
        for each in self.versions:
            if not each.own:
                continue
            tree = each.tree(data)
            old = tree.get(key)
            inherited = any(p.uuid in before and before[p.uuid] == old for p in each.parents)
            if each is version or inherited:
                before[each.uuid] = old
                tree.pop(key, None)
                if value is not None:
                    tree[key] = value
        self.hashes = {}  # of those that were made anew; they are compared with the clone's in the end

    @rule(n=picks, name=names, key=keys, value=st.one_of(values, st.none()))
    def put_or_delete(self, n: int, name: str, key: str, value: bytes | None) -> None:
        self.write(n, name, {key: value}, admin=False)

    @rule(n=picks, name=names, many=batches)
    def put_batch(self, n: int, name: str, many: Entries) -> None:
        if len(many) > 1:
            self.write(n, name, dict(many), admin=False)

    @rule(n=picks, name=names, key=keys, value=st.one_of(values, st.none()))
    def write_as_admin(self, n: int, name: str, key: str, value: bytes | None) -> None:
        self.write(n, name, {key: value}, admin=True)

    # --- versions ----------------------------------------------------------------------------------------------------

    @rule(n=picks)
    def commit(self, n: int) -> None:
        version = self.pick(n)
        self.ask(400 if version.locked else 200, "POST", f"/api/node/{version.uuid}/commit", {"note": "n"})
        if not version.locked:
            version.lock(self.held())
            version.note = "n"

    @rule(n=picks, branching=st.booleans())
    def child(self, n: int, branching: bool) -> None:
        parent = self.pick(n)
        name = f"b{self.next()}" if branching else parent.branch
        taken = any(v.branch == name and parent in v.parents for v in self.versions)
        good = parent.locked and not taken
        at = f"/api/node/{parent.uuid}/{'branch' if branching else 'newversion'}"
        answer = self.ask(200 if good else 400, "POST", at, {"branch": name} if branching else {})
        if good:
            self.versions.append(Model(answer.json()["child"], [parent], name))

    @rule(n=picks)
    def tag(self, n: int) -> None:
        parent = self.pick(n)
        name = f"tag{self.next()}-{self.root[:6]}"
        self.ask(200 if parent.locked else 400, "POST", f"/api/node/{parent.uuid}/tag", {"tag": name})
        if parent.locked:
            note = f'Tag of version {parent.uuid} with "{name}"'
            self.versions.append(Model(name, [parent], f"tag-{name}", note=note))
            self.versions[-1].lock(self.held())

    @rule(n=picks, m=picks, how=st.sampled_from(["merge", "resolve"]))
    def merge(self, n: int, m: int, how: str) -> None:
        one, two = self.pick(n), self.pick(m)
        if one is two or not (one.locked and two.locked):
            return
        names = sorted(name for name, data in self.instances.items() if data in self.held())
        if how == "resolve" and not names:
            return
        merged, conflicts = self.merged(one, two, first_wins=how == "resolve")
        body: dict[str, Any] = {"parents": [one.uuid, two.uuid], "note": ""}
        body |= {"mergeType": "conflict-free"} if how == "merge" else {"data": names}
        answer = self.ask(400 if conflicts else 200, "POST", f"/api/repo/{self.root}/{how}", body)
        if not conflicts:
            self.versions.append(Model(answer.json()["child"], [one, two], "", merged, own=True))

    def merged(self, one: Model, two: Model, *, first_wins: bool) -> tuple[dict[str, Entries], int]:
        """Three ways, from the newest version before both."""
        shared = [v for v in self.before(one) if v in self.before(two)]
        base = max(shared, key=self.versions.index)
        found: dict[str, Entries] = {}
        conflicts = 0
        for data in self.held():
            o, a, b = (v.tree(data) for v in (base, one, two))
            for key in {*o, *a, *b}:
                old, mine, theirs = o.get(key), a.get(key), b.get(key)
                value = theirs if mine == old else mine
                conflicts += not first_wins and old not in (mine, theirs) and mine != theirs
                if value is not None:
                    found.setdefault(data, {})[key] = value
        return found, conflicts

    def before(self, version: Model) -> list[Model]:
        found: list[Model] = []
        front = [version]
        while front:
            each = front.pop()
            if each not in found:
                found.append(each)
                front += each.parents
        return found

    @rule(n=picks)
    def note(self, n: int) -> None:
        version = self.pick(n)
        text = f"note {self.next()}"
        self.ask(200, "POST", f"/api/node/{version.uuid}/note", {"note": text}, admintoken=TOKEN)
        version.note = text

    @rule()
    def say(self) -> None:
        self.lines.append(f"line {self.next()}")
        self.ask(200, "POST", f"/api/repo/{self.root}/log", {"log": self.lines[-1:]})

    @rule(how=st.sampled_from([signal.SIGKILL, signal.SIGTERM]))
    def restart(self, how: signal.Signals) -> None:
        if self.restarts < 2:
            self.restarts += 1
            self.site.close()
            self.process.restart(how)
            self.site = Site(self.process.url)

    # --- questions ---------------------------------------------------------------------------------------------------

    @rule(n=picks, name=names, key=keys, other=keys)
    def look(self, n: int, name: str, key: str, other: str) -> None:
        version = self.pick(n)
        data = self.instances.get(name)
        at = f"/api/node/{version.uuid}/{name}"
        if data is None:
            self.ask(400, "GET", f"{at}/keys")
            return
        expected = self.content(version, data)
        assert self.site.get(version.uuid, key, name) == expected.get(key)
        found = self.site.json("GET", f"{at}/keyrange/{key}/{other}")
        assert found == sorted(k for k in expected if key <= k <= other)
        assert self.site.json("GET", f"/api/node/{version.uuid}/note")["note"] == version.note
        if version.locked:
            name = self.site.hash(version.uuid)
            assert self.hashes.setdefault(version.uuid, name) == name

    def content(self, version: Model, data: str) -> Entries:
        return self.loose[data] if data in self.loose else version.view(data)

    def same(self, site: Site, versions: list[Model]) -> None:
        for version in versions:
            for name, data in self.instances.items():
                expected = self.content(version, data)
                assert site.keys(version.uuid, name) == sorted(expected), (version.uuid, name)
                for key, value in expected.items():
                    assert site.get(version.uuid, key, name) == value

    @invariant()
    def the_newest_version_is_as_modelled(self) -> None:
        if hasattr(self, "versions"):
            self.same(self.site, self.versions[-1:])

    def teardown(self) -> None:
        if not hasattr(self, "versions"):
            return
        self.same(self.site, self.versions)
        info = self.site.info(self.root)
        assert {v.uuid: v.branch for v in self.versions} == self.site.branches(self.root)
        assert [line.split("  ", 1)[1] for line in info["Log"] if "  line " in line] == self.lines
        assert self.site.fsck()["ok"]
        locked = [version for version in self.versions if version.locked]
        if locked:
            clone = Site(self.other.url)
            clone.clone(f"{self.site.url}/{self.root}?admintoken={TOKEN}")
            self.same(clone, locked)
            for version in locked:
                assert clone.hash(version.uuid) == self.site.hash(version.uuid)
            clone.close()
        self.site.close()


@pytest.fixture(scope="module", autouse=True)
def servers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVID_ADMIN_TOKEN", TOKEN)
        Service.process = Process(folder / "here", "--workers", "3")
        Service.other = Process(folder / "there")
        yield
        Service.process.stop()
        Service.other.stop()


class TestService(Service.TestCase):
    settings = settings(
        max_examples=5, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )


@pytest.mark.soak
@pytest.mark.timeout(3600)
class TestServiceLong(Service.TestCase):
    settings = settings(
        max_examples=150, stateful_step_count=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
