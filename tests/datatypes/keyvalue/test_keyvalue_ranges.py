"""The Range header, against what DVID was recorded to answer (keyvalue_bytes) and a plain reading of the RFC."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagdvid.datatypes.keyvalue.ranges import requested_range, satisfiable


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (0, 0)),
        ("bytes=2-5", (2, 5)),
        ("bytes=20-", (20, 25)),
        ("bytes=-4", (22, 25)),
        ("bytes=-400", (0, 25)),
        ("bytes=10-1000", (10, 25)),
        ("bytes=26-", None),
        ("bytes=-0", None),
    ],
)
def test_ranges_of_26_bytes(header, expected):
    wanted = requested_range(header)
    assert wanted is not None
    assert satisfiable(wanted, 26) == expected


@pytest.mark.parametrize(
    "header",
    [
        *(None, "", "bytes=0-1,4-5", "bytes=9-3", "bytes=", "bytes=-", "lines=1-2", "bytes=a-b", "bytes=1"),
        *("bytes=\u0663-\u0664", "bytes=" + "9" * 5000 + "-"),
    ],
)
def test_other_headers_are_ignored(header):
    assert requested_range(header) is None


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 20))
def test_a_range_selects_the_positions_between_its_ends(first, last, size):
    wanted = requested_range(f"bytes={first}-{last}")
    if last < first:
        assert wanted is None
        return
    found = satisfiable(wanted, size)
    positions = [i for i in range(size) if first <= i <= last]
    assert (list(range(found[0], found[1] + 1)) if found else []) == positions


@given(st.integers(0, 30), st.integers(0, 20))
def test_a_suffix_selects_the_last_positions(count, size):
    found = satisfiable(requested_range(f"bytes=-{count}"), size)
    positions = list(range(size))[max(0, size - count) :] if count else []
    assert (list(range(found[0], found[1] + 1)) if found else []) == positions
