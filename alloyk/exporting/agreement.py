"""Compare the predictions of an exported file with those of the original model."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from alloyk.imaging import read_image
from alloyk.imaging.gray import with_channels
from alloyk.inference import Classification, Classifier
from alloyk.inference.results import joined
from alloyk.progress import Advance
from alloyk.runs.folder import RunFolder

COMPARE_TOGETHER = 64

Shape = tuple[int | None, ...]
"""`(height, width, channels)` that a file takes, None for any."""


@dataclass(frozen=True)
class Agreement:
    """How far two models agree on the same images.

    Attributes:
        images: Number of images compared.
        differing: Images for which the predicted classes differ.
        max_difference: Largest difference between two probabilities, `max |Δp|`.
        mean_difference: Mean over images of the largest difference of one.
        worst: The image with the largest difference.
        estimates: Column that the models estimate as well → largest difference between two
            estimates, in the column's unit.
        flags: Number of images that only one of the two calls unlike the training images.
    """

    images: int
    differing: tuple[str, ...]
    max_difference: float
    mean_difference: float
    worst: str
    estimates: Mapping[str, float] = field(default_factory=dict)
    flags: int = 0


class Outputs(NamedTuple):
    """Predictions of one model.

    Attributes:
        probabilities: `(n, k)`.
        estimates: Column → `(n,)`.
        unlike: `(n,)`, 1 or more where an image is unlike the training images; None if not known.
    """

    probabilities: np.ndarray
    estimates: Mapping[str, np.ndarray]
    unlike: np.ndarray | None = None


def compare(names: Sequence[str], expected: Outputs, found: Outputs) -> Agreement:
    """Compare the predictions of two models for the images `names`.

    >>> one = Outputs(np.array([[0.6, 0.4], [0.9, 0.1]]), {})
    >>> two = Outputs(np.array([[0.4, 0.6], [0.9, 0.1]]), {})
    >>> found = compare(["a", "b"], one, two)
    >>> found.differing, round(found.max_difference, 6), round(found.mean_difference, 6)
    (('a',), 0.2, 0.1)
    """
    decisions = [predictions.probabilities.argmax(axis=1) for predictions in (expected, found)]
    flipped = np.flatnonzero(decisions[0] != decisions[1]).tolist()
    difference = np.abs(expected.probabilities - found.probabilities).max(axis=1)
    flags = 0
    if expected.unlike is not None and found.unlike is not None:
        flags = int(((expected.unlike >= 1) != (found.unlike >= 1)).sum())
    return Agreement(
        images=len(names),
        differing=tuple(names[i] for i in flipped),
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        worst=names[int(difference.argmax())],
        estimates={
            name: float(np.abs(numbers - found.estimates[name]).max())
            for name, numbers in expected.estimates.items()
        },
        flags=flags,
    )


def classify(
    classifiers: Sequence[Classifier],
    paths: Sequence[Path],
    names: Sequence[str],
    shape: Shape,
    advance: Advance,
) -> list[Outputs]:
    """`Outputs` of each model for the same raw images, each image read once.

    Args:
        classifiers: The models.
        paths: Where the images are.
        names: What errors call them.
        shape: What images are resized to.
        advance: Called with the number of images done.
    """
    found: list[list[Classification]] = [[] for _ in classifiers]
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(paths), COMPARE_TOGETHER):
            together = slice(start, start + COMPARE_TOGETHER)
            images = list(pool.map(lambda path: _resized(read_image(path), shape), paths[together]))
            for classifier, results in zip(classifiers, found, strict=True):
                results.append(classifier.predict(images, names=names[together]))
            advance(len(images))
    whole = [joined(parts) for parts in found]
    return [Outputs(one.probabilities, one.estimates, one.unlike) for one in whole]


def as_input(image: np.ndarray, shape: Shape) -> np.ndarray:
    """Bring an image to the size and channels that a file takes."""
    return with_channels(_resized(image, shape), shape[2])


def _resized(image: np.ndarray, shape: Shape) -> np.ndarray:
    """Resize an image to the input size of an exported file."""
    height, width = shape[:2]
    if height is None or width is None or image.shape[:2] == (height, width):
        return image
    channels = [
        Image.fromarray(channel).resize((width, height), Image.Resampling.BILINEAR)
        for channel in np.moveaxis(image.astype(np.float32), -1, 0)
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


def compare_with_recorded(
    run: Path, names: Sequence[str], classes: tuple[str, ...], found: Outputs
) -> Agreement | None:
    """Agreement of the exported file with the run's recorded predictions, if comparable."""
    folder = RunFolder(run)
    if not folder.predictions_file().is_file():
        return None
    recorded = folder.predictions
    row = {path: i for i, path in enumerate(recorded.table["path"])}
    if set(row) != set(names) or recorded.classes != classes:
        return None
    rows = [row[name] for name in names]
    estimates = {
        name: recorded.estimates[name].predicted[rows]
        for name in found.estimates
        if name in recorded.estimates
    }
    return compare(names, Outputs(recorded.probabilities[rows], estimates), found)
