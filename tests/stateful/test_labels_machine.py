"""A labelmap on a real server and its copy on a second one: random writes, proofreading, versions and pushes.

At every version of either server voxels at all scales, sizes, sparse volumes, mappings and indices are those of a numpy
model, and an index is a recount of the voxels.
"""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from sites import Site

from dagdvid.cli.child import ServerProcess
from dagdvid.interchange.labelindex import read_indices
from dagdvid.interchange.sparsevols import read_rles, write_rles
from dagdvid.kernels import runs
from dagdvid.kernels.downres import downres_ref

EDGE = 16
ORIGIN = -16
"""Of the volume, along each axis: two blocks, the first at negative coordinates."""
SIDE = 2 * EDGE
WHOLE = f"{SIDE}_{SIDE}_{SIDE}/{ORIGIN}_{ORIGIN}_{ORIGIN}"

picks = st.integers(0, 1000)


@dataclass
class Model:
    """One version."""

    voxels: np.ndarray = field(default_factory=lambda: np.zeros((SIDE, SIDE, SIDE), np.uint64))
    """Supervoxels."""
    body: dict[int, int] = field(default_factory=dict)
    """Of supervoxels that are not bodies of their own; 0 for labels that are none any more."""
    greatest: int = 0

    def mapped(self, labels: np.ndarray) -> np.ndarray:
        found, which = np.unique(labels, return_inverse=True)
        bodies = np.array([self.body.get(int(label), int(label)) for label in found], np.uint64)
        return bodies[which.reshape(labels.shape)]

    def bodies(self) -> dict[int, list[int]]:
        """The supervoxels of each body."""
        made: dict[int, list[int]] = {}
        for label in np.unique(self.voxels).tolist():
            if label:
                made.setdefault(self.body.get(label, label), []).append(label)
        return made


