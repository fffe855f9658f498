"""Classify images with a run, a `.keras` file, a SavedModel or a `.tflite` file.

A `.tflite` file needs LiteRT, NumPy and Pillow only: nothing else is imported for it.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alloyk.errors import AlloykError, DataError, ModelError
from alloyk.imaging import PageChoice, RawLayout, shown
from alloyk.imaging.gray import to_gray
from alloyk.inference.backends import BACKENDS, Backend, model_file
from alloyk.inference.metadata import read_metadata
from alloyk.inference.novelty import FEATURES, read_detector
from alloyk.inference.raw_statistics import raw_statistics
from alloyk.inference.results import Classification
from alloyk.inference.sources import Item, as_items, chunks, decoded, with_pages
from alloyk.inference.training_counts import UnlikeTraining
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.targets import LOGITS

# A batch holds as many pixels or less: equalising needs some ten arrays of that size.
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
        detector: Scores images by how unlike those of training they are; None where the model has
            none: a vote, or a file of an earlier version.
    """

    def __init__(self, path: str | Path, *, threads: int | None = None) -> None:
        self.path = Path(path)
        kind, file = model_file(self.path)
        self.metadata = read_metadata(file)
        self.classes = self.metadata.classes
        self.simulated = self.metadata.simulated
        self.spreads = self.metadata.spreads
        self._output = self.metadata.output
        self.backend: Backend = BACKENDS[kind](file, threads)
        self.input_shape = self.backend.input_shape
        self.detector = read_detector(file)

    def predict(
        self,
        images: Any,
        *,
        names: Sequence[str | None] | None = None,
        page: PageChoice | None = None,
        raw: RawLayout | None = None,
        progress: Progress = NO_PROGRESS,
        keep_going: bool = False,
    ) -> Classification:
        """Classify images of any sizes; images of one size go through the model together.

        Args:
            images: A path or an array, or a sequence of them. An array is a raw image as decoded,
                `(height, width)` or `(height, width, channels)` of any number type, not scaled,
                or several of one size, `(n, height, width, channels)`.
            names: What to call each image in the result and in errors; by default its path.
            page: What to take of a file with several pages: a number from 0, `mean`, or `each` as
                an image; by default as in training.
            raw: How raw files without a sidecar are laid out; by default as in training.
            progress: Shows how far it is, see `alloyk.progress`.
            keep_going: Whether an image that cannot be classified is recorded in
                `Classification.errors` instead of raised.

        Raises:
            AlloykError: An image cannot be read or is not of the size that a `.tflite` file takes,
                or the model gives no number for it; the message names it.
            ValueError: An array is not of the shape of an image.
        """
        layout = raw or self.metadata.raw
        page = self.metadata.page if page is None else page
        items = with_pages(as_items(images, names), page, layout)
        # Probabilities, behind them a column for each number that is estimated, and the detector's
        # score.
        scored = int(self.detector is not None)
        answers = np.full((len(items), len(self.classes) + len(self.spreads) + scored), np.nan)
        errors: dict[int, str] = {}
        unlike = UnlikeTraining(self.metadata.depths, self.metadata.brightest)
        with progress.task("classifying", len(items)) as advance:
            for chunk in chunks(items, layout):
                images_read = zip(chunk, decoded(chunk, layout), strict=True)
                usable = self._usable(images_read, errors, unlike, keep_going)
                for batch, counts in self._batches(usable):
                    found = self._answers(counts)
                    for item, row in zip(batch, found, strict=True):
                        self._record(item, row, answers, errors, keep_going)
                advance(len(chunk))
        ends = np.cumsum([len(self.classes), len(self.spreads)])
        probabilities, numbers, scores = np.split(answers, ends, axis=1)
        labels = tuple(
            "" if i in errors else self.classes[int(row.argmax())]
            for i, row in enumerate(probabilities)
        )
        paths = tuple(item.name for item in items)
        estimates = dict(zip(self.spreads, numbers.T, strict=True))
        return Classification(
            paths,
            labels,
            probabilities,
            self.classes,
            estimates,
            errors,
            (*unlike.notes(), *_unlike_notes(items, scores)),
            scores[:, 0] if scored else None,
        )

    def _usable(
        self,
        images: Iterable[tuple[Item, np.ndarray | AlloykError]],
        errors: dict[int, str],
        unlike: UnlikeTraining,
        keep_going: bool,
    ) -> list[tuple[Item, np.ndarray]]:
        """Bring decoded images to what the model takes."""
        usable = []
        for item, image in images:
            try:
                if isinstance(image, AlloykError):
                    raise image
                unlike.see(item, image)
                usable.append((item, self._fitted(image, item)))
            except AlloykError as error:
                if not keep_going:
                    raise
                errors[item.number] = str(error)
        return usable

    def _record(
        self,
        item: Item,
        row: np.ndarray,
        answers: np.ndarray,
        errors: dict[int, str],
        keep_going: bool,
    ) -> None:
        if np.isfinite(row).all():
            answers[item.number] = row
            return
        message = (
            f"{shown(self.path)} gave no number for {item} ({row.tolist()}): its weights or the "
            "image hold NaN or infinity"
        )
        if not keep_going:
            raise ModelError(message)
        errors[item.number] = message

    def _batches(
        self, images: list[tuple[Item, np.ndarray]]
    ) -> Iterator[tuple[list[Item], np.ndarray]]:
        """Items of one shape, and their images `(n, height, width, channels)` float32."""
        by_shape: dict[tuple[int, ...], list[tuple[Item, np.ndarray]]] = {}
        for item, image in images:
            by_shape.setdefault(image.shape, []).append((item, image))
        for shape, group in by_shape.items():
            fitting = BATCH_PIXELS // (shape[0] * shape[1])
            size = max(1, fitting) if self.backend.takes_batches else 1
            for first in range(0, len(group), size):
                part = group[first : first + size]
                raw = np.empty((len(part), *shape), np.float32)  # no copy in another type
                for row, (_, image) in zip(raw, part, strict=True):
                    row[...] = image
                yield [item for item, _ in part], raw

    def _fitted(self, image: np.ndarray, item: Item) -> np.ndarray:
        """Return the image with as many channels as the model takes; refuse another size."""
        height, width, channels = self.input_shape
        if height is not None and image.shape[:2] != (height, width):
            found = f"{image.shape[0]}x{image.shape[1]}"
            advice = (
                "its flat-field correction is for the whole frame of one detector: give raw, "
                "uncropped frames of that detector"
                if self.backend.takes_batches
                else f"export the run again with `alloyk export RUN --input-size {found}`, or "
                "predict with the run itself"
            )
            raise DataError(
                f"{item} must have the size {height}x{width} (height x width) that "
                f"{shown(self.path)} takes, got {found}; {advice}"
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
        answers = [probabilities, *(outputs[name] for name in self.spreads)]
        if self.detector is not None:
            statistics = np.stack([raw_statistics(to_gray(image)) for image in images])
            answers.append(self.detector.scores(outputs[FEATURES], statistics)[:, None])
        return np.concatenate(answers, axis=1)


def _unlike_notes(items: Sequence[Item], scores: np.ndarray) -> Iterator[str]:
    """Yield a sentence on the images that the detector calls unlike."""
    unlike = np.flatnonzero((scores >= 1).any(axis=1))
    if not len(unlike):
        return
    count = "1 image is" if len(unlike) == 1 else f"{len(unlike)} images are"
    yield (
        f"{count} unlike the training images (column unlike, 1 or more; first: "
        f"{items[unlike[0]]}); predictions of such images may be wrong"
    )


def load(path: str | Path, *, threads: int | None = None) -> Classifier:
    """Load a trained model.

    Args:
        path: Run folder, `.keras` file, SavedModel folder or `.tflite` file that alloyk made.
        threads: For a `.tflite` file: processor threads, by default up to four.

    Raises:
        AlloykError: It is not a model, or not one of alloyk's.
    """
    return Classifier(path, threads=threads)
