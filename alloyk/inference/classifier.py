"""Classify images with a run, a `.keras` file, a SavedModel, a `.tflite` or an `.onnx` file.

A `.tflite` file needs LiteRT, NumPy and Pillow only: nothing else is imported for it.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from alloyk.errors import AlloykError, DataError, ModelError
from alloyk.imaging import FileSettings, PageChoice, RawLayout
from alloyk.imaging.gray import to_gray, with_channels
from alloyk.inference.abstention import abstaining, run_thresholds, threshold_for
from alloyk.inference.backends import BACKENDS, Backend, model_file
from alloyk.inference.measurements import curve_of, statistics_of
from alloyk.inference.metadata import ModelMetadata, read_metadata
from alloyk.inference.metadata_fit import refuse_misfit
from alloyk.inference.novelty import FEATURES
from alloyk.inference.novelty_file import read_detector
from alloyk.inference.results import Classification, joined
from alloyk.inference.sources import (
    Item,
    all_channels,
    as_items,
    chunks,
    decoded,
    refuse_channels,
    with_pages,
)
from alloyk.inference.training_counts import UnlikeTraining
from alloyk.messages import shown
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.targets import LOGITS

# A batch holds as many pixels of all channels or less: equalising needs some ten arrays of that
# size.
BATCH_PIXELS = 2**22


class Classifier:
    """A trained model that takes raw images; `load` makes it.

    Attributes:
        path: What it was loaded from.
        metadata: Description of the file.
        classes: Class labels in the order of the probabilities.
        simulated: Whether it was trained on simulated images.
        spreads: Column of numbers that it estimates beside the class → standard deviation of that
            column over its training images.
        input_shape: `(height, width, channels)` of the images it takes, None where any will do.
        channels: Number of channels of a sample; 1 if each image is one.
        detector: Scores images by how unlike those of training they are; None where the model has
            none: an ensemble, or a file of an earlier version.
    """

    def __init__(self, path: str | Path, *, threads: int | None = None) -> None:
        self.path = Path(path)
        kind, file, self.metadata = describe_model(self.path)
        self.classes = self.metadata.classes
        self.simulated = self.metadata.simulated
        self.spreads = self.metadata.spreads
        self.channels = self.metadata.channels.count if self.metadata.channels else 1
        self._output = self.metadata.output
        self.backend: Backend = BACKENDS[kind](file, threads)
        self.input_shape = self.backend.input_shape
        self.detector = read_detector(file)
        refuse_misfit(self.path, self.metadata, self.detector, self.backend)

    def predict(
        self,
        images: Any,
        *,
        names: Sequence[str | None] | None = None,
        page: PageChoice | None = None,
        raw: RawLayout | None = None,
        hdf5_path: str | None = None,
        progress: Progress = NO_PROGRESS,
        keep_going: bool = False,
        abstain: float | None = None,
    ) -> Classification:
        """Classify images of any sizes; images of one size go through the model together.

        Args:
            images: A path or an array, or a sequence of them. An array is a raw image as decoded,
                `(height, width)` or `(height, width, channels)` of any number type, not scaled,
                or several of one size, `(n, height, width, channels)`.
            names: What to call each image in the result and in errors; by default its path.
            page: Pages to read from files with several: a number from 0, `mean`, or `each` as
                an image; by default as in training.
            raw: Layout of raw files without a sidecar; by default as in training.
            hdf5_path: Path of the array of images inside HDF5 files; by default as in training.
            progress: Progress display, see `alloyk.progress`.
            keep_going: Whether an image that cannot be classified is recorded in
                `Classification.errors` instead of raised.
            abstain: Error rate for which the run has a threshold: a class of lower probability,
                or of an image unlike those of training, is left out, see
                `Classification.abstained`.

        Raises:
            AlloykError: An image cannot be read or is not of the size that a `.tflite` or `.onnx`
                file takes, or the model gives no number for it; the message names it. Or the model
                has no threshold for the error rate `abstain`.
            ValueError: An array is not of the shape of an image.
        """
        stream = self.stream(
            images, names=names, page=page, raw=raw, hdf5_path=hdf5_path, progress=progress,
            keep_going=keep_going, abstain=abstain,
        )  # fmt: skip
        return stream.all()

    def stream(
        self,
        images: Any,
        *,
        names: Sequence[str | None] | None = None,
        page: PageChoice | None = None,
        raw: RawLayout | None = None,
        hdf5_path: str | None = None,
        progress: Progress = NO_PROGRESS,
        keep_going: bool = False,
        abstain: float | None = None,
    ) -> "Stream":
        """Classify images like `predict`, some at a time, for more than memory can hold.

        Returns:
            An iterable of results in the order of the images.
        """
        threshold = None if abstain is None else threshold_for(abstain, self.metadata, self.path)
        files = FileSettings(raw or self.metadata.raw, hdf5_path or self.metadata.hdf5_path)
        page = self.metadata.page if page is None else page
        given = as_items(images, names, self.channels)
        items = with_pages(given, page, files) if self.channels == 1 else all_channels(given)
        return Stream(self, items, files, progress, keep_going, threshold)

    def batches(
        self, images: list[tuple[Item, np.ndarray]]
    ) -> Iterator[tuple[list[Item], np.ndarray]]:
        """Items of one shape, and their images `(n, height, width, channels)`."""
        by_shape: dict[tuple[int, ...], list[tuple[Item, np.ndarray]]] = {}
        for item, image in images:
            by_shape.setdefault(image.shape, []).append((item, image))
        for shape, group in by_shape.items():
            fitting = BATCH_PIXELS // math.prod(shape)
            size = max(1, fitting) if self.backend.takes_batches else 1
            for first in range(0, len(group), size):
                part = group[first : first + size]
                if fitting == 0:  # held once, in its own type
                    yield [part[0][0]], part[0][1][None]
                    continue
                raw = np.empty((len(part), *shape), np.float32)  # no copy in another type
                for row, (_, image) in zip(raw, part, strict=True):
                    row[...] = image
                yield [item for item, _ in part], raw

    def fitted(self, image: np.ndarray, item: Item) -> np.ndarray:
        """Return the image with as many channels as the model takes; refuse another size."""
        self.refuse_other_size(image.shape[:2], str(item))
        if self.channels > 1:
            self._refuse_other_channels(image, str(item))
            return image
        if isinstance(item.source, str):
            refuse_channels(item.source, image)
        return with_channels(image, self.input_shape[2])

    def _refuse_other_channels(self, image: np.ndarray, name: str) -> None:
        """Raise DataError for another number of channels, or channels that are all the same."""
        required = f"{name} must have {self.channels} channels ({self.metadata.channels})"
        found = image.shape[2]
        if found != self.channels:
            raise DataError(
                f"{required}, got {found}; pass a manifest with this column, or a file with one "
                "page per channel"
            )
        if (image == image[..., :1]).all():
            raise DataError(
                f"{required}, got {found} identical ones; a gray image saved as colour has only one"
            )

    def refuse_other_size(self, size: tuple[int, ...], name: str) -> None:
        """Raise DataError if the model takes one `(height, width)`, and an image has another."""
        height, width = self.input_shape[:2]
        if height is None or size == (height, width):
            return
        found = f"{size[0]}x{size[1]}"
        advice = (
            "its flat-field correction is for the whole frame of one detector: give raw, "
            "uncropped frames of that detector"
            if self.backend.takes_batches
            else f"export the run again with `alloyk export RUN --input-size {found}`, or "
            "predict with the run itself"
        )
        raise DataError(
            f"{name} must have the size {height}x{width} (height x width) that "
            f"{shown(self.path)} takes, got {found}; {advice}"
        )

    def answers(self, images: np.ndarray) -> np.ndarray:
        """Return probabilities, estimates and the detector's score, one row per image."""
        outputs = self.backend(images)
        probabilities = outputs[self._output].astype(np.float64)
        if self._output == LOGITS:
            powers = np.exp(probabilities - probabilities.max(axis=1, keepdims=True))
            probabilities = powers / powers.sum(axis=1, keepdims=True)
        answers = [probabilities, *(outputs[name] for name in self.spreads)]
        if self.detector is not None:
            statistics, curves = [], []
            for image in images:
                raw = image if self.channels > 1 else _gray(image)
                statistics.append(statistics_of(raw))
                if self.detector.judges_curves:
                    curves.append(curve_of(raw))
            scores = self.detector.scores(
                outputs[FEATURES], np.stack(statistics), np.stack(curves) if curves else None
            )
            answers.append(scores[:, None])
        return np.concatenate(answers, axis=1)


