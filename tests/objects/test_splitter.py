"""The boundary rule (SPEC 5.3)."""

from __future__ import annotations

import statistics

import naive_tree
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tree_tools import keys_by_hash

from dagdvid.objects.tree.splitter import cuts, is_cut, seed


@given(st.integers(0, 2**40), st.integers(0, 3000), st.integers(0, 4))
def test_cuts_follow_the_rule(start, n, level):
    keys = [(start + 7 * i).to_bytes(8, "big") for i in range(n)]
    ends = naive_tree.split(keys, level)
    found = cuts(keys, level)
    assert found == (ends if ends and is_cut(keys[-1], n - ([0, *ends])[-2], level) else ends[:-1])
    begin = 0
    for end in found:
        assert [is_cut(keys[i], i - begin + 1, level) for i in range(begin, end)] == [False] * (end - begin - 1) + [
            True
        ]
        begin = end


@given(st.integers(0, 2**40), st.lists(st.integers(0, 700), min_size=1, max_size=8), st.integers(0, 3))
def test_cuts_of_a_stream_are_those_of_the_whole(start, pieces, level):
    keys = [(start + 3 * i).to_bytes(8, "big") for i in range(sum(pieces))]
    found: list[int] = []
    at = open_count = 0
    for n in pieces:
        ends = cuts(keys[at : at + n], level, open_count)
        found += [at + end for end in ends]
        open_count = n - ends[-1] if ends else open_count + n
        at += n
    assert found == cuts(keys, level)


@pytest.mark.parametrize(
    ("lo", "hi", "lengths"),
    [
        (2**60, 2**64, {512}),
        (0, 2**55, {128}),
        (2**55, 2**58, {256}),
        (2**58, 2**60, {384}),
    ],
)
def test_zones(lo, hi, lengths):
    """Keys whose hashes all lie in one zone: cut as soon as that zone begins, or at the limit."""
    keys = keys_by_hash([0], lo, hi, 1100)
    ends = cuts(keys, 0)
    assert {b - a for a, b in zip([0, *ends], ends, strict=False)} == lengths


def test_levels_cut_independently():
    keys = [i.to_bytes(8, "big") for i in range(50_000)]
    assert len({tuple(cuts(keys, level)) for level in range(4)}) == 4
    assert [seed(level) - seed(0) for level in range(4)] == [0, 1, 2, 3]


def test_sizes_are_as_designed():
    keys = [i.to_bytes(8, "big") for i in range(300_000)]
    ends = cuts(keys, 0)
    lengths = [b - a for a, b in zip([0, *ends], ends, strict=False)]
    assert 270 <= statistics.mean(lengths) <= 296
    assert statistics.pstdev(lengths) < 80
    assert min(lengths) >= 128
    assert max(lengths) <= 512
