"""The training images that the ranges of a quantised network's activations are measured on."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alloyk.csv_lines import csv_line
from alloyk.data import ImageDataset
from alloyk.errors import DataError
from alloyk.exporting.agreement import as_input
from alloyk.imaging import read_image
from alloyk.inference.novelty_fitting import evenly_spaced
from alloyk.messages import shown
from alloyk.runs.split_record import image_digests

IMAGES = 300
"""Images of one draw, if the training split has twice as many."""

ENOUGH = 100
"""Fewer are used if there are not more, with a note."""

MAX_MEASURED = 2000
"""Training images, evenly spaced, among which the extremes are searched."""

EXTREMES = 2
"""Lowest and highest images of each measure that go into each draw."""

READ_AHEAD = 4
"""Images that are read and held together: 300 large frames do not fit into memory."""

MEASURES = ("mean", "largest", "contrast")
COLUMNS = ("path", "label", "draw", "reason", "sha256")


@dataclass(frozen=True)
class CalibrationImage:
    """An image of the training split that was drawn.

    Attributes:
        path: Relative to the data set.
        label: Its class.
        draw: `A`, which the file is made from, or `B`, which is compared with it.
        reason: `drawn`, or the measure that it is an extreme of, such as `lowest mean`.
        file: Where it is.
    """

    path: str
    label: str
    draw: str
    reason: str
    file: Path


@dataclass(frozen=True)
class Calibration:
    """Two disjoint draws of training images.

    Attributes:
        images: All of them.
        note: A sentence for the user; empty if there are enough.
    """

    images: tuple[CalibrationImage, ...]
    note: str = ""

    def of(self, draw: str) -> list[CalibrationImage]:
        """The images of one draw."""
        return [image for image in self.images if image.draw == draw]

    def manifest(self) -> str:
        """The images as CSV: `path,label,draw,reason,sha256`."""
        digests = image_digests(Path(), [str(image.file) for image in self.images])
        rows = (
            (image.path, image.label, image.draw, image.reason, digest)
            for image, digest in zip(self.images, digests, strict=True)
        )
        return csv_line(COLUMNS) + "".join(map(csv_line, rows))


def draw_calibration(dataset: ImageDataset, *, count: int = IMAGES, seed: int = 0) -> Calibration:
    """Draw two disjoint sets of training images, balanced over classes, with extremes.

    Args:
        dataset: The run's data set, with the splits of its training.
        count: Images of each draw; half the training split if that is fewer.
        seed: Seed of the draw.

    Raises:
        DataError: The training split has no two images, or one cannot be read.
    """
    table, files = dataset.split("train"), dataset.paths("train")
    if len(table) < 2:
        raise DataError(
            "calibration needs images of the run's training split, got "
            f"{len(table)} in {shown(dataset.root)}; restore them, give the data set with --data, "
            "or choose a format without calibration (tflite, tflite-fp16, tflite-w8)"
        )
    labels = dataset.labels("train")
    taken: dict[int, tuple[str, str]] = {}  # row → draw and reason
    size = min(count, len(table) // 2)
    for row, draw, reason in _extremes(files):
        drawn = sum(one == draw for one, _ in taken.values())
        if row not in taken and drawn < size:
            taken[row] = (draw, reason)
    _fill(taken, labels, size, np.random.default_rng(seed))
    images = tuple(
        CalibrationImage(
            str(table["path"].iloc[row]), dataset.classes[labels[row]], *taken[row], files[row]
        )
        for row in sorted(taken)
    )
    note = ""
    if size < ENOUGH:
        note = (
            f"calibration has {size} training images, and {ENOUGH} or more are advised; the ranges "
            "of activations may be too narrow"
        )
    return Calibration(images, note)


def _extremes(files: Sequence[Path]) -> list[tuple[int, str, str]]:
    """Row, draw and reason of the images at both ends of each measure."""
    rows = evenly_spaced(len(files), MAX_MEASURED)

    def measured(row: int) -> tuple[float, float, float]:
        image = np.asarray(read_image(files[row]), np.float64)
        return float(image.mean()), float(image.max()), float(image.std())

    with ThreadPoolExecutor() as pool:
        measures = np.array(list(pool.map(measured, rows)))
    found = []
    for column, name in enumerate(MEASURES):
        order = rows[np.argsort(measures[:, column], kind="stable")]
        for place in range(min(EXTREMES * 2, len(order) // 2)):
            draw = "AB"[place % 2]
            found.append((int(order[place]), draw, f"lowest {name}"))
            found.append((int(order[-1 - place]), draw, f"highest {name}"))
    return found


def _fill(
    taken: dict[int, tuple[str, str]],
    labels: np.ndarray,
    size: int,
    generator: np.random.Generator,
) -> None:
    """Draw images at random until both draws have `size`, the classes and the draws in turn."""
    missing = {draw: size - sum(one == draw for one, _ in taken.values()) for draw in "AB"}
    free = np.array([row for row in range(len(labels)) if row not in taken], np.int64)
    queues = [
        list(generator.permutation(free[labels[free] == label])) for label in np.unique(labels)
    ]
    while any(missing.values()) and any(queues):
        for queue in queues:
            for draw in "AB":
                if queue and missing[draw]:
                    taken[int(queue.pop())] = (draw, "drawn")
                    missing[draw] -= 1


def read_calibration(
    images: Sequence[CalibrationImage], shape: tuple[int, int, int]
) -> Iterator[np.ndarray]:
    """Read the images as a file for images of `shape` takes them, `READ_AHEAD` at a time."""

    def read(image: CalibrationImage) -> np.ndarray:
        return as_input(read_image(image.file), shape)

    with ThreadPoolExecutor(READ_AHEAD) as pool:
        for start in range(0, len(images), READ_AHEAD):
            yield from pool.map(read, images[start : start + READ_AHEAD])
