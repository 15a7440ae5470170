"""The sample data: the same from the same seed, and like tissue."""

from __future__ import annotations

import json

import numpy as np

from dagdvid.cli.sample import SHAPE, neurons, tissue


def test_tissue():
    image = tissue()
    assert (image.shape, image.dtype) == (SHAPE, np.uint8)
    assert all(n % 32 == 0 for n in SHAPE)
    assert np.array_equal(image, tissue())
    dark, bright = (image < 90).mean(), (image > 130).mean()
    assert 0.03 < dark < 0.25  # membranes, mitochondria
    assert bright > 0.5  # cytoplasm
    assert len(np.unique(image)) > 150


def test_neurons():
    records = neurons()
    assert records == neurons()
    assert len(records) == 200
    for key, value in records.items():
        record = json.loads(value)
        assert record["bodyid"] == int(key)
        assert all(0 <= at < n for at, n in zip(record["soma"], reversed(SHAPE), strict=True))
