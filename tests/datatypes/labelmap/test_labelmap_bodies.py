"""Indices, members and sizes follow voxels: against dictionaries, through transactions of their own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
import pytest
from calling import Caller
from hypothesis import given, settings
from hypothesis import strategies as st

from dagdvid import registry
from dagdvid.config import Config
from dagdvid.datatypes.labelmap import bodies, counts, mapping, members
from dagdvid.datatypes.labelmap.maxima import max_label
from dagdvid.kernels import morton
from dagdvid.server import Server

PLUGIN = """
from dagdvid.datatypes.keyvalue import KeyValue

class Labels(KeyValue):
    name = "labels"
    spaces = ("supervoxels", "index", "bodies", "members", "mapping", "posted", "maxima", "marks")
    labels = marks = True

LABELS = Labels()
"""


@pytest.fixture(scope="module")
def labelmap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], tuple[Server, Data]]]:
    """Makes instances on one server."""
    site = tmp_path_factory.mktemp("site")
    info = site / "labels-1.0.dist-info"
    info.mkdir()
    (site / "dagdvid_labels.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: labels\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{registry.GROUP}]\nlabels = dagdvid_labels:LABELS\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        registry._entry_points.cache_clear()
        with closing(Server.open(Config(data=tmp_path_factory.mktemp("data") / "data"))) as server:
            yield lambda: (server, make(server))
    sys.modules.pop("dagdvid_labels", None)
    registry._entry_points.cache_clear()
    registry.datatype.cache_clear()


def make(server: Server) -> Data:
    call = Caller(server)
    root = call.json("POST", "/api/repos", {})["root"]
    call.json("POST", f"/api/repo/{root}/instance", {"typename": "labels", "dataname": "data"})
    return Data(root, "data")


class Data(NamedTuple):
    uuid: str
    name: str


class Model:
    """Blocks as dictionaries of voxels by supervoxel."""

    def __init__(self) -> None:
        self.blocks: dict[tuple[int, int, int], dict[int, int]] = {}
        self.mapping: dict[int, int] = {}

    def table(self) -> dict[int, dict[int, int]]:
        """Voxels by supervoxel and block code."""
        found: dict[int, dict[int, int]] = {}
        for (z, y, x), voxels in self.blocks.items():
            for label, n in voxels.items():
                if label:
                    found.setdefault(label, {})[morton.encode_ref(x, y, z)] = n
        return found

    def bodies(self) -> dict[int, set[int]]:
        found: dict[int, set[int]] = {}
        for label in self.table():
            found.setdefault(self.mapping.get(label, label), set()).add(label)
        return found


def check(view: Any, model: Model) -> None:
    table, every = model.table(), model.bodies()
    labels = np.array([*range(1, 40), 300, 301, 1 << 40], np.uint64)
    rows = counts.read(view, labels)
    found: dict[int, dict[int, int]] = {}
    for label, code, n in zip(*(column.tolist() for column in rows), strict=True):
        found.setdefault(label, {})[code] = n
    assert found == table
    sizes = {label: sum(blocks.values()) for label, blocks in table.items()}
    assert dict(bodies.existing(view)) == {b: sum(sizes[s] for s in svs) for b, svs in every.items()}
    for label, body in zip(labels.tolist(), bodies.find(view, labels), strict=True):
        assert (body is None) == (label not in every)
        if body is not None:
            assert set(bodies.supervoxels_of(view, body).tolist()) == every[label]
            assert body.supervoxels == len(every[label])
            assert body.voxels == sum(sizes[s] for s in every[label])


def transact(server: Server, data: Data, run: Callable[[Any], None]) -> Any:
    """Run changes in a transaction; a view of what is there afterwards."""
    repo, version = server.catalog.find(data.uuid)
    txn = server.catalog.txn(repo, version, repo.instance(data.name))
    run(txn)
    server.catalog.commit_txn(txn, version)
    return server.catalog.snapshot(repo, version, repo.instance(data.name))


LABELS = st.sampled_from([*range(13), 300, 301, 1 << 40])
BLOCKS = st.tuples(*[st.sampled_from([-17, -1, 0, 1, 16])] * 3)
WRITES = st.dictionaries(BLOCKS, st.dictionaries(LABELS, st.integers(1, 4096), max_size=4), min_size=1, max_size=4)


@given(st.lists(st.tuples(WRITES, st.dictionaries(LABELS, st.integers(1, 3), max_size=2)), max_size=8))
@settings(max_examples=25)
def test_indices_equal_a_recount(labelmap: Callable[[], tuple[Server, Data]], steps: list[Any]) -> None:
    server, data = labelmap()
    model = Model()
    for writes, mapped in steps:
        fresh = {s: b for s, b in mapped.items() if s > 3 and s not in model.table() and s not in model.mapping}

        def run(txn: Any, writes: Any = writes, fresh: Any = fresh) -> None:
            for label, body in fresh.items():
                mapping.set_mapping(txn, np.array([label], np.uint64), body)
            changes = [(at, model.blocks.get(at, {}), after) for at, after in writes.items()]
            bodies.note_blocks(txn, changes)

        view = transact(server, data, run)
        model.blocks |= writes
        model.mapping |= fresh
        check(view, model)


def test_a_supervoxel_of_many_blocks(labelmap: Callable[[], tuple[Server, Data]]) -> None:
    server, data = labelmap()
    model = Model()
    many = {(z, y, 0): {5: 4 + z, 6: 2} for z in range(-3, 60) for y in range(4)}
    few = {at: {6: 3} for at in list(many)[:-20]}  # 5 fits into its record again
    one = {(0, 0, 0): {5: 9}, (100, 0, 0): {5: 1}, (-3, 0, 0): {5: 4}}
    for writes in (many, one, few, {at: {} for at in many}):
        view = transact(
            server,
            data,
            lambda txn, w=writes: bodies.note_blocks(
                txn, [(at, model.blocks.get(at, {}), new) for at, new in w.items()]
            ),
        )
        model.blocks |= writes
        check(view, model)
    assert list(view.keys(counts.INDEX)) == []
    assert max_label(view) == 6
    assert view.next_label() == 7


def test_members_are_pages(labelmap: Callable[[], tuple[Server, Data]]) -> None:
    server, data = labelmap()
    first = np.array([1, 2, 255, 256, 1 << 40, (1 << 64) - 1], np.uint64)
    had: list[Any] = []

    def run(txn: Any) -> None:
        members.add(txn, 7, first)
        had.append(members.add(txn, 7, np.array([2, 3, 256, 999], np.uint64)).tolist())
        members.remove(txn, 7, np.array([1, 3, 999, 1 << 40], np.uint64))
        members.add(txn, 8, first)

    view = transact(server, data, run)
    assert had == [[2, 256]]
    assert members.read(view, 7).tolist() == [2, 255, 256, (1 << 64) - 1]
    assert members.contains(view, [7, 7, 8, 9], [1, 2, 1, 1]) == [False, True, True, False]
    view = transact(server, data, lambda txn: members.clear(txn, 8, first))
    assert members.read(view, 8).size == 0
    assert members.read(view, 7).size == 4


def test_mapping_of_arrays(labelmap: Callable[[], tuple[Server, Data]]) -> None:
    server, data = labelmap()

    def run(txn: Any) -> None:
        mapping.set_mapping(txn, np.array([3, 5], np.uint64), 4)
        mapping.set_mapping(txn, np.array([9], np.uint64), 0)
        mapping.set_mapping(txn, np.array([8], np.uint64), 8)

    view = transact(server, data, run)
    asked = np.array([[0, 3], [9, 7]], np.uint64)
    assert bodies.mapped(view, asked).tolist() == [[0, 4], [0, 7]]
    assert [column.tolist() for column in bodies.mapping_of(view, asked)] == [[3, 9], [4, 0]]
    assert [[c.tolist() for c in part] for part in mapping.entries(view)] == [[[3, 5, 9], [4, 4, 0]]]


def test_labels_are_given_once(labelmap: Callable[[], tuple[Server, Data]]) -> None:
    server, data = labelmap()
    taken: list[int] = []

    def run(txn: Any) -> None:
        txn.meet_label(41)
        taken.extend([*txn.take_labels(2), *txn.take_labels(1)])

    view = transact(server, data, run)
    assert taken == [1, 2, 3]
    assert view.next_label() == 42


def test_records_are_found_by_their_marks(labelmap: Callable[[], tuple[Server, Data]]) -> None:
    server, data = labelmap()
    marks: list[bytes] = []
    view = transact(server, data, lambda txn: marks.extend([txn.log({"a": 1}), txn.log({"a": 2})]))
    first, second, absent = view.records([*marks, b"absent!!"])
    assert (first.record["a"], second.record["a"]) == (1, 2)
    assert 0 < first.mutation < second.mutation
    assert (absent.mutation, absent.record) == (0, {})
