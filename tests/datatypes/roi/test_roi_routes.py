"""roi through the server: what the recorded contract does not say."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest

from dagdvid.errors import BadRequest, Locked

SPANS = [[0, 0, 0, 1], [0, 2, 3, 5], [0, 2, 8, 9], [1, 2, 3, 4], [3, 1, 0, 0]]


def put(data, spans):
    data.post("roi", json.dumps(spans).encode())


def spans_of(data):
    return data.ask("GET", "roi").json


@pytest.fixture
def area(new_data):
    return new_data("roi", BlockSize="8,4,2")


def test_spans_come_back_in_order(area):
    put(area, SPANS[::-1])
    assert spans_of(area) == SPANS
    put(area, [[-5, -1, -3, 2]])
    assert spans_of(area) == [[-5, -1, -3, 2]]
    assert area.ask("GET", "info").json["Extended"] == {"BlockSize": [8, 4, 2], "MinZ": -5, "MaxZ": -5}


@pytest.mark.parametrize("body", [b"not json", b"[[0,0,5,3]]", b"[[0,0,0]]", b"{}"])
def test_what_is_refused_changes_nothing(area, body):
    put(area, SPANS)
    with pytest.raises(BadRequest):
        area.post("roi", body)
    assert spans_of(area) == SPANS


def test_masks_at_negative_places(area):
    """DVID's masks are wrong there (surprises, roi): its division rounds towards zero."""
    put(area, [[-1, -1, -1, -1]])
    mask = np.frombuffer(area.get("mask/0_1_2/10_6_4/-9_-5_-3"), np.uint8).reshape(4, 6, 10)
    expected = np.zeros((4, 6, 10), np.uint8)
    expected[1:3, 1:5, 1:9] = 1
    assert (mask == expected).all()


def test_large_masks_are_streamed(area):
    put(area, [[0, 0, 0, 1000]])
    answer = area.ask("GET", "mask/vol/1600_1200_3/0_0_0")
    assert answer.streamed
    assert sum(answer.body) == 1600 * 4 * 2


@pytest.mark.parametrize(
    "path", ["mask/xy/8_8/0_0_0", "mask/0_1_2/8_8_0/0_0_0", "mask/0_1_2/8_8/0_0_0", "mask/0_1_2/5000_5000_5000/0_0_0"]
)
def test_refused_masks(area, path):
    with pytest.raises(BadRequest):
        area.get(path)


def test_points(area):
    put(area, SPANS)
    points = [[0, 0, 0], [15, 3, 1], [16, 0, 0], [-1, 0, 0], [24, 8, 0], [7, 7, 7], [7, 8, 7]]
    inside = [True, True, False, False, True, True, False]
    assert area.ask("POST", "ptquery", json.dumps(points).encode()).json == inside
    assert area.ask("POST", "ptquery", b"[]").json == []
    for body in (b"x", b"3", b"[[1,2]]", b"[[1,2,3.5]]", b"[[1,2,9999999999]]"):
        with pytest.raises(BadRequest):
            area.ask("POST", "ptquery", body)


def test_points_can_be_asked_of_a_committed_version(area):
    put(area, SPANS)
    area.child()
    assert area.ask("POST", "ptquery", b"[[0,0,0]]").json == [True]
    with pytest.raises(Locked):
        put(area, [])


def covered(boxes):
    cells = []
    for box in boxes:
        (x0, y0, z0), (x1, y1, z1) = box["MinChunk"], box["MaxChunk"]
        cells += [(x, y, z) for x in range(x0, x1 + 1) for y in range(y0, y1 + 1) for z in range(z0, z1 + 1)]
    return cells


@pytest.mark.parametrize("batch", [1, 2, 3, 8, 100])
@pytest.mark.parametrize("optimized", ["true", "on"])
def test_fitted_boxes_hold_every_block_once(area, batch, optimized):
    rng = np.random.default_rng(batch)
    rows = rng.integers(-30, 30, (60, 3)).tolist()
    put(area, [[z, y, x, x + i % 9] for i, (z, y, x) in enumerate(rows)])
    parts = area.ask("GET", "partition", batchsize=str(batch), optimized=optimized).json
    blocks = {(x, y, z) for z, y, x0, x1 in spans_of(area) for x in range(x0, x1 + 1)}
    cells = covered(parts["Subvolumes"])
    assert blocks <= set(cells)
    assert len(cells) == len(set(cells)) == parts["NumTotalBlocks"]
    assert parts["NumActiveBlocks"] == len(blocks) == sum(box["ActiveBlocks"] for box in parts["Subvolumes"])
    assert parts["NumSubvolumes"] == len(parts["Subvolumes"])
    for box in parts["Subvolumes"]:
        low, high = np.array(box["MinChunk"]), np.array(box["MaxChunk"])
        assert (high - low < batch).all()
        assert box["MinPoint"] == (low * [8, 4, 2]).tolist()
        assert box["MaxPoint"] == ((high + 1) * [8, 4, 2] - 1).tolist()


def test_partitions_are_refused(area):
    for query in ({}, {"batchsize": "0"}, {"batchsize": "x"}, {"batchsize": "-2"}):
        with pytest.raises(BadRequest, match="batchsize"):
            area.get("partition", **query)
    assert area.ask("GET", "partition", batchsize="4").json["Subvolumes"] == []


def test_two_that_replace_it_at_once_do_not_mix(area):
    wanted = [[[z, i, 0, 0] for z in range(i, 40, 3)] for i in range(6)]
    threads = [threading.Thread(target=put, args=(area, spans)) for spans in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert spans_of(area) in wanted


def test_versions_differ_and_merge_by_block(area):
    put(area, [[0, 0, 0, 9], [1, 0, 0, 9], [7, 0, 0, 0]])
    root = area.uuid
    ours = area.child()
    branch = area.api("POST", f"/api/node/{root}/branch", b'{"branch": "side"}').json["child"]
    theirs = area.at(branch)
    put(ours, [[0, 0, 2, 9], [1, 0, 0, 9]])  # two blocks and a layer less
    put(theirs, [[0, 0, 0, 12], [1, 0, 0, 9], [7, 0, 0, 0], [9, 9, 9, 9]])  # three blocks and a layer more
    told = area.api("GET", f"/api/node/{root}/data/diff/{ours.uuid}").json
    assert [(change["change"], change["z"]) for change in told["changes"]] == [("changed", 0), ("removed", 7)]
    assert told["layers"] == [0, 7]
    for data in (ours, theirs):
        area.api("POST", f"/api/node/{data.uuid}/commit", b'{"note": "done"}')
    merge = {"mergeType": "conflict-free", "parents": [ours.uuid, theirs.uuid], "note": ""}
    merged = area.api("POST", f"/api/repo/{root}/merge", json.dumps(merge).encode()).json["child"]
    assert spans_of(area.at(merged)) == [[0, 0, 2, 12], [1, 0, 0, 9], [9, 9, 9, 9]]


def test_equal_regions_have_equal_hashes(new_data):
    hashes = []
    for steps in ([SPANS], [[[5, 5, 5, 5]], [], SPANS[::-1]]):
        data = new_data("roi")
        for spans in steps:
            put(data, spans)
        data.child()
        view = data.server.catalog
        repo, version = view.find(data.uuid)
        hashes.append(view.snapshot(repo, version, repo.instance("data")).root("layers"))
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize("size", ["0,1,1", "32", "a,b,c"])
def test_refused_settings(new_data, size):
    with pytest.raises(BadRequest, match="BlockSize"):
        new_data("roi", BlockSize=size)
