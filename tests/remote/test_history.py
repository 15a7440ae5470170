"""Graphs with parents: orders, samples and common ancestors against brute force."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dagdvid.remote.history import common_base, in_order, sample


@st.composite
def graphs(draw):
    """Parents of each node, older ones only; up to three each."""
    n = draw(st.integers(1, 40))
    return {
        bytes([i]): tuple(bytes([p]) for p in draw(st.lists(st.integers(0, i - 1), max_size=3, unique=True)))
        if i
        else ()
        for i in range(n)
    }


def reach(graph, tips):
    found = set()
    front = list(tips)
    while front:
        name = front.pop()
        if name not in found:
            found.add(name)
            front += graph[name]
    return found


@given(graphs(), st.data())
def test_order(graph, data):
    some = st.lists(st.sampled_from(sorted(graph)), max_size=4)
    tips, known = data.draw(some), data.draw(some)
    order = in_order(tips, known, graph.__getitem__)
    assert len(order) == len(set(order))
    assert set(order) == reach(graph, tips) - reach(graph, known)
    place = {name: i for i, name in enumerate(order)}
    assert all(place[p] < place[name] for name in order for p in graph[name] if p in place)


@given(graphs(), st.data())
def test_common_base(graph, data):
    node = st.sampled_from(sorted(graph))
    a, b = data.draw(node), data.draw(node)
    shared = reach(graph, [a]) & reach(graph, [b])
    base = common_base(a, b, graph.__getitem__)
    assert (base is None) == (not shared)
    if base is not None:
        assert base in shared
        assert not any(base in reach(graph, graph[other]) for other in shared)
    if a in reach(graph, [b]):
        assert base == a
    if b in reach(graph, [a]):
        assert base == b


@given(graphs(), st.data())
def test_samples(graph, data):
    tips = data.draw(st.lists(st.sampled_from(sorted(graph)), min_size=1, max_size=4, unique=True))
    picked = sample(tips, graph.__getitem__)
    assert picked[: len(tips)] == tips
    assert len(picked) == len(set(picked)) <= 64
    assert set(picked) <= reach(graph, tips)


def test_a_long_chain_of_diamonds():
    graph = {0: ()}
    for i in range(1, 3000, 3):
        graph |= {i: (i - 1,), i + 1: (i - 1,), i + 2: (i, i + 1)}
    parents = {str(n).encode(): tuple(str(p).encode() for p in ps) for n, ps in graph.items()}
    tip = str(max(graph)).encode()
    picked = sample([tip], parents.__getitem__)
    assert len(picked) < 64
    assert b"0" in picked
    assert len(in_order([tip], [], parents.__getitem__)) == len(graph)
