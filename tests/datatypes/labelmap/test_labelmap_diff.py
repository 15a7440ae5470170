"""Diffs of segmentations: voxels by pairs of labels, supervoxels, bodies and mappings, with their sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

EDGE = 16
SIZE = f"{EDGE}_{EDGE}_{EDGE}"


def told(data: Any, other: Any) -> tuple[dict[str, list[dict[str, Any]]], dict[str, Any]]:
    """What changed, by what it is about; and the whole answer."""
    answer = data.api("GET", f"/api/node/{data.uuid}/data/diff/{other.uuid}").json
    found: dict[str, list[dict[str, Any]]] = {}
    for change in answer["changes"]:
        about = next(name for name in ("block", "body", "maps to", "supervoxel") if name in change)
        found.setdefault(about, []).append(change)
    return found, answer


@pytest.fixture
def seg(new_data):
    data = new_data("labelmap", BlockSize=f"{EDGE},{EDGE},{EDGE}", MaxDownresLevel="2")
    labels = np.ones((EDGE, EDGE, EDGE), np.uint64)
    labels[8:] = 2
    data.post(f"raw/0_1_2/{SIZE}/0_0_0", labels.tobytes())
    data.post(f"raw/0_1_2/{SIZE}/{EDGE}_0_0", (labels + np.uint64(2)).tobytes())
    return data


def test_voxels_are_told_by_pairs_of_labels(seg):
    child = seg.child()
    labels = np.ones((EDGE, EDGE, EDGE), np.uint64)
    labels[8:10] = 7
    labels[10:] = 2
    child.post(f"raw/0_1_2/{SIZE}/0_0_0", labels.tobytes())
    child.post(f"raw/0_1_2/{SIZE}/-{EDGE}_0_0", np.full((EDGE,) * 3, 9, np.uint64).tobytes())
    found, answer = told(seg, child)
    assert found["block"] == [
        {"change": "added", "block": [-1, 0, 0], "box": [[-16, 0, 0], [-1, 15, 15]], "voxels": [[0, 9, EDGE**3]]},
        {"change": "changed", "block": [0, 0, 0], "box": [[0, 0, 0], [15, 15, 15]], "voxels": [[2, 7, 2 * EDGE**2]]},
    ]
    assert [(each["supervoxel"], each["voxels"]) for each in found["supervoxel"]] == [
        (2, [8 * EDGE**2, 6 * EDGE**2]),
        (7, [0, 2 * EDGE**2]),
        (9, [0, EDGE**3]),
    ]
    assert answer["box"] == [[-16, 0, 0], [15, 15, 15]]
    assert answer["voxels"] == EDGE**3 + 2 * EDGE**2


def test_a_merge_changes_bodies_and_no_voxels(seg):
    child = seg.child()
    child.ask("POST", "merge", b"[1, 3]")
    found, answer = told(seg, child)
    assert answer["voxels"] == 0
    assert "block" not in found
    assert [(each["supervoxel"], each["maps to"]) for each in found["maps to"]] == [(3, [3, 1])]
    sizes = {each["body"]: each["voxels"][1] for each in found["body"]}
    assert sizes[1] == EDGE**3
    assert sizes.get(3, 0) == 0
    back, _ = told(child, seg)
    assert [(each["supervoxel"], each["maps to"]) for each in back["maps to"]] == [(3, [1, 3])]
