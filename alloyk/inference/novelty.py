"""Whether an image is unlike all training images: by its raw statistics, picture and features.

Three distances. That of the network's pooled features, each scaled to length 1, from the tenth
nearest training image (Sun et al., 2022, https://arxiv.org/abs/2204.06507) finds images that the
network sees differently. That of the features as they are from the mean of training (Mahalanobis,
in the directions in which they vary most) finds what is stronger than anything in training, such as
a thicker plate. That of a coarse image of the preprocessed image from the mean of training
(Mahalanobis) finds scenes that the network has learned to ignore. Their thresholds are quantiles
over the validation images. Compared by `scripts/compare_novelty.py`.

NumPy only: a `.tflite` file needs nothing else.
"""

import io
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from alloyk.inference.members import UNREADABLE, read_member, write_member
from alloyk.inference.raw_statistics import MARGINS, NAMES

MEMBER = "alloyk_novelty.npz"
FEATURES = "features"
"""Name of the model output that holds the pooled features, then the coarse image."""

FALSE_ALARMS = 0.01
"""Target false-alarm rate on images like the training images."""

NEIGHBOUR = 10
"""k of the k-th nearest neighbour."""

VARIANCE_FLOOR = 1e-3
"""Minimum variance in any direction that a Mahalanobis distance uses, over the mean variance."""

MAX_DIRECTIONS = 32
"""Principal directions of the pooled features that the Mahalanobis distance uses."""

MAX_IMAGES = 1000
"""Training images, evenly spaced, that are kept."""

BLOCK = 4096
"""Images that are compared with all kept ones at once."""

LATER = (
    "picture_mean", "picture_whitening", "picture_threshold",
    "feature_mean", "feature_whitening", "feature_threshold",
)  # fmt: skip
"""Fields that files of earlier versions lack."""

FIRST_NAMES = NAMES[:6]
"""The raw statistics of files that do not name theirs."""

ANY = 1e9
"""End of the range of a statistic that a file of an earlier version lacks: any value is in it."""


