"""Measuring the raw images of a split: each part alone, and how long it takes."""

import time

import numpy as np
import pytest
from PIL import Image

from alloyk.data import load_dataset
from alloyk.inference import measuring
from alloyk.inference.measuring import (
    measuring_seconds,
    read_curves,
    read_measurements,
    read_statistics,
)


def test_parts_alone_are_those_of_the_measurements(tmp_path, monkeypatch):
    rows, columns = np.mgrid[:40, :48]
    paths = []
    for number, contrast in enumerate((0.3, 0.6, 0.9)):
        counts = 12000 * np.exp(-columns / 40 - contrast * (rows >= 20))
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(counts.astype(np.uint16)).save(paths[-1])
    measured = read_measurements(paths)
    expected = measured.curves
    np.testing.assert_allclose(expected[:, 1], (0.3, 0.6, 0.9), atol=0.02)
    np.testing.assert_array_equal(read_statistics(paths), measured.statistics)
    monkeypatch.setattr(measuring, "statistics_of", None)  # slow on large images
    np.testing.assert_array_equal(read_curves(paths), expected)


@pytest.mark.parametrize(("side", "threads"), [(96, 1), (97, 2)])
def test_the_estimate_is_the_time_that_measuring_takes(tmp_path, monkeypatch, side, threads):
    """Threads are for large images: on small ones they wait for each other."""
    for split, count in (("train", 20), ("val", 4), ("test", 6)):
        for number in range(count):
            path = tmp_path / split / ("1050", "2017")[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((side, side), number, np.uint8)).save(path)
    monkeypatch.setattr(measuring, "available_cores", lambda: 2)
    monkeypatch.setattr(measuring, "MAX_IMAGES", 10)
    monkeypatch.setattr(measuring, "statistics_of", lambda image: time.sleep(0.05))
    monkeypatch.setattr(measuring, "curve_of", lambda image: time.sleep(0.02))
    dataset = load_dataset(tmp_path)
    expected = (10 * 0.05 + 20 * 0.02 + 10 * 0.07) / threads
    assert measuring_seconds(dataset) == pytest.approx(expected, rel=0.3)
    started = time.perf_counter()
    read_statistics(dataset.paths("train"))
    assert (time.perf_counter() - started < 0.9 * 20 * 0.05) == (threads > 1)
