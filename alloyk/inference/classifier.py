"""Classify images with a run, a ``.keras`` file, a SavedModel or a ``.tflite`` file.

A ``.tflite`` file needs LiteRT, NumPy and Pillow only: nothing else is imported for it.
"""

import csv
import glob
import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alloyk.errors import AlloykError
from alloyk.imaging import is_image_name, read_image, shown
from alloyk.imaging.gray import to_gray
from alloyk.inference.backends import BACKENDS, model_file
from alloyk.inference.metadata import read_metadata
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.targets import LOGITS
from alloyk.targets.estimates import ESTIMATE_PREFIX

# As many images are decoded together, and held in memory.
READ_AHEAD = 32

# A batch holds as many pixels or less: equalising needs some ten arrays of that size.
BATCH_PIXELS = 2**22

STANDARD_INPUT = "-"


@dataclass(frozen=True, eq=False)
class Classification:
    """What a classifier said about images, in the order in which they were given.

    Attributes:
        paths: Each image's path or name as given; None for an array without a name.
        labels: The class of highest probability, the first of equals.
        probabilities: `(n, k)` float64, columns in the order of `classes`.
        classes: The k class labels.
        estimates: Column of numbers that the classifier estimates as well → `(n,)` float64, in the
            column's unit.
    """

    paths: tuple[str | None, ...]
    labels: tuple[str, ...]
    probabilities: np.ndarray
    classes: tuple[str, ...]
    estimates: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)


class Classifier:
    """A trained model that takes raw images; `load` makes it.

    Attributes:
        path: What it was loaded from.
        classes: Class labels in the order of the probabilities.
        simulated: Whether it was trained on simulated images.
        spreads: Column of numbers that it estimates beside the class → standard deviation of that
            column over its training images.
        input_shape: `(height, width, channels)` of the images it takes, None where any will do.
    """

    def __init__(self, path: str | Path, *, threads: int | None = None):
        self.path = Path(path)
        kind, file = model_file(self.path)
        metadata = read_metadata(file)
        self.classes = metadata.classes
        self.simulated = metadata.simulated
        self.spreads = metadata.spreads
        self._output = metadata.output
        self.backend = BACKENDS[kind](file, threads)
        self.input_shape = self.backend.input_shape

    def predict(
        self,
        images,
        *,
        names: Sequence[str] | None = None,
        progress: Progress = NO_PROGRESS,
    ) -> Classification:
        """Classify images of any sizes; images of one size go through the model together.

        Args:
            images: A path or an array, or a sequence of them. An array is a raw image as decoded,
                `(height, width)` or `(height, width, channels)` of any number type, not scaled,
                or several of one size, `(n, height, width, channels)`.
            names: What to call each image in the result and in errors; by default its path.
            progress: Shows how far it is, see `alloyk.progress`.

        Raises:
            AlloykError: An image cannot be read or is not of the size that a `.tflite` file takes,
                or the model gives no number for it; the message names it.
            ValueError: An array is not of the shape of an image.
        """
        items = _as_items(images, names)
        # Probabilities, and behind them a column for each number that is estimated.
        answers = np.empty((len(items), len(self.classes) + len(self.spreads)))
        with progress.task("classifying", len(items)) as advance:
            for batch, raw in self._batches(items):
                found = self._answers(raw)
                for item, row in zip(batch, found, strict=True):
                    self._refuse_not_a_number(row, item)
                answers[[item.number for item in batch]] = found
                advance(len(batch))
        probabilities, numbers = np.split(answers, [len(self.classes)], axis=1)
        labels = tuple(self.classes[best] for best in probabilities.argmax(axis=1))
        paths = tuple(item.name for item in items)
        estimates = dict(zip(self.spreads, numbers.T, strict=True))
        return Classification(paths, labels, probabilities, self.classes, estimates)

    def _batches(self, items: "list[_Item]") -> Iterator[tuple[list, np.ndarray]]:
        """Items of one shape, and their images `(n, height, width, channels)` float32."""
        for start in range(0, len(items), READ_AHEAD):
            chunk = items[start : start + READ_AHEAD]
            by_shape: dict[tuple, list] = {}
            for item, image in zip(chunk, _raw_images(chunk), strict=True):
                image = self._fitted(image, item)
                by_shape.setdefault(image.shape, []).append((item, image))
            for shape, group in by_shape.items():
                fitting = BATCH_PIXELS // (shape[0] * shape[1])
                size = max(1, fitting) if self.backend.takes_batches else 1
                for first in range(0, len(group), size):
                    batch, images = zip(*group[first : first + size], strict=True)
                    yield list(batch), np.stack(images).astype(np.float32)

    def _fitted(self, image: np.ndarray, item) -> np.ndarray:
        """The image with as many channels as the model takes; an error for another size."""
        height, width, channels = self.input_shape
        if height is not None and image.shape[:2] != (height, width):
            found = f"{image.shape[0]}x{image.shape[1]}"
            advice = (
                "its flat-field correction knows the whole frame of one detector: give raw, "
                "uncropped frames of that"
                if self.backend.takes_batches
                else f"export the run again with `alloyk export RUN --input-size {found}`, or "
                "predict with the run itself"
            )
            raise AlloykError(
                f"{shown(self.path)} takes images of {height}x{width} (height x width), found "
                f"{item} of {found}: {advice}"
            )
        if channels == 3 and image.shape[2] == 1:
            return np.repeat(image, 3, axis=2)
        if channels == 1 and image.shape[2] == 3:
            return to_gray(image)
        return image

    def _answers(self, images: np.ndarray) -> np.ndarray:
        outputs = self.backend(images)
        probabilities = outputs[self._output].astype(np.float64)
        if self._output == LOGITS:
            powers = np.exp(probabilities - probabilities.max(axis=1, keepdims=True))
            probabilities = powers / powers.sum(axis=1, keepdims=True)
        return np.concatenate([probabilities, *(outputs[name] for name in self.spreads)], axis=1)

    def _refuse_not_a_number(self, answers, item) -> None:
        if not np.isfinite(answers).all():
            raise AlloykError(
                f"{shown(self.path)} gave no number for {item} "
                f"({answers.tolist()}): its weights or the image hold NaN or infinity"
            )