@dataclass(frozen=True, eq=False)
class NoveltyDetector:
    """Scores images by how unlike those of training they are; 1 or more is *unlike*.

    Attributes:
        bank: `(m, d)` float16, pooled features of training images, each of length 1.
        threshold: Distance of the features from the neighbour that scores 1.
        lowest: `(7,)` smallest of each of `raw_statistics.NAMES` over training images; of images
            of c channels `(7 · c,)`, channel after channel.
        highest: The same, largest.
        false_alarms: Share of the validation images that score 1 or more.
        picture_mean: `(c,)` mean coarse image of training; empty in files of earlier versions.
        picture_whitening: `(c, c)` float32, makes the variance of coarse images 1 in all
            directions.
        picture_threshold: Distance of the coarse image that scores 1.
        feature_mean: `(d,)` mean of the pooled features of training; empty in files of earlier
            versions.
        feature_whitening: `(d, k)` float32, makes the variance of the features 1 in each of their
            leading directions.
        feature_threshold: Distance of the features from their mean that scores 1.
    """

    bank: np.ndarray
    threshold: float
    lowest: np.ndarray
    highest: np.ndarray
    false_alarms: float = math.nan
    picture_mean: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    picture_whitening: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    picture_threshold: float = 1.0
    feature_mean: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    feature_whitening: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    feature_threshold: float = 1.0

    def neighbour_distances(self, features: np.ndarray) -> np.ndarray:
        """Return the distance `(n,)`, 0 to 2, of features `(n, d + c)` from training images."""
        pooled, bank = features[:, : self.bank.shape[1]], self.bank.astype(np.float32).T
        place = min(NEIGHBOUR, len(self.bank)) - 1
        nearest = np.empty(len(features))
        for start in range(0, len(features), BLOCK):
            block = slice(start, start + BLOCK)
            products = _normalised(pooled[block]) @ bank
            nearest[block] = -np.partition(-products, place, axis=1)[:, place]
        return np.asarray(np.sqrt(np.maximum(2 - 2 * nearest, 0)))

    def feature_distances(self, features: np.ndarray) -> np.ndarray:
        """Return the Mahalanobis distance `(n,)` of the pooled features in `(n, d + c)`."""
        pooled = features[:, : len(self.feature_mean)]
        return _lengths(pooled, self.feature_mean, self.feature_whitening)

    def picture_distances(self, features: np.ndarray) -> np.ndarray:
        """Return the Mahalanobis distance `(n,)` of the coarse images in `(n, d + c)`."""
        width = self.bank.shape[1]
        pictures = features[:, width : width + len(self.picture_mean)]
        return _lengths(pictures, self.picture_mean, self.picture_whitening)

    def scores(self, features: np.ndarray, statistics: np.ndarray) -> np.ndarray:
        """Return the score `(n,)` of images.

        Args:
            features: `(n, d + c)` pooled features and coarse images.
            statistics: `(n, 7)` of the raw images.
        """
        return self.scores_at(self.distances(features), statistics)

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Return the three distances of images, from features `(n, d + c)`.

        Returns:
            `(n, 3)`: from the neighbour, of the features, of the coarse image.
        """
        parts = (self.neighbour_distances, self.feature_distances, self.picture_distances)
        return np.stack([part(features) for part in parts], axis=1)

    def scores_at(self, distances: np.ndarray, statistics: np.ndarray) -> np.ndarray:
        """Return the score `(n,)` of images with these distances `(n, 3)`; see `scores`."""
        limits = (self.threshold, self.feature_threshold, self.picture_threshold)
        raw = self.raw_scores(statistics).max(axis=1)
        return np.asarray(np.maximum((distances / limits).max(axis=1), raw))

    def raw_scores(self, statistics: np.ndarray) -> np.ndarray:
        """Return the distance of each statistic `(n, 7)` from the middle of the training range.

        1 is the limit.
        """
        middle, half = (self.highest + self.lowest) / 2, (self.highest - self.lowest) / 2
        margins = np.tile(MARGINS, len(half) // len(MARGINS))
        return np.asarray(np.abs(statistics - middle) / (half + margins))

    def reasons(self, statistics: np.ndarray) -> list[str]:
        """Name the statistics `(7,)` of one image that are outside the range of training."""
        outside = self.raw_scores(statistics[None])[0] >= 1
        names = NAMES * (len(outside) // len(NAMES))
        return list(dict.fromkeys(name for name, far in zip(names, outside, strict=True) if far))


def _lengths(values: np.ndarray, mean: np.ndarray, whitening: np.ndarray) -> np.ndarray:
    """Lengths `(n,)` of values `(n, d)`, centred and whitened."""
    whitened = (values.astype(np.float64) - mean) @ whitening
    return np.asarray(np.sqrt((whitened**2).sum(axis=1)))


def _normalised(features: np.ndarray) -> np.ndarray:
    """Features `(n, d)`, each scaled to length 1."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(length, 1e-12), np.float32)


def fit_novelty(
    features: np.ndarray, statistics: np.ndarray, picture_size: int = 0
) -> NoveltyDetector:
    """Make a detector from training images, with placeholder thresholds of 1.

    Args:
        features: `(m, d + c)` pooled features and coarse images.
        statistics: `(m, 7)` raw statistics.
        picture_size: c, numbers in a coarse image.
    """
    width = features.shape[1] - picture_size
    pooled, pictures = np.split(features.astype(np.float64), [width], axis=1)
    mean, whitening = _whitening(pictures)
    feature_mean, feature_whitening = _whitening(pooled, MAX_DIRECTIONS)
    return NoveltyDetector(
        bank=_normalised(pooled).astype(np.float16),
        threshold=1.0,
        lowest=statistics.min(axis=0),
        highest=statistics.max(axis=0),
        picture_mean=mean.astype(np.float32),
        picture_whitening=whitening.astype(np.float32),
        feature_mean=feature_mean.astype(np.float32),
        feature_whitening=feature_whitening.astype(np.float32),
    )