def describe_model(path: Path) -> tuple[str, Path, ModelMetadata]:
    """Which of `BACKENDS` loads a model, the file or folder that it loads, and its metadata.

    Raises:
        AlloykError: It is not a model, or not one of alloyk's.
    """
    kind, file = model_file(path)
    metadata = read_metadata(file)
    if kind == "keras" and not metadata.thresholds:
        metadata = replace(metadata, thresholds=run_thresholds(file))
    return kind, file, metadata


class Stream:
    """Iterates over the results of images, some at a time; `Classifier.stream` makes it.

    Attributes:
        counts: Images so far that are unlike those of training.
    """

    def __init__(
        self,
        classifier: Classifier,
        items: Sequence[Item],
        files: FileSettings,
        progress: Progress,
        keep_going: bool,
        threshold: float | None,
    ) -> None:
        self._classifier, self._items, self._files = classifier, items, files
        self._progress, self._keep_going, self._threshold = progress, keep_going, threshold
        metadata = classifier.metadata
        self.counts = UnlikeTraining(metadata.depths, metadata.brightest)

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Classification]:
        with self._progress.task("classifying", len(self)) as advance:
            for chunk in chunks(self._items, self._files, self._classifier.channels):
                yield self.classified(chunk)
                advance(len(chunk))

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on images that are unlike those of training."""
        return tuple(self.counts.notes())

    def all(self) -> Classification:
        """Classify all images, in order."""
        return joined([self.classified([]), *self], self.notes)

    def classified(self, chunk: Sequence[Item]) -> Classification:
        """Classify images that are decoded together."""
        model = self._classifier
        # Probabilities, then a column for each number that is estimated, then the detector's score.
        scored = int(model.detector is not None)
        answers = np.full((len(chunk), len(model.classes) + len(model.spreads) + scored), np.nan)
        errors: dict[int, str] = {}
        first = chunk[0].number if chunk else 0
        read = zip(chunk, decoded(chunk, self._files), strict=True) if chunk else ()
        for batch, counts in model.batches(self._usable(read, errors)):
            for item, row in zip(batch, model.answers(counts), strict=True):
                self._record(item, row, answers[item.number - first], errors)
        errors = {number - first: errors[number] for number in sorted(errors)}
        ends = np.cumsum([len(model.classes), len(model.spreads)])
        probabilities, numbers, scores = np.split(answers, ends, axis=1)
        labels = tuple(
            "" if i in errors else model.classes[int(row.argmax())]
            for i, row in enumerate(probabilities)
        )
        unlike = np.flatnonzero((scores >= 1).any(axis=1)).tolist()
        self.counts.see_unlike([chunk[place] for place in unlike])
        result = Classification(
            tuple(item.name for item in chunk),
            labels,
            probabilities,
            model.classes,
            dict(zip(model.spreads, numbers.T, strict=True)),
            errors,
            unlike=scores[:, 0] if scored else None,
        )
        return result if self._threshold is None else abstaining(result, self._threshold)

    def _usable(
        self, images: Iterable[tuple[Item, np.ndarray | AlloykError]], errors: dict[int, str]
    ) -> list[tuple[Item, np.ndarray]]:
        """Bring decoded images to what the model takes."""
        usable = []
        for item, image in images:
            try:
                if isinstance(image, AlloykError):
                    raise image
                self.counts.see(item, image)
                usable.append((item, self._classifier.fitted(image, item)))
            except AlloykError as error:
                if not self._keep_going:
                    raise
                errors[item.number] = str(error)
        return usable

    def _record(
        self, item: Item, row: np.ndarray, answer: np.ndarray, errors: dict[int, str]
    ) -> None:
        if np.isfinite(row).all():
            answer[...] = row
            return
        message = (
            f"{shown(self._classifier.path)} gave no number for {item} ({row.tolist()}): its "
            "weights hold NaN or infinity, or the counts are too large for float32"
        )
        if not self._keep_going:
            raise ModelError(message)
        errors[item.number] = message


def _gray(image: np.ndarray) -> np.ndarray:
    """Return the image as `to_gray`, without a copy of gray counts that it would not change."""
    exact = image.shape[2] == 1 and image.dtype in (np.uint8, np.uint16, np.float32)
    return image if exact else to_gray(image)


def load(path: str | Path, *, threads: int | None = None) -> Classifier:
    """Load a trained model.

    Args:
        path: Run folder, `.keras` file, SavedModel folder, `.tflite` or `.onnx` file that alloyk
            made.
        threads: For a `.tflite` or `.onnx` file: processor threads, by default up to four.

    Raises:
        AlloykError: It is not a model, or not one of alloyk's.
    """
    return Classifier(path, threads=threads)
