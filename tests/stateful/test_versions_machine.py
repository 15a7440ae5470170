"""Random commands over a graph of versions of one server, against plain dictionaries."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from dagdvid.config import Config
from dagdvid.errors import BadRequest, KeyAbsent, Locked
from dagdvid.interchange.keyvalues import keyvalue_chunks
from dagdvid.repo import fold
from dagdvid.repo.operations import Seal
from dagdvid.routes import Request
from dagdvid.server import Server

KEYS = [f"k{i:02}" for i in range(24)]
NAMES = ["kv", "kw"]
keys, names = st.sampled_from(KEYS), st.sampled_from(NAMES)
values = st.one_of(st.binary(max_size=6), st.sampled_from([b"m" * 513, b"l" * 20_000]))


class Versions(RuleBasedStateMachine):
    """The model: what each version's instances hold, which versions are locked, and the hash of each commit."""

    versions = Bundle("versions")
    """All of them: a choice between two bundles gives the whole run up when one is empty."""
    open_versions = Bundle("open_versions")
    locked_versions = Bundle("locked_versions")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.config = Config(data=Path(self.folder.name) / "data")
        self.server = Server.open(self.config)
        self.root = self.ask("POST", "/api/repos", {"alias": "model"})["root"]
        for name in NAMES:
            self.ask("POST", f"/api/repo/{self.root}/instance", {"typename": "keyvalue", "dataname": name})
        self.model: dict[str, dict[str, dict[str, bytes]]] = {self.root: {name: {} for name in NAMES}}
        self.locked: set[str] = set()
        self.hashes: dict[str, str] = {}
        self.children: dict[str, list[str]] = {}
        self.branches = {self.root: ""}
        self.count = 0

    def teardown(self) -> None:
        report = self.ask("POST", "/api/store/fsck")
        for uuid, name in self.hashes.items():
            assert self.ask("GET", f"/api/node/{uuid}/hash") == {"hash": name}
        self.server.close()
        self.folder.cleanup()
        assert report["ok"], report

    def raw(self, method: str, path: str, body: Any = b"") -> bytes:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        found = self.server.find(method, path)
        assert found is not None, path
        reply = self.server.handle(found, Request(method, path, body=data, local=True))
        return reply.body if isinstance(reply.body, bytes) else b"".join(reply.body)

    def ask(self, method: str, path: str, body: Any = b"") -> Any:
        answer = self.raw(method, path, body)
        return json.loads(answer) if answer else None

    # --- commands ----------------------------------------------------------------------------------------------------

    @initialize(targets=(versions, open_versions))
    def begin(self) -> str:
        self.count = 1
        return self.root

    @rule(uuid=open_versions, name=names, key=keys, value=values)
    def put(self, uuid: str, name: str, key: str, value: bytes) -> None:
        if uuid in self.locked:
            with pytest.raises(Locked):
                self.raw("POST", f"/api/node/{uuid}/{name}/key/{key}", value)
            return
        self.raw("POST", f"/api/node/{uuid}/{name}/key/{key}", value)
        self.model[uuid][name][key] = value

    @rule(uuid=open_versions, name=names, many=st.dictionaries(keys, values, min_size=1, max_size=12))
    def put_many(self, uuid: str, name: str, many: dict[str, bytes]) -> None:
        body = b"".join(part for key, value in many.items() for part in keyvalue_chunks(key.encode(), value))
        if uuid in self.locked:
            with pytest.raises(Locked):
                self.raw("POST", f"/api/node/{uuid}/{name}/keyvalues", body)
            return
        self.raw("POST", f"/api/node/{uuid}/{name}/keyvalues", body)
        self.model[uuid][name].update(many)

    @rule(uuid=open_versions, name=names, key=keys)
    def delete(self, uuid: str, name: str, key: str) -> None:
        if uuid not in self.locked:
            self.raw("DELETE", f"/api/node/{uuid}/{name}/key/{key}")
            self.model[uuid][name].pop(key, None)

    @rule(target=locked_versions, uuid=consumes(open_versions), how=st.sampled_from(["commit", "seal"]))
    def lock(self, uuid: str, how: str) -> str:
        if how == "commit":
            self.ask("POST", f"/api/node/{uuid}/commit", {"note": "n"})
            self.hashes[uuid] = self.ask("GET", f"/api/node/{uuid}/hash")["hash"]
        else:  # as after a crash between the two halves of a commit
            repo = self.server.catalog.repos()[self.root]
            self.server.store.run(Seal(repo.id, repo.versions[uuid].id, "", [], ""))
        self.locked.add(uuid)
        return uuid

    @rule(uuid=locked_versions)
    def fold(self, uuid: str) -> None:
        name = fold.fold(self.server.catalog, self.root, uuid).hex()
        assert self.hashes.setdefault(uuid, name) == name

    @rule(targets=(versions, open_versions), uuid=locked_versions, branching=st.booleans())
    def child(self, uuid: str, branching: bool) -> str:
        body: dict[str, str] = {}
        branch = self.branches[uuid]
        if branching or any(self.branches[c] == branch for c in self.children.get(uuid, [])):
            if not branching:
                with pytest.raises(BadRequest, match="branch already exists"):
                    self.ask("POST", f"/api/node/{uuid}/newversion", body)
            branch = f"b{self.count}"
            body = {"branch": branch}
        self.count += 1
        child = self.ask("POST", f"/api/node/{uuid}/{'branch' if body else 'newversion'}", body)["child"]
        self.model[child] = {name: dict(entries) for name, entries in self.model[uuid].items()}
        self.branches[child] = branch
        self.children.setdefault(uuid, []).append(child)
        return child

    @rule()
    def restart(self) -> None:
        self.server.close()
        self.server = Server.open(self.config)
        self.server.upkeep.settle()
        repo = self.server.catalog.repos()[self.root]
        for uuid in self.locked:
            assert repo.versions[uuid].state == "committed"
            assert self.hashes.setdefault(uuid, repo.versions[uuid].commit.hex()) == repo.versions[uuid].commit.hex()

    # --- questions ---------------------------------------------------------------------------------------------------

    @rule(uuid=versions, name=names, key=keys)
    def get(self, uuid: str, name: str, key: str) -> None:
        expected = self.model[uuid][name].get(key)
        if expected is None:
            with pytest.raises(KeyAbsent):
                self.raw("GET", f"/api/node/{uuid}/{name}/key/{key}")
        else:
            assert self.raw("GET", f"/api/node/{uuid}/{name}/key/{key}") == expected

    @rule(uuid=versions, name=names, ends=st.tuples(keys, keys))
    def between(self, uuid: str, name: str, ends: tuple[str, str]) -> None:
        first, last = ends
        expected = sorted(key for key in self.model[uuid][name] if first <= key <= last)
        assert self.ask("GET", f"/api/node/{uuid}/{name}/keyrange/{first}/{last}") == expected

    @rule(a=versions, b=versions, name=names)
    def diff(self, a: str, b: str, name: str) -> None:
        old, new = self.model[a][name], self.model[b][name]
        answer = self.ask("GET", f"/api/node/{a}/{name}/diff/{b}")
        expected = {
            key: "added" if key not in old else "removed" if key not in new else "changed"
            for key in sorted({*old, *new})
            if old.get(key) != new.get(key)
        }
        assert {change["key"]: change["change"] for change in answer["changes"]} == expected
        listed = {entry["name"] for entry in self.ask("GET", f"/api/node/{a}/diff/{b}")["instances"]}
        assert (name in listed) == bool(expected)

    @invariant()
    def all_keys_are_as_modelled(self) -> None:
        if self.count:
            uuid = next(reversed(self.model))
            for name in NAMES:
                assert self.ask("GET", f"/api/node/{uuid}/{name}/keys") == sorted(self.model[uuid][name])


class TestVersions(Versions.TestCase):
    settings = settings(max_examples=25, stateful_step_count=40, deadline=None)


@pytest.mark.soak
@pytest.mark.timeout(3600)
class TestVersionsLong(Versions.TestCase):
    settings = settings(
        max_examples=500,
        stateful_step_count=120,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
