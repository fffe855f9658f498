"""Whether an image is unlike all training images: by its raw counts, picture and features.

Four distances. That of the network's pooled features, each scaled to length 1, from the tenth
nearest training image (Sun et al., 2022, https://arxiv.org/abs/2204.06507) finds images that the
network sees differently. That of the features as they are from the mean of training (Mahalanobis,
in the directions in which they vary most) finds what is stronger than anything in training, such as
a thicker plate. That of a coarse image of the preprocessed image from the mean of training
(Mahalanobis) finds scenes that the network has learned to ignore. That of the raw image's wedge
curve from the nearest training image finds plates between those of training, of which the network
keeps only what separates its classes; it exists where training images have a wedge and a plate's
edge. Their thresholds are quantiles over the validation images. Compared by
`scripts/compare_novelty.py`.

NumPy only: a `.tflite` file needs nothing else.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from alloyk.inference.raw_statistics import MARGINS
from alloyk.inference.wedge_curve import NAMES as CURVE
from alloyk.targets import FEATURES as FEATURES

FALSE_ALARMS = 0.01
"""Target false-alarm rate on images like the training images."""

NEIGHBOUR = 10
"""k of the k-th nearest neighbour."""

BLOCK = 4096
"""Images that are compared with all kept ones at once."""

FAR = 100.0
"""Score of an image whose wedge curve cannot be measured though those of training could, and the
largest that a wedge curve gives."""

CURVES_AT_ONCE = 64
"""Images whose wedge curves are compared with all kept ones at once."""


@dataclass(frozen=True, eq=False)
class NoveltyDetector:
    """Scores images by how unlike those of training they are; 1 or more is *unlike*.

    Attributes:
        bank: `(m, k)` float16, pooled features of training images, each scaled to length 1, in
            `bank_directions`.
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
        bank_directions: `(d, k)` float16, orthonormal; empty if the bank has all d, as in files of
            earlier versions.
        curve_bank: `(k, 3)` float32, whitened logarithms of the wedge curves of training images;
            empty in files of earlier versions and where there is no wedge.
        curve_mean: `(3,)` their mean before whitening.
        curve_whitening: `(3, 3)` float32, makes the variance among neighbours 1 in all directions.
        curve_threshold: Distance of the wedge curve from the nearest one that scores 1.
        missing_curve_score: Score of an image whose wedge curve cannot be measured: `FAR`, or 0
            where that happens to images like those of training.
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
    bank_directions: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float16))
    curve_bank: np.ndarray = field(default_factory=lambda: np.zeros((0, len(CURVE)), np.float32))
    curve_mean: np.ndarray = field(default_factory=lambda: np.zeros(len(CURVE), np.float32))
    curve_whitening: np.ndarray = field(
        default_factory=lambda: np.eye(len(CURVE), dtype=np.float32)
    )
    curve_threshold: float = 1.0
    missing_curve_score: float = FAR

    def neighbour_distances(self, features: np.ndarray) -> np.ndarray:
        """Return the distance `(n,)`, 0 to 2, of features `(n, d + c)` from training images.

        With the bank in k directions, features and training images count as at right angles outside
        of them.
        """
        pooled, bank = features[:, : self.width], self.bank.astype(np.float32).T
        directions = self.bank_directions.astype(np.float32)
        place = min(NEIGHBOUR, len(self.bank)) - 1
        nearest = np.empty(len(features))
        for start in range(0, len(features), BLOCK):
            block = slice(start, start + BLOCK)
            unit = unit_length(pooled[block])
            products = (unit @ directions if directions.size else unit) @ bank
            nearest[block] = -np.partition(-products, place, axis=1)[:, place]
        return np.asarray(np.sqrt(np.maximum(2 - 2 * nearest, 0)))

    @property
    def width(self) -> int:
        """Number d of pooled features."""
        return len(self.bank_directions) or int(self.bank.shape[1])

    def feature_distances(self, features: np.ndarray) -> np.ndarray:
        """Return the Mahalanobis distance `(n,)` of the pooled features in `(n, d + c)`."""
        pooled = features[:, : len(self.feature_mean)]
        return _lengths(pooled, self.feature_mean, self.feature_whitening)

    def picture_distances(self, features: np.ndarray) -> np.ndarray:
        """Return the Mahalanobis distance `(n,)` of the coarse images in `(n, d + c)`."""
        pictures = features[:, self.width : self.width + len(self.picture_mean)]
        return _lengths(pictures, self.picture_mean, self.picture_whitening)

    @property
    def judges_curves(self) -> bool:
        """Whether the wedge curves of images are compared with those of training."""
        return len(self.curve_bank) > 0

    def curve_distances(self, curves: np.ndarray) -> np.ndarray:
        """Return the distance `(n,)` of wedge curves `(n, 3)` from the nearest of training.

        Infinite where a curve could not be measured; 0 if the detector does not judge curves.
        """
        if not self.judges_curves:
            return np.zeros(len(curves))
        whitened = (log_curves(curves) - self.curve_mean) @ self.curve_whitening
        bank = self.curve_bank.astype(np.float64)
        found = np.full(len(curves), np.inf)
        measured = np.flatnonzero(np.isfinite(whitened).all(axis=1))
        for start in range(0, len(measured), CURVES_AT_ONCE):
            block = measured[start : start + CURVES_AT_ONCE]
            difference = whitened[block, None] - bank
            found[block] = np.sqrt((difference**2).sum(axis=2).min(axis=1))
        return found

    def scores(
        self, features: np.ndarray, statistics: np.ndarray, curves: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the score `(n,)` of images.

        Args:
            features: `(n, d + c)` pooled features and coarse images.
            statistics: `(n, 7)` of the raw images.
            curves: `(n, 3)` wedge curves of the raw images; None leaves them out.
        """
        return self.scores_at(self.distances(features), statistics, curves)

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Return the three distances of images, from features `(n, d + c)`.

        Returns:
            `(n, 3)`: from the neighbour, of the features, of the coarse image.
        """
        parts = (self.neighbour_distances, self.feature_distances, self.picture_distances)
        return np.stack([part(features) for part in parts], axis=1)

    def scores_at(
        self, distances: np.ndarray, statistics: np.ndarray, curves: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the score `(n,)` of images with these distances `(n, 3)`; see `scores`."""
        limits = (self.threshold, self.feature_threshold, self.picture_threshold)
        scores = np.maximum(
            (distances / limits).max(axis=1), self.raw_scores(statistics).max(axis=1)
        )
        if curves is None:
            return np.asarray(scores)
        far = self.curve_distances(curves) / self.curve_threshold
        by_curve = np.where(np.isfinite(far), np.minimum(far, FAR), self.missing_curve_score)
        return np.asarray(np.maximum(scores, by_curve))

    def raw_scores(self, statistics: np.ndarray) -> np.ndarray:
        """Return the distance of each statistic `(n, 7)` from the middle of the training range.

        1 is the limit.
        """
        middle, half = (self.highest + self.lowest) / 2, (self.highest - self.lowest) / 2
        margins = np.tile(MARGINS, len(half) // len(MARGINS))
        return np.asarray(np.abs(statistics - middle) / (half + margins))


def _lengths(values: np.ndarray, mean: np.ndarray, whitening: np.ndarray) -> np.ndarray:
    """Lengths `(n,)` of values `(n, d)`, centred and whitened."""
    whitened = (values.astype(np.float64) - mean) @ whitening
    return np.asarray(np.sqrt((whitened**2).sum(axis=1)))


def unit_length(features: np.ndarray) -> np.ndarray:
    """Features `(n, d)`, each scaled to length 1."""
    length = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(features / np.maximum(length, 1e-12), np.float32)


def log_curves(curves: np.ndarray) -> np.ndarray:
    """Logarithms of wedge curves `(n, 3)`, which are positive but for odd images."""
    return np.log(np.maximum(curves.astype(np.float64), 1e-6))
