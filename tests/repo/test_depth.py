"""Many versions: what a read costs does not grow with those before it, nor with those beside it."""

from __future__ import annotations

import pytest
from graphs import Graph

DEEP = 100


@pytest.fixture
def graph(call) -> Graph:
    return Graph(call)


def cost(graph: Graph, uuid: str, key: str) -> tuple[int, int]:
    """Statements and tree nodes that a read takes with nothing but the state of the repo in memory."""
    graph.get(uuid, key)  # what a version tree says of its instances is kept
    catalog = graph.catalog
    statements: list[str] = []
    catalog.nodes.cache.clear()
    reader = catalog.store.database.reader
    reader.set_trace_callback(statements.append)
    try:
        assert graph.get(uuid, key) is not None
    finally:
        reader.set_trace_callback(None)
    return len(statements), len(catalog.nodes.cache._nodes)


def test_a_read_is_as_cheap_a_hundred_commits_on(graph):
    graph.put(graph.root, "k", b"v")
    graph.call("POST", f"/api/node/{graph.root}/commit", {})
    at = graph.root
    for i in range(DEEP):
        at = graph.child(at)
        graph.put(at, f"own {i}", b"v")
        graph.call("POST", f"/api/node/{at}/commit", {})
    graph.call.server.upkeep.settle()
    first, deep = cost(graph, graph.root, "k"), cost(graph, at, "k")
    assert first == deep == cost(graph, at, "own 0")
    assert first[1] == 1  # the leaf
    child = graph.child(at)
    graph.put(child, "open", b"v")
    assert cost(graph, child, "k")[1] == 1


def test_many_versions_are_open_at_once(graph):
    for i in range(50):
        graph.put(graph.root, f"k{i:02}", b"of the root")
    graph.commit(graph.root)
    uuids = [graph.child(graph.root, f"b{i}") for i in range(DEEP)]
    for turn in range(3):
        for i, uuid in enumerate(uuids):
            graph.put(uuid, f"k{(i + turn) % 50:02}", b"%d in turn %d" % (i, turn))
    few = {cost(graph, uuid, "k00")[0] for uuid in (uuids[3], uuids[60])}
    assert len(few) == 1
    for i, uuid in enumerate(uuids):
        assert graph.get(uuid, f"k{(i + 2) % 50:02}") == b"%d in turn 2" % i
        assert graph.get(uuid, f"k{(i + 5) % 50:02}") == b"of the root"
    for uuid in uuids:
        graph.call("POST", f"/api/node/{uuid}/commit", {})
    graph.call.server.upkeep.settle()
    assert all(graph.version(uuid).commit is not None for uuid in uuids)
    for i, uuid in enumerate(uuids):
        assert graph.get(uuid, f"k{i % 50:02}") == b"%d in turn 0" % i
