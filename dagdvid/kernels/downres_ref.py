"""The plain form of `downres`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["downres_ref"]


def downres_ref(voxels: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """As `downres`, with eight arrays that vote."""
    ballots = np.stack([voxels[z::2, y::2, x::2] for z in (0, 1) for y in (0, 1) for x in (0, 1)])
    votes = np.stack([(ballots == one).sum(axis=0) for one in ballots])
    votes[ballots == 0] = 0
    winners: NDArray[np.uint64] = np.where(votes == votes.max(axis=0), ballots, np.uint64(2**64 - 1)).min(axis=0)
    return winners
