"""Whether an image is unlike all training images: by its raw statistics and by its features.

The distance is that to the tenth nearest training image in the network's pooled features, each
scaled to length 1 (Sun et al., 2022, https://arxiv.org/abs/2204.06507). Its threshold is a quantile
over the validation images. Chosen by `scripts/compare_novelty.py`.

NumPy only: a `.tflite` file needs nothing else.
"""

import io
import math
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from alloyk.inference.raw_statistics import MARGINS, NAMES

MEMBER = "alloyk_novelty.npz"
FEATURES = "features"
"""Name of the model output that holds the pooled features."""

FALSE_ALARMS = 0.01
"""Target false-alarm rate on images like the training images."""

NEIGHBOUR = 10
"""k of the k-th nearest neighbour."""

MOST_IMAGES = 1000
"""Training images, evenly spaced, that are kept."""


@dataclass(frozen=True, eq=False)
class NoveltyDetector:
    """Scores images by how unlike those of training they are; 1 or more is *unlike*.

    Attributes:
        bank: `(m, d)` float16, pooled features of training images, each of length 1.
        threshold: Distance that scores 1.
        lowest: `(6,)` smallest of each of `raw_statistics.NAMES` over training images.
        highest: `(6,)` largest.
        false_alarms: Share of the validation images that score 1 or more.
    """

    bank: np.ndarray
    threshold: float
    lowest: np.ndarray
    highest: np.ndarray
    false_alarms: float = math.nan

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Return the distance `(n,)`, 0 to 2, of features `(n, d)` from training images."""
        products = _normalised(features) @ self.bank.astype(np.float32).T
        place = min(NEIGHBOUR, len(self.bank)) - 1
        nearest = -np.partition(-products, place, axis=1)[:, place]
        return np.sqrt(np.maximum(2 - 2 * nearest.astype(np.float64), 0))

    def scores(self, features: np.ndarray, statistics: np.ndarray) -> np.ndarray:
        """Return the score `(n,)` of images.

        Args:
            features: `(n, d)` pooled features.
            statistics: `(n, 6)` of the raw images.
        """
        own = self.distances(features) / self.threshold
        scores: np.ndarray = np.maximum(own, self.raw_scores(statistics).max(axis=1))
        return scores

    def raw_scores(self, statistics: np.ndarray) -> np.ndarray:
        """Return the distance of each statistic `(n, 6)` from the middle of the training range.

        1 is the limit.
        """
        middle, half = (self.highest + self.lowest) / 2, (self.highest - self.lowest) / 2
        return np.asarray(np.abs(statistics - middle) / (half + np.array(MARGINS)))

    def reasons(self, statistics: np.ndarray) -> list[str]:
        """Name the statistics `(6,)` of one image that are outside the range of training."""
        outside = self.raw_scores(statistics[None])[0] >= 1
        return [name for name, far in zip(NAMES, outside, strict=True) if far]


def _normalised(features: np.ndarray) -> np.ndarray:
    """Features `(n, d)`, each scaled to length 1."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(length, 1e-12), np.float32)


def fit_novelty(features: np.ndarray, statistics: np.ndarray) -> NoveltyDetector:
    """Make a detector from training images, with a placeholder threshold of 1.

    Args:
        features: `(m, d)` pooled features.
        statistics: `(m, 6)` raw statistics.
    """
    return NoveltyDetector(
        bank=_normalised(features).astype(np.float16),
        threshold=1.0,
        lowest=statistics.min(axis=0),
        highest=statistics.max(axis=0),
    )


def with_threshold(
    detector: NoveltyDetector,
    features: np.ndarray,
    statistics: np.ndarray,
    false_alarms: float = FALSE_ALARMS,
) -> NoveltyDetector:
    """Set the threshold of the distance for a false-alarm rate.

    It is the ⌈(n + 1)(1 − rate)⌉-th smallest of the n distances, which bounds the rate of the
    distance on average over validation splits; the largest one if there are too few images for
    that. The raw statistics add false alarms of their own: `false_alarms` of the result has both.

    Args:
        detector: From `fit_novelty`.
        features: `(n, d)` of validation images.
        statistics: `(n, 6)` of the same.
        false_alarms: The rate, in (0, 1).
    """
    distances = np.sort(detector.distances(features))
    place = min(math.ceil((len(distances) + 1) * (1 - false_alarms)), len(distances))
    # The next number, because a score of exactly 1 is unlike.
    threshold = float(np.nextafter(np.float32(distances[place - 1]), np.float32(np.inf)))
    values = {field.name: getattr(detector, field.name) for field in fields(detector)}
    chosen = NoveltyDetector(**{**values, "threshold": max(threshold, 1e-12)})
    share = float((chosen.scores(features, statistics) >= 1).mean())
    return NoveltyDetector(**{**values, "threshold": chosen.threshold, "false_alarms": share})


def evenly_spaced(count: int, most: int = MOST_IMAGES) -> np.ndarray:
    """Numbers of at most `most` of `count` images, evenly spaced.

    >>> evenly_spaced(10, 4)
    array([0, 3, 6, 9])
    """
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def write_detector(model: Path, detector: NoveltyDetector) -> None:
    """Add the detector to a `.keras` or `.tflite` file or a SavedModel folder."""
    values: dict[str, Any] = {
        field.name: np.asarray(getattr(detector, field.name)) for field in fields(detector)
    }
    content = io.BytesIO()
    np.savez_compressed(content, **values)
    if Path(model).is_dir():
        (Path(model) / MEMBER).write_bytes(content.getvalue())
        return
    with zipfile.ZipFile(model, "a") as archive:
        archive.writestr(zipfile.ZipInfo(MEMBER), content.getvalue())


def has_detector(model: Path) -> bool:
    """Whether a `.keras` file holds a detector; False where the file cannot be read."""
    try:
        with zipfile.ZipFile(model) as archive:
            return MEMBER in archive.namelist()
    except (OSError, zipfile.error):
        return False


def read_detector(model: Path) -> NoveltyDetector | None:
    """Return the detector of a model file; None where there is none, or none that can be read."""
    model = Path(model)
    try:
        if model.is_dir():
            content = (model / MEMBER).read_bytes()
        else:
            with zipfile.ZipFile(model) as archive:
                content = archive.read(MEMBER)
        with np.load(io.BytesIO(content)) as archive:
            values: dict[str, Any] = {
                field.name: archive[field.name] for field in fields(NoveltyDetector)
            }
    except (OSError, KeyError, ValueError, zipfile.error):
        return None
    values.update({name: float(values[name]) for name in ("threshold", "false_alarms")})
    return NoveltyDetector(**values)