def load(path: str | Path, *, threads: int | None = None) -> Classifier:
    """Load a trained model.

    Args:
        path: Run folder, `.keras` file, SavedModel folder or `.tflite` file that alloyk made.
        threads: For a `.tflite` file: processor threads, by default up to four.

    Raises:
        AlloykError: It is no model, or not one of alloyk's.
    """
    return Classifier(path, threads=threads)


class _Item(NamedTuple):
    """One image to classify."""

    number: int
    name: str | None
    source: str | np.ndarray  # a path to read, or the pixels

    def __str__(self):
        return f"image {self.number} (from 0)" if self.name is None else shown(self.name)


def _as_items(images, names) -> list[_Item]:
    one_array = isinstance(images, np.ndarray) and images.ndim in (2, 3)
    images = [images] if one_array or isinstance(images, str | os.PathLike) else list(images)
    if names is not None and len(names) != len(images):
        raise ValueError(f"wanted {len(images)} names. Received: {len(names)}")
    items = []
    for number, image in enumerate(images):
        is_path = isinstance(image, str | os.PathLike)
        source = os.fspath(image) if is_path else _as_image(np.asarray(image))
        default = source if is_path else None
        items.append(_Item(number, names[number] if names is not None else default, source))
    return items


def _as_image(array: np.ndarray) -> np.ndarray:
    """A raw image `(height, width, 1 or 3)`."""
    image = array[..., None] if array.ndim == 2 else array
    if image.ndim != 3 or image.shape[2] not in (1, 2, 3, 4) or not image.size:
        raise ValueError(
            "wanted a raw image (height, width) or (height, width, 1 to 4 channels). "
            f"Received: shape={array.shape}"
        )
    if image.dtype.kind not in "biuf":
        raise ValueError(f"wanted an image of numbers. Received: dtype={array.dtype}")
    return image[..., : 1 if image.shape[2] < 3 else 3]  # without alpha


