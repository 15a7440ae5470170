"""The repo record's own history and diffs, over HTTP."""

from __future__ import annotations

import pytest
from calling import Caller
from graphs import Graph

from dagdvid.errors import BadRequest, RequestError
from dagdvid.repo import manage


@pytest.fixture
def graph(call: Caller) -> Graph:
    return Graph(call)


def test_each_change_is_told_with_its_facts_and_who_made_it(graph: Graph):
    path = f"/api/repo/{graph.root}/record/history"
    graph.call("POST", f"/api/repo/{graph.root}/info", {"alias": "new"}, u="me")
    graph.call("POST", f"/api/repo/{graph.root}/info", {"alias": "newer", "description": "d"}, u="you")
    manage.delete_instance(graph.catalog, graph.repo, "kv", "me")
    told = graph.call.json("GET", path)
    assert [state["user"] for state in told] == ["me", "you", "me", "", ""]
    assert told[0]["id"] == graph.repo.record.hex()
    assert [state["parents"] for state in told] == [[s["id"]] for s in told[1:]] + [[]]
    assert told[1]["changes"] == [
        {"key": "alias", "before": "new", "after": "newer"},
        {"key": "description", "before": "", "after": "d"},
    ]
    uuid = next(iter(graph.repo.deleted))
    gone = {c["key"]: c for c in told[0]["changes"]}
    assert gone[f"data/{uuid}/name"] == {"key": f"data/{uuid}/name", "before": "kv"}
    assert gone[f"data/{uuid}/deleted"]["after"]["user"] == "me"
    assert [state["id"] for state in graph.call.json("GET", path, max="2")] == [s["id"] for s in told[:2]]
    for bad in ("0", "x", "-1"):
        with pytest.raises(BadRequest, match="max must be"):
            graph.call("GET", path, max=bad)


def test_any_two_states_differ_by_their_facts(graph: Graph):
    first = graph.repo.record.hex()
    graph.call("POST", f"/api/repo/{graph.root}/info", {"alias": "new"})
    manage.rename_instance(graph.catalog, graph.repo, "kv", "other")

    def diff(a: str, b: str) -> dict[str, dict]:
        answer = graph.call.json("GET", f"/api/repo/{graph.root}/record/diff/{a}/{b}")
        return {c["key"]: c for c in answer["changes"] if not c["key"].startswith("log/")}

    uuid = graph.repo.instances["other"].uuid
    assert diff(first, "now") == {
        "alias": {"key": "alias", "before": "", "after": "new"},
        f"data/{uuid}/name": {"key": f"data/{uuid}/name", "before": "kv", "after": "other"},
    }
    assert diff("now", first)["alias"] == {"key": "alias", "before": "new", "after": ""}
    assert diff("now", graph.repo.record.hex()) == {}
    assert "before" not in diff("start", first)["alias"]


def test_states_of_other_repos_are_not_told_of(graph: Graph):
    other = Graph(graph.call)
    for name in (other.repo.record.hex(), "0" * 64, "zz"):
        with pytest.raises(RequestError):
            graph.call("GET", f"/api/repo/{graph.root}/record/diff/{name}/now")
