"""What is loaded after changes is what a process that starts now would load, whatever it knew before."""

from __future__ import annotations

import random

from graphs import Graph
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagdvid.errors import RequestError
from dagdvid.repo.loading import State, load


def _commit(graph: Graph, at: str, rng: random.Random) -> None:
    graph.call("POST", f"/api/node/{at}/commit", {"note": "done"})


def _child(graph: Graph, at: str, rng: random.Random) -> None:
    graph.child(at, rng.choice(["", f"b{rng.random()}"]))


def _texts(graph: Graph, at: str, rng: random.Random) -> None:
    graph.call("POST", f"/api/node/{at}/{rng.choice(['log', 'note'])}", {"note": "n", "log": ["line"]})


def _repo_texts(graph: Graph, at: str, rng: random.Random) -> None:
    graph.call("POST", f"/api/repo/{at}/info", {"alias": f"{rng.random()}"})


def _hide(graph: Graph, at: str, rng: random.Random) -> None:
    branch = graph.version(at).branch
    words = ["repo", at[:9], rng.choice(["hide-branch", "show-branch"]), branch]
    graph.call("POST", "/api/server/command", {"words": words})


def _instances(graph: Graph, at: str, rng: random.Random) -> None:
    names = sorted(graph.repo.instances)
    if names and rng.random() < 0.5:
        graph.call("DELETE", f"/api/repo/{graph.root}/{rng.choice(names)}", imsure="true")
    else:
        graph.call("POST", f"/api/repo/{at}/instance", {"typename": "keyvalue", "dataname": f"kv{len(names)}"})


def _blob(graph: Graph, at: str, rng: random.Random) -> None:
    graph.call("POST", f"/api/node/{at}/kv/blobstore", b"%f" % rng.random())


def _other_repo(graph: Graph, at: str, rng: random.Random) -> None:
    others = sorted(set(graph.catalog.repos()) - {graph.root})
    if others and rng.random() < 0.6:
        root = rng.choice(others)
        graph.call("DELETE", f"/api/repo/{root}", imsure="true")
        if rng.random() < 0.5:  # the same UUID again, another repo
            graph.call("POST", "/api/repos", {"root": root, "alias": "again"})
    else:
        graph.call("POST", "/api/repos", {})


ACTIONS = [_commit, _child, _texts, _repo_texts, _hide, _instances, _blob, _other_repo]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=25), st.integers(0, 2**32))
def test_what_changed_is_all_that_has_to_be_loaded(call, actions, seed):
    rng = random.Random(seed)
    graph = Graph(call)
    catalog = graph.catalog
    reader = catalog.store.database.reader
    known = [State(), load(reader, catalog.nodes, State())]
    for action in actions:
        at = rng.choice(list(graph.repo.versions))
        try:
            action(graph, at, rng)
        except RequestError:
            continue
        call.server.upkeep.settle()
        whole = load(reader, catalog.nodes, State())
        for earlier in rng.sample(known, min(3, len(known))):
            found = load(reader, catalog.nodes, earlier)
            assert found == whole
            assert list(found.repos[graph.root].versions) == list(whole.repos[graph.root].versions)
        known.append(load(reader, catalog.nodes, known[-1]))


def test_a_change_of_one_version_leaves_the_others_as_they_are(call):
    graph = Graph(call)
    for _ in range(5):
        tip = list(graph.repo.versions)[-1]
        graph.commit(tip)
        graph.child(tip)
    before = graph.repo.versions
    tip = list(before)[-1]
    graph.call("POST", f"/api/node/{tip}/note", {"note": "new"})
    after = graph.repo.versions
    assert [uuid for uuid in after if after[uuid] is not before[uuid]] == [tip]
