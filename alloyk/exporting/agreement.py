"""Compare the predictions of an exported file with those of the original model."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from alloyk.errors import AlloykError
from alloyk.imaging import read_image, shown
from alloyk.inference import Classification, Classifier
from alloyk.progress import Advance
from alloyk.runs.folder import RunFolder

COMPARE_TOGETHER = 64

# Largest difference of an estimate from the original's, in standard deviations of its column.
ESTIMATE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Agreement:
    """How far two models agree on the same images.

    Attributes:
        images: Number of images compared.
        differing: Images for which the predicted classes differ.
        max_difference: Largest difference between two probabilities, `max |Δp|`.
        worst: The image with the largest difference.
        estimates: Column that the models estimate as well → largest difference between two
            estimates, in the column's unit.
    """

    images: int
    differing: tuple[str, ...]
    max_difference: float
    worst: str
    estimates: Mapping[str, float] = field(default_factory=dict)


class Outputs(NamedTuple):
    """Predictions of one model.

    Attributes:
        probabilities: `(n, k)`.
        estimates: Column → `(n,)`.
    """

    probabilities: np.ndarray
    estimates: Mapping[str, np.ndarray]


def compare(names: list[str], expected: Outputs, found: Outputs) -> Agreement:
    """Compare the predictions of two models for the images `names`.

    >>> one = Outputs(np.array([[0.6, 0.4], [0.9, 0.1]]), {})
    >>> two = Outputs(np.array([[0.4, 0.6], [0.9, 0.1]]), {})
    >>> compare(["a", "b"], one, two)
    Agreement(images=2, differing=('a',), max_difference=0.19999..., worst='a', estimates={})
    """
    decisions = [predictions.probabilities.argmax(axis=1) for predictions in (expected, found)]
    flipped = np.flatnonzero(decisions[0] != decisions[1])
    difference = np.abs(expected.probabilities - found.probabilities).max(axis=1)
    return Agreement(
        images=len(names),
        differing=tuple(names[i] for i in flipped),
        max_difference=float(difference.max()),
        worst=names[int(difference.argmax())],
        estimates={
            name: float(np.abs(numbers - found.estimates[name]).max())
            for name, numbers in expected.estimates.items()
        },
    )


def classify_both(original: Classifier, exported: Classifier, paths, names, advance: Advance):
    """`Outputs` of both models for the same raw images, each read once."""
    expected: list[Classification] = []
    found: list[Classification] = []
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(paths), COMPARE_TOGETHER):
            together = slice(start, start + COMPARE_TOGETHER)
            read = pool.map(lambda path: _resized(read_image(path), exported), paths[together])
            images = list(read)
            for classifier, results in ((original, expected), (exported, found)):
                results.append(classifier.predict(images, names=names[together]))
            advance(len(images))
    return _joined(expected), _joined(found)


def _joined(parts: list[Classification]) -> Outputs:
    """Join the predictions of consecutive batches."""
    return Outputs(
        np.concatenate([part.probabilities for part in parts]),
        {
            name: np.concatenate([part.estimates[name] for part in parts])
            for name in parts[0].estimates
        },
    )


def _resized(image: np.ndarray, exported: Classifier) -> np.ndarray:
    """Resize an image to the input size of the exported file."""
    height, width, _ = exported.input_shape
    if height is None or width is None or image.shape[:2] == (height, width):
        return image
    channels = [
        Image.fromarray(channel).resize((width, height), Image.Resampling.BILINEAR)
        for channel in np.moveaxis(image.astype(np.float32), -1, 0)
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


def refuse_disagreement(
    agreement: Agreement, tolerance: float, allowed: Mapping[str, float], file_format, run
) -> None:
    """Raise if a predicted class differs, or a probability or estimate by more than is allowed.

    Args:
        agreement: Agreement of the original model and the exported file.
        tolerance: Largest allowed difference of a probability.
        allowed: Column → largest allowed difference of its estimates.
        file_format: Key of `FORMATS`, for the message.
        run: Run folder, for the message.

    Raises:
        ModelError: They disagree; the message names an image and the difference.
    """
    # Not `>`: every comparison with NaN is false.
    model = shown(RunFolder(run).model_file)
    far = [name for name, x in agreement.estimates.items() if not x <= allowed[name]]
    if not agreement.differing and agreement.max_difference <= tolerance:
        if not far:
            return
        raise AlloykError(
            f"the {file_format} file must agree with {model}: the difference of {far[0]} must be "
            f"at most {allowed[far[0]]:.0e}, got {agreement.estimates[far[0]]:.1e}; the file was "
            "deleted, choose another --format"
        )
    image = agreement.differing[0] if agreement.differing else agreement.worst
    raise AlloykError(
        f"the {file_format} file must agree with {model}: max |Δp| must be at most "
        f"{tolerance:.0e}, got {agreement.max_difference:.1e}, and {len(agreement.differing)} of "
        f"{agreement.images} predicted classes differ (for example {shown(image)}); the file was "
        "deleted, choose another --format"
    )


def compare_with_recorded(run: Path, names, original: Classifier, found) -> Agreement | None:
    """Agreement of the exported file with the run's recorded predictions, if comparable."""
    folder = RunFolder(run)
    if not folder.predictions_file().is_file():
        return None
    recorded = folder.predictions
    row = {path: i for i, path in enumerate(recorded.table["path"])}
    if set(row) != set(names) or recorded.classes != original.classes:
        return None
    rows = [row[name] for name in names]
    estimates = {
        name: recorded.estimates[name].predicted[rows]
        for name in found.estimates
        if name in recorded.estimates
    }
    return compare(names, Outputs(recorded.probabilities[rows], estimates), found)