def _raw_images(items) -> list[np.ndarray]:
    """Decode what has to be read, several at a time."""

    def pixels(item):
        if isinstance(item.source, str):
            return read_image(item.source)
        if not np.isfinite(item.source).all():
            raise AlloykError(f"cannot use {item}: it holds NaN or infinite values")
        return item.source

    if len(items) == 1:
        return [pixels(items[0])]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor() as pool:
        return list(pool.map(pixels, items))


def find_images(arguments: Iterable[str]) -> list[str]:
    """Image files that files, folders and patterns name, in their order.

    A folder gives every image below it, sorted; a pattern (``*``, ``?``, ``[…]``, ``**`` for any
    depth) those that match, sorted. ``-``, for standard input, stays.

    Raises:
        AlloykError: One of them names no image.
    """
    found = []
    for argument in arguments:
        if os.path.isdir(argument):
            from alloyk.data import discovery

            names = discovery.find_images(Path(argument)).images
            some = [os.path.join(argument, name) for name in names]
        elif argument == STANDARD_INPUT or os.path.lexists(argument):
            some = [argument]
        elif glob.has_magic(argument):
            some = [p for p in sorted(glob.glob(argument, recursive=True)) if is_image_name(p)]
        else:
            raise AlloykError(f"no image at {shown(argument)}: check the path")
        if not some:
            raise AlloykError(
                f"no image in {shown(argument)}: wanted PNG, JPEG, BMP, TIFF or DICOM files"
            )
        found += some
    return found


def image_from_bytes(data: bytes, name: str) -> np.ndarray:
    """Decode the bytes of one image file.

    Args:
        data: A whole PNG, JPEG, BMP, TIFF or DICOM file.
        name: What to call it in an error.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "image"
        file.write_bytes(data)
        try:
            return read_image(file)
        except AlloykError as error:
            raise AlloykError(str(error).replace(str(file), name)) from error


def format_csv(classified: Classification) -> str:
    """A table with the columns of a run's ``predictions.csv``, less ``label``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            "path",
            "predicted",
            *("p_" + label for label in classified.classes),
            *(ESTIMATE_PREFIX + name for name in classified.estimates),
        ]
    )
    for path, label, row, numbers in _rows(classified):
        writer.writerow([path, label, *(_digits(number) for number in (*row, *numbers))])
    return text.getvalue()


def format_json(classified: Classification) -> str:
    """A list with an object for each image: path, predicted, probabilities by class.

    A classifier that estimates numbers too adds ``estimates``, by column.
    """

    def named(names, numbers):
        return {name: float(_digits(x)) for name, x in zip(names, numbers, strict=True)}

    images = [
        {"path": path, "predicted": label, "probabilities": named(classified.classes, row)}
        | ({"estimates": named(classified.estimates, numbers)} if numbers else {})
        for path, label, row, numbers in _rows(classified)
    ]
    return json.dumps(images, indent=1, ensure_ascii=False) + "\n"


FORMATS = {".csv": format_csv, ".json": format_json}


def _rows(classified: Classification) -> Iterator[tuple[str | None, str, list, list]]:
    """Path, class, probabilities and estimates of each image."""
    numbers = [[float(column[i]) for column in classified.estimates.values()]
               for i in range(len(classified))]  # fmt: skip
    rows = classified.probabilities.tolist()
    return zip(classified.paths, classified.labels, rows, numbers, strict=True)


def _digits(number: float) -> str:
    return f"{number:.7g}"  # what float32 holds