class Labels(RuleBasedStateMachine):
    sites: list[Site]

    @initialize()
    def begin(self) -> None:
        left, right = self.sites
        self.root = self.open = left.json("POST", "/api/repos", {})["root"]
        left.instance(self.root, "seg", "labelmap", BlockSize=f"{EDGE},{EDGE},{EDGE}", MaxDownresLevel="2")
        left.remote(self.root, right)
        self.now = Model()
        self.done: dict[str, Model] = {}

    def post(self, path: str, body: Any = b"", **query: str) -> Any:
        answer = self.sites[0].ask("POST", f"/api/node/{self.open}/seg/{path}", body, **query)
        assert answer.status_code == 200, (path, answer.text)
        return answer.json() if answer.content else None

    def some_body(self, pick: int, least: int = 1) -> int | None:
        found = [body for body, labels in sorted(self.now.bodies().items()) if len(labels) >= least]
        return found[pick % len(found)] if found else None

    # --- what is done ------------------------------------------------------------------------------------------------

    @rule(pick=picks, ways=st.sampled_from(["raw", "mutate"]), seed=st.integers(0, 99))
    def write(self, pick: int, ways: str, seed: int) -> None:
        """Blocks of new labels, of some that are there, and of nothing."""
        rng = np.random.default_rng(seed)
        there = [label for labels in self.now.bodies().values() for label in labels]
        fresh = [self.now.greatest + 1 + i for i in range(3)]
        palette = np.array([0, *fresh, *there[:3]], np.uint64)
        size = [EDGE * (1 + (pick >> bit & 1)) for bit in range(3)]
        at = [0 if edge == SIDE else EDGE * (pick >> 3 + bit & 1) for bit, edge in enumerate(size)]
        clumps = palette[rng.integers(0, len(palette), [edge // 4 for edge in size])]
        labels = clumps.repeat(4, 0).repeat(4, 1).repeat(4, 2)
        (z, y, x), (sz, sy, sx) = at, size
        self.now.voxels[z : z + sz, y : y + sy, x : x + sx] = labels
        self.now.greatest = max(self.now.greatest, int(labels.max()))
        place = f"{sx}_{sy}_{sz}/{x + ORIGIN}_{y + ORIGIN}_{z + ORIGIN}"
        self.post(f"raw/0_1_2/{place}", labels.tobytes(), **({"mutate": "true"} if ways == "mutate" else {}))

    @rule(pick=picks, other=picks)
    def merge(self, pick: int, other: int) -> None:
        target, taken = self.some_body(pick), self.some_body(other)
        if target is None or target == taken:
            return
        self.post("merge", [target, taken])
        for label in self.now.bodies()[taken]:
            self.now.body[label] = target

    @rule(pick=picks)
    def cleave(self, pick: int) -> None:
        body = self.some_body(pick, 2)
        if body is None:
            return
        off = self.now.bodies()[body][pick % 2 :: 2][:3]
        made = self.post(f"cleave/{body}", off)["CleavedLabel"]
        self.now.greatest = max(self.now.greatest, made)
        self.now.body |= {made: 0} | dict.fromkeys(off, made)

    @rule(pick=picks)
    def renumber(self, pick: int) -> None:
        body = self.some_body(pick)
        if body is None:
            return
        new = self.now.greatest = self.now.greatest + 5
        self.post("renumber", [new, body])
        self.now.body |= {new: 0} | dict.fromkeys(self.now.bodies()[body], new)

    @rule(pick=picks)
    def split_supervoxel(self, pick: int) -> None:
        body = self.some_body(pick)
        if body is None:
            return
        label = self.now.bodies()[body][-1]
        mask = self.now.voxels == label
        mask[:, :, ::2] = False
        if not mask.any() or mask.sum() == (self.now.voxels == label).sum():
            return
        part = write_rles(runs.of_mask(mask, (ORIGIN, ORIGIN, ORIGIN)))
        made = self.post(f"split-supervoxel/{label}", part)
        split, remain = made["SplitSupervoxel"], made["RemainSupervoxel"]
        self.now.voxels[self.now.voxels == label] = remain
        self.now.voxels[mask] = split
        self.now.greatest = max(self.now.greatest, split, remain)
        self.now.body |= {label: 0, split: body, remain: body}

    @rule(pick=picks, branching=st.booleans())
    def commit(self, pick: int, branching: bool) -> None:
        """Go on in a child of this version, or of another one."""
        left = self.sites[0]
        left.commit(self.open)
        self.done[self.open] = self.now
        parent = self.open
        if branching:
            parent = sorted(self.done)[pick % len(self.done)]
        self.open = left.child(parent, f"branch{len(self.done)}" if branching else "")
        self.now = deepcopy(self.done[parent])
        self.now.greatest = max(model.greatest for model in self.done.values())

    @rule()
    def push(self) -> None:
        if self.done:
            left, right = self.sites
            left.push(self.root)
            for uuid, model in self.done.items():
                assert right.hash(uuid) == left.hash(uuid)
                check(right, uuid, model)

    def teardown(self) -> None:
        if hasattr(self, "done"):
            for uuid, model in [*self.done.items(), (self.open, self.now)]:
                check(self.sites[0], uuid, model)
            self.push()


def check(site: Site, uuid: str, model: Model) -> None:
    def get(path: str, body: Any = b"", **query: str) -> bytes:
        answer = site.ask("GET", f"/api/node/{uuid}/seg/{path}", body, **query)
        assert answer.status_code == 200, (path, answer.text)
        return answer.content

    volume = model.voxels
    for scale in range(3):
        place = "/".join("_".join([str(n >> scale)] * 3) for n in (SIDE, ORIGIN))
        at = f"raw/0_1_2/{place}"
        assert get(at, scale=str(scale), supervoxels="true") == volume.tobytes()
        assert get(at, scale=str(scale)) == model.mapped(volume).tobytes()
        for body in list(model.bodies())[:2]:
            answer = site.ask("GET", f"/api/node/{uuid}/seg/sparsevol/{body}", scale=str(scale))
            assert answer.status_code == 200
            mask = model.mapped(volume) == body
            found = read_rles(answer.content) if answer.content else runs.no_runs()
            assert sorted(found.tolist()) == sorted(runs.of_mask(mask, [ORIGIN >> scale] * 3).tolist())
        volume = downres_ref(volume)
    bodies = model.bodies()
    assert json.loads(get("existing-labels")) == sorted(bodies)
    known = sorted({*bodies, *model.body, *(label for labels in bodies.values() for label in labels)})
    counts = {label: int((model.voxels == label).sum()) for label in known}
    sizes = [sum(counts[label] for label in bodies.get(body, ())) for body in known]
    assert json.loads(get("sizes", known)) == sizes
    there = [label for label in known if counts[label]]
    assert json.loads(get("sizes", there, supervoxels="true")) == [counts[label] for label in there]
    assert json.loads(get("mapping", there)) == [model.body.get(label, label) for label in there]
    for index in read_indices(get("indices", sorted(bodies))):
        assert recount(model, bodies[index.label]) == told(index)


def recount(model: Model, labels: list[int]) -> dict[tuple[int, int, int], dict[int, int]]:
    """Blocks x, y, z with the voxels of each supervoxel."""
    found = {}
    for z, y, x in np.ndindex(2, 2, 2):
        block = model.voxels[tuple(slice(EDGE * n, EDGE * (n + 1)) for n in (z, y, x))]
        counts = {label: int((block == label).sum()) for label in labels if (block == label).any()}
        if counts:
            found[x - 1, y - 1, z - 1] = counts
    return found


def told(index: Any) -> dict[tuple[int, int, int], dict[int, int]]:
    found: dict[tuple[int, int, int], dict[int, int]] = {}
    rows = zip(index.blocks.tolist(), index.supervoxels.tolist(), index.counts.tolist(), strict=True)
    for block, label, count in rows:
        found.setdefault(tuple(block), {})[label] = count
    return found


@pytest.fixture(scope="module", autouse=True)
def servers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    processes = [ServerProcess(folder / name, "127.0.0.1:0") for name in ("left", "right")]
    Labels.sites = [Site(process.url) for process in processes]
    yield
    for site, process in zip(Labels.sites, processes, strict=True):
        site.close()
        process.__exit__(None, None, None)


QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


class TestLabels(Labels.TestCase):
    settings = settings(max_examples=4, stateful_step_count=12, deadline=None, suppress_health_check=QUIET)


@pytest.mark.soak
@pytest.mark.timeout(3600)
class TestLabelsLong(Labels.TestCase):
    settings = settings(max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=QUIET)
