"""A repo to work on through the HTTP dispatch, for tests of the version graph."""

from __future__ import annotations

from typing import Any

from calling import Caller

from dagdvid.errors import KeyAbsent
from dagdvid.repo.model import Repo, Version


class Graph:
    """A repo with a keyvalue instance `kv`."""

    def __init__(self, call: Caller, **body: str) -> None:
        self.call = call
        self.catalog = call.server.catalog
        self.root: str = call.json("POST", "/api/repos", body)["root"]
        self.instance("kv")

    @property
    def repo(self) -> Repo:
        return self.catalog.repos()[self.root]

    def version(self, uuid: str) -> Version:
        return self.repo.versions[uuid]

    def instance(self, name: str, **settings: Any) -> None:
        body = {"typename": "keyvalue", "dataname": name, **settings}
        tip = next(v for v in reversed(self.repo.versions.values()) if not v.locked)
        self.call.json("POST", f"/api/repo/{tip.uuid}/instance", body)

    def put(self, uuid: str, key: str, value: bytes | None, data: str = "kv", **query: str) -> None:
        method = "DELETE" if value is None else "POST"
        self.call(method, f"/api/node/{uuid}/{data}/key/{key}", value or b"", **query)

    def get(self, uuid: str, key: str, data: str = "kv") -> bytes | None:
        try:
            return self.call("GET", f"/api/node/{uuid}/{data}/key/{key}").body
        except KeyAbsent:
            return None

    def keys(self, uuid: str, data: str = "kv") -> list[str]:
        return self.call.json("GET", f"/api/node/{uuid}/{data}/keys")

    def commit(self, uuid: str, **body: Any) -> None:
        self.call.json("POST", f"/api/node/{uuid}/commit", body)
        self.call.server.upkeep.settle()

    def child(self, uuid: str, branch: str = "") -> str:
        how = "branch" if branch else "newversion"
        return self.call.json("POST", f"/api/node/{uuid}/{how}", {"branch": branch} if branch else {})["child"]

    def hash(self, uuid: str) -> bytes:
        """The commit of a locked version."""
        return bytes.fromhex(self.call.json("GET", f"/api/node/{uuid}/hash")["hash"])

    def info(self) -> Any:
        return self.call.json("GET", f"/api/repo/{self.root}/info")

    def log(self) -> list[str]:
        """The lines of the repo's log without their times."""
        return [line.partition("  ")[2] for line in self.repo.log]

    def sound(self) -> bool:
        return self.call.json("POST", "/api/store/fsck")["ok"]
