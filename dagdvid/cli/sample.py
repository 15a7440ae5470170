"""Sample data for `dagdvid demo`, made from a seed: a block of grayscale that looks like tissue, and neuron records."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
from numpy.typing import NDArray

__all__ = ["SHAPE", "neurons", "tissue"]

SHAPE = (64, 192, 192)
"""Voxels of the grayscale along z, y, x; whole blocks of 32."""

CELL = 32
"""Voxels between the middles of two neighbouring processes, about."""

Volume = NDArray[np.float32]


def tissue(seed: int = 1) -> NDArray[np.uint8]:
    """Grayscale as an electron microscope gives it: dark membranes between bright processes, mitochondria, noise.

    Returns:
        uint8 of SHAPE, axes z, y, x.
    """
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in SHAPE), indexing="ij", sparse=True)
    bent = [axis + 7 * _smooth(rng, 16) for axis in axes]
    wall, shade = _processes(rng, bent)
    image = 165 + 16 * shade + 7 * _smooth(rng, 8) + 4 * _smooth(rng, 4)
    for _ in range(40):
        _mitochondrion(rng, image, bent)
    image -= 105 * np.exp(-((wall / 1.9) ** 2))
    image += rng.standard_normal(SHAPE, np.float32) * 9
    result: NDArray[np.uint8] = np.clip(image, 0, 255).astype(np.uint8)
    return result


def neurons(count: int = 200, seed: int = 1) -> dict[str, bytes]:
    """Records as a proofreader keeps them: body id -> JSON."""
    rng = np.random.default_rng(seed)
    types = ("Mi1", "Tm3", "T4a", "L2", "Dm8")
    records = {}
    for body in range(1001, 1001 + count):
        record = {
            "bodyid": body,
            "type": types[int(rng.integers(len(types)))],
            "status": "Anchor",
            "soma": [int(rng.integers(n)) for n in reversed(SHAPE)],
            "synapses": int(rng.integers(20, 4000)),
        }
        records[str(body)] = json.dumps(record).encode()
    return records


def _processes(rng: np.random.Generator, at: list[Volume]) -> tuple[Volume, Volume]:
    """How far each voxel is from the border of its cell of a Voronoi diagram, and the shade of that cell."""
    cells = tuple(n // CELL + 4 for n in SHAPE)
    seeds = np.stack(np.meshgrid(*(np.arange(n) for n in cells), indexing="ij"), -1) + rng.random((*cells, 3))
    points = ((seeds - 2) * CELL).astype(np.float32).reshape(-1, 3)
    shades = rng.uniform(-1, 1, len(points)).astype(np.float32)
    home = [np.floor(axis / CELL).astype(np.int32) + 2 for axis in at]
    nearest = np.full(SHAPE, np.inf, np.float32)
    second = nearest.copy()
    shade = np.zeros(SHAPE, np.float32)
    for step in product((-1, 0, 1), repeat=3):
        cell = [np.clip(axis + d, 0, n - 1) for axis, d, n in zip(home, step, cells, strict=True)]
        index = np.ravel_multi_index(tuple(np.broadcast_arrays(*cell)), cells)
        distance = sum((axis - points[index, i]) ** 2 for i, axis in enumerate(at)) ** 0.5
        closer = distance < nearest
        second = np.where(closer, nearest, np.minimum(second, distance))
        nearest = np.where(closer, distance, nearest)
        shade = np.where(closer, shades[index], shade)
    return second - nearest, shade


def _mitochondrion(rng: np.random.Generator, image: Volume, at: list[Volume]) -> None:
    """Darken an ellipsoid, with folds in it."""
    middle = [rng.uniform(0, n) for n in SHAPE]
    radii = [rng.uniform(4, 11) for _ in SHAPE]
    lo = [max(0, int(m - 20)) for m in middle]
    box = tuple(slice(a, a + 40) for a in lo)
    part = [axis[box] for axis in at]
    inside = sum(((axis - m) / r) ** 2 for axis, m, r in zip(part, middle, radii, strict=True)) < 1
    image[box] -= inside * (48 + 12 * np.sin(part[0] * 0.9 + part[2] * 0.7))


def _smooth(rng: np.random.Generator, step: int) -> Volume:
    """Noise of SHAPE without features smaller than `step`, mean 0, deviation about 1 at the grid points."""
    field: Volume = rng.standard_normal([n // step + 1 for n in SHAPE]).astype(np.float32)
    for axis, n in enumerate(SHAPE):
        where = np.arange(n, dtype=np.float32) / step
        low = where.astype(np.int32)
        weight = (where - low).reshape([-1 if i == axis else 1 for i in range(3)])
        field = (np.take(field, low, axis) * (1 - weight) + np.take(field, low + 1, axis) * weight).astype(np.float32)
    return field
