"""Measure the raw images of a split, and estimate how long that takes."""

import time
from collections.abc import Callable, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from alloyk.data import ImageDataset
from alloyk.imaging import image_size, read_image, several
from alloyk.imaging.gray import to_gray
from alloyk.inference.measurements import curve_of, statistics_of
from alloyk.inference.novelty_fitting import MAX_CURVES, MAX_IMAGES, evenly_spaced
from alloyk.runtime.cores import available_cores

Measured = TypeVar("Measured")

SMALL_PIXELS = 96**2
"""Images of up to this size are measured in one thread: several would wait for Python's lock, and
take longer together."""


class Measurements(NamedTuple):
    """What is measured on the raw images of a split.

    Attributes:
        statistics: `raw_statistics`, `(n, 7)`; of images of c channels `(n, 7 · c)`.
        curves: `wedge_curve`, `(n, 3)`; of several channels that of their mean.
    """

    statistics: np.ndarray
    curves: np.ndarray


def read_measurements(paths: Sequence[Path], by_channel: bool = False) -> Measurements:
    """Measure the raw image of each file; each channel for itself with `by_channel`."""
    statistics, curves = zip(*_of_each(paths, by_channel, _both_of), strict=True)
    return Measurements(np.stack(statistics), np.stack(curves))


def read_statistics(paths: Sequence[Path], by_channel: bool = False) -> np.ndarray:
    """The statistics of `read_measurements` alone, `(n, 7)` or `(n, 7 · c)`."""
    return np.stack(_of_each(paths, by_channel, statistics_of))


def read_curves(paths: Sequence[Path], by_channel: bool = False) -> np.ndarray:
    """The wedge curves of `read_measurements` alone, `(n, 3)`."""
    return np.stack(_of_each(paths, by_channel, curve_of))


def measuring_seconds(dataset: ImageDataset) -> float:
    """Estimate how long the raw images are measured after a training run.

    The training images are measured for the detector of unlike images, those of val and test for
    its scores. Three training images are measured here, the first of them to load the libraries.
    """
    paths = dataset.paths("train")
    sample = [paths[number] for number in evenly_spaced(len(paths), 3)]
    by_channel = several(dataset.channels)

    def seconds(measure: Callable[[np.ndarray], object]) -> float:
        _measured(sample[0], by_channel, measure)
        started = time.perf_counter()
        for path in sample[1:]:
            _measured(path, by_channel, measure)
        return (time.perf_counter() - started) / max(len(sample) - 1, 1)

    others = len(dataset.split("val")) + len(dataset.split("test"))
    needed = (
        min(len(paths), MAX_IMAGES) * seconds(statistics_of)
        + min(len(paths), MAX_CURVES) * seconds(curve_of)
        + others * seconds(_both_of)
    )
    return needed / _threads(paths[0])


def _both_of(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return statistics_of(image), curve_of(image)


def _of_each(
    paths: Sequence[Path], by_channel: bool, measure: Callable[[np.ndarray], Measured]
) -> list[Measured]:
    """What is measured on the raw image of each file."""
    with ThreadPool(_threads(paths[0])) as pool:
        return pool.map(lambda path: _measured(path, by_channel, measure), paths)


def _threads(path: Path) -> int:
    """How many threads measure images of the size of this one in the least time."""
    height, width = image_size(path)
    return 1 if height * width <= SMALL_PIXELS else available_cores()


def _measured(path: Path, by_channel: bool, measure: Callable[[np.ndarray], Measured]) -> Measured:
    image = read_image(path)
    return measure(image if by_channel else to_gray(image))
