"""Extents: grown by many at once, set, and merged."""

from __future__ import annotations

import json
import threading

import pytest

from dagdvid.datatypes import extents
from dagdvid.errors import Corrupt
from dagdvid.geometry import Box, Point


def shown(data):
    found = data.ask("GET", "info").json["Extents"]
    return found["MinPoint"], found["MaxPoint"]


def view_of(data):
    repo, version = data.server.catalog.find(data.uuid)
    return data.server.catalog.snapshot(repo, version, repo.instance(data.name))


def post(data, x, y=0, z=0):
    data.post(f"raw/0_1_2/8_8_8/{x}_{y}_{z}", bytes([5]) * 512)


@pytest.fixture
def gray(new_data):
    return new_data("uint8blk", BlockSize="8,8,8")


def test_faces_are_golden():
    """SPEC 9.4."""
    faces = sorted(extents._faces(Box(Point(-8, 0, 16), Point(8, 16, 1))))
    assert [face.hex() for face in faces] == [
        "2b78" + "7fffffff",
        "2b79" + "8000000f",
        "2b7a" + "80000010",
        "2d78" + "7ffffff8",
        "2d79" + "80000000",
        "2d7a" + "80000010",
    ]


def test_six_faces_whatever_was_written(gray):
    for i in (3, 1, 2, -4, 0, 7, 5):
        post(gray, 8 * i, -8 * i, 8 * (i % 2))
    assert len(list(view_of(gray).keys("meta"))) == 6
    assert shown(gray) == ([-32, -56, 0], [63, 39, 15])


def test_a_write_waits_for_no_other(gray):
    """Two that both widen the extents, each begun before the other ended: neither is run again."""
    catalog = gray.server.catalog
    repo, version = catalog.find(gray.uuid)
    instance = repo.instance("data")
    post(gray, 0)
    txns = [catalog.txn(repo, version, instance) for _ in range(3)]
    for i, txn in enumerate(txns):
        extents.grow(txn, instance.config, Box(Point(8 * i, 0, 0), Point(8, 8, 8)))
    for txn in txns:
        catalog.commit_txn(txn, version)
    assert shown(gray) == ([0, 0, 0], [23, 7, 7])
    assert list(view_of(gray).keys("meta"))[:2] == [
        extents._faces(Box(Point(0, 0, 0), Point(n, 8, 8))).__next__() for n in (16, 24)
    ]
    post(gray, 24)
    assert len(list(view_of(gray).keys("meta"))) == 6


def test_of_two_that_set_them_one_comes_last(gray):
    post(gray, 0)
    wanted = [([i, i, i], [50 - i, 60, 70 + i]) for i in range(8)]

    def set_to(first, last):
        gray.post("extents", json.dumps({"MinPoint": first, "MaxPoint": last}).encode())

    threads = [threading.Thread(target=set_to, args=pair) for pair in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shown(gray) in wanted


def test_extents_that_grew_on_both_sides_merge(gray):
    post(gray, 0)
    root = gray.uuid
    ours = gray.child()
    side = gray.at(gray.api("POST", f"/api/node/{root}/branch", b'{"branch": "side"}').json["child"])
    post(ours, 40)
    post(side, 16, -8)
    post(side, 0, 0, 80)
    for data in (ours, side):
        gray.api("POST", f"/api/node/{data.uuid}/commit", b'{"note": "done"}')
    merge = {"mergeType": "conflict-free", "parents": [ours.uuid, side.uuid], "note": ""}
    merged = gray.at(gray.api("POST", f"/api/repo/{root}/merge", json.dumps(merge).encode()).json["child"])
    assert shown(merged) == ([0, -8, 0], [47, 7, 87])
    assert merged.get("raw/0_1_2/1_1_1/16_-8_0") == merged.get("raw/0_1_2/1_1_1/40_0_0") == b"\5"


def test_damage_is_told():
    class Keys:
        def __init__(self, keys):
            self.stored = keys

        def keys(self, space):
            return iter(self.stored)

    faces = sorted(extents._faces(Box(Point(0, 0, 0), Point(1, 1, 1))))
    assert extents.load(Keys(faces), {}).last == Point(0, 0, 0)
    for damaged in (faces[1:], [*faces, b"-zz"], sorted([*faces[:3], *(f[:2] + b"\xff" * 4 for f in faces[3:])])):
        with pytest.raises(Corrupt):
            extents.load(Keys(damaged), {})
