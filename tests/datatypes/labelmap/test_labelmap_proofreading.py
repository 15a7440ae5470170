"""Bodies against a plain numpy model: random merges, cleaves, renumberings, splits and writes, in versions."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from calling import Caller
from hypothesis import given, settings
from hypothesis import strategies as st

from dagdvid.config import Config
from dagdvid.errors import BadRequest
from dagdvid.interchange.labelindex import LabelIndex, read_index, read_indices, write_index
from dagdvid.interchange.sparsevols import read_rles, write_rles
from dagdvid.kernels import runs
from dagdvid.routes import Request
from dagdvid.server import Server

SIZE = 32
SHAPE = (SIZE, SIZE, SIZE)


class Seg:
    """An instance at a version, asked without HTTP."""

    def __init__(self, server: Server, uuid: str) -> None:
        self.server, self.uuid = server, uuid

    def ask(self, method: str, path: str, body: bytes = b"", **query: str) -> Any:
        found = self.server.find(method, f"/api/node/{self.uuid}/seg/{path}")
        assert found is not None
        request = Request(method, f"/api/node/{self.uuid}/seg/{path}", found.args, query, {}, body, local=True)
        reply = self.server.handle(found, request)
        return reply.status, reply.body if isinstance(reply.body, bytes) else b"".join(reply.body)

    def json(self, method: str, path: str, value: Any = None, **query: str) -> Any:
        body = value if isinstance(value, bytes) else b"" if value is None else json.dumps(value).encode()
        status, answer = self.ask(method, path, body, **query)
        assert status == 200
        return json.loads(answer) if answer else None

    def write(self, volume: np.ndarray) -> None:
        path = "raw/0_1_2/32_32_32/-16_0_0"
        self.ask("POST", path, volume.astype("<u8").tobytes(), mutate="true")

    def read(self, **query: str) -> np.ndarray:
        raw = self.ask("GET", "raw/0_1_2/32_32_32/-16_0_0", **query)[1]
        return np.frombuffer(raw, "<u8").reshape(SHAPE)


@dataclass
class Model:
    """Voxels [z, y, x] of supervoxels, and what each is mapped to."""

    volume: np.ndarray
    mapping: dict[int, int] = field(default_factory=dict)
    free: int = 0
    """The greatest label so far, of all versions."""

    def copy(self) -> Model:
        return Model(self.volume.copy(), dict(self.mapping), self.free)

    def supervoxels(self) -> list[int]:
        return [label for label in np.unique(self.volume).tolist() if label]

    def bodies(self) -> dict[int, set[int]]:
        found: dict[int, set[int]] = {}
        for label in self.supervoxels():
            found.setdefault(self.mapping.get(label, label) or label, set()).add(label)
        return found

    def mapped(self) -> np.ndarray:
        table = {label: self.mapping.get(label, label) for label in np.unique(self.volume).tolist()}
        return np.vectorize(table.__getitem__, otypes=[np.uint64])(self.volume)


def start(server: Server) -> tuple[Seg, Model]:
    call = Caller(server)
    root = call.json("POST", "/api/repos", {})["root"]
    settings = {"typename": "labelmap", "dataname": "seg", "BlockSize": "16,16,16", "MaxDownresLevel": "1"}
    call.json("POST", f"/api/repo/{root}/instance", settings)
    seg = Seg(server, root)
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 9, (8, 8, 8)).astype(np.uint64)
    volume = coarse.repeat(4, 0).repeat(4, 1).repeat(4, 2)
    seg.write(volume)
    return seg, Model(volume, {}, 8)


def child(seg: Seg) -> Seg:
    call = Caller(seg.server)
    call.json("POST", f"/api/node/{seg.uuid}/commit", {})
    return Seg(seg.server, call.json("POST", f"/api/node/{seg.uuid}/newversion", {})["child"])


def check(seg: Seg, model: Model) -> None:
    bodies = model.bodies()
    sizes = dict(zip(*(column.tolist() for column in np.unique(model.volume, return_counts=True)), strict=True))
    assert np.array_equal(seg.read(supervoxels="true"), model.volume)
    assert np.array_equal(seg.read(), model.mapped())
    assert seg.json("GET", "existing-labels") == sorted(bodies)
    every = sorted({*bodies, *model.supervoxels(), *model.mapping, 999})
    wanted = [sum(sizes[s] for s in bodies.get(label, ())) for label in every]
    assert seg.json("GET", "sizes", every) == wanted
    pairs = np.frombuffer(seg.ask("GET", "listlabels", sizes="true")[1], "<u8").reshape(-1, 2)
    assert dict(pairs.tolist()) == {label: n for label, n in zip(every, wanted, strict=True) if n}
    shown = [model.mapping.get(s, s if s in sizes else 0) for s in every]
    assert seg.json("GET", "mapping", every) == shown
    lines = [tuple(map(int, line.split())) for line in seg.ask("GET", "mappings")[1].decode().splitlines()]
    assert dict(lines) == {s: b for s, b in model.mapping.items() if s != b}
    indices = read_indices(seg.ask("GET", "indices", json.dumps(sorted(bodies)).encode())[1])
    assert len(read_indices(seg.ask("GET", "indices", b"[999]")[1])) == 1
    for index in indices:
        assert rows(index) == recount(model.volume, bodies[index.label])
    for label in sorted(bodies)[:2]:
        volume = read_rles(seg.ask("GET", f"sparsevol/{label}")[1])
        mask = runs.of_mask(np.isin(model.volume, list(bodies[label])), (-16, 0, 0))
        assert np.array_equal(runs.join(volume), mask)
        half = np.frombuffer(seg.ask("GET", "raw/0_1_2/16_16_16/-8_0_0", scale="1", supervoxels="true")[1], "<u8")
        mask = runs.of_mask(np.isin(half.reshape(16, 16, 16), list(bodies[label])), (-8, 0, 0))
        halved = seg.ask("GET", f"sparsevol/{label}", scale="1", format="srles")[1]
        assert np.array_equal(runs.join(np.frombuffer(halved, "<i4").reshape(-1, 4).astype(np.int64)), mask)


def rows(index: Any) -> set[tuple[int, ...]]:
    columns = (index.blocks.tolist(), index.supervoxels.tolist(), index.counts.tolist())
    return {(*at, label, n) for at, label, n in zip(*columns, strict=True)}


def recount(volume: np.ndarray, supervoxels: set[int]) -> set[tuple[int, ...]]:
    found = set()
    for z in range(2):
        for y in range(2):
            for x in range(2):
                block = volume[16 * z : 16 * z + 16, 16 * y : 16 * y + 16, 16 * x : 16 * x + 16]
                for label in supervoxels:
                    if n := int((block == label).sum()):
                        found.add((x - 1, y, z, label, n))
    return found


def step(seg: Seg, model: Model, action: str, draw: Any) -> None:
    """One thing done, to the instance and to the model."""
    bodies = model.bodies()
    labels = sorted(bodies)
    if action == "merge" and len(labels) > 1:
        chosen = draw(st.lists(st.sampled_from(labels), min_size=2, max_size=4, unique=True))
        seg.json("POST", "merge", chosen)
        for label in chosen[1:]:
            model.mapping |= dict.fromkeys(bodies[label], chosen[0])
    elif action == "cleave":
        large = [label for label in labels if len(bodies[label]) > 1]
        if large:
            label = draw(st.sampled_from(large))
            members = sorted(bodies[label])
            taken = draw(st.lists(st.sampled_from(members), min_size=1, max_size=len(members) - 1, unique=True))
            made = seg.json("POST", f"cleave/{label}", taken)["CleavedLabel"]
            assert made == model.free + 1
            model.free = made
            model.mapping |= {made: 0} | dict.fromkeys(taken, made)
    elif action == "renumber" and labels:
        label = draw(st.sampled_from(labels))
        model.free += 3
        seg.json("POST", "renumber", [model.free, label])
        model.mapping |= {model.free: 0} | dict.fromkeys(bodies[label], model.free)
    elif action == "split":
        label = draw(st.sampled_from([s for s in model.supervoxels() if (model.volume == s).sum() > 1]))
        mask = model.volume == label
        n = int(mask.sum())
        cut = np.zeros(mask.size, bool)
        cut[np.flatnonzero(mask)[: draw(st.integers(1, n - 1))]] = True
        cut = cut.reshape(SHAPE)
        body = model.mapping.get(label, label)
        volume = write_rles(runs.of_mask(cut, (-16, 0, 0)))
        answer = seg.json("POST", f"split-supervoxel/{label}", volume)
        made, rest = answer["SplitSupervoxel"], answer["RemainSupervoxel"]
        assert (made, rest) == (model.free + 1, model.free + 2)
        model.free = rest
        model.volume[mask], model.volume[cut] = rest, made
        model.mapping |= {made: body, rest: body, label: 0}
    elif action == "write":
        z = draw(st.integers(0, 28))
        retired = {label for label, body in model.mapping.items() if not body}
        label = draw(st.sampled_from([0, *(set(range(1, 10)) - retired)]))
        model.volume[z : z + 4] = label
        model.free = max(model.free, label)
        seg.write(model.volume)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    opened = Server.open(Config(data=tmp_path_factory.mktemp("data") / "data"))
    yield opened
    opened.close()


ACTIONS = st.lists(
    st.sampled_from(["merge", "merge", "cleave", "renumber", "split", "write", "commit"]), min_size=1, max_size=8
)


@given(ACTIONS, st.data())
@settings(max_examples=12)
def test_bodies_are_what_was_done_to_them(server: Server, actions: list[str], data: Any) -> None:
    seg, model = start(server)
    past: list[tuple[Seg, Model]] = []
    for action in actions:
        if action == "commit":
            past.append((seg, model.copy()))
            seg = child(seg)
        else:
            step(seg, model, action, data.draw)
    check(seg, model)
    for version, then in past:
        check(version, then)


def test_what_is_refused_changes_nothing(server: Server) -> None:
    seg, model = start(server)
    seg.json("POST", "merge", [1, 2, 3])
    model.mapping |= {2: 1, 3: 1}
    run = struct.pack("<4B2I4i", 0, 3, 0, 0, 0, 1, -16, 0, 0, 1)
    sub = int(model.volume[0, 0, 0]) or 4
    refused = [
        ("merge", b"[1]"),
        ("merge", b"[1,1]"),
        ("merge", b"[4,99]"),
        ("merge", b"[99,4]"),
        ("merge", b"[4,5,2]"),
        ("merge", b"[4,0]"),
        ("merge", b"[0,4]"),
        ("merge", b"[4,5.0]"),
        ("cleave/1", b"[1,2,3]"),
        ("cleave/1", b"[2,4]"),
        ("cleave/1", b"[]"),
        ("cleave/2", b"[2]"),
        ("cleave/4", b"[4]"),
        ("renumber", b"[4,5]"),
        ("renumber", b"[50,4,51,99]"),
        ("renumber", b"[0,4]"),
        ("renumber", b"[50]"),
        (f"split-supervoxel/{sub % 8 + 1}", run),
        ("split-supervoxel/99", run),
        ("split-supervoxel/4", run[:-1]),
        ("split-supervoxel/4", struct.pack("<4B2I", 0, 3, 0, 0, 0, 0)),
        ("split/4", run),
        ("nextlabel/0", b""),
        ("index/4", b"\x10\x05"),
        ("index/4", b"\x10"),
        ("mappings", b"\x0a"),
    ]
    for path, body in refused:
        with pytest.raises(BadRequest):
            seg.ask("POST", path, body)
    check(seg, model)
    assert seg.json("GET", "nextlabel") == {"nextlabel": 9}
    assert [each["Action"] for each in seg.json("GET", "mutations")] == ["merge-complete"]


def test_an_index_before_a_mutation(server: Server) -> None:
    seg, model = start(server)
    done = []
    states: list[dict[int, set[tuple[int, ...]]]] = []

    def do(path: str, value: Any) -> Any:
        states.append({label: recount(model.volume, s) for label, s in model.bodies().items()})
        answer = seg.json("POST", path, value)
        done.append(answer["MutationID"])
        return answer

    do("merge", [1, 2, 3])
    model.mapping |= {2: 1, 3: 1}
    do("merge", [4, 1])
    model.mapping |= {1: 4, 2: 4, 3: 4}
    mask = model.volume == 2
    cut = mask.copy()
    cut[:, :, 10:] = False
    made = do("split-supervoxel/2", write_rles(runs.of_mask(cut, (-16, 0, 0))))
    split, rest = made["SplitSupervoxel"], made["RemainSupervoxel"]
    model.volume[mask], model.volume[cut] = rest, split
    model.mapping |= {2: 0, split: 4, rest: 4}
    cleaved = do("cleave/4", [split, 3])["CleavedLabel"]
    for mutation, state in zip(done, states, strict=True):
        for label in (1, 2, 3, 4, cleaved):
            status, body = seg.ask("GET", f"index/{label}", mutid=str(mutation))
            assert (rows(read_index(body)) if status == 200 else None) == state.get(label)
    assert seg.ask("GET", "index/4", mutid="7")[0] == 404


def test_a_posted_index_holds_until_something_is_done(server: Server) -> None:
    seg, model = start(server)
    lie = LabelIndex(4, np.zeros((1, 3), np.int64), np.array([4], np.uint64), np.array([999]))
    seg.ask("POST", "index/4", write_index(lie))
    assert seg.json("GET", "size/4") == {"voxels": 999}
    assert int(read_index(seg.ask("GET", "index/4")[1]).counts.sum()) == 999
    seg.json("POST", "merge", [4, 5])
    model.mapping[5] = 4
    check(seg, model)


def branches(seg: Seg) -> tuple[Seg, Seg]:
    call = Caller(seg.server)
    call.json("POST", f"/api/node/{seg.uuid}/commit", {})
    left = call.json("POST", f"/api/node/{seg.uuid}/newversion", {})["child"]
    right = call.json("POST", f"/api/node/{seg.uuid}/branch", {"branch": "side"})["child"]
    return Seg(seg.server, left), Seg(seg.server, right)


def merged(seg: Seg, *parents: Seg) -> Seg:
    call = Caller(seg.server)
    for parent in parents:
        call.json("POST", f"/api/node/{parent.uuid}/commit", {})
    asked = {"mergeType": "conflict-free", "parents": [parent.uuid for parent in parents], "note": ""}
    return Seg(seg.server, call.json("POST", f"/api/repo/{seg.uuid}/merge", asked)["child"])


def consistent(seg: Seg) -> dict[int, set[int]]:
    """Indices, sizes and members are what the voxels and the mapping say; the bodies with their supervoxels."""
    model = Model(seg.read(supervoxels="true").copy())
    labels = model.supervoxels()
    model.mapping = dict(zip(labels, seg.json("GET", "mapping", labels), strict=True))
    for line in seg.ask("GET", "mappings")[1].decode().splitlines():
        label, body = map(int, line.split())
        model.mapping[label] = body
    check(seg, model)
    return model.bodies()


@given(st.lists(st.sampled_from(["merge", "merge", "cleave", "renumber", "split"]), max_size=5),
       st.lists(st.sampled_from(["merge", "merge", "cleave", "renumber", "write"]), max_size=5), st.data())  # fmt: skip
@settings(max_examples=12)
def test_branches_merge_to_what_voxels_say(server: Server, mine: list[str], others: list[str], data: Any) -> None:
    seg, model = start(server)
    sides = branches(seg)
    free = model.free
    for side, actions in zip(sides, (mine, others), strict=True):
        own = model.copy()
        own.free = free
        for action in actions:
            step(side, own, action, data.draw)
        check(side, own)
        free = own.free
    try:
        after = merged(seg, *sides)
    except BadRequest as error:
        assert "conflict" in str(error)
        return
    consistent(after)
    consistent(child(after))


def test_what_both_sides_did_to_bodies_is_done(server: Server) -> None:
    seg, _ = start(server)
    left, right = branches(seg)
    left.json("POST", "merge", [1, 2])
    left.json("POST", "merge", [1, 3])
    right.json("POST", "merge", [2, 4, 5])
    made = right.json("POST", "cleave/2", [5])["CleavedLabel"]
    right.json("POST", "renumber", [70, 6])
    right.json("POST", "merge", [7, 8], u="ann")
    after = merged(seg, left, right)
    assert consistent(after) == {1: {1, 2, 3, 4}, made: {5}, 70: {6}, 7: {7, 8}}
    assert after.json("GET", "lastmod/7")["last mod user"] == "ann"
    assert after.json("POST", "merge", [7, 70])["MutationID"]
    assert consistent(after) == {1: {1, 2, 3, 4}, made: {5}, 7: {6, 7, 8}}


def test_a_merge_counts_what_one_side_wrote_in_bodies_that_the_other_merged(server: Server) -> None:
    seg, model = start(server)
    left, right = branches(seg)
    left.json("POST", "merge", [1, 2, 3])
    model.volume[4:8, 4:8, 4:8] = 2
    model.volume[8:12, :4, :4] = 50
    right.write(model.volume)
    model.mapping |= {2: 1, 3: 1}
    after = merged(seg, left, right)
    check(after, model)
    assert after.json("GET", "maxlabel") == {"maxlabel": 50}


@pytest.mark.parametrize("ceiling", [1001, 2**48, 2**63, 2**64 - 1])
def test_a_ceiling_of_labels_may_be_any_number(server: Server, ceiling: int) -> None:
    seg, _ = start(server)
    path = f"/api/node/{seg.uuid}/seg/set-nextlabel/1000"
    found = server.find("POST", path)
    assert found is not None
    server.handle(found, Request("POST", path, found.args, {"ceiling": str(ceiling)}, admin=True, local=True))
    assert seg.json("POST", "nextlabel/1") == {"start": 1001, "end": 1001}
    if ceiling == 1001:
        with pytest.raises(BadRequest):
            seg.ask("POST", "nextlabel/1")
