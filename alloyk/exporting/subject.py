"""The run to export: its model, its images, and what the model predicts for them."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, cast

import numpy as np

from alloyk.data import ImageDataset
from alloyk.errors import ConfigError, DataError, ModelError
from alloyk.exporting.agreement import Outputs, Shape, classify
from alloyk.imaging import read_image
from alloyk.inference import Classifier, load
from alloyk.inference.backends import KerasBackend
from alloyk.messages import shown
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.runs.folder import RunFolder
from alloyk.runs.predictions import Predictions
from alloyk.runs.run_data import open_run_data

logger = logging.getLogger(__name__)


@dataclass
class Subject:
    """A run to export.

    Attributes:
        run: Its folder.
        dataset: Its data set, with the splits of its training.
        original: Its model.
        input_shape: `(height, width, channels)` that the file will take, None for any.
        shapes: Shape → number of test images.
        progress: Progress display.
    """

    run: Path
    dataset: ImageDataset
    original: Classifier
    input_shape: Shape
    shapes: Counter[tuple[int, ...]]
    progress: Progress = NO_PROGRESS
    _expected: Outputs | None = None

    @property
    def model(self) -> Any:
        """The Keras model with all its outputs."""
        return cast(KerasBackend, self.original.backend).full_model

    def names(self, split: str = "test") -> list[str]:
        """Paths of the images of a split, relative to the data set."""
        return [str(path) for path in self.dataset.split(split)["path"]]

    def expected(self) -> Outputs:
        """What the original predicts for the test images, computed once."""
        if self._expected is None:
            (self._expected,) = self._classify([self.original], "test")
        return self._expected

    def found(self, exported: Classifier, split: str = "test") -> Outputs:
        """What an exported file predicts for the images of a split."""
        if split != "test" or self._expected is not None:
            return self._classify([exported], split)[0]
        # Together, so that each image is read once.
        self._expected, found = self._classify([self.original, exported], split)
        return found

    def _classify(self, classifiers: Sequence[Classifier], split: str) -> list[Outputs]:
        paths, names = self.dataset.paths(split), self.names(split)
        with self.progress.task(f"comparing on {split} images", len(paths)) as advance:
            return classify(classifiers, paths, names, self.input_shape, advance)

    def predictions(self, outputs: Outputs, split: str = "test") -> Predictions:
        """Return the outputs for a split as predictions with labels and plates."""
        return Predictions(
            table=self.dataset.split(split).fillna("").astype(str),
            classes=self.original.classes,
            y_true=self.dataset.labels(split),
            y_pred=outputs.probabilities.argmax(axis=1),
            probabilities=outputs.probabilities,
            unlike=outputs.unlike,
        )

    @cached_property
    def resized(self) -> int:
        """Number of test images that do not have the input size."""
        height, width = self.input_shape[:2]
        if height is None or width is None:
            return 0
        return sum(n for shape, n in self.shapes.items() if shape[:2] != (height, width))

    @cached_property
    def timed_shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)` of an image to measure the speed on."""
        shape = self.input_shape
        if None in shape:
            shape = self.shapes.most_common(1)[0][0]
        height, width, channels = (int(size or 0) for size in shape)
        return height, width, channels


def open_subject(
    run: str | Path,
    data: str | Path | None = None,
    *,
    fixed_shape: bool,
    input_size: tuple[int, int] | None = None,
    progress: Progress = NO_PROGRESS,
) -> Subject:
    """Load a run and find its test images.

    Args:
        run: Run folder.
        data: Its data set; by default at its path in training.
        fixed_shape: Whether the file takes images of one shape only.
        input_size: `(height, width)` of that shape; by default that of the test images.
        progress: Progress display.

    Raises:
        AlloykError: The run or its data set does not exist, has other classes, or has no test
            images of one size.
    """
    run = Path(run)
    dataset = open_run_data(run, data)
    for note in dataset.notes:
        logger.warning(note)
    paths = dataset.paths("test")
    if not paths:
        raise DataError(
            f"{shown(dataset.root)} must have test images to compare the export on, got none"
        )
    shapes = _shapes(paths)
    logger.info(f"loading {shown(run)}")
    original = load(run)
    if original.classes != dataset.classes:
        raise ModelError(
            f"{shown(RunFolder(run).model_file)} must have the classes of its data set "
            f"({', '.join(dataset.classes)}), got {', '.join(original.classes)}; train it again"
        )
    shape = original.input_shape
    if fixed_shape:
        shape = _input_shape(shapes, input_size, original)
    return Subject(run, dataset, original, shape, shapes, progress)


def _shapes(paths: Sequence[Path]) -> Counter[tuple[int, ...]]:
    """Count the shapes of images."""
    logger.info(f"reading {len(paths)} test images")
    with ThreadPool() as pool:
        return Counter(pool.map(lambda path: read_image(path).shape, paths))


def _input_shape(
    shapes: Counter[tuple[int, ...]], input_size: tuple[int, int] | None, original: Classifier
) -> tuple[int, int, int]:
    """`(height, width, channels)` of the images, for a format of fixed size."""
    frame = original.input_shape[:2]
    if input_size and None not in frame and tuple(input_size) != frame:
        raise ConfigError(
            f"--input-size must be {frame[0]}x{frame[1]}, the size of the flat frames of "
            f"{shown(original.path)}, got {input_size[0]}x{input_size[1]}; omit it"
        )
    sizes = {shape[:2] for shape in shapes}
    if input_size is None and len(sizes) > 1:
        (low, high) = (min(sizes, key=np.prod), max(sizes, key=np.prod))
        raise ConfigError(
            "the test images must have one size for a format of fixed size, got "
            f"{len(sizes)} sizes (from {low[0]}x{low[1]} to {high[0]}x{high[1]}); set the size of "
            "the device's images with --input-size HEIGHTxWIDTH"
        )
    height, width = input_size or sizes.pop()
    # A model for colour images also takes gray ones, as three equal channels; not vice versa.
    return height, width, max(shape[2] for shape in shapes)