def _whitening(values: np.ndarray, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean `(c,)` of values `(m, c)`, and the matrix that whitens them.

    The matrix is `(c, k)`: k is c, or at most `most`, the directions of the largest variances.
    """
    mean = values.mean(axis=0)
    centred = values - mean
    variances, directions = np.linalg.eigh(centred.T @ centred / len(values))
    if not len(variances):
        return mean, directions
    # Noise of few images or of rounding must not become the measure of a direction.
    floor = max(VARIANCE_FLOOR * float(variances.mean()), 1e-12)
    first = max(len(variances) - most, 0) if most is not None else 0
    scale = np.sqrt(np.maximum(variances[first:], 0) + floor)
    return mean, directions[:, first:] / scale


def with_threshold(
    detector: NoveltyDetector,
    distances: np.ndarray,
    statistics: np.ndarray,
    false_alarms: float = FALSE_ALARMS,
) -> NoveltyDetector:
    """Set the thresholds of the distances for a false-alarm rate.

    Each gets an equal share of it: with two distances, the threshold is the
    ⌈(n + 1)(1 − rate / 2)⌉-th smallest of the n distances, which bounds the rate of both together
    on average over validation splits; the largest one if there are too few images for that. The
    raw statistics add false alarms of their own: `false_alarms` of the result has them too.

    Args:
        detector: From `fit_novelty`.
        distances: `(n, 3)` of validation images, see `NoveltyDetector.distances`.
        statistics: `(n, 7)` of the same.
        false_alarms: The rate, in (0, 1).
    """
    share = false_alarms / (3 if len(detector.picture_mean) else 2)
    neighbour, feature, picture = (_upper_quantile(one, share) for one in distances.T)
    chosen = replace(
        detector, threshold=neighbour, feature_threshold=feature, picture_threshold=picture
    )
    found = float((chosen.scores_at(distances, statistics) >= 1).mean())
    return replace(chosen, false_alarms=found)


def _upper_quantile(distances: np.ndarray, share: float) -> float:
    """A distance that at most this share of new images exceeds on average."""
    place = min(math.ceil((len(distances) + 1) * (1 - share)), len(distances))
    # The next number, because a score of exactly 1 is unlike.
    limit = np.nextafter(np.float32(np.sort(distances)[place - 1]), np.float32(np.inf))
    return max(float(limit), 1e-12)


def evenly_spaced(count: int, most: int = MAX_IMAGES) -> np.ndarray:
    """Numbers of at most `most` of `count` images, evenly spaced.

    >>> evenly_spaced(10, 4)
    array([0, 3, 6, 9])
    """
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def detector_content(detector: NoveltyDetector) -> bytes:
    """The detector as the bytes of an `.npz` file."""
    values: dict[str, Any] = {
        one.name: np.asarray(getattr(detector, one.name)) for one in fields(detector)
    }
    content = io.BytesIO()
    np.savez_compressed(content, statistics=np.array(NAMES), **values)
    return content.getvalue()


def write_detector(model: Path, detector: NoveltyDetector) -> None:
    """Add the detector to a model file or a SavedModel folder."""
    write_member(model, MEMBER, detector_content(detector))


def has_detector(model: Path) -> bool:
    """Whether a `.keras` file holds a detector; False where the file cannot be read."""
    try:
        with zipfile.ZipFile(model) as archive:
            return MEMBER in archive.namelist()
    except (OSError, zipfile.error):
        return False


def read_detector(model: Path) -> NoveltyDetector | None:
    """Return the detector of a model file; None where there is none, or none that can be read."""
    try:
        content = read_member(model, MEMBER)
        with np.load(io.BytesIO(content)) as archive:
            values: dict[str, Any] = {
                one.name: archive[one.name]
                for one in fields(NoveltyDetector)
                if one.name in archive or one.name not in LATER
            }
            names = archive["statistics"].tolist() if "statistics" in archive else FIRST_NAMES
            values["lowest"] = _with_all_statistics(values["lowest"], names, -ANY)
            values["highest"] = _with_all_statistics(values["highest"], names, ANY)
    except UNREADABLE:
        return None
    for name in ("threshold", "false_alarms", "picture_threshold", "feature_threshold"):
        values.update({name: float(values[name])} if name in values else {})
    return NoveltyDetector(**values)


def _with_all_statistics(ends: np.ndarray, names: Sequence[str], missing: float) -> np.ndarray:
    """Ends of the ranges of all `NAMES`, channel after channel, from those of `names`."""
    by_channel = ends.reshape(-1, len(names))
    found = np.full((len(by_channel), len(NAMES)), missing)
    found[:, [NAMES.index(name) for name in names]] = by_channel
    return found.ravel()
