"""The vote of eight voxels."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagdvid.kernels import twins
from dagdvid.kernels.downres import downres
from dagdvid.kernels.downres_ref import downres_ref


@pytest.fixture(scope="module", autouse=True)
def compiled():
    twins.load()


HIGH = 2**64 - 1


@pytest.mark.parametrize(
    ("voxels", "winner"),
    [
        ([0] * 8, 0),
        ([0] * 7 + [9], 9),
        ([5, 5, 4, 4, 0, 0, 0, 0], 4),
        ([5, 5, 5, 4, 4, 0, 0, 0], 5),
        ([8, 7, 6, 5, 4, 3, 2, 1], 1),
        ([HIGH, HIGH, 1, 0, 0, 0, 0, 0], HIGH),
        ([HIGH] * 8, HIGH),
        ([3, 2, 3, 2, 3, 2, 0, 0], 2),
    ],
)
def test_votes(voxels, winner):
    cube = np.array(voxels, np.uint64).reshape(2, 2, 2)
    assert downres(cube).tolist() == downres_ref(cube).tolist() == [[[winner]]]


labels = st.sampled_from([0, 0, 1, 2, 3, 2**40, HIGH])


@given(st.tuples(*[st.integers(1, 3)] * 3), st.randoms(use_true_random=False), st.integers(1, 7))
def test_each_voxel_is_the_smallest_of_the_most_frequent(halves, random, few):
    choice = [0, 1, 2, 3, 2**40, HIGH, 0][:few]
    shape = tuple(2 * half for half in halves)
    voxels = np.array([random.choice(choice) for _ in range(np.prod(shape))], np.uint64).reshape(shape)
    coarse = downres(voxels)
    assert coarse.dtype == np.uint64
    assert coarse.tolist() == downres_ref(voxels).tolist()
    for z, y, x in np.ndindex(*halves):
        cube = voxels[2 * z : 2 * z + 2, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].reshape(-1).tolist()
        votes = Counter(label for label in cube if label)
        assert coarse[z, y, x] == min(votes, key=lambda label: (-votes[label], label), default=0)
